package hmap

import (
	"fmt"
	"reflect"
	"strings"
)

// descriptors reads types from the descriptors that the runtime has of them
// (internal/abi/type.go, type.go of the runtime up to Go 1.20): those of which no
// debug information tells. Up to Go 1.24 that is every type that only interfaces
// hold, and, up to today, most of those of closures.
type descriptors struct {
	ts      *Types
	kinds   [reflect.UnsafePointer + 1]*Type // of the descriptors themselves, by kind
	size    RecordField                      // of the type that is described
	kind    RecordField
	flag    RecordField
	str     RecordField
	pkgPath RecordField // of the uncommon type
	lo, hi  Addr        // where the executable's descriptors and names lie
	fail    error
}

const (
	// Flags of internal/abi.TFlag, the same in Go 1.18 to 1.27.
	flagUncommon  = 1 << 0
	flagExtraStar = 1 << 1
	flagNamed     = 1 << 2

	kindMask = 1<<5 - 1 // abi.KindMask; the bits above were flags up to Go 1.25

	maxStructFields = 1 << 12
	maxTypeName     = 1 << 12
	maxTypeSize     = 1 << 40
)

// descriptors finds out how descriptors lie in the target's memory.
func (ts *Types) descriptors() *descriptors {
	if ts.desc != nil {
		return ts.desc
	}
	d := &descriptors{ts: ts}
	ts.desc = d
	base := d.typeOf("Type", "_type")
	if base == nil {
		return d
	}
	for k := range d.kinds {
		d.kinds[k] = base
	}
	for k, names := range map[reflect.Kind][]string{
		reflect.Array: {"ArrayType", "arraytype"}, reflect.Chan: {"ChanType", "chantype"}, reflect.Func: {"FuncType", "functype"},
		reflect.Interface: {"InterfaceType", "interfacetype"}, reflect.Pointer: {"PtrType", "ptrtype"},
		reflect.Slice: {"SliceType", "slicetype"}, reflect.Struct: {"StructType", "structtype"},
	} {
		d.kinds[k] = d.typeOf(names...)
	}
	// Both generations' can be there; only one of them has the other's header.
	if ts.named("runtime.hmap") != nil {
		d.kinds[reflect.Map] = d.typeOf("OldMapType", "MapType", "maptype")
	} else {
		d.kinds[reflect.Map] = d.typeOf("SwissMapType", "MapType")
	}
	d.size, d.kind = d.word(base, "Size_", "size"), d.word(base, "Kind_", "kind")
	d.flag, d.str = d.word(base, "TFlag", "tflag"), d.word(base, "Str", "str")
	if u := d.typeOf("UncommonType", "uncommontype"); u != nil {
		d.pkgPath = d.word(u, "PkgPath", "pkgpath")
	}
	at, module, ok := ts.Var("runtime.firstmoduledata")
	if !ok {
		d.lacks("variable runtime.firstmoduledata")
		return d
	}
	r := RecordOf(module)
	for name, into := range map[string]*Addr{"types": &d.lo, "etypes": &d.hi} {
		// There are more fields than a Record has.
		f, ok := fieldNamed(module, name)
		if !ok || f.Off < 0 || f.Off > int64(r.Size)-8 {
			d.lacks("field runtime.moduledata." + name)
			return d
		}
		buf := make([]byte, ts.PtrSize())
		if err := read(ts.mem, "module data", buf, at+Addr(f.Off)); err != nil {
			d.fail = err
			return d
		}
		*into = Addr(word(buf))
	}
	return d
}

func (d *descriptors) lacks(what string) {
	if d.fail == nil {
		d.fail = &LayoutError{"type descriptors", what}
	}
}

// typeOf returns the struct of that name in internal/abi, or of the other name in
// package runtime.
func (d *descriptors) typeOf(names ...string) *Type {
	for _, n := range names {
		for _, pkg := range []string{"internal/abi.", "runtime."} {
			if t := d.ts.named(pkg + n); t != nil && t.Kind == reflect.Struct && t.Size > 0 && t.Size <= maxDescriptor {
				return t
			}
		}
	}
	d.lacks("type internal/abi." + names[0])
	return nil
}

// word is a field of at most a word, in whatever struct it is embedded.
func (d *descriptors) word(t *Type, names ...string) RecordField {
	if t != nil {
		if f, ok := fieldNamed(t, names...); ok && f.Type.Size > 0 && f.Type.Size <= 8 && f.Off >= 0 && f.Off+f.Type.Size <= t.Size {
			return RecordField{Name: f.Name, Off: int(f.Off), Size: int(f.Type.Size)}
		}
	}
	d.lacks("field " + names[0])
	return RecordField{}
}

// descriptor is one that was read.
type descriptor struct {
	*descriptors
	addr Addr
	t    *Type  // of the descriptor
	rec  []byte // its bytes, those of the kind's own fields too
}

// at reads the descriptor at an address.
func (d *descriptors) at(addr Addr) (*descriptor, error) {
	if d.fail != nil {
		return nil, d.fail
	}
	if addr < d.lo || addr >= d.hi {
		return nil, fmt.Errorf("it lies outside of the executable's")
	}
	head := make([]byte, d.kinds[reflect.Bool].Size)
	if err := read(d.ts.mem, "type descriptor", head, addr); err != nil {
		return nil, err
	}
	k := reflect.Kind(d.kind.Uint(head) & kindMask)
	if k == reflect.Invalid || k > reflect.UnsafePointer || d.size.Uint(head) > maxTypeSize {
		return nil, fmt.Errorf("kind %d of %d bytes", k, d.size.Uint(head))
	}
	x := &descriptor{descriptors: d, addr: addr, t: d.kinds[k], rec: head}
	if x.t.Size > int64(len(head)) {
		x.rec = make([]byte, x.t.Size)
		if err := read(d.ts.mem, "type descriptor", x.rec, addr); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *descriptor) kindOf() reflect.Kind { return reflect.Kind(x.kind.Uint(x.rec) & kindMask) }

// pointer reads a field of the descriptor that is a pointer, 0 if there is none.
func (x *descriptor) pointer(names ...string) Addr {
	f, ok := fieldNamed(x.t, names...)
	if !ok || f.Off < 0 || f.Off+int64(x.ts.PtrSize()) > int64(len(x.rec)) {
		return 0
	}
	return Addr(word(x.rec[f.Off : f.Off+int64(x.ts.PtrSize())]))
}

// fromDescriptor makes the type that a descriptor describes, and that no entry does.
func (ts *Types) fromDescriptor(addr Addr) (*Type, error) {
	x, err := ts.descriptors().at(addr)
	if err != nil {
		return nil, err
	}
	t := &Type{Kind: x.kindOf(), Size: int64(x.size.Uint(x.rec))}
	ts.byAddr[addr] = t // it may be part of itself
	ref := func(names ...string) lazyType {
		at := x.pointer(names...)
		return lazyType{get: func() *Type {
			e, err := ts.OfDescriptor(at)
			if err != nil {
				return &Type{Name: "?" + err.Error()}
			}
			return e
		}}
	}
	switch t.Kind {
	case reflect.Pointer, reflect.Slice, reflect.Chan:
		t.elem = ref("Elem", "elem")
	case reflect.Array:
		t.elem = ref("Elem", "elem")
		t.Len = int64(x.pointer("Len", "len"))
		if e := t.Elem(); t.Len < 0 || e.Size > 0 && t.Len > t.Size/e.Size {
			t.Len = 0
		}
	case reflect.Map:
		t.key, t.elem = ref("Key", "key"), ref("Elem", "elem")
		block := ref("Group", "Bucket", "bucket")
		t.layoutFn = func() (*Layout, error) { return ts.runtimeMapLayout(t, block.resolve()) }
	case reflect.Interface:
		f, ok := fieldNamed(x.t, "Methods", "mhdr")
		n := int64(x.ts.PtrSize())
		t.empty = ok && f.Off >= 0 && f.Off+2*n <= int64(len(x.rec)) && word(x.rec[f.Off+n:f.Off+2*n]) == 0
	case reflect.Struct:
		t.fields = func() []Field { return x.structFields() }
	}
	t.Name = x.name(t)
	return t, nil
}

// runtimeMapLayout is mapLayout for a map type of which only the descriptor tells.
func (ts *Types) runtimeMapLayout(t, block *Type) (*Layout, error) {
	header := ts.named("runtime.hmap")
	if header == nil {
		header = ts.named("internal/runtime/maps.Map")
	}
	return ts.layoutOf(t, header, block, ts.named("internal/runtime/maps.table"))
}

// structFields reads the fields of a struct.
func (x *descriptor) structFields() []Field {
	list, ok := fieldNamed(x.t, "Fields", "fields")
	ptr := int64(x.ts.PtrSize())
	if !ok || list.Type.Elem() == nil || list.Off < 0 || list.Off+2*ptr > int64(len(x.rec)) {
		return nil
	}
	field := list.Type.Elem()
	name, ok1 := fieldNamed(field, "Name", "name")
	typ, ok2 := fieldNamed(field, "Typ", "typ")
	off, ok3 := fieldNamed(field, "Offset", "offset", "offsetAnon")
	if !ok1 || !ok2 || !ok3 || field.Size <= 0 || field.Size > maxDescriptor {
		return nil
	}
	at, n := word(x.rec[list.Off:list.Off+ptr]), word(x.rec[list.Off+ptr:list.Off+2*ptr])
	if n > maxStructFields {
		return nil
	}
	buf := make([]byte, int64(n)*field.Size)
	if err := read(x.ts.mem, "fields of a type descriptor", buf, Addr(at)); err != nil {
		return nil
	}
	var fs []Field
	for ; len(buf) > 0; buf = buf[field.Size:] {
		part := func(f Field) uint64 { return word(buf[f.Off : f.Off+ptr]) }
		text, flags := x.text(Addr(part(name)))
		f := Field{Name: text, Off: int64(part(off)), Embedded: flags&(1<<3) != 0}
		if off.Name == "offsetAnon" { // up to Go 1.18
			f.Off, f.Embedded = f.Off>>1, f.Off&1 != 0
		}
		var err error
		if f.Type, err = x.ts.OfDescriptor(Addr(part(typ))); err != nil {
			f.Type = &Type{Name: "?" + err.Error()}
		}
		if f.Off >= 0 && f.Type.Size >= 0 && f.Off+f.Type.Size <= int64(x.size.Uint(x.rec)) {
			fs = append(fs, f)
		}
	}
	return fs
}

// text reads a name: flags, the length as a varint, the bytes (internal/abi.Name).
func (x *descriptor) text(at Addr) (s string, flags byte) {
	head := make([]byte, 4)
	if at < x.lo || at >= x.hi || read(x.ts.mem, "name", head, at) != nil {
		return "", 0
	}
	n, used := uint64(0), 0
	for i, b := range head[1:] {
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			used = i + 2
			break
		}
	}
	if used == 0 || n > maxTypeName {
		return "", 0
	}
	buf := make([]byte, n)
	if read(x.ts.mem, "name", buf, at+Addr(used)) != nil {
		return "", 0
	}
	return string(buf), head[0]
}

// name is the type's with its full package path, as debug information has it; the
// descriptor has the last element of the path alone.
func (x *descriptor) name(t *Type) string {
	flags := x.flag.Uint(x.rec)
	s, _ := x.text(x.lo + Addr(x.str.Uint(x.rec)))
	if flags&flagExtraStar != 0 {
		s = strings.TrimPrefix(s, "*")
	}
	if flags&flagNamed != 0 {
		if flags&flagUncommon == 0 || x.pkgPath.Size == 0 {
			return s
		}
		buf := make([]byte, x.pkgPath.Size)
		if read(x.ts.mem, "type descriptor", buf, x.addr+Addr(x.t.Size)+Addr(x.pkgPath.Off)) != nil {
			return s
		}
		path, _ := x.text(x.lo + Addr(x.pkgPath.Uint(buf)))
		if dot := strings.IndexByte(s, '.'); path != "" && dot >= 0 && !strings.ContainsAny(s[:dot], "[{( ") {
			return path + s[dot:]
		}
		return s
	}
	switch t.Kind {
	case reflect.Pointer:
		return "*" + t.Elem().Name
	case reflect.Slice:
		return "[]" + t.Elem().Name
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len, t.Elem().Name)
	case reflect.Map:
		return "map[" + t.Key().Name + "]" + t.Elem().Name
	}
	return s
}
