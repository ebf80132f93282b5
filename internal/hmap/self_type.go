package hmap

import "reflect"

// FromReflect describes a type of this process. Every call makes a type graph of
// its own.
func FromReflect(rt reflect.Type) *Type { return newReflectTypes(self()).of(rt) }

// reflectTypes is one type graph of this process.
type reflectTypes struct {
	self *selfRuntime
	made map[reflect.Type]*Type
}

func newReflectTypes(s *selfRuntime) *reflectTypes {
	return &reflectTypes{s, map[reflect.Type]*Type{}}
}

func (ts *reflectTypes) of(rt reflect.Type) *Type {
	if t, ok := ts.made[rt]; ok {
		return t
	}
	t := &Type{Name: reflectName(rt), Kind: rt.Kind(), Size: int64(rt.Size())}
	ts.made[rt] = t
	switch rt.Kind() {
	case reflect.Array:
		t.Len = int64(rt.Len())
		t.elem.get = func() *Type { return ts.of(rt.Elem()) }
	case reflect.Slice, reflect.Pointer, reflect.Chan:
		t.elem.get = func() *Type { return ts.of(rt.Elem()) }
	case reflect.Interface:
		t.empty = rt.NumMethod() == 0
	case reflect.Map:
		t.elem.get = func() *Type { return ts.of(rt.Elem()) }
		t.key.get = func() *Type { return ts.of(rt.Key()) }
		t.layoutFn = func() (*Layout, error) { return ts.self.layout(rt) }
	case reflect.Struct:
		t.fields = func() []Field {
			fs := make([]Field, rt.NumField())
			for i := range fs {
				f := rt.Field(i)
				fs[i] = Field{f.Name, int64(f.Offset), ts.of(f.Type), f.Anonymous}
			}
			return fs
		}
	}
	return t
}

// reflectName is the name with the full package path, as debug information has
// it; reflect's String has only the last element.
func reflectName(rt reflect.Type) string {
	if rt.Name() != "" && rt.PkgPath() != "" {
		return rt.PkgPath() + "." + rt.Name()
	}
	switch rt.Kind() {
	case reflect.Pointer:
		return "*" + reflectName(rt.Elem())
	case reflect.Slice:
		if rt.Name() == "" {
			return "[]" + reflectName(rt.Elem())
		}
	case reflect.Map:
		if rt.Name() == "" {
			return "map[" + reflectName(rt.Key()) + "]" + reflectName(rt.Elem())
		}
	}
	return rt.String()
}
