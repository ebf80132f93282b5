package census

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

const (
	// chunkBytes is how much of a long array or slice is read at a time.
	chunkBytes = 256 << 10
	// maxValue bounds a value that is read whole.
	maxValue = 64 << 20
	// maxErrors bounds Result.Errors.
	maxErrors = 100
	// sortedItems is from how many on items are looked at in the order of their
	// addresses: what lies side by side is read at once.
	sortedItems = 1 << 10
)

// object is a value in memory under one type.
type object struct {
	addr uint64
	plan uint32
}

type walk struct {
	src     Source
	opts    Options
	res     *Result
	workers int
	plans   *plans
	heap    *heap.Heap // nil if it cannot be read

	maps      *mets
	spareMets []met
	fresh     []*met // to be inspected before their entries are looked at
	aside     *aside
	entries   map[*hmap.Type]entryType
	seen      *seen
	runs      runs
	held      *words
	queue     []item
	paths     paths
	refs      map[refKey]*ref
	roots     int64     // that were started at
	later     []pending // words of the runtime's own that hold a header

	stackWords []stackWord
	frames     []stackFrame

	syncs     map[hmap.Addr]bool // sync.Maps that were met
	syncTypes map[*hmap.Type]*syncType

	runtime   runtimeFacts
	sightings sync.Pool // of *[]sighting
}

// pending is a word that holds a header of which nothing else says what it is.
type pending struct {
	header hmap.Addr
	holder Holder
}

// refKey tells apart the refs that are made of another on the way.
type refKey struct {
	of     *ref
	t      *hmap.Type
	detail string
}

func newWalk(src Source, opts Options) *walk {
	src.Memory = &cache{mem: src.Memory}
	w := &walk{
		src: src, opts: opts, res: &Result{}, workers: workers(), plans: newPlans(src.Types),
		refs: map[refKey]*ref{}, entries: map[*hmap.Type]entryType{}, runs: runs{},
		syncs: map[hmap.Addr]bool{}, syncTypes: map[*hmap.Type]*syncType{},
	}
	if opts.Hashes {
		w.workers = 1 // the hash has a buffer
	}
	var err error
	if w.heap, err = heap.Read(src.Memory, src.Types); err != nil {
		w.fail(err)
	}
	if w.heap != nil && opts.Sized != nil {
		n := uint64(0)
		for i := range w.heap.Spans {
			if s := &w.heap.Spans[i]; !s.NoScan && !s.Manual {
				n += s.N
			}
		}
		opts.Sized(n)
	}
	w.seen, w.maps, w.held = newSeen(w.heap), newMets(w.heap), newWords(w.heap, w.plans.ptr)
	w.aside = newAside(w)
	w.runtime = readRuntime(src.Types)
	w.sightings.New = func() any { s := make([]sighting, 0, maxSightings+maxSightings/8); return &s }
	return w
}

func (w *walk) fail(err error) {
	if len(w.res.Errors) < maxErrors {
		w.res.Errors = append(w.res.Errors, err)
	}
}

// root starts at a variable.
func (w *walk) root(r *target.Root) {
	if r.Type == nil || !w.plans.leadsOn(r.Type) {
		return
	}
	if r.Err != nil && r.Raw == nil {
		if mapOf(r.Type) != nil {
			w.res.Lost = append(w.res.Lost, Lost{r.Name, r.Func, r.File, r.Line, r.Goroutine, r.Type, r.Err})
		}
		return
	}
	w.roots++
	kind := kindOf(r)
	it := item{
		addr: r.Addr, plan: w.plans.of(r.Type), kind: kind,
		node: w.paths.root(&ref{op: opRoot, suffix: r.Name, root: r, n: w.roots}),
	}
	if r.Raw == nil {
		w.pushAddr(it)
		return
	}
	s := &scanner{src: &w.src, ptr: int(w.plans.ptr)}
	if int64(len(r.Raw)) >= it.plan.size {
		s.value(it.plan, r.Raw, 0, -1, kind, 0)
	}
	w.res.Nil += s.out.nils
	for i := range s.out.seen {
		w.meet(&it, &s.out.seen[i])
	}
}

// drain looks at everything that is queued, and at what that leads to: breadth
// first, so that a holder has the shortest path that leads to it.
func (w *walk) drain() {
	var spare []item
	w.aside.start()
	w.inspect()
	for len(w.queue) > 0 {
		items := w.queue
		w.queue = spare[:0]
		if len(items) >= sortedItems {
			hmap.SortByAddr(items, func(it *item) hmap.Addr { return hmap.Addr(it.addr) })
		}
		w.level(items)
		w.aside.start()
		w.inspect()
		clear(items)
		spare = items
	}
}

// worth reports whether there is anything to look at.
func (w *walk) worth(it *item) bool {
	size := it.plan.size
	if it.addr == 0 || size <= 0 || size > maxValue || len(it.plan.refs) == 0 {
		return false
	}
	w.plans.prepare(it.plan)
	return true
}

// push queues the object at a spot unless it was looked at before.
func (w *walk) push(at *spot, it item) {
	if !w.worth(&it) || !w.seen.add(at, it.plan, it.node) {
		return
	}
	w.res.Objects++
	if len(w.queue) == cap(w.queue) {
		w.queue = slices.Grow(w.queue, max(1<<10, len(w.queue))) // append would grow it by a quarter
	}
	w.queue = append(w.queue, it)
}

// pushAddr queues the object at an address unless it was looked at before.
func (w *walk) pushAddr(it item) {
	at := locate(w.heap, it.addr)
	w.push(&at, it)
}

// pushRun queues what was not yet looked at of n values that lie side by side, of which
// the first has an index: slices of one array overlap. Long ones are queued in pieces.
func (w *walk) pushRun(it item, n, first int64) {
	if !w.worth(&it) || n <= 0 {
		return
	}
	size := uint64(it.plan.size)
	base := it.addr
	if w.heap != nil {
		if at := locate(w.heap, it.addr); at.place == heap.Object {
			base = at.start
		}
	}
	// The same elements, not shifted ones.
	key := object{base + (it.addr-base)%size, it.plan.id}
	per := int64(max(1, chunkBytes/size))
	for _, r := range w.runs.add(key, extent{it.addr, it.addr + uint64(n)*size}, it.node, first) {
		left, index := int64((r.hi-r.lo)/size), first+int64((r.lo-it.addr)/size)
		w.res.Objects += int(left)
		for part := it; left > 0; {
			k := min(per, left)
			part.addr, part.more = r.lo, &more{n: k, first: index}
			w.queue = append(w.queue, part)
			r.lo += uint64(k) * size
			left -= k
			index += k
		}
	}
}

// meet deals with a place that was seen in an item.
func (w *walk) meet(it *item, s *sighting) {
	switch s.ref.op {
	case opMap:
		w.hold(it, s)
	case opHeader:
		w.later = append(w.later, pending{hmap.Addr(s.w[0]), w.holder(it, s)})
	case opArray:
		w.pushRun(item{addr: s.addr, plan: w.plans.behind(s.ref), node: w.paths.child(it.node, s.ref, s.index), kind: Element}, s.ref.n, 0)
	default:
		if w.tooDeep(it.node) {
			return
		}
		w.follow(it, s)
	}
}

// tooDeep reports whether what lies behind a place must not be looked at, and
// counts it.
func (w *walk) tooDeep(id nodeID) bool {
	if w.opts.Depth < 0 {
		return false
	}
	if n := w.paths.get(id); int64(n.depth)+int64(n.again) < int64(w.opts.Depth) {
		return false
	}
	w.res.Cut++
	return true
}

// follow queues what lies behind a pointer of some kind.
func (w *walk) follow(it *item, s *sighting) {
	r := s.ref
	switch r.op {
	case opPointer:
		kind := Element // *p is the one element of what p points at
		if r.kind == Closure {
			kind = Closure
		}
		w.pointer(it.node, r, s.index, s.w[0], w.plans.behind(r), kind)
	case opSlice:
		w.slice(it.node, r, s)
	case opIface:
		w.iface(it, s)
	case opFunc:
		w.closure(it.node, r, s.index, s.w[0])
	case opChan:
		w.channel(it.node, r, s.index, s.w[0])
	case opPool:
		w.pool(it.node, r, s)
	case opSync:
		w.syncMap(it.node, r, s)
	case opReflect:
		w.reflected(it, s)
	}
}

// pointer queues the one value that a pointer points at.
func (w *walk) pointer(from nodeID, r *ref, index int64, addr uint64, p *plan, kind Kind) {
	if len(p.refs) == 0 || p.size <= 0 || p.size > maxValue {
		return
	}
	at := locate(w.heap, addr)
	if w.seen.has(&at, p) {
		return
	}
	if !w.fitsAt(&at, uint64(p.size)) {
		w.res.Stale++
		return
	}
	w.push(&at, item{addr: addr, plan: p, node: w.paths.child(from, r, index), kind: kind})
}

// slice queues the array behind a slice: up to its capacity, since what lies behind
// its length is kept alive too.
func (w *walk) slice(from nodeID, r *ref, s *sighting) {
	p := w.plans.behind(r)
	addr, n, c := s.w[0], int64(s.w[1]), int64(s.w[2])
	if len(p.refs) == 0 || p.size <= 0 {
		return
	}
	if n < 0 || n > c || c > maxArray/p.size || !w.fits(addr, uint64(c)*uint64(p.size)) {
		w.res.Stale++
		return
	}
	w.pushRun(item{addr: addr, plan: p, node: w.paths.child(from, r, s.index), kind: Element}, n, 0)
	if c > n {
		w.pushRun(item{
			addr: addr + uint64(n*p.size), plan: p, kind: Element,
			node: w.paths.child(from, w.variant(r, nil, "[:cap]", func(x *ref) { x.suffix += "[:cap]" }), s.index),
		}, c-n, n)
	}
}

// maxArray bounds the bytes of an array.
const maxArray = 1 << 44

// variant returns r with a change, always the same for the same type and detail.
func (w *walk) variant(r *ref, t *hmap.Type, detail string, change func(*ref)) *ref {
	key := refKey{r, t, detail}
	v := w.refs[key]
	if v == nil {
		c := *r
		c.id, c.to = 0, nil
		change(&c)
		v = &c
		w.refs[key] = v
	}
	return v
}

// iface looks at what an interface holds.
func (w *walk) iface(it *item, s *sighting) {
	words := make([]byte, 2*w.plans.ptr)
	putWord(words[:w.plans.ptr], s.w[0])
	putWord(words[w.plans.ptr:], s.w[1])
	dyn, at, direct, err := w.src.Types.Dynamic(s.ref.t, words)
	if err != nil || dyn == nil || !w.plans.leadsOn(dyn) {
		return // a type without debug information leads nowhere that has a name
	}
	r := w.variant(s.ref, dyn, "", func(x *ref) { x.assert = dyn.Name })
	if !direct {
		w.pointer(it.node, r, s.index, uint64(at), w.plans.of(dyn), Interface)
		return
	}
	// The data word is the value: a place of its own, one word further on.
	addr := s.addr
	if addr != 0 {
		addr += uint64(w.plans.ptr)
	}
	sub := scanner{src: &w.src, ptr: int(w.plans.ptr)}
	if p := w.plans.of(dyn); p.size == w.plans.ptr {
		sub.value(p, words[w.plans.ptr:], addr, -1, Interface, 0)
	}
	at2 := &item{node: w.paths.child(it.node, r, s.index), kind: Interface}
	for i := range sub.out.seen {
		w.meet(at2, &sub.out.seen[i])
	}
}

func putWord(b []byte, x uint64) {
	for i := range b {
		b[i] = byte(x >> (8 * i))
	}
}

// fits reports whether a value of size bytes can lie at addr: not in free memory of
// the heap, and not over the end of an object. A variable that the program has not
// set yet may hold anything.
func (w *walk) fits(addr, size uint64) bool {
	at := locate(w.heap, addr)
	return w.fitsAt(&at, size)
}

func (w *walk) fitsAt(at *spot, size uint64) bool {
	if at.addr+size < at.addr || at.addr < minAddr {
		return false
	}
	switch at.place {
	case heap.Object, heap.Manual:
		return at.addr+size <= at.end
	case heap.Free:
		return false
	}
	if size <= chunkBytes {
		return true
	}
	var last [1]byte
	n, _ := w.src.Memory.ReadMemory(last[:], at.addr+size-1)
	return n == 1
}

// minAddr is below every address: the first page is never mapped.
const minAddr = 4096

// holder makes a holder of a place.
func (w *walk) holder(it *item, s *sighting) Holder {
	return Holder{Kind: s.kind, Addr: hmap.Addr(s.addr), Type: s.ref.t, paths: &w.paths, node: w.paths.child(it.node, s.ref, s.index)}
}

// hold notes a word that holds a map.
func (w *walk) hold(it *item, s *sighting) {
	header, t := hmap.Addr(s.w[0]), s.ref.t
	if s.addr != 0 && w.held.has(s.addr) {
		return
	}
	at := locate(w.heap, uint64(header))
	m := w.known(&at, t)
	var l *hmap.Layout
	if m == nil {
		if l = w.headerLayout(it, s, &at, t); l == nil {
			return
		}
	}
	if s.addr != 0 {
		w.held.add(s.addr)
	}
	h := w.holder(it, s)
	if m == nil {
		m = w.newMet()
		m.t, m.node, m.header = t, h.node, header
		m.Holders = m.first[:0]
		w.maps.add(&at, m)
		w.toInspect(m, l)
	} else if h.root().Kind == target.Expr && len(m.Holders) > 0 {
		return // a copy of the word, in a register or in hmapdump itself
	}
	m.add(h)
}

// headerLayout is the layout of a map that was not met before, nil if there is none.
func (w *walk) headerLayout(it *item, s *sighting, header *spot, t *hmap.Type) *hmap.Layout {
	l, err := t.Layout()
	if err != nil {
		w.fail(fmt.Errorf("%s: %w", w.paths.text(w.paths.child(it.node, s.ref, s.index)), err))
		return nil
	}
	if !w.isHeader(header, uint64(l.Header.Size)) {
		w.res.Stale++
		return nil
	}
	return l
}

// isHeader reports whether a header can lie at a spot: one on the heap is an object of
// its own, since it is allocated alone.
func (w *walk) isHeader(at *spot, size uint64) bool {
	return w.fitsAt(at, size) && (at.place != heap.Object || at.begins)
}

// entryPlans are the plans for the keys and the elems of a map.
func (w *walk) entryPlans(key, elem *hmap.Type) (keys, elems *plan) {
	text := hmap.NewFormatter(w.src.Memory, w.src.Types)
	text.MaxText = 60
	return w.entryPlan(key, key, true, text), w.entryPlan(elem, key, false, text)
}

// entryPlan is the plan for keys or elems of a map: that of their type, with places
// that know the key by which they are reached. Nil if they lead nowhere.
func (w *walk) entryPlan(t, key *hmap.Type, inKey bool, text *hmap.Formatter) *plan {
	if t == nil || !w.plans.leadsOn(t) {
		return nil
	}
	p := *w.plans.of(t)
	if len(p.refs) == 0 {
		return nil
	}
	p.refs = slices.Clone(p.refs)
	keys := &keyText{t: key, key: inKey, mem: w.src.Memory, text: text}
	for i := range p.refs {
		r := &p.refs[i]
		r.id, r.keys = 0, keys
	}
	p.ready = false
	w.plans.prepare(&p)
	return &p
}

// known returns the map at the header if it was met before under t or under a
// type that says the same of its memory: m and T(m) are one map. Optimised code of
// a generic function knows only the shape of a map's type; any other type is better.
func (w *walk) known(header *spot, t *hmap.Type) *met {
	for m := w.maps.get(header); m != nil; m = m.next {
		if !sameLayout(m.t, t) {
			continue
		}
		if isShape(m.t) && !isShape(t) {
			w.aside.wait()
			m.t = t
			if l, err := t.Layout(); err == nil {
				w.toInspect(m, l)
			}
		}
		return m
	}
	return nil
}

// sameLayout reports whether two map types describe memory in the same way.
func sameLayout(a, b *hmap.Type) bool {
	if a == b {
		return true
	}
	la, err1 := a.Layout()
	lb, err2 := b.Layout()
	return err1 == nil && err2 == nil && la.Generation == lb.Generation && la.Block == lb.Block
}

// isShape reports whether t is made of the shapes of type arguments.
func isShape(t *hmap.Type) bool { return strings.Contains(t.Name, "go.shape.") }
