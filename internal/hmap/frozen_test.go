package hmap

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// frozen is memory that was copied: ranges in the order of their addresses.
type frozen []frozenRange

type frozenRange struct {
	Addr  Addr   `json:"addr"`
	Bytes []byte `json:"bytes"`
}

// ReadMemory implements Memory.
func (f frozen) ReadMemory(buf []byte, addr uint64) (int, error) {
	n := 0
	for n < len(buf) {
		at := f.at(Addr(addr) + Addr(n))
		if len(at) == 0 {
			return n, fmt.Errorf("%#x is not in the copy", addr+uint64(n))
		}
		n += copy(buf[n:], at)
	}
	return n, nil
}

// at is the memory from addr to the end of its range.
func (f frozen) at(addr Addr) []byte {
	i, exact := slices.BinarySearchFunc(f, addr, func(r frozenRange, a Addr) int { return cmp.Compare(r.Addr, a) })
	if !exact {
		i--
	}
	if i < 0 || addr-f[i].Addr >= Addr(len(f[i].Bytes)) {
		return nil
	}
	return f[i].Bytes[addr-f[i].Addr:]
}

// put writes an integer of n bytes.
func (f frozen) put(addr Addr, n int, x uint64) {
	copy(f.at(addr)[:n], binary.LittleEndian.AppendUint64(nil, x)[:n])
}

func (f frozen) clone() frozen {
	f = slices.Clone(f)
	for i := range f {
		f[i].Bytes = slices.Clone(f[i].Bytes)
	}
	return f
}

// freeze copies the memory of a map out of mem: all that Inspect and Slots
// read, and what the strings among keys and elems point at.
func freeze(t testing.TB, mem Memory, m *Map) frozen {
	t.Helper()
	var f frozen
	add := func(addr Addr, size int64) []byte {
		if addr == 0 || size == 0 {
			return nil
		}
		buf := make([]byte, size)
		if err := read(mem, "map", buf, addr); err != nil {
			t.Fatal(err)
		}
		f = append(f, frozenRange{addr, buf})
		return buf
	}
	l, h, ptr := m.Layout, &m.Header, int64(m.Layout.PtrSize)
	add(h.Addr, int64(l.Header.Size))
	if l.Generation == Classic {
		if rec := add(h.Extra, int64(l.Extra.Size)); rec != nil {
			for _, name := range []string{"overflow", "oldoverflow"} {
				add(Addr(l.Extra.Field(name).Uint(rec)), 3*ptr)
			}
		}
		if h.Buckets != 0 {
			add(h.Buckets, int64(l.Block.Size)<<h.B)
		}
		add(m.Growth.Old, m.Growth.OldBuckets*int64(l.Block.Size))
	} else {
		add(h.DirPtr, h.DirLen*ptr)
	}
	if m.Growing() {
		// Slots leaves evacuated buckets out, but their chains are memory of the map.
		old := f.merge().at(m.Growth.Old)
		for i := range m.Growth.OldBuckets {
			b := old[int(i)*l.Block.Size:]
			for moved := l.classes[b[l.Block.Meta]] == slotMoved; moved; {
				next := Addr(word(b[l.Block.Overflow:][:ptr]))
				if b = add(next, int64(l.Block.Size)); b == nil {
					break
				}
			}
		}
	}
	for _, table := range m.Tables {
		add(table.Addr, int64(l.Table.Size))
	}
	text := func(typ *Type, data []byte) {
		if typ.Name == "string" && len(data) == 16 {
			add(Addr(word(data[:8])), int64(word(data[8:])))
		}
	}
	err := Slots(mem, m, false, func(e *Entry) error {
		if e.Slot == 0 {
			add(e.At, int64(l.Block.Size))
		}
		if e.Full {
			add(e.KeyAt, l.Key.Size)
			add(e.ElemAt, l.Elem.Size)
			text(l.Key, e.Key)
			text(l.Elem, e.Elem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f.merge()
}

// merge sorts ranges and joins those that overlap or touch.
func (f frozen) merge() frozen {
	f = slices.Clone(f)
	slices.SortFunc(f, func(a, b frozenRange) int { return cmp.Compare(a.Addr, b.Addr) })
	var out frozen
	for _, r := range f {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if end := last.Addr + Addr(len(last.Bytes)); r.Addr <= end {
				if over := int(end - r.Addr); over < len(r.Bytes) {
					last.Bytes = slices.Concat(last.Bytes, r.Bytes[over:])
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}
