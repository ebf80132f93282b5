// Package heap reads what the target's allocator says of its memory: which spans
// there are, where an object begins and ends, and whether it is allocated.
//
// It is what tells a pointer from a word that looks like one. It knows nothing of
// what the objects are; it never writes, and it needs no process, only memory and
// types. The census is above it, internal/hmap below.
//
// The truth about spans is runtime/mheap.go (mspan, allspans) and isFree in
// runtime/mbitmap.go, Go 1.18 to 1.27; of Go 1.26 and later also
// runtime/mgcmark_greenteagc.go. Fields are found by name in the target's debug
// information, so a span of any version is read by one piece of code.
package heap

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"hmaptools/internal/hmap"
)

// Place says what an address is to the allocator.
type Place uint8

const (
	Outside Place = iota // not of the Go heap: a package variable, C's memory, nothing at all
	Free                 // of the heap, and free
	Object               // in an allocated object
	Manual               // in a span that the runtime manages by hand: stacks, mostly
)

// Obj is an allocated object, or a slot for one.
type Obj struct {
	Start hmap.Addr
	Size  uint64 // of its slot, in bytes: what was asked for is at most that
}

// End is the address behind the object.
func (o Obj) End() hmap.Addr { return o.Start + hmap.Addr(o.Size) }

// Span is a run of pages that holds objects of one size.
type Span struct {
	Start    hmap.Addr
	Bytes    uint64 // of its pages
	ElemSize uint64 // of an object's slot
	N        uint64 // slots
	NoScan   bool   // its objects hold no pointers
	Manual   bool   // it holds a stack, or something else of the runtime's
	Specials hmap.Addr
	// LargeType is the type descriptor of the one large object, where the
	// allocator keeps it (since Go 1.22), else 0.
	LargeType hmap.Addr

	bits []byte // a bit for each slot from freeIndex on: allocated
	from uint64 // slots before it are allocated
	// magic turns the division by ElemSize into a multiplication, as divMul of the
	// runtime does: right for all offsets in a span of a size class.
	magic uint32
}

// Slot is the index of the slot that holds an address of the span.
func (s *Span) Slot(a hmap.Addr) uint64 {
	if s.N == 1 {
		return 0
	}
	return uint64(a-s.Start) * uint64(s.magic) >> 32
}

// Allocated reports whether slot i holds an object. Garbage that has not been
// collected is allocated; what the last collection did not reach is not, even where
// it was not swept yet.
func (s *Span) Allocated(i uint64) bool {
	if i >= s.N {
		return false
	}
	if i < s.from {
		return true
	}
	return i/8 < uint64(len(s.bits)) && s.bits[i/8]&(1<<(i%8)) != 0
}

// Heap is the target's heap as it stands. It is not changed by use, so several
// goroutines may ask at a time.
type Heap struct {
	// Spans are in use, by address. Free ones are not listed.
	Spans []Span
	// PageSize is the allocator's, in bytes.
	PageSize uint64

	chunks []chunk
	first  uint64    // number of the first chunk of 64 MiB
	dense  [][]int32 // pages of the chunk first+i, where there are not too many
	shift  int       // log2 of PageSize
	bounds []extent  // all that the heap has mapped, free pages included
}

const (
	chunkShift = 26 // 64 MiB: a chunk of the page table
	chunkBytes = 1 << chunkShift
)

// chunk says for each page of 64 MiB which span it belongs to: the index in Spans
// and one more, 0 for none.
type chunk struct {
	base  hmap.Addr
	pages []int32
}

type extent struct{ lo, hi hmap.Addr }

const (
	maxSpans     = 1 << 26
	maxSpanSlots = 1 << 20 // of small objects: 8 KiB of 8 bytes have 1024
	maxSpanBytes = 1 << 44
	maxChunks    = 1 << 20
	maxDense     = 1 << 16 // 4 TiB of addresses: heaps lie together
)

// errNone says that the target has no heap yet, or none that can be found.
var errNone = errors.New("no spans")

// Read reads the spans of the target whose types are given. Spans that cannot be
// read are left out and named in the joined errors. Memory: some 200 bytes a span
// and 4 bytes a page.
func Read(mem hmap.Memory, types *hmap.Types) (*Heap, error) {
	r, err := newReader(mem, types)
	if err != nil {
		return nil, fmt.Errorf("read heap: %w", err)
	}
	h := &Heap{PageSize: r.page}
	list, err := r.allspans()
	if err != nil {
		return nil, fmt.Errorf("read heap: %w", err)
	}
	var errs []error
	for _, at := range list {
		s, ok, err := r.span(at)
		if err != nil {
			if len(errs) < 10 {
				errs = append(errs, fmt.Errorf("read heap: span at %s: %w", at, err))
			}
			continue
		}
		if ok {
			h.Spans = append(h.Spans, s)
		} else if s.Bytes > 0 {
			h.bounds = append(h.bounds, extent{s.Start, s.Start + hmap.Addr(s.Bytes)})
		}
	}
	if len(h.Spans) == 0 {
		return nil, errors.Join(append(errs, fmt.Errorf("read heap: %w", errNone))...)
	}
	if err := h.index(); err != nil {
		errs = append(errs, fmt.Errorf("read heap: %w", err))
	}
	return h, errors.Join(errs...)
}

// index sorts the spans and makes the page table.
func (h *Heap) index() error {
	slices.SortFunc(h.Spans, func(a, b Span) int { return cmp.Compare(a.Start, b.Start) })
	for i := range h.Spans {
		s := &h.Spans[i]
		if i > 0 && s.Start < h.Spans[i-1].Start+hmap.Addr(h.Spans[i-1].Bytes) {
			return fmt.Errorf("the spans at %s and %s overlap", h.Spans[i-1].Start, s.Start)
		}
		h.bounds = append(h.bounds, extent{s.Start, s.Start + hmap.Addr(s.Bytes)})
		for at := s.Start; at < s.Start+hmap.Addr(s.Bytes); at += hmap.Addr(h.PageSize) {
			c := h.chunkOf(at, true)
			if c == nil {
				return fmt.Errorf("more than %d chunks of %d bytes", maxChunks, chunkBytes)
			}
			c.pages[uint64(at-c.base)/h.PageSize] = int32(i + 1)
		}
	}
	h.shift = bits.TrailingZeros64(h.PageSize)
	h.first = uint64(h.chunks[0].base) >> chunkShift
	if n := uint64(h.chunks[len(h.chunks)-1].base)>>chunkShift - h.first; n < maxDense {
		h.dense = make([][]int32, n+1)
		for i := range h.chunks {
			h.dense[uint64(h.chunks[i].base)>>chunkShift-h.first] = h.chunks[i].pages
		}
	}
	slices.SortFunc(h.bounds, func(a, b extent) int { return cmp.Compare(a.lo, b.lo) })
	merged := h.bounds[:0]
	for _, e := range h.bounds {
		if n := len(merged); n > 0 && e.lo <= merged[n-1].hi {
			merged[n-1].hi = max(merged[n-1].hi, e.hi)
			continue
		}
		merged = append(merged, e)
	}
	h.bounds = slices.Clip(merged)
	return nil
}

// chunkOf returns the chunk of an address; spans come in ascending order, so a new
// one is the last.
func (h *Heap) chunkOf(a hmap.Addr, add bool) *chunk {
	base := a &^ (chunkBytes - 1)
	i := sort.Search(len(h.chunks), func(i int) bool { return h.chunks[i].base >= base })
	if i < len(h.chunks) && h.chunks[i].base == base {
		return &h.chunks[i]
	}
	if !add || len(h.chunks) >= maxChunks {
		return nil
	}
	h.chunks = append(h.chunks, chunk{base, make([]int32, chunkBytes/h.PageSize)})
	return &h.chunks[len(h.chunks)-1]
}

// SpanOf returns the index in Spans of the span that holds an address, -1 if none
// does.
func (h *Heap) SpanOf(a hmap.Addr) int {
	if h.dense != nil {
		i := uint64(a)>>chunkShift - h.first
		if i >= uint64(len(h.dense)) || h.dense[i] == nil {
			return -1
		}
		return int(h.dense[i][uint64(a)&(chunkBytes-1)>>h.shift]) - 1
	}
	c := h.chunkOf(a, false)
	if c == nil {
		return -1
	}
	return int(c.pages[uint64(a-c.base)/h.PageSize]) - 1
}

// Find says what lies at an address, and for an object, or a free slot, where that
// begins and how long it is.
func (h *Heap) Find(a hmap.Addr) (Obj, Place) {
	i := h.SpanOf(a)
	if i < 0 {
		if h.mapped(a) {
			return Obj{}, Free
		}
		return Obj{}, Outside
	}
	s := &h.Spans[i]
	if s.Manual {
		return Obj{s.Start, s.Bytes}, Manual
	}
	slot := s.Slot(a)
	o := Obj{s.Start + hmap.Addr(slot*s.ElemSize), s.ElemSize}
	if !s.Allocated(slot) {
		return o, Free
	}
	return o, Object
}

// mapped reports whether the address is in a span that the heap had once.
func (h *Heap) mapped(a hmap.Addr) bool {
	i := sort.Search(len(h.bounds), func(i int) bool { return h.bounds[i].hi > a })
	return i < len(h.bounds) && h.bounds[i].lo <= a
}
