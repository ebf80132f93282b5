package census

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
	"hmaptools/internal/stackmap"
)

// reach follows every word that may be a pointer, as a conservative garbage
// collector does, from all that the typed walk has met and from everything that a
// program may start at. It finds the words that hold a header and that no type
// explains; a word in an object that nothing refers to is no holder.
//
// It goes in rounds: what one round reaches, the next looks into. Within a round
// nothing is marked, so that several goroutines look at memory at a time, and what is
// found does not depend on how many they are.
type reach struct {
	w      *walk
	bits   []uint64  // a bit for each object of the heap: reached
	first  []uint64  // by span: the index of its first object
	header []uint64  // a bit for each object: the header of a map that was found
	lo, hi uint64    // the heap lies between
	dull   []bool    // by span: its objects lead nowhere, and no map's header is among them
	via    []reached // the objects that were reached here, and the word by which first
	sorted bool
	found  []uint64 // addresses of words that hold a header
}

// look is what one goroutine sees in a round.
type look struct {
	*reach
	buf   []byte
	bytes uint64
	found []uint64
	news  []reached
}

// reached is an object that was not marked before, and a word that points at it.
type reached struct{ obj, at uint64 }

func newReach(w *walk) *reach {
	r := &reach{w: w}
	n := uint64(0)
	spans := w.heap.Spans
	for i := range spans {
		r.first = append(r.first, n)
		r.dull = append(r.dull, spans[i].NoScan || spans[i].Manual)
		n += spans[i].N
	}
	last := &spans[len(spans)-1]
	r.lo, r.hi = uint64(spans[0].Start), uint64(last.Start)+last.Bytes
	r.bits, r.header = make([]uint64, (n+63)/64), make([]uint64, (n+63)/64)
	for _, m := range w.maps.all {
		if k, slot, ok := r.object(uint64(m.header)); ok && r.start(k, slot) == uint64(m.header) {
			set(r.header, r.first[k]+slot)
			r.dull[k] = false
		}
	}
	return r
}

func set(bits []uint64, i uint64)      { bits[i/64] |= 1 << (i % 64) }
func has(bits []uint64, i uint64) bool { return bits[i/64]&(1<<(i%64)) != 0 }

// object returns the span and the slot of the allocated object that holds an address.
func (r *reach) object(addr uint64) (k int, slot uint64, ok bool) {
	if k = r.w.heap.SpanOf(hmap.Addr(addr)); k < 0 {
		return 0, 0, false
	}
	s := &r.w.heap.Spans[k]
	slot = s.Slot(hmap.Addr(addr))
	return k, slot, !s.Manual && s.Allocated(slot)
}

// start is where an object begins.
func (r *reach) start(k int, slot uint64) uint64 {
	s := &r.w.heap.Spans[k]
	return uint64(s.Start) + slot*s.ElemSize
}

// mark marks the object that holds an address.
func (r *reach) mark(addr uint64) {
	if k, slot, ok := r.object(addr); ok {
		set(r.bits, r.first[k]+slot)
	}
}

// word looks at a word that lies at an address: what it points at is reached, and it
// is noted if that is a header. Address 0 stands for a word that may be an old one,
// which holds nothing.
func (l *look) word(at, x uint64) {
	k := l.w.heap.SpanOf(hmap.Addr(x))
	if k < 0 || l.dull[k] {
		return
	}
	s := &l.w.heap.Spans[k]
	slot := s.Slot(hmap.Addr(x))
	if s.Manual || !s.Allocated(slot) {
		return
	}
	i := l.first[k] + slot
	if has(l.header, i) && at != 0 && l.start(k, slot) == x {
		if !l.w.held.has(at) {
			l.found = append(l.found, at)
		}
	}
	if !s.NoScan && !has(l.bits, i) {
		l.news = append(l.news, reached{l.start(k, slot), at})
	}
}

// stretch looks at the words of a stretch of memory.
func (l *look) stretch(lo, hi uint64) {
	ptr := uint64(l.w.plans.ptr)
	lo = (lo + ptr - 1) &^ (ptr - 1)
	for lo < hi {
		data := l.read(lo, min(hi-lo, chunkBytes))
		l.words(data, lo)
		if len(data) == 0 {
			return
		}
		lo += uint64(len(data)) &^ (ptr - 1)
		if uint64(len(data)) < ptr {
			return
		}
	}
}

// read reads memory; what it returns is shorter where that cannot be read.
func (l *look) read(at, n uint64) []byte {
	if uint64(cap(l.buf)) < n {
		l.buf = make([]byte, max(n, 64<<10))
	}
	got, _ := l.w.src.Memory.ReadMemory(l.buf[:n], at)
	l.bytes += uint64(max(got, 0))
	return l.buf[:max(got, 0)]
}

// words looks at words that lie at an address.
func (l *look) words(data []byte, at uint64) {
	lo, size := l.lo, l.hi-l.lo
	if l.w.plans.ptr == 8 {
		for i := 0; i+8 <= len(data); i += 8 {
			if x := binary.LittleEndian.Uint64(data[i:]); x-lo < size {
				l.word(at+uint64(i), x)
			}
		}
		return
	}
	ptr := int(l.w.plans.ptr)
	for i := 0; i+ptr <= len(data); i += ptr {
		if x := wordOf(data[i : i+ptr]); x-lo < size {
			l.word(at+uint64(i), x)
		}
	}
}

// span looks into the marked objects of a span: neighbours are read at once.
func (l *look) span(k int) {
	s := &l.w.heap.Spans[k]
	if s.NoScan || s.Manual {
		return
	}
	marked := func(slot uint64) bool { return has(l.bits, l.first[k]+slot) }
	per := max(1, chunkBytes/s.ElemSize)
	for slot := uint64(0); slot < s.N; {
		if !marked(slot) {
			slot++
			continue
		}
		last := slot
		for next := slot + 1; next < s.N && next < slot+per; next++ {
			if marked(next) {
				last = next
			}
		}
		at := l.start(k, slot)
		if s.ElemSize > chunkBytes {
			l.stretch(at, at+s.ElemSize)
			slot = last + 1
			continue
		}
		data := l.read(at, (last-slot+1)*s.ElemSize)
		for ; slot <= last; slot++ {
			off := l.start(k, slot) - at
			if marked(slot) && off < uint64(len(data)) {
				l.words(data[off:min(uint64(len(data)), off+s.ElemSize)], at+off)
			}
		}
	}
}

const (
	// spansPerTurn and objectsPerTurn are how many a goroutine looks at in one go.
	spansPerTurn   = 64
	objectsPerTurn = 1 << 10
)

// round has goroutines look at n things, some at a time, and then marks what they have
// reached. It returns the objects that are marked now and were not before.
func (r *reach) round(n, perTurn int, at func(l *look, i int)) []uint64 {
	var next atomic.Int64
	looks := make([]*look, max(1, min(r.w.workers, (n+perTurn-1)/perTurn)))
	var group sync.WaitGroup
	for i := range looks {
		l := &look{reach: r}
		looks[i] = l
		work := func() {
			for {
				to := int(next.Add(int64(perTurn)))
				for i := to - perTurn; i < min(to, n); i++ {
					at(l, i)
				}
				if to >= n {
					return
				}
			}
		}
		if len(looks) == 1 {
			work()
		} else {
			group.Go(work)
		}
	}
	group.Wait()
	var news []reached
	for _, l := range looks {
		r.w.res.Bytes += l.bytes
		r.found = append(r.found, l.found...)
		news = append(news, l.news...)
	}
	// Of several words that point at an object the first leads to it; a word that has
	// no address, only if no other does.
	hmap.SortByAddr(news, func(x *reached) hmap.Addr { return hmap.Addr(x.obj) })
	n = 0
	for _, x := range news {
		if n > 0 && news[n-1].obj == x.obj {
			if x.at-1 < news[n-1].at-1 {
				news[n-1].at = x.at
			}
			continue
		}
		news[n] = x
		n++
	}
	news = news[:n]
	marked := make([]uint64, len(news))
	for i, x := range news {
		r.mark(x.obj)
		marked[i] = x.obj
	}
	r.via = append(r.via, news...)
	return marked
}

// leads returns the word by which an object was reached first; ok is false if a type
// leads to it, or none that has an address.
func (r *reach) leads(obj uint64) (at uint64, ok bool) {
	if !r.sorted {
		r.sorted = true
		hmap.SortByAddr(r.via, func(x *reached) hmap.Addr { return hmap.Addr(x.obj) })
	}
	i, ok := slices.BinarySearchFunc(r.via, obj, func(x reached, obj uint64) int { return cmp.Compare(x.obj, obj) })
	if !ok || r.via[i].at == 0 {
		return 0, false
	}
	return r.via[i].at, true
}

// run looks into all that is marked, then at stacks and package variables, and goes on
// with what is reached.
func (r *reach) run() {
	w := r.w
	stretches := w.data()
	rest := r.round(len(w.heap.Spans), spansPerTurn, (*look).span)
	rest = append(rest, r.round(len(stretches), 1, func(l *look, i int) { l.stretch(stretches[i].lo, stretches[i].hi) })...)
	rest = append(rest, r.round(len(w.stackWords), objectsPerTurn, func(l *look, i int) {
		x := &w.stackWords[i]
		if x.kind == stackmap.Conservative {
			l.word(0, x.value)
		} else {
			l.word(x.addr, x.value)
		}
	})...)
	for len(rest) > 0 {
		rest = r.round(len(rest), objectsPerTurn, func(l *look, i int) {
			if s := &w.heap.Spans[w.heap.SpanOf(hmap.Addr(rest[i]))]; !s.NoScan {
				l.stretch(rest[i], rest[i]+s.ElemSize)
			}
		})
	}
}

// unexplained finds the words that hold a header and that no typed path explains,
// and makes them holders of kind unknown.
func (w *walk) unexplained() {
	if w.heap == nil {
		return
	}
	r := newReach(w)
	w.seen.objects(func(k, slot int, _ *seenAt) {
		if w.heap.Spans[k].Allocated(uint64(slot)) {
			set(r.bits, r.first[k]+uint64(slot))
		}
	})
	for o := range w.seen.other {
		r.mark(o.addr)
	}
	for _, rs := range w.runs {
		for i := range rs {
			r.mark(rs[i].lo)
		}
	}
	for _, m := range w.maps.all {
		r.mark(uint64(m.header))
	}
	r.run()
	slices.Sort(r.found)
	r.found = slices.DeleteFunc(slices.Compact(r.found), w.inQueue)
	if len(r.found) == 0 {
		return
	}
	names := newNamer(w, r)
	word := make([]byte, w.plans.ptr)
	for _, at := range r.found {
		if n, _ := w.src.Memory.ReadMemory(word, at); n < len(word) {
			continue
		}
		header := locate(w.heap, wordOf(word))
		if m := w.maps.get(&header); m != nil {
			if h, ok := names.holder(at); ok {
				w.held.add(at)
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
	in := locate(w.heap, at)
	if p == nil || in.place != heap.Object {
		return false
	}
	begin := locate(w.heap, in.start)
	if !w.seen.has(&begin, p) {
		return false
	}
	_, part := descend(t, int64(at-in.start))
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
			lo, hi := word(s[0]), word(s[1])
			for ; lo < hi && hi-lo < maxArray; lo += chunkBytes {
				es = append(es, extent{lo, min(hi, lo+chunkBytes)})
			}
		}
		at = hmap.Addr(word("next"))
	}
	return es
}

// maxModules bounds the list of modules: one, and one for each plugin.
const maxModules = 1 << 12
