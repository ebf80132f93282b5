package hmap

import "reflect"

// Type describes a Go type of the target: as much of it as is needed to read
// and to print values. Types of one target are unique, so pointers compare.
// A Type is safe for use by one goroutine at a time.
type Type struct {
	// Name is the type as Go writes it, with the full package path:
	// "map[string]int", "example.com/p/q.T".
	Name string
	// Kind is the kind of the underlying type. Invalid marks what the debug
	// information does not explain (a C type, for instance).
	Kind reflect.Kind
	// Size is the size of a value in bytes.
	Size int64
	// Len is the length of an array.
	Len int64

	elem, key lazyType
	fields    func() []Field

	empty     bool // an interface without methods
	pointers  tristate
	layout    *Layout
	layoutErr error
	layoutFn  func() (*Layout, error)
}

// Field is a field of a struct.
type Field struct {
	Name     string
	Off      int64 // bytes from the start of the struct
	Type     *Type
	Embedded bool
}

// lazyType is resolved at first use: the type graph of a real program is large
// and cyclic, and most of it is never looked at.
type lazyType struct {
	t   *Type
	get func() *Type
}

func (l *lazyType) resolve() *Type {
	if l.t == nil && l.get != nil {
		l.t = l.get()
		l.get = nil
	}
	return l.t
}

type tristate int8

// Elem is the type of the elements of an array, slice, pointer, channel or map;
// nil for other kinds and for unsafe.Pointer.
func (t *Type) Elem() *Type { return t.elem.resolve() }

// Key is the type of a map's keys; nil for other kinds.
func (t *Type) Key() *Type { return t.key.resolve() }

// Fields are the fields of a struct in order of their offsets.
func (t *Type) Fields() []Field {
	if t.fields == nil {
		return nil
	}
	if t.Kind != reflect.Struct {
		return nil
	}
	f := t.fields()
	t.fields = func() []Field { return f }
	return f
}

// Layout says how maps of this type lie in memory. It fails when t is not a map
// type or the target's description of it lacks a field.
func (t *Type) Layout() (*Layout, error) {
	if t.layout == nil && t.layoutErr == nil {
		if t.Kind != reflect.Map || t.layoutFn == nil {
			t.layoutErr = &LayoutError{Type: t.Name, Lacks: "a map type"}
		} else {
			t.layout, t.layoutErr = t.layoutFn()
		}
	}
	return t.layout, t.layoutErr
}

func (t *Type) String() string { return t.Name }

// Pointers reports whether values of t hold pointers that the garbage collector
// follows. The allocator's size classes depend on it.
func (t *Type) Pointers() bool {
	const (
		unknown tristate = iota
		no
		yes
	)
	if t.pointers == unknown {
		t.pointers = no // ends a cycle in a malformed type
		if t.findPointers() {
			t.pointers = yes
		}
	}
	return t.pointers == yes
}

func (t *Type) findPointers() bool {
	switch t.Kind {
	case reflect.Pointer, reflect.UnsafePointer, reflect.Map, reflect.Chan, reflect.Func,
		reflect.String, reflect.Slice, reflect.Interface:
		return true
	case reflect.Array:
		return t.Len > 0 && t.Elem() != nil && t.Elem().Pointers()
	case reflect.Struct:
		for _, f := range t.Fields() {
			if f.Type.Pointers() {
				return true
			}
		}
	}
	return false
}
