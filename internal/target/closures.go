package target

import (
	"debug/dwarf"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"

	"hmaptools/internal/hmap"
)

// attrClosureOffset is where a captured variable lies in its closure: DW_AT_go_closure_offset
// of cmd/internal/dwarf, since Go 1.23.
const attrClosureOffset dwarf.Attr = 0x2907

// closures finds out what functions keep in their closures.
type closures struct {
	t       *Target
	byEntry map[uint64]*hmap.Type
	funcs   map[uint64][]captured // by entry, of the units that were read
	units   map[dwarf.Offset]bool
	made    map[uint64]*hmap.Type // by entry: the type that the code allocates for it; nil: not looked for
}

// captured is a variable of a function that may be in its closure.
type captured struct {
	name string
	typ  dwarf.Offset
	off  int64 // in the closure, 0 if that is not known
}

// maxClosure bounds the bytes of a closure.
const maxClosure = 1 << 16

// Closure returns what the closures hold of the function whose code starts at entry:
// a struct whose first word is that address, with the captured variables behind it.
// Nil if it captures nothing, or what is not known: since Go 1.23 the debug
// information says it; of older programs, and of the wrappers that the compiler makes
// for go and defer, it is seen in the code that allocates the closure, on amd64. A
// variable that is captured by reference has a "&" before its name, and a pointer's
// type.
func (t *Target) Closure(entry uint64) *hmap.Type {
	c := t.closures
	if c == nil {
		c = &closures{
			t: t, byEntry: map[uint64]*hmap.Type{}, funcs: map[uint64][]captured{}, units: map[dwarf.Offset]bool{},
		}
		t.closures = c
	}
	if ct, ok := c.byEntry[entry]; ok {
		return ct
	}
	ct := c.find(entry)
	c.byEntry[entry] = ct
	return ct
}

func (c *closures) find(entry uint64) *hmap.Type {
	fn := c.t.bi.PCToFunc(entry)
	if fn == nil || fn.Entry != entry {
		return nil
	}
	vars := c.variables(entry)
	var fields []hmap.Field
	size := int64(0)
	if made := c.allocated(entry); made != nil {
		fields, size = slices.Clone(made.Fields()), made.Size
		for i := range fields {
			fields[i].Name = c.nameOf(&fields[i], fields, vars)
		}
	} else {
		for _, v := range vars {
			if v.off <= 0 || v.off > maxClosure {
				continue
			}
			if vt, err := c.t.Types().At(v.typ); err == nil && vt.Size >= 0 && vt.Size <= maxClosure {
				fields = append(fields, hmap.Field{Name: v.name, Off: v.off, Type: vt})
				size = max(size, v.off+vt.Size)
			}
		}
	}
	if size == 0 {
		return nil
	}
	return hmap.NewStruct(unescape(fn.Name), size, fields)
}

// nameOf is what a field of a closure is called in the source: the compiler calls
// them X0, X1 and so on since Go 1.21. Without an offset, the one variable of the
// function that has the field's type, if no other field has it, must be it.
func (c *closures) nameOf(f *hmap.Field, fields []hmap.Field, vars []captured) string {
	var same []string
	for _, v := range vars {
		if v.off > 0 && v.off == f.Off {
			return v.name
		}
		if vt, err := c.t.Types().At(v.typ); v.off == 0 && err == nil && vt.Name == f.Type.Name {
			same = append(same, v.name)
		}
	}
	name := f.Name[strings.LastIndexByte(f.Name, '.')+1:]
	if slices.Contains(same, "&"+name) {
		return "&" + name
	}
	if slices.Contains(same, name) {
		return name
	}
	for i := range fields {
		if g := &fields[i]; g.Off != f.Off && g.Type.Name == f.Type.Name {
			return name
		}
	}
	if len(same) == 1 {
		return same[0]
	}
	return name
}

// variables lists the variables of a function, but for its arguments. It reads the
// function's whole unit at once.
func (c *closures) variables(entry uint64) []captured {
	if vs, ok := c.funcs[entry]; ok {
		return vs
	}
	base := c.t.bi.Images[0].StaticBase
	r := c.t.debug.Reader()
	unit, err := r.SeekPC(entry - base)
	if err != nil || unit == nil || c.units[unit.Offset] {
		return nil
	}
	c.units[unit.Offset] = true
	var in uint64 // the function that the entries belong to, 0 if none
	depth, fnDepth := 0, 0
	for {
		e, err := r.Next()
		if err != nil || e == nil || e.Tag == dwarf.TagCompileUnit {
			break
		}
		if e.Tag == 0 {
			if depth--; in != 0 && depth <= fnDepth {
				in = 0
			}
			continue
		}
		switch e.Tag {
		case dwarf.TagSubprogram:
			low, ok := e.Val(dwarf.AttrLowpc).(uint64)
			if !ok || !e.Children {
				r.SkipChildren()
				continue
			}
			in, fnDepth = low+base, depth
			c.funcs[in] = nil
		case dwarf.TagVariable:
			if v, ok := c.variable(r, e); ok && in != 0 {
				c.funcs[in] = append(c.funcs[in], v)
			}
		case dwarf.TagLexDwarfBlock:
		default:
			r.SkipChildren()
			continue
		}
		if e.Children {
			depth++
		}
	}
	return c.funcs[entry]
}

// variable reads a variable's entry. The name and the type of one in a function that
// is also inlined are in its abstract origin.
func (c *closures) variable(r *dwarf.Reader, e *dwarf.Entry) (captured, bool) {
	v := captured{}
	v.off, _ = e.Val(attrClosureOffset).(int64)
	if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
		at := c.t.debug.Reader()
		at.Seek(origin)
		o, err := at.Next()
		if err != nil || o == nil {
			return v, false
		}
		if v.off == 0 {
			v.off, _ = o.Val(attrClosureOffset).(int64)
		}
		e = o
	}
	v.name, _ = e.Val(dwarf.AttrName).(string)
	v.name = strings.TrimPrefix(v.name, ".") // of the compiler's: .autotmp_2
	var ok bool
	v.typ, ok = e.Val(dwarf.AttrType).(dwarf.Offset)
	return v, ok && v.name != ""
}

// allocated is the struct type that the code allocates for a function's closures; nil
// if they are not allocated on the heap, or if that is not seen.
func (c *closures) allocated(entry uint64) *hmap.Type {
	if c.made == nil {
		c.made = map[uint64]*hmap.Type{}
		if c.t.bi.Arch.Name == "amd64" {
			c.scan()
		}
	}
	return c.made[entry]
}

const (
	scanBytes = 1 << 20
	maxText   = 1 << 30
	// leaBytes is the length of LEAQ disp32(IP), R: 48 or 4c, 8d, modrm, disp32.
	leaBytes = 7
	// closureWindow bounds the code between the call of the allocator and the
	// place where the address of the function is taken, to be stored in the object:
	// they follow each other.
	closureWindow = 64
)

// scan looks for what the compiler writes for a closure on the heap:
//
//	LEAQ type:noalg.struct { F uintptr; ... }(SB), AX
//	CALL runtime.newobject(SB)
//	LEAQ main.f.func1(SB), CX
//	MOVQ CX, (AX)
//
// Since Go 1.27 it calls an allocator for the size, with the descriptor in BX.
// An instruction is not decoded: that a displacement is by chance the distance to the
// entry of a function, or to the type of a closure, does not happen.
func (c *closures) scan() {
	lo, hi := c.t.debug.section("text", "etext")
	typesLo, typesHi := c.t.debug.typeRange()
	if lo >= hi || hi-lo > maxText || typesLo >= typesHi {
		return
	}
	entries := make(map[uint64]bool, len(c.t.bi.Functions))
	allocators := map[uint64]bool{}
	for i := range c.t.bi.Functions {
		fn := &c.t.bi.Functions[i]
		entries[fn.Entry] = true
		if fn.Name == "runtime.newobject" || strings.HasPrefix(fn.Name, "runtime.mallocgc") {
			allocators[fn.Entry] = true
		}
	}
	var typ, object, called uint64 // the last descriptor; that of the last new object, and where it was made
	buf := make([]byte, scanBytes+leaBytes)
	for at := lo; at < hi; at += scanBytes {
		n, _ := c.t.mem.ReadMemory(buf[:min(uint64(len(buf)), hi-at)], at)
		code := buf[:max(n, 0)]
		for i := 0; i+leaBytes <= len(code) && i < scanBytes; i++ {
			pc := at + uint64(i)
			switch code[i] {
			case 0x48, 0x4c:
				if code[i+1] != 0x8d || code[i+2]&0xc7 != 0x05 {
					continue
				}
				to := pc + leaBytes + uint64(int64(int32(binary.LittleEndian.Uint32(code[i+3:]))))
				switch {
				case to >= typesLo && to < typesHi:
					typ = to
				case to >= lo && to < hi && object != 0 && pc-called <= closureWindow && entries[to]:
					if _, known := c.made[to]; !known {
						if ct := c.closureType(object); ct != nil {
							c.made[to] = ct
						}
					}
					object = 0
				}
			case 0xe8:
				if allocators[pc+5+uint64(int64(int32(binary.LittleEndian.Uint32(code[i+1:]))))] {
					object, called, typ = typ, pc, 0
				}
			}
		}
	}
}

// closureType is the type with the descriptor at an address if it is one of closures.
func (c *closures) closureType(descriptor uint64) *hmap.Type {
	t, err := c.t.Types().OfDescriptor(hmap.Addr(descriptor))
	if err != nil || t.Kind != reflect.Struct || t.Size <= 0 || t.Size > maxClosure {
		return nil
	}
	fs := t.Fields()
	if len(fs) < 2 || fs[0].Off != 0 || fs[0].Type.Kind != reflect.Uintptr || !strings.HasPrefix(strings.TrimPrefix(t.Name, "noalg."), "struct { ") {
		return nil
	}
	return t
}
