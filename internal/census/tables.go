package census

import (
	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
)

// slots has a place for every object of the heap, made span by span as they are asked
// for: quicker than a hash table by address, and smaller.
type slots[T any] struct {
	heap *heap.Heap // nil if it cannot be read: then there are none
	span [][]T
}

func newSlots[T any](h *heap.Heap) slots[T] {
	s := slots[T]{heap: h}
	if h != nil {
		s.span = make([][]T, len(h.Spans))
	}
	return s
}

// at is the place of the object that begins at an address, nil if none does, or if it
// was not made and add does not say so.
func (s *slots[T]) at(addr uint64, add bool) *T {
	if s.heap == nil {
		return nil
	}
	k := s.heap.SpanOf(hmap.Addr(addr))
	if k < 0 {
		return nil
	}
	span := &s.heap.Spans[k]
	slot := span.Slot(hmap.Addr(addr))
	if span.Manual || slot >= span.N || uint64(span.Start)+slot*span.ElemSize != addr {
		return nil
	}
	if s.span[k] == nil {
		if !add {
			return nil
		}
		s.span[k] = make([]T, span.N)
	}
	return &s.span[k][slot]
}

// seen are the values that were looked at. Almost all are objects of the heap that are
// looked at under one type.
type seen struct {
	slots[seenAt]                   // what begins where the object does
	other         map[object]nodeID // all the rest
}

// seenAt is the plan and the path of a value; no plan: none was looked at.
type seenAt struct {
	node nodeID
	plan uint32
}

func newSeen(h *heap.Heap) *seen { return &seen{newSlots[seenAt](h), map[object]nodeID{}} }

// has reports whether the value at an address was looked at under a plan.
func (s *seen) has(addr uint64, p *plan) bool {
	if x := s.at(addr, false); x != nil && x.plan == p.id {
		return true
	}
	_, ok := s.other[object{addr, p.id}]
	return ok
}

// add notes a value, and reports whether that is news.
func (s *seen) add(addr uint64, p *plan, n nodeID) bool {
	if x := s.at(addr, true); x != nil {
		if x.plan == 0 {
			*x = seenAt{n, p.id}
			return true
		}
		if x.plan == p.id {
			return false
		}
	}
	key := object{addr, p.id}
	if _, ok := s.other[key]; ok {
		return false
	}
	s.other[key] = n
	return true
}

// each calls visit for every value, in no order.
func (s *seen) each(visit func(addr uint64, plan uint32, n nodeID)) {
	for k := range s.span {
		span := &s.heap.Spans[k]
		for slot := range s.span[k] {
			if x := &s.span[k][slot]; x.plan != 0 {
				visit(uint64(span.Start)+uint64(slot)*span.ElemSize, x.plan, x.node)
			}
		}
	}
	for o, n := range s.other {
		visit(o.addr, o.plan, n)
	}
}

// mets are the maps that were met, by header.
type mets struct {
	slots[*met]
	other map[hmap.Addr]*met
	all   []metAt // the first of each header
}

// metAt is a map with its header's address beside it, so that sorting does not look at
// the map.
type metAt struct {
	header hmap.Addr
	m      *met
}

func newMets(h *heap.Heap) *mets { return &mets{newSlots[*met](h), map[hmap.Addr]*met{}, nil} }

// get returns what was met at an address, nil if nothing was.
func (ms *mets) get(header hmap.Addr) *met {
	if x := ms.at(uint64(header), false); x != nil {
		return *x
	}
	return ms.other[header]
}

// add notes a map; another one at the same address comes behind those before.
func (ms *mets) add(m *met) {
	if old := ms.get(m.header); old != nil {
		for old.next != nil {
			old = old.next
		}
		old.next = m
		return
	}
	ms.all = append(ms.all, metAt{m.header, m})
	if x := ms.at(uint64(m.header), true); x != nil {
		*x = m
	} else {
		ms.other[m.header] = m
	}
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
