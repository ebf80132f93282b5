package hmap

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// TestGather reads pieces that lie close together, overlap, come twice, and lie
// at or beyond the edge of memory.
func TestGather(t *testing.T) {
	mem := &counted{}
	r := rand.New(rand.NewPCG(5, 6))
	for _, at := range []Addr{1 << 12, 1<<12 + 600, 1 << 20, 1<<64 - 256} {
		data := make([]byte, 256)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		mem.frozen = append(mem.frozen, frozenRange{at, data})
	}
	for _, n := range []int{0, 1, 7, 300, 5000} {
		var pieces []piece
		for i := range n {
			f := mem.frozen[r.IntN(len(mem.frozen))]
			pieces = append(pieces, piece{f.Addr + Addr(r.IntN(300)), 1 + r.IntN(64), i})
		}
		want := slices.Clone(pieces)
		got := make([]bool, n)
		mem.reads = 0
		gather(mem, "piece", pieces, nil, func(p piece, data []byte, err error) {
			if got[p.ref] || p != want[p.ref] {
				t.Fatalf("piece %+v, want %+v, met before: %t", p, want[p.ref], got[p.ref])
			}
			got[p.ref] = true
			alone := make([]byte, p.size)
			if k, fails := mem.frozen.ReadMemory(alone, uint64(p.addr)); (fails == nil) != (err == nil) {
				t.Fatalf("piece %+v: error %v; alone %d bytes and error %v", p, err, k, fails)
			} else if err == nil && !bytes.Equal(data, alone) {
				t.Fatalf("piece %+v is % x, alone % x", p, data, alone)
			}
		})
		if slices.Contains(got, false) {
			t.Errorf("of %d pieces some are missing", n)
		}
	}
	// Neighbours take one read.
	mem.reads = 0
	gather(mem, "piece", []piece{{1<<12 + 100, 8, 0}, {1 << 12, 8, 1}, {1<<12 + 50, 60, 2}}, nil, func(piece, []byte, error) {})
	if mem.reads != 1 {
		t.Errorf("three neighbours take %d reads", mem.reads)
	}
}

// TestSortByAddr covers few items and many, ranges small and wide.
func TestSortByAddr(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{0, 1, 2, 1000, 1 << 10, 5000} {
		for _, span := range []uint64{1, 100, 1 << 13, 1 << 40, 1<<64 - 1} {
			items := make([]piece, n)
			for i := range items {
				items[i] = piece{Addr(r.Uint64N(span)), i, i}
			}
			want := slices.Clone(items)
			slices.SortStableFunc(want, func(a, b piece) int {
				switch {
				case a.addr < b.addr:
					return -1
				case a.addr > b.addr:
					return 1
				}
				return 0
			})
			SortByAddr(items, func(p *piece) Addr { return p.addr })
			if !slices.Equal(items, want) {
				t.Errorf("%d items in a range of %d are not in order", n, span)
			}
		}
	}
}

// TestSelfMemory reads this process, and where nothing is mapped.
func TestSelfMemory(t *testing.T) {
	data := []byte("what is read")
	buf := make([]byte, len(data))
	if n, err := (SelfMemory{}).ReadMemory(buf, uint64(uintptr(unsafe.Pointer(&data[0])))); n != len(data) || err != nil || !bytes.Equal(buf, data) {
		t.Errorf("%d bytes %q, error %v", n, buf, err)
	}
	for _, at := range []uint64{0, 8, 1 << 20, 1 << 47, 1 << 55, 1<<63 + 8, 1<<64 - 4, 1<<64 - 64} {
		if n, err := (SelfMemory{}).ReadMemory(buf, at); n != 0 || err == nil {
			t.Errorf("%#x: %d bytes, error %v", at, n, err)
		}
	}
	if n, err := (SelfMemory{}).ReadMemory(nil, 0); n != 0 || err != nil {
		t.Errorf("no bytes: %d, error %v", n, err)
	}
	var e *ReadError
	if err := read(SelfMemory{}, "header", buf, 8); !errors.As(err, &e) || e.Addr != 8 || e.Size != len(buf) {
		t.Errorf("error %v", err)
	}
}
