package census

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"

	"hmaptools/internal/hmap"
)

// item is an object to look at.
type item struct {
	addr uint64
	plan *plan // nil: a map, or a sync.Map, whose entries are to be looked at
	more *more // nil: one value, which has no index
	node nodeID
	kind Kind // of a holder that is the value itself
}

// more is what an item is beside one value: values side by side, a map or a sync.Map.
type more struct {
	n     int64
	first int64 // index of the first value
	found *met
	sync  *SyncMap
}

// sighting is a place of an object, and the words that lie there.
type sighting struct {
	ref   *ref
	index int64  // see node
	addr  uint64 // of the place, 0 in a register
	w     [3]uint64
	item  int32
	kind  Kind
}

// findings are what was seen in some items, in their order.
type findings struct {
	seen  []sighting
	errs  []findError
	nils  int
	bytes uint64
	done  bool
}

type findError struct {
	item int32
	addr uint64
	err  error
}

const (
	// itemsPerTurn is how many items a goroutine takes at a time, and how many there
	// must be for more than one to take part.
	itemsPerTurn = 256
	// maxSightings bounds what is seen before it is dealt with.
	maxSightings = 2 << 10
)

// scanner looks at items. It changes nothing but its own fields, so several work
// at a time.
type scanner struct {
	src  *Source
	ptr  int
	seen *seen // nil: what it meets is told though it was looked at before
	buf  []byte
	out  findings
	emit func(findings)
	// spare are slices of sightings that were dealt with; nil: there are none.
	spare *sync.Pool
}

// flush hands over what was seen.
func (s *scanner) flush(done bool) {
	s.out.done = done
	s.emit(s.out)
	s.out = findings{}
	if s.spare != nil {
		s.out.seen = (*s.spare.Get().(*[]sighting))[:0]
	}
}

// level looks at the items and deals with what is seen in their order, whatever the
// number of goroutines: a holder's path must not depend on it.
func (w *walk) level(items []item) {
	deal := func(base int, f *findings) {
		w.res.Nil += f.nils
		w.res.Bytes += f.bytes
		for i := range f.errs {
			e := &f.errs[i]
			w.fail(fmt.Errorf("read %s at %#x: %w", w.paths.text(items[base+int(e.item)].node), e.addr, e.err))
		}
		for i := range f.seen {
			w.meet(&items[base+int(f.seen[i].item)], &f.seen[i])
		}
		if cap(f.seen) > 0 {
			w.sightings.Put(&f.seen)
		}
	}
	known := w.seen
	if w.opts.Depth >= 0 {
		known = nil // what lies too deep is counted, known or not
	}
	newScanner := func(emit func(findings)) *scanner {
		return &scanner{src: &w.src, ptr: int(w.plans.ptr), seen: known, spare: &w.sightings, emit: emit}
	}
	perTurn := itemsPerTurn
	if len(items) < itemsPerTurn {
		perTurn = 1 // none, or some large maps
	}
	if w.workers < 2 || perTurn == 1 && !anyLarge(items) {
		s := newScanner(func(f findings) { deal(0, &f) })
		for i := range items {
			s.item(&items[i], int32(i))
			if len(items) > 1 && len(s.out.seen) < maxSightings {
				continue
			}
			s.flush(false)
		}
		s.flush(true)
		return
	}
	type turn struct {
		base int
		out  chan findings
	}
	work, order := make(chan turn), make(chan turn, 2*w.workers)
	for range w.workers {
		go func() {
			for t := range work {
				s := newScanner(func(f findings) { t.out <- f })
				for i := range items[t.base:min(t.base+perTurn, len(items))] {
					s.item(&items[t.base+i], int32(i))
				}
				s.flush(true)
			}
		}()
	}
	go func() {
		for base := 0; base < len(items); base += perTurn {
			t := turn{base, make(chan findings, 2)}
			order <- t
			work <- t
		}
		close(work)
		close(order)
	}()
	for t := range order {
		for f := range t.out {
			deal(t.base, &f)
			if f.done {
				break
			}
		}
	}
}

// anyLarge reports whether one item alone has enough to look at for two goroutines: one
// that looks, and one that deals with what is seen.
func anyLarge(items []item) bool {
	return slices.ContainsFunc(items, func(it item) bool {
		return it.more != nil && it.more.found != nil && it.more.found.Header.Len() > maxSightings
	})
}

// workers is how many goroutines look at a target's memory.
func workers() int { return runtime.GOMAXPROCS(0) }

// item looks at one item.
func (s *scanner) item(it *item, i int32) {
	count, first := int64(1), int64(-1)
	if m := it.more; m != nil {
		switch {
		case m.found != nil:
			s.entries(it, i)
			return
		case m.sync != nil:
			s.syncEntries(it, i)
			return
		}
		count, first = m.n, m.first
	}
	size := it.plan.size
	per := max(1, chunkBytes/size)
	for k := int64(0); k < count; k += per {
		n := min(per, count-k)
		at := it.addr + uint64(k*size)
		data := s.bytes(int(n * size))
		got, err := s.src.Memory.ReadMemory(data, at)
		s.out.bytes += uint64(max(got, 0))
		if got < len(data) {
			if err == nil {
				err = fmt.Errorf("%d of %d bytes", got, len(data))
			}
			s.out.errs = append(s.out.errs, findError{i, at, err})
			n = int64(max(got, 0)) / size
		}
		for j := range n {
			index := int64(-1)
			if first >= 0 {
				index = first + k + j
			}
			s.value(it.plan, data[j*size:(j+1)*size], at+uint64(j*size), index, it.kind, i)
		}
		if got < len(data) {
			return
		}
	}
}

func (s *scanner) bytes(n int) []byte {
	if cap(s.buf) < n {
		s.buf = make([]byte, max(n, 4<<10))
	}
	return s.buf[:n]
}

// value looks at a value that lies in data, and in the target at addr (0: in
// registers).
func (s *scanner) value(p *plan, data []byte, addr uint64, index int64, kind Kind, i int32) {
	for k := range p.refs {
		r := &p.refs[k]
		x := sighting{ref: r, kind: r.kind, item: i, index: index}
		if x.kind == Unknown {
			x.kind = kind
		}
		if addr != 0 {
			x.addr = addr + uint64(r.off)
		}
		d := data[r.off:]
		switch r.op {
		case opArray, opPool, opSync:
			if addr == 0 {
				continue // too large for registers
			}
		case opSlice, opReflect:
			x.w = [3]uint64{s.word(d), s.word(d[s.ptr:]), s.word(d[2*s.ptr:])}
			if x.w[0] == 0 {
				continue
			}
		case opIface:
			x.w = [3]uint64{s.word(d), s.word(d[s.ptr:]), 0}
			if x.w[0] == 0 {
				continue
			}
		default:
			x.w[0] = s.word(d)
			if x.w[0] == 0 {
				if r.op == opMap {
					s.out.nils++
				}
				continue
			}
			// Most pointers of a list or a tree lead to what is known.
			if r.op == opPointer && s.seen != nil && r.to != nil {
				if at := locate(s.seen.heap, x.w[0]); s.seen.knows(&at, r.to) {
					continue
				}
			}
		}
		s.out.seen = append(s.out.seen, x)
	}
}

// word reads a word of the target.
func (s *scanner) word(b []byte) uint64 {
	if s.ptr == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return wordOf(b[:s.ptr])
}

// entries looks at the keys and elems of a map.
func (s *scanner) entries(it *item, i int32) {
	m := it.more.found
	err := hmap.Slots(s.src.Memory, m.Map, true, func(e *hmap.Entry) error {
		if p := m.elems; p != nil && int64(len(e.Elem)) >= p.size {
			s.value(p, e.Elem, uint64(e.ElemAt), int64(e.KeyAt), MapValue, i)
		}
		if p := m.keys; p != nil && int64(len(e.Key)) >= p.size {
			s.value(p, e.Key, uint64(e.KeyAt), int64(e.KeyAt), MapKey, i)
		}
		if len(s.out.seen) >= maxSightings {
			s.flush(false)
		}
		return nil
	})
	if err != nil {
		m.entriesErr = err
	}
}

// wordOf reads a little-endian word.
func wordOf(b []byte) uint64 {
	var x uint64
	for i := len(b) - 1; i >= 0; i-- {
		x = x<<8 | uint64(b[i])
	}
	return x
}

// mapOf is the map type that t is, or nil.
func mapOf(t *hmap.Type) *hmap.Type {
	if t != nil && t.Kind == reflect.Map {
		return t
	}
	return nil
}
