package hmap

import (
	"encoding/binary"
	"maps"
	"runtime/metrics"
	"slices"
	"testing"
	"time"
)

// counted is memory that counts what is read.
type counted struct {
	frozen
	reads, bytes int64
}

func (c *counted) ReadMemory(buf []byte, addr uint64) (int, error) {
	c.reads++
	c.bytes += int64(len(buf))
	return c.frozen.ReadMemory(buf, addr)
}

// allocated is how many bytes this process has allocated so far.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// mutate changes the memory of a snapshot as ops say, five bytes each: which
// byte, and how. One kind redirects a pointer to another place of the memory, so
// that chains lead into each other.
func mutate(mem frozen, ops []byte) {
	total := 0
	for _, r := range mem {
		total += len(r.Bytes)
	}
	at := func(i int) (frozenRange, int) {
		for _, r := range mem {
			if i < len(r.Bytes) {
				return r, i
			}
			i -= len(r.Bytes)
		}
		return frozenRange{}, 0
	}
	for ; len(ops) >= 5; ops = ops[5:] {
		x := int(binary.LittleEndian.Uint16(ops)) % total
		y := int(binary.LittleEndian.Uint16(ops[2:]))
		r, i := at(x)
		switch ops[4] % 4 {
		case 0:
			r.Bytes[i] ^= byte(y)
		case 1:
			r.Bytes[i] = byte(y)
		case 2:
			i &^= 7
			to, off := at(y % total)
			mem.put(r.Addr+Addr(i), min(8, len(r.Bytes)-i), uint64(to.Addr)+uint64(off&^7))
		case 3:
			i &^= 7
			mem.put(r.Addr+Addr(i), min(8, len(r.Bytes)-i), uint64(int64(int16(y)))<<(ops[4]>>2))
		}
	}
}

// FuzzInspect decodes maps whose memory is corrupt: without a panic, in bounded
// time, with bounded reads and allocations.
func FuzzInspect(f *testing.F) {
	all := snapshots(f)
	names := slices.Sorted(maps.Keys(all))
	types := map[string]*Type{}
	for i, name := range names {
		types[name] = all[name].mapType(f)
		f.Add(uint8(i), []byte{})
		for at := byte(0); at < 56; at += 4 { // the header, if it comes first
			f.Add(uint8(i), []byte{at, 0, 0x41, 0, 0})
			f.Add(uint8(i), []byte{at, 0, 0xff, 0xff, 1})
			f.Add(uint8(i), []byte{at, 0, at, 1, 2})
			f.Add(uint8(i), []byte{at, 0, 0xff, 0x7f, 3 + 4*20})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, ops []byte) {
		name := names[int(which)%len(names)]
		s, typ := all[name], types[name]
		mem := &counted{frozen: frozen(s.Memory).clone()}
		mutate(mem.frozen, ops)
		before, start := allocated(), time.Now()
		hash := func(key []byte, seed uint64) (uint64, bool) {
			h := seed
			for _, c := range key {
				h = (h ^ uint64(c)) * 0x100000001b3
			}
			return h, true
		}
		m, err := Inspect(mem, typ, s.Header, Options{Hash: hash})
		if m == nil || err == nil != m.Complete {
			t.Fatalf("map %v, error %v", m, err)
		}
		if len(m.Broken) > 30*maxBroken {
			t.Errorf("%d broken invariants", len(m.Broken))
		}
		if m.Len < 0 || m.Bytes < 0 || m.Wasted < 0 || m.GrowIn < 0 || m.Slots < 0 || m.Tombstones < 0 {
			t.Errorf("a negative figure: %+v", m)
		}
		slots := int64(0)
		text := NewFormatter(mem, nil)
		// The error tells of memory that cannot be read; the walk goes on.
		_ = Slots(mem, m, false, func(e *Entry) error {
			if slots++; e.Full && slots < 1000 {
				text.Format(m.Layout.Key, e.Key)
				text.Format(m.Layout.Elem, e.Elem)
			}
			return nil
		})
		if slots > 1<<20 {
			t.Errorf("%d slots visited", slots)
		}
		if mem.reads > 1<<20 || mem.bytes > 1<<30 {
			t.Errorf("%d reads of %d bytes in all", mem.reads, mem.bytes)
		}
		if n := allocated() - before; n > 1<<28 {
			t.Errorf("%d bytes allocated", n)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// FuzzFormat prints values whose bytes, and whose type, make no sense.
func FuzzFormat(f *testing.F) {
	var all []*Type
	for _, k := range kinds() {
		typ := FromReflect(k.typ)
		all = append(all, typ.Key(), typ.Elem(), typ)
	}
	slices.SortFunc(all, func(a, b *Type) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	mem := frozen{{Addr: 1 << 12, Bytes: make([]byte, 1<<14)}}
	for i := range mem[0].Bytes {
		mem[0].Bytes[i] = byte(i * i >> 3)
	}
	for i := 0; i < len(mem[0].Bytes); i += 40 {
		mem.put(mem[0].Addr+Addr(i&^7), 8, uint64(mem[0].Addr)+uint64(i*7%(1<<14)))
	}
	for i := range all {
		f.Add(uint16(i), int64(-1), []byte{0, 0x10, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0}, 400)
	}
	f.Fuzz(func(t *testing.T, which uint16, size int64, data []byte, maxText int) {
		typ := all[int(which)%len(all)]
		if size >= 0 {
			// Debug information may tell any size and length.
			typ = &Type{Name: typ.Name, Kind: typ.Kind, Size: size, Len: size ^ 5, elem: typ.elem, key: typ.key, fields: typ.fields, empty: typ.empty}
		}
		text := NewFormatter(mem, nil)
		text.MaxText = maxText & 0xfff
		start := time.Now()
		s := text.Format(typ, data)
		if s == "" {
			t.Errorf("no text of a %s", typ.Name)
		}
		if text.MaxText > 0 && len(s) > text.MaxText+len("...") {
			t.Errorf("%d bytes of text, %d are allowed", len(s), text.MaxText)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}
