package hmap

import (
	"debug/dwarf"
	"fmt"
	"reflect"
	"sort"
)

// DebugInfo is what reading types and layouts needs of a target's debug
// information. internal/target implements it over Delve.
type DebugInfo interface {
	// Reader returns a new reader over the target's .debug_info.
	Reader() *dwarf.Reader
	// Const returns a package level integer constant: "runtime.emptyRest".
	Const(name string) (int64, bool)
	// TypeNamed returns the entry of a named type: "runtime.mapextra".
	TypeNamed(name string) (dwarf.Offset, bool)
	// RuntimeType returns the entry of the type whose descriptor (abi.Type,
	// runtime._type up to Go 1.20) is at addr.
	RuntimeType(addr uint64) (dwarf.Offset, bool)
	// Var returns the address and the type of a package variable:
	// "runtime.class_to_size".
	Var(name string) (addr uint64, typ dwarf.Offset, ok bool)
}

// Attributes of Go's DWARF, cmd/internal/dwarf.
const (
	attrGoKind     dwarf.Attr = 0x2900
	attrGoKey      dwarf.Attr = 0x2901
	attrGoElem     dwarf.Attr = 0x2902
	attrGoEmbedded dwarf.Attr = 0x2903
)

// maxTypedefs bounds a chain of typedefs: Go's own have one link, C's some.
const maxTypedefs = 64

// Types reads the types of one target from its debug information. It is meant
// for one goroutine at a time.
type Types struct {
	info    DebugInfo
	mem     Memory
	r       *dwarf.Reader
	byOff   map[dwarf.Offset]*Type
	byAddr  map[Addr]*Type // runtime type descriptors
	consts  *Consts
	alloc   *SizeClasses
	iface   *ifaceLayout
	dynamic map[ifaceKey]dynamicType
	aes     *aesHash
	desc    *descriptors
}

// NewTypes returns the types that info describes. mem is asked for the few
// tables of the runtime that are variables: the allocator's size classes.
func NewTypes(info DebugInfo, mem Memory) *Types {
	return &Types{
		info: info, mem: mem, r: info.Reader(),
		byOff: map[dwarf.Offset]*Type{}, byAddr: map[Addr]*Type{},
		dynamic: map[ifaceKey]dynamicType{},
	}
}

// PtrSize is the size of a pointer of the target in bytes.
func (ts *Types) PtrSize() int { return ts.r.AddressSize() }

// At returns the type whose entry is at off. A type that the debug information
// does not explain has Kind Invalid; a broken entry is an error.
func (ts *Types) At(off dwarf.Offset) (*Type, error) {
	if t, ok := ts.byOff[off]; ok {
		return t, nil
	}
	t, err := ts.parse(off)
	if err != nil {
		return nil, fmt.Errorf("read type at .debug_info+%#x: %w", off, err)
	}
	return t, nil
}

// OfDescriptor returns the type whose runtime type descriptor is at addr, as
// found in the first word of an interface.
func (ts *Types) OfDescriptor(addr Addr) (*Type, error) {
	if t, ok := ts.byAddr[addr]; ok {
		if t == nil {
			return nil, fmt.Errorf("read type descriptor at %s: no debug information for it", addr)
		}
		return t, nil
	}
	var t *Type
	var err error
	if off, ok := ts.info.RuntimeType(uint64(addr)); ok {
		if t, err = ts.At(off); err != nil {
			return nil, err
		}
	} else {
		t, err = ts.fromDescriptor(addr)
	}
	if t != nil || len(ts.byAddr) < maxDynamic {
		ts.byAddr[addr] = t
	}
	if t == nil {
		return nil, fmt.Errorf("read type descriptor at %s: no debug information for it: %w", addr, err)
	}
	return t, nil
}

// lazy returns a reference to the type at off; a broken entry becomes an
// Invalid type that carries the reason as its name.
func (ts *Types) lazy(off dwarf.Offset) lazyType {
	return lazyType{get: func() *Type { return ts.must(off) }}
}

func (ts *Types) must(off dwarf.Offset) *Type {
	t, err := ts.At(off)
	if err != nil {
		return &Type{Name: "?" + err.Error()}
	}
	return t
}

func (ts *Types) entry(off dwarf.Offset) (*dwarf.Entry, error) {
	ts.r.Seek(off)
	e, err := ts.r.Next()
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fmt.Errorf("no entry")
	}
	return e, nil
}

func (ts *Types) parse(off dwarf.Offset) (*Type, error) {
	e, err := ts.entry(off)
	if err != nil {
		return nil, err
	}
	t := &Type{}
	t.Name, _ = e.Val(dwarf.AttrName).(string)
	ts.byOff[off] = t
	for links := 0; e.Tag == dwarf.TagTypedef || e.Tag == dwarf.TagConstType || e.Tag == dwarf.TagVolatileType; links++ {
		if k := goKind(e); k != reflect.Invalid {
			break // maps, channels and interfaces are typedefs with a kind
		}
		under, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if !ok || links > maxTypedefs {
			return t, nil
		}
		if e, err = ts.entry(under); err != nil {
			return nil, err
		}
		if t.Name == "" {
			t.Name, _ = e.Val(dwarf.AttrName).(string)
		}
	}
	ts.fill(t, e)
	return t, nil
}

func goKind(e *dwarf.Entry) reflect.Kind {
	k, ok := e.Val(attrGoKind).(int64)
	if !ok || k <= 0 || k > int64(reflect.UnsafePointer) {
		return reflect.Invalid
	}
	return reflect.Kind(k)
}

// fill sets what the entry says of t; e is the last entry that r returned.
func (ts *Types) fill(t *Type, e *dwarf.Entry) {
	ptr := int64(ts.PtrSize())
	t.Kind = goKind(e)
	if t.Kind == reflect.Invalid {
		t.Kind = foreignKind(e)
	}
	size, sized := e.Val(dwarf.AttrByteSize).(int64)
	t.Size = size
	ref := func(a dwarf.Attr) lazyType {
		off, ok := e.Val(a).(dwarf.Offset)
		if !ok {
			return lazyType{}
		}
		return ts.lazy(off)
	}
	switch t.Kind {
	case reflect.Map:
		t.Size = ptr
		t.key, t.elem = ref(attrGoKey), ref(attrGoElem)
		header := ref(dwarf.AttrType)
		t.layoutFn = func() (*Layout, error) { return ts.mapLayout(t, header.resolve()) }
	case reflect.Chan:
		t.Size = ptr
		t.elem = ref(attrGoElem)
	case reflect.Func, reflect.UnsafePointer:
		t.Size = ptr
	case reflect.Pointer:
		t.Size = ptr
		t.elem = ref(dwarf.AttrType)
	case reflect.Interface:
		t.Size = 2 * ptr
		// The word is a typedef of runtime.eface or runtime.iface.
		under := ref(dwarf.AttrType)
		t.empty = under.resolve() != nil && under.t.Name == "runtime.eface"
	case reflect.String:
		t.Size = 2 * ptr
	case reflect.Slice:
		t.Size = 3 * ptr
		t.elem = ref(attrGoElem)
	case reflect.Array:
		t.elem = ref(dwarf.AttrType)
		t.Len = ts.arrayLen(e)
		if !sized {
			if el := t.Elem(); el != nil {
				t.Size = t.Len * el.Size
			}
		}
	case reflect.Struct:
		t.fields = func() []Field { return ts.structFields(e) }
	}
	if t.Size < 0 || t.Len < 0 {
		t.Size, t.Len, t.Kind = 0, 0, reflect.Invalid
	}
}

// foreignKind is the kind of an entry that the Go compiler did not mark: one of
// C's, or one of the few that the linker makes itself (hash<K,V>, map<K,V>).
func foreignKind(e *dwarf.Entry) reflect.Kind {
	switch e.Tag {
	case dwarf.TagStructType, dwarf.TagClassType:
		return reflect.Struct
	case dwarf.TagPointerType:
		if e.Val(dwarf.AttrType) == nil {
			return reflect.UnsafePointer
		}
		return reflect.Pointer
	case dwarf.TagArrayType:
		return reflect.Array
	case dwarf.TagSubroutineType:
		return reflect.Func
	case dwarf.TagBaseType:
		enc, _ := e.Val(dwarf.AttrEncoding).(int64)
		size, _ := e.Val(dwarf.AttrByteSize).(int64)
		return baseKind(enc, size)
	case dwarf.TagEnumerationType:
		size, _ := e.Val(dwarf.AttrByteSize).(int64)
		return baseKind(7, size)
	}
	return reflect.Invalid
}

// baseKind maps DW_ATE_* (DWARF 5, 7.8) and a size to a Go kind.
func baseKind(enc, size int64) reflect.Kind {
	type base struct{ enc, size int64 }
	return map[base]reflect.Kind{
		{2, 1}: reflect.Bool,
		{4, 4}: reflect.Float32, {4, 8}: reflect.Float64,
		{3, 8}: reflect.Complex64, {3, 16}: reflect.Complex128,
		{5, 1}: reflect.Int8, {5, 2}: reflect.Int16, {5, 4}: reflect.Int32, {5, 8}: reflect.Int64,
		{6, 1}: reflect.Int8, {8, 1}: reflect.Uint8,
		{7, 1}: reflect.Uint8, {7, 2}: reflect.Uint16, {7, 4}: reflect.Uint32, {7, 8}: reflect.Uint64,
	}[base{enc, size}]
}

func (ts *Types) arrayLen(e *dwarf.Entry) int64 {
	if !e.Children {
		return 0
	}
	for {
		c, err := ts.r.Next()
		if err != nil || c == nil || c.Tag == 0 {
			return 0
		}
		if c.Tag != dwarf.TagSubrangeType {
			ts.r.SkipChildren()
			continue
		}
		if n, ok := c.Val(dwarf.AttrCount).(int64); ok {
			return n
		}
		if n, ok := c.Val(dwarf.AttrUpperBound).(int64); ok {
			return n + 1
		}
		return 0
	}
}

func (ts *Types) structFields(e *dwarf.Entry) []Field {
	if !e.Children {
		return nil
	}
	type member struct {
		Field
		off dwarf.Offset
	}
	var ms []member
	ts.r.Seek(e.Offset)
	ts.r.Next()
	for {
		c, err := ts.r.Next()
		if err != nil || c == nil || c.Tag == 0 {
			break
		}
		if c.Tag == dwarf.TagMember {
			var m member
			m.Name, _ = c.Val(dwarf.AttrName).(string)
			m.Off, _ = c.Val(dwarf.AttrDataMemberLoc).(int64)
			m.Embedded, _ = c.Val(attrGoEmbedded).(bool)
			m.off, _ = c.Val(dwarf.AttrType).(dwarf.Offset)
			ms = append(ms, m)
		}
		if c.Children {
			ts.r.SkipChildren()
		}
	}
	// The types are looked up after the loop: they move the reader.
	fs := make([]Field, len(ms))
	for i, m := range ms {
		m.Type = ts.must(m.off)
		fs[i] = m.Field
	}
	sort.SliceStable(fs, func(i, j int) bool { return fs[i].Off < fs[j].Off })
	return fs
}

// named returns a type by name, nil if the target has none.
func (ts *Types) named(name string) *Type {
	off, ok := ts.info.TypeNamed(name)
	if !ok {
		return nil
	}
	t, err := ts.At(off)
	if err != nil {
		return nil
	}
	return t
}

// Const returns the first of several constants that the target has: the
// same fact under the names that it had over the years.
func (ts *Types) Const(names ...string) (int64, bool) {
	for _, n := range names {
		if v, ok := ts.info.Const(n); ok {
			return v, true
		}
	}
	return 0, false
}
