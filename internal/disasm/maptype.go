package disasm

import (
	"fmt"
	"strings"
)

// A MapType is what the descriptor of a map type says, in a listing or in a
// binary: an abi.MapType (abi.SwissMapType and abi.OldMapType in Go 1.24 and 1.25,
// runtime.maptype before).
type MapType struct {
	Name      string // map[string]int
	Key, Elem string // their names
	// Generation is "classic" or "swiss", Variant "bucket", "interleaved" or
	// "splitgroup". They follow from the type of the group or bucket and from the
	// fields that there are.
	Generation, Variant string
	// GroupSize is the size of a group or bucket in bytes, SlotSize of a key with
	// its elem; ElemOff is where the elem lies in a slot. SlotSize and ElemOff are
	// 0 where key and elem do not lie together.
	GroupSize, SlotSize, ElemOff int64
	// KeySize and ElemSize are of what lies in the slot: of a pointer if the key
	// or elem is indirect. They are -1 where the descriptor does not say.
	KeySize, ElemSize int64
	// What the flags say. Indirect keys and elems are those over 128 bytes.
	IndirectKey, IndirectElem     bool
	NeedKeyUpdate, HashMightPanic bool
	Flags                         uint32 // as they are
}

// A mapDescriptor is the part of a descriptor behind the common header.
type mapDescriptor struct {
	group string // name of the type of a group or bucket
	tail  []byte // from behind the hasher on, as much as there is
	whole bool   // tail ends where the descriptor does
	arch  *arch
}

// decode fills in what follows from the descriptor.
func (m *MapType) decode(d mapDescriptor) error {
	switch {
	case strings.Contains(d.group, "map.bucket["):
		return m.classic(d)
	case strings.Contains(d.group, "map.group["):
		return m.swiss(d)
	}
	return fmt.Errorf("map type %s: its groups are of type %q", m.Name, d.group)
}

func (m *MapType) classic(d mapDescriptor) error {
	if len(d.tail) < 8 {
		return fmt.Errorf("map type %s: the descriptor is too short", m.Name)
	}
	m.Generation, m.Variant = "classic", "bucket"
	m.KeySize, m.ElemSize = int64(d.tail[0]), int64(d.tail[1])
	m.GroupSize = int64(d.arch.order.Uint16(d.tail[2:]))
	m.Flags = d.arch.order.Uint32(d.tail[4:])
	m.IndirectKey, m.IndirectElem = m.Flags&1 != 0, m.Flags&2 != 0
	m.NeedKeyUpdate, m.HashMightPanic = m.Flags&8 != 0, m.Flags&16 != 0
	return nil
}

// swiss tells the two forms apart by what they say of the group: one word for the
// slots, or four that say where keys and elems lie (Go 1.27).
func (m *MapType) swiss(d mapDescriptor) error {
	w := d.arch.ptrSize
	var words []int64
	for len(words) < 6 && len(d.tail) >= (len(words)+1)*w {
		words = append(words, int64(d.arch.uint(d.tail[len(words)*w:])))
	}
	m.Generation = "swiss"
	m.KeySize, m.ElemSize = -1, -1
	const ctrl, slots = 8, 8 // bytes of control word, slots per group
	flagsAt := 0
	if len(words) == 6 {
		group, keys, keyStride, elems, elemStride, elemOff := words[0], words[1], words[2], words[3], words[4], words[5]
		switch {
		case keys != ctrl:
		case keyStride == elemStride && elems == keys+elemOff && group == ctrl+slots*keyStride:
			m.Variant, m.GroupSize, m.SlotSize, m.ElemOff = "interleaved", group, keyStride, elemOff
			flagsAt = 6 * w
		case elems >= keys+slots*keyStride && group >= elems+slots*elemStride && keyStride >= 0 && elemStride >= 0:
			m.Variant, m.GroupSize = "splitgroup", group
			m.KeySize, m.ElemSize = keyStride, elemStride
			flagsAt = 6 * w
		}
	}
	if flagsAt == 0 && len(words) >= 3 {
		group, slot, elemOff := words[0], words[1], words[2]
		if group >= ctrl+slots*slot && slot >= 0 && elemOff >= 0 && elemOff <= slot {
			m.Variant, m.GroupSize, m.SlotSize, m.ElemOff = "interleaved", group, slot, elemOff
			flagsAt = 3 * w
		}
	}
	if flagsAt == 0 || len(d.tail) < flagsAt+4 {
		return fmt.Errorf("map type %s: the descriptor has an unknown form", m.Name)
	}
	m.Flags = d.arch.order.Uint32(d.tail[flagsAt:])
	m.NeedKeyUpdate, m.HashMightPanic = m.Flags&1 != 0, m.Flags&2 != 0
	m.IndirectKey, m.IndirectElem = m.Flags&4 != 0, m.Flags&8 != 0
	return nil
}

// ListedMapType reads the descriptor of a map type in a listing, a symbol
// type:map[K]V or type:NAME of a map type. goarch is that of the listing; mips
// and wasm are known too. It fails for symbols that are no map's descriptor.
func ListedMapType(f *Func, goarch string) (*MapType, error) {
	name, ok := strings.CutPrefix(f.Name, "type:")
	if !ok {
		if name, ok = strings.CutPrefix(f.Name, "type."); !ok {
			return nil, fmt.Errorf("%s: no type descriptor", f.Name)
		}
	}
	a := listedArch(goarch)
	if a == nil {
		return nil, &ArchError{goarch}
	}
	w := int64(a.ptrSize)
	h := 4*w + 16
	if int64(len(f.Code)) < h {
		return nil, fmt.Errorf("%s: the descriptor is too short", f.Name)
	}
	const kindMap = 21 // reflect.Map
	if f.Code[2*w+7]&31 != kindMap {
		return nil, fmt.Errorf("%s: no map type", f.Name)
	}
	m := &MapType{Name: name}
	d := mapDescriptor{arch: a}
	for i := range f.Relocs {
		sym := strings.TrimPrefix(strings.TrimPrefix(f.Relocs[i].Sym, "type:"), "type.")
		switch f.Relocs[i].Off {
		case h:
			m.Key = sym
		case h + w:
			m.Elem = sym
		case h + 2*w:
			d.group = sym
		}
	}
	// The dump ends before trailing zeros.
	tail := make([]byte, max(0, min(f.Size-h-4*w, 128)))
	if int64(len(f.Code)) > h+4*w {
		copy(tail, f.Code[h+4*w:])
	}
	d.tail, d.whole = tail, true
	return m, m.decode(d)
}

// listedArch returns what ListedMapType needs of any architecture.
func listedArch(goarch string) *arch {
	little, big := archByName("amd64").order, archByName("s390x").order
	switch goarch {
	case "mips":
		return &arch{ptrSize: 4, order: big}
	case "mipsle":
		return &arch{ptrSize: 4, order: little}
	case "mips64":
		return &arch{ptrSize: 8, order: big}
	case "mips64le", "wasm":
		return &arch{ptrSize: 8, order: little}
	}
	return archByName(goarch)
}
