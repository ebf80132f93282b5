package census

import (
	"sync/atomic"

	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
)

// The tables of a walk have a place for every object of the heap, made span by span as
// they are asked for: quicker than a hash table by address, and smaller.

// spot is where an address lies in the heap. To find that out costs more than anything
// else that is done about most words, so it is done once.
type spot struct {
	addr       uint64
	place      heap.Place // Outside if the heap cannot be read
	begins     bool       // an object, or a free slot, begins at the address
	span       int        // in heap.Spans, -1 if there is none
	slot       uint64
	start, end uint64 // of the object, or of what was allocated by hand
}

// locate says where an address lies; h is nil if the heap cannot be read.
func locate(h *heap.Heap, addr uint64) spot {
	at := spot{addr: addr, place: heap.Outside, span: -1}
	if h == nil {
		return at
	}
	if at.span = h.SpanOf(hmap.Addr(addr)); at.span < 0 {
		_, at.place = h.Find(hmap.Addr(addr))
		return at
	}
	s := &h.Spans[at.span]
	if s.Manual {
		at.place, at.start, at.end = heap.Manual, uint64(s.Start), uint64(s.Start)+s.Bytes
		return at
	}
	at.slot = s.Slot(hmap.Addr(addr))
	at.start = uint64(s.Start) + at.slot*s.ElemSize
	at.end = at.start + s.ElemSize
	at.begins = at.start == addr && at.slot < s.N
	if at.place = heap.Free; s.Allocated(at.slot) {
		at.place = heap.Object
	}
	return at
}

// seen are the values that were looked at. Almost all are objects of the heap that are
// looked at under one type.
type seen struct {
	heap  *heap.Heap                 // nil if it cannot be read
	span  []atomic.Pointer[[]seenAt] // by span, what begins where an object does
	other map[object]nodeID          // all the rest
}

// seenAt is the path (upper half) and the plan of a value; 0: none was looked at.
// Several goroutines may ask while one adds.
type seenAt struct{ atomic.Uint64 }

func (x *seenAt) plan() uint32 { return uint32(x.Load()) }
func (x *seenAt) node() nodeID { return nodeID(x.Load() >> 32) }

func newSeen(h *heap.Heap) *seen {
	s := &seen{heap: h, other: map[object]nodeID{}}
	if h != nil {
		s.span = make([]atomic.Pointer[[]seenAt], len(h.Spans))
	}
	return s
}

// at is the place of the object that begins at a spot, nil if none does, or if nothing
// in its span was looked at and add does not say that it will be.
func (s *seen) at(at *spot, add bool) *seenAt {
	if !at.begins {
		return nil
	}
	in := s.span[at.span].Load()
	if in == nil {
		if !add {
			return nil
		}
		places := make([]seenAt, s.heap.Spans[at.span].N)
		in = &places
		s.span[at.span].Store(in)
	}
	return &(*in)[at.slot]
}

// knows reports whether the value at a spot is an object of the heap that was looked at
// under a plan. It may be asked while values are added.
func (s *seen) knows(at *spot, p *plan) bool {
	x := s.at(at, false)
	return x != nil && x.plan() == p.id
}

// has reports whether the value at a spot was looked at under a plan.
func (s *seen) has(at *spot, p *plan) bool {
	if s.knows(at, p) {
		return true
	}
	if len(s.other) == 0 {
		return false
	}
	_, ok := s.other[object{at.addr, p.id}]
	return ok
}

// add notes a value, and reports whether that is news.
func (s *seen) add(at *spot, p *plan, n nodeID) bool {
	if x := s.at(at, true); x != nil {
		switch x.plan() {
		case 0:
			x.Store(uint64(n)<<32 | uint64(p.id))
			return true
		case p.id:
			return false
		}
	}
	key := object{at.addr, p.id}
	if _, ok := s.other[key]; ok {
		return false
	}
	s.other[key] = n
	return true
}

// objects calls visit for every object of the heap that was looked at.
func (s *seen) objects(visit func(span, slot int, x *seenAt)) {
	for k := range s.span {
		in := s.span[k].Load()
		if in == nil {
			continue
		}
		for slot := range *in {
			if x := &(*in)[slot]; x.plan() != 0 {
				visit(k, slot, x)
			}
		}
	}
}

// each calls visit for every value, in no order.
func (s *seen) each(visit func(addr uint64, plan uint32, n nodeID)) {
	s.objects(func(k, slot int, x *seenAt) {
		span := &s.heap.Spans[k]
		visit(uint64(span.Start)+uint64(slot)*span.ElemSize, x.plan(), x.node())
	})
	for o, n := range s.other {
		visit(o.addr, o.plan, n)
	}
}

// mets are the maps that were met, by header.
type mets struct {
	heap  *heap.Heap // nil if it cannot be read
	span  [][]*met
	other map[hmap.Addr]*met
	all   []metAt // the first of each header
}

// metAt is a map with its header's address beside it, so that sorting does not look at
// the map.
type metAt struct {
	header hmap.Addr
	m      *met
}

func newMets(h *heap.Heap) *mets {
	ms := &mets{heap: h, other: map[hmap.Addr]*met{}}
	if h != nil {
		ms.span = make([][]*met, len(h.Spans))
	}
	return ms
}

// get returns what was met at a spot, nil if nothing was.
func (ms *mets) get(at *spot) *met {
	if !at.begins {
		return ms.other[hmap.Addr(at.addr)]
	}
	if ms.span[at.span] == nil {
		return nil
	}
	return ms.span[at.span][at.slot]
}

// add notes a map; another one at the same spot comes behind those before.
func (ms *mets) add(at *spot, m *met) {
	if old := ms.get(at); old != nil {
		for old.next != nil {
			old = old.next
		}
		old.next = m
		return
	}
	ms.all = append(ms.all, metAt{m.header, m})
	if !at.begins {
		ms.other[m.header] = m
		return
	}
	if ms.span[at.span] == nil {
		ms.span[at.span] = make([]*met, ms.heap.Spans[at.span].N)
	}
	ms.span[at.span][at.slot] = m
}

// words is a set of addresses of words: a bit for each word of a span, made as they are
// asked for.
type words struct {
	heap  *heap.Heap
	shift int // log2 of the size of a word
	span  [][]uint64
	other map[uint64]struct{}
}

func newWords(h *heap.Heap, ptr int64) *words {
	w := &words{heap: h, shift: 3, other: map[uint64]struct{}{}}
	if ptr == 4 {
		w.shift = 2
	}
	if h != nil {
		w.span = make([][]uint64, len(h.Spans))
	}
	return w
}

// place says which bit of which span stands for a word; k is negative if none does.
func (w *words) place(at uint64) (k int, bit uint64) {
	if w.heap == nil || at&(1<<w.shift-1) != 0 {
		return -1, 0
	}
	if k = w.heap.SpanOf(hmap.Addr(at)); k < 0 {
		return -1, 0
	}
	return k, (at - uint64(w.heap.Spans[k].Start)) >> w.shift
}

func (w *words) has(at uint64) bool {
	k, bit := w.place(at)
	if k < 0 {
		_, ok := w.other[at]
		return ok
	}
	return w.span[k] != nil && has(w.span[k], bit)
}

func (w *words) add(at uint64) {
	k, bit := w.place(at)
	if k < 0 {
		w.other[at] = struct{}{}
		return
	}
	if w.span[k] == nil {
		w.span[k] = make([]uint64, (w.heap.Spans[k].Bytes>>w.shift+63)/64)
	}
	set(w.span[k], bit)
}
