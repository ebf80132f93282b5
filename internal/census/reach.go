package census

import (
	"slices"

	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
	"hmaptools/internal/stackmap"
)

// reach follows every word that may be a pointer, as a conservative garbage
// collector does, from all that the typed walk has met and from everything that a
// program may start at. It finds the words that hold a header and that no type
// explains; a word in an object that nothing refers to is no holder.
type reach struct {
	w      *walk
	bits   []uint64          // a bit for each object of the heap: reached
	first  []uint64          // by span: the index of its first object
	header []uint64          // a bit for each object: the header of a map that was found
	work   []uint64          // addresses of objects to look into
	via    map[uint64]uint64 // the word by which an object was reached first
	found  []uint64          // addresses of words
	buf    []byte
}

func newReach(w *walk) *reach {
	r := &reach{w: w, via: map[uint64]uint64{}}
	n := uint64(0)
	for i := range w.heap.Spans {
		r.first = append(r.first, n)
		n += w.heap.Spans[i].N
	}
	r.bits, r.header = make([]uint64, (n+63)/64), make([]uint64, (n+63)/64)
	for addr := range w.maps {
		if i, obj, ok := r.index(uint64(addr)); ok && obj == uint64(addr) {
			r.header[i/64] |= 1 << (i % 64)
		}
	}
	return r
}

// index returns the number of the allocated object that an address lies in, and
// where that begins.
func (r *reach) index(addr uint64) (i, obj uint64, ok bool) {
	h := r.w.heap
	k := h.SpanOf(hmap.Addr(addr))
	if k < 0 {
		return 0, 0, false
	}
	s := &h.Spans[k]
	if s.Manual {
		return 0, 0, false
	}
	slot := (addr - uint64(s.Start)) / s.ElemSize
	if !s.Allocated(slot) {
		return 0, 0, false
	}
	return r.first[k] + slot, uint64(s.Start) + slot*s.ElemSize, true
}

// word looks at a word that lies at an address: it marks what it points at, and
// notes it if that is a header.
func (r *reach) word(at, x uint64) {
	if x < minAddr {
		return
	}
	i, obj, ok := r.index(x)
	if !ok {
		return
	}
	if obj == x && r.header[i/64]&(1<<(i%64)) != 0 {
		if _, held := r.w.held[at]; !held && at != 0 {
			r.found = append(r.found, at)
		}
	}
	if r.mark(i, obj) && at != 0 {
		r.via[obj] = at
	}
}

// mark notes that an object is reached, and reports whether that is news.
func (r *reach) mark(i, obj uint64) bool {
	if r.bits[i/64]&(1<<(i%64)) != 0 {
		return false
	}
	r.bits[i/64] |= 1 << (i % 64)
	r.work = append(r.work, obj)
	return true
}

// stretch looks at the words of a stretch of memory.
func (r *reach) stretch(lo, hi uint64) {
	ptr := uint64(r.w.plans.ptr)
	lo = (lo + ptr - 1) &^ (ptr - 1)
	for lo < hi {
		n := min(hi-lo, chunkBytes)
		if uint64(cap(r.buf)) < n {
			r.buf = make([]byte, max(n, 4<<10))
		}
		data := r.buf[:n]
		got, _ := r.w.src.Memory.ReadMemory(data, lo)
		r.w.res.Bytes += uint64(max(got, 0))
		for i := uint64(0); i+ptr <= uint64(max(got, 0)); i += ptr {
			r.word(lo+i, wordOf(data[i:i+ptr]))
		}
		if got < len(data) {
			return
		}
		lo += n
	}
}

// run follows all words from the objects that are marked.
func (r *reach) run() {
	for len(r.work) > 0 {
		batch := r.work
		r.work = nil
		if len(batch) >= sortedItems {
			slices.Sort(batch)
		}
		for _, obj := range batch {
			k := r.w.heap.SpanOf(hmap.Addr(obj))
			s := &r.w.heap.Spans[k]
			if s.NoScan {
				continue
			}
			r.stretch(obj, obj+s.ElemSize)
		}
	}
}

// unexplained finds the words that hold a header and that no typed path explains,
// and makes them holders of kind unknown.
func (w *walk) unexplained() {
	if w.heap == nil {
		return
	}
	r := newReach(w)
	for o := range w.seen {
		if i, obj, ok := r.index(o.addr); ok {
			r.mark(i, obj)
		}
	}
	for _, rs := range w.runs {
		for i := range rs {
			if i, obj, ok := r.index(rs[i].lo); ok {
				r.mark(i, obj)
			}
		}
	}
	for addr := range w.maps {
		if i, obj, ok := r.index(uint64(addr)); ok {
			r.mark(i, obj)
		}
	}
	slices.Sort(r.work)
	for i := range w.stackWords {
		x := &w.stackWords[i]
		if x.kind == stackmap.Conservative {
			r.word(0, x.value) // it may be an old one, which holds nothing
		} else {
			r.word(x.addr, x.value)
		}
	}
	for _, e := range w.data() {
		r.stretch(e.lo, e.hi)
	}
	r.run()
	slices.Sort(r.found)
	r.found = slices.Compact(r.found)
	r.found = slices.DeleteFunc(r.found, w.inQueue)
	if len(r.found) == 0 {
		return
	}
	names := newNamer(w, r.via)
	for _, at := range r.found {
		word := make([]byte, w.plans.ptr)
		if n, _ := w.src.Memory.ReadMemory(word, at); n < len(word) {
			continue
		}
		if m := w.maps[hmap.Addr(wordOf(word))]; m != nil {
			if h, ok := names.holder(at); ok {
				w.held[at] = struct{}{}
				m.add(h)
				w.res.Unknown++
			}
		}
	}
}

// inQueue reports whether a word lies in a P of the scheduler, outside what is typed as
// a pointer: the garbage collector keeps addresses there as numbers, of any object.
func (w *walk) inQueue(at uint64) bool {
	t := w.src.Types.Named("runtime.p")
	if t == nil {
		return false
	}
	p := w.plans.byType[t]
	o, place := w.heap.Find(hmap.Addr(at))
	if p == nil || place != heap.Object {
		return false
	}
	if _, is := w.seen[object{uint64(o.Start), p.id}]; !is {
		return false
	}
	_, part := descend(t, int64(at-uint64(o.Start)))
	return part != nil && !part.Pointers()
}

// data are the stretches of the program's package variables that may hold pointers.
func (w *walk) data() []extent {
	at, t, ok := w.src.Types.Var("runtime.firstmoduledata")
	if !ok {
		return nil
	}
	rec := hmap.RecordOf(t)
	var es []extent
	for n := 0; at != 0 && n < maxModules; n++ {
		buf := w.record(&rec, uint64(at))
		if buf == nil {
			break
		}
		word := func(name string) uint64 { f := rec.Field(name); return f.Uint(buf) }
		for _, s := range [][2]string{{"data", "edata"}, {"bss", "ebss"}} {
			if lo, hi := word(s[0]), word(s[1]); lo < hi && hi-lo < maxArray {
				es = append(es, extent{lo, hi})
			}
		}
		at = hmap.Addr(word("next"))
	}
	return es
}

// maxModules bounds the list of modules: one, and one for each plugin.
const maxModules = 1 << 12
