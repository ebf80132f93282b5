package census

import (
	"fmt"
	"reflect"
	"strings"

	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// runtimeFacts are the records of the runtime and of sync behind which values lie
// that no field has the type of. Those of a field that a target lacks are of size 0,
// and what needs them is left out.
type runtimeFacts struct {
	hchan   hmap.Record
	senders hmap.RecordField // of a channel: sendq.first
	sudog   hmap.Record
	elem    hmap.RecordField // of a sudog
	pool    hmap.Record
	local   *hmap.Type // sync.poolLocal
	special hmap.Record
	kinds   struct{ finalizer, cleanup int64 }

	flagIndir uint64 // reflect.Value.flag: ptr points at the value
}

func readRuntime(types *hmap.Types) runtimeFacts {
	record := func(name string) hmap.Record {
		if t := types.Named(name); t != nil && t.Kind == reflect.Struct {
			return hmap.RecordOf(t)
		}
		return hmap.Record{}
	}
	f := runtimeFacts{
		hchan: record("runtime.hchan"), sudog: record("runtime.sudog"), pool: record("sync.Pool"),
		local: types.Named("sync.poolLocal"), special: record("runtime.special"),
	}
	f.senders = f.hchan.Field("sendq.first")
	// A pair of words since Go 1.26, of which this one is kept when the garbage
	// collector must not see it.
	if f.elem = f.sudog.Field("elem.vu"); f.elem.Size == 0 {
		f.elem = f.sudog.Field("elem")
	}
	f.kinds.finalizer, f.kinds.cleanup = -1, -1
	if v, ok := types.Const("runtime._KindSpecialFinalizer"); ok {
		f.kinds.finalizer = v
	}
	if v, ok := types.Const("runtime._KindSpecialCleanup"); ok {
		f.kinds.cleanup = v
	}
	f.flagIndir = 1 << 7
	if v, ok := types.Const("reflect.flagIndir"); ok && v > 0 {
		f.flagIndir = uint64(v)
	}
	return f
}

// record reads a record of the runtime, nil if it is not there.
func (w *walk) record(r *hmap.Record, addr uint64) []byte {
	if r.Size <= 0 || r.Size > 1<<16 || addr < minAddr {
		return nil
	}
	buf := make([]byte, r.Size)
	if n, _ := w.src.Memory.ReadMemory(buf, addr); n < len(buf) {
		return nil
	}
	return buf
}

// closure looks into what a func value points at: the address of its code, and
// behind that the variables that the function captured.
func (w *walk) closure(from nodeID, r *ref, index int64, addr uint64) {
	if w.src.Closure == nil {
		return
	}
	if w.heap != nil {
		// A function that captures nothing has a closure among the read-only data.
		if _, place := w.heap.Find(hmap.Addr(addr)); place != heap.Object && place != heap.Manual {
			return
		}
	}
	code := make([]byte, w.plans.ptr)
	if n, _ := w.src.Memory.ReadMemory(code, addr); n < len(code) {
		return
	}
	t := w.src.Closure(wordOf(code))
	if t == nil {
		return
	}
	w.closures(t)
	v := w.variant(r, t, "", func(x *ref) { x.assert = "func " + t.Name })
	w.pointer(from, v, index, addr, w.plans.of(t), Closure)
}

// closures makes the plan of a closure: what a function captured is held by its
// closure, whatever else it is a field of.
func (w *walk) closures(t *hmap.Type) {
	if _, ok := w.plans.byType[t]; ok {
		return
	}
	p := w.plans.of(t)
	for i := range p.refs {
		r := &p.refs[i]
		r.kind = Closure
		if name, ok := strings.CutPrefix(r.suffix, ".&"); ok && r.op == opPointer {
			// Captured by reference: the variable is what the pointer points at.
			r.suffix, r.variable = "."+name, true
		}
	}
}

// channel looks at what is in a channel: the elements in its buffer, and those that
// blocked senders bring.
func (w *walk) channel(from nodeID, r *ref, index int64, addr uint64) {
	f := &w.runtime
	rec := w.record(&f.hchan, addr)
	if rec == nil || !w.fits(addr, uint64(f.hchan.Size)) {
		return
	}
	word := func(name string) uint64 { x := f.hchan.Field(name); return x.Uint(rec) }
	elem := r.elem
	if elem == nil {
		t, err := w.src.Types.OfDescriptor(hmap.Addr(word("elemtype")))
		if err != nil {
			return
		}
		elem = t
	}
	if !w.plans.leadsOn(elem) || uint64(elem.Size) != word("elemsize") {
		return
	}
	p := w.plans.of(elem)
	count, size, first, buf := word("qcount"), word("dataqsiz"), word("recvx"), word("buf")
	if p.size > 0 && count > 0 && count <= size && first < size && size <= maxArray/uint64(p.size) && w.fits(buf, size*uint64(p.size)) {
		at := w.paths.child(from, w.variant(r, nil, ".buf", func(x *ref) { x.suffix += ".buf" }), index)
		run := func(from, n uint64) {
			w.pushRun(item{addr: buf + from*uint64(p.size), plan: p, node: at, kind: Channel}, int64(n), int64(from))
		}
		run(first, min(count, size-first))
		if wrapped := first + count; wrapped > size {
			run(0, wrapped-size)
		}
	}
	// A receiver brings nothing; where it waits for it is a variable.
	next := f.sudog.Field("next")
	sg := f.senders.Uint(rec)
	for k := 0; sg != 0 && k < maxWaiting; k++ {
		s := w.record(&f.sudog, sg)
		if s == nil {
			break
		}
		if at := f.elem.Uint(s); at != 0 && w.fits(at, uint64(p.size)) {
			detail := fmt.Sprintf(".sendq[%d].elem", k)
			v := w.variant(r, nil, detail, func(x *ref) { x.suffix += detail })
			w.pushAddr(item{addr: at, plan: p, node: w.paths.child(from, v, index), kind: Channel})
		}
		sg = next.Uint(s)
	}
}

// maxWaiting bounds the goroutines that wait at a channel.
const maxWaiting = 1 << 20

// pool looks into the caches of a sync.Pool: one for each P, and those that the next
// garbage collection will drop.
func (w *walk) pool(from nodeID, r *ref, s *sighting) {
	f := &w.runtime
	rec := w.record(&f.pool, s.addr)
	if rec == nil || f.local == nil {
		return
	}
	p := w.plans.of(f.local)
	for _, part := range []string{"local", "victim"} {
		ptr, n := f.pool.Field(part), f.pool.Field(part+"Size")
		addr, count := ptr.Uint(rec), n.Uint(rec)
		if addr == 0 || count == 0 || count > maxProcs || !w.fits(addr, count*uint64(p.size)) {
			continue
		}
		v := w.variant(r, nil, part, func(x *ref) { x.suffix += "." + part })
		w.pushRun(item{addr: addr, plan: p, node: w.paths.child(from, v, s.index), kind: Element}, int64(count), 0)
	}
}

// maxProcs bounds GOMAXPROCS.
const maxProcs = 1 << 20

// reflected looks at the value behind a reflect.Value: typ, ptr, flag.
func (w *walk) reflected(it *item, s *sighting) {
	t, err := w.src.Types.OfDescriptor(hmap.Addr(s.w[0]))
	if err != nil || t == nil || !w.plans.leadsOn(t) {
		return
	}
	v := w.variant(s.ref, t, "", func(x *ref) { x.assert = t.Name })
	if s.w[2]&w.runtime.flagIndir != 0 {
		w.pointer(it.node, v, s.index, s.w[1], w.plans.of(t), Interface)
		return
	}
	p := w.plans.of(t)
	if p.size != w.plans.ptr {
		return
	}
	addr := s.addr
	if addr != 0 {
		addr += uint64(w.plans.ptr)
	}
	word := make([]byte, w.plans.ptr)
	putWord(word, s.w[1])
	sub := scanner{src: &w.src, ptr: int(w.plans.ptr)}
	sub.value(p, word, addr, -1, Interface, 0)
	at := &item{node: w.paths.child(it.node, v, s.index), kind: Interface}
	for i := range sub.out.seen {
		w.meet(at, &sub.out.seen[i])
	}
}

// specials looks at what the allocator keeps beside objects: finalizers and
// cleanups. What a finalizer captured is alive, and so is what its object leads to.
func (w *walk) specials() {
	f := &w.runtime
	if w.heap == nil || f.special.Size == 0 {
		return
	}
	next, offset, kind := f.special.Field("next"), f.special.Field("offset"), f.special.Field("kind")
	fin, cleanup := w.src.Types.Named("runtime.specialfinalizer"), w.src.Types.Named("runtime.specialCleanup")
	for i := range w.heap.Spans {
		span := &w.heap.Spans[i]
		at := uint64(span.Specials)
		for n := 0; at != 0 && n < maxSpecials; n++ {
			rec := w.record(&f.special, at)
			if rec == nil {
				break
			}
			obj := uint64(span.Start) + offset.Uint(rec)
			switch k := int64(kind.Uint(rec)); {
			case k == f.kinds.finalizer && fin != nil:
				w.finalizer(fin, at, obj)
			case k == f.kinds.cleanup && cleanup != nil:
				w.special("cleanup", cleanup, at, obj)
			}
			at = next.Uint(rec)
		}
	}
}

// maxSpecials bounds the specials of a span.
const maxSpecials = 1 << 20

// special starts at a record of the runtime's that belongs to an object.
func (w *walk) special(what string, t *hmap.Type, at, obj uint64) {
	r := &target.Root{Kind: target.Global, Name: fmt.Sprintf("%s(%#x)", what, obj), Type: t, Addr: at}
	w.root(r)
}

// finalizer starts at the function of a finalizer and at its object.
func (w *walk) finalizer(t *hmap.Type, at, obj uint64) {
	name := fmt.Sprintf("finalizer(%#x)", obj)
	rec := hmap.RecordOf(t)
	if buf := w.record(&rec, at); buf != nil {
		ot := rec.Field("ot")
		if ptr, err := w.src.Types.OfDescriptor(hmap.Addr(ot.Uint(buf))); err == nil && ptr != nil && ptr.Kind == reflect.Pointer && ptr.Elem() != nil {
			name = fmt.Sprintf("finalizer(%s %#x)", ptr.Name, obj)
			if w.fits(obj, uint64(max(ptr.Elem().Size, 0))) {
				w.root(&target.Root{Kind: target.Global, Name: name, Type: ptr.Elem(), Addr: obj})
			}
		}
	}
	w.root(&target.Root{Kind: target.Global, Name: name, Type: t, Addr: at})
}
