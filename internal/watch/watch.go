// Package watch takes events at breakpoints in the map functions of the runtime.
//
// It works wherever Delve runs a target, and stops the target for each event: some
// twenty to several hundred microseconds each, so that it is for growth, for small
// programs and for places where internal/probe is not supported. Arguments are read
// from registers at a function's entry, behind the check of the stack's size (the ABI of Go 1.17 and later), so that
// optimised programs can be watched. The target and this process share one processor
// meanwhile: handing a stopped thread over to another one takes most of the time.
//
// A stripped binary can be watched too: functions and positions are in the runtime's own
// table, types in its descriptors; a goroutine is known by the address of its g.
//
// It decodes no map beyond its header and analyses nothing. Below it are
// internal/target, which sets the breakpoints, and internal/event; above it is
// cmd/hmapdump. It fails with an *event.MissingError if the target lacks the
// functions that are to be watched.
package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// Options say what is watched.
type Options struct {
	Ops   []event.Op // none: all
	Stack int        // callers of the caller
}

// watcher is one run of Run.
type watcher struct {
	t      *target.Target
	opts   Options
	visit  func(*event.Event) error
	funcs  map[uint64]*watched // by the address of the breakpoint
	ranges []codeRange
	names  *event.Interner
	types  map[uint64]*mapType
	sites  map[uint64]bool
	makes  map[uint64][]pendingMake // by g
	goid   int64                    // offset in g, -1 if it is not known
	header event.Layout             // of a stripped binary
	bases  []hmap.Addr              // of a stripped binary: see hmap.ReadMapType
	start  time.Time
}

type watched struct {
	spec event.Spec
	fn   *event.Func
}

type codeRange struct{ lo, hi uint64 }

type mapType struct {
	event  *event.Type
	layout *hmap.Layout // nil if it is not known
}

// pendingMake is a call of makemap that has not returned.
type pendingMake struct {
	w       *watched
	typ     uint64
	arg     uint64
	ret, sp uint64
	site    *event.Site
}

// maxCallers bounds the callers that are looked at.
const maxCallers = 32

// Run lets the target run and calls visit for every event. The event is valid during
// the call. Run returns when the target ends, ctx is cancelled, or visit fails; the
// target has no breakpoints then.
func Run(ctx context.Context, t *target.Target, opts Options, visit func(*event.Event) error) (stop target.Stop, err error) {
	w := &watcher{
		t: t, opts: opts, visit: visit, funcs: map[uint64]*watched{}, names: event.NewInterner(), types: map[uint64]*mapType{},
		sites: map[uint64]bool{}, makes: map[uint64][]pendingMake{}, goid: -1, start: time.Now(),
	}
	has := func(sym string) bool { _, _, ok := t.FuncEntry(sym); return ok }
	gen, specs, err := event.Present(has, opts.Ops)
	if err != nil {
		return stop, fmt.Errorf("watch: %w", err)
	}
	var pcs []uint64
	for _, s := range specs {
		lo, hi, _ := t.FuncEntry(s.Sym)
		w.ranges = append(w.ranges, codeRange{lo, hi})
		pc := lo + w.stackCheck(lo)
		w.funcs[pc] = &watched{s, event.NewFunc(s, hmap.Addr(lo))}
		pcs = append(pcs, pc)
	}
	w.header = event.DefaultLayout(gen)
	if t.Stripped() {
		w.bases = t.TypeBases()
	} else if g := t.Types().Named("runtime.g"); g != nil {
		for _, f := range g.Fields() {
			if f.Name == "goid" {
				w.goid = f.Off
			}
		}
	}
	unpin, err := pin(t.Pid())
	if err != nil {
		return stop, fmt.Errorf("watch: %w", err)
	}
	defer func() { err = errors.Join(err, unpin()) }()
	return t.Trace(ctx, pcs, w.hit)
}

func (w *watcher) hit(h target.Hit) error {
	f := w.funcs[h.PC]
	if f == nil {
		return w.returned(h)
	}
	ret := w.t.Word(h.SP)
	if !f.spec.Op.Growth() && f.spec.Op != event.Make && w.inside(ret) {
		return nil // a part of another operation
	}
	arg := func(n int) uint64 {
		if n < 0 || n >= len(h.Args) {
			return 0
		}
		return h.Args[n]
	}
	if f.spec.Op == event.Make {
		list := w.makes[h.G]
		if len(list) > 8 {
			list = list[1:]
		}
		w.makes[h.G] = append(list, pendingMake{f, arg(f.spec.Typ), arg(f.spec.Arg), ret, h.SP + 8, w.site(h, ret)})
		if f.spec.Typ < 0 {
			w.makes[h.G][len(w.makes[h.G])-1].typ = 0
		}
		return w.t.Tracepoint(ret)
	}
	e := w.event(h, f.fn, w.site(h, ret), arg(f.spec.Typ), hmap.Addr(arg(f.spec.Map)))
	e.Arg = arg(f.spec.Arg)
	switch f.spec.Key {
	case event.Text:
		ptr, n := e.Arg, arg(f.spec.Arg+1)
		e.Arg, e.KeyBytes = n, w.bytes(ptr, n)
	case event.InMem:
		if e.Type != nil {
			e.KeyBytes = w.bytes(e.Arg, uint64(e.Type.Size))
		}
		e.Arg = 0
	}
	if f.spec.Table >= 0 {
		e.Table = event.UnpackTable(w.t.Word(arg(f.spec.Table)))
	}
	return w.visit(e)
}

// stackCheck returns the length of the check of the stack's size with which a function
// begins, 0 if it has none: CMPQ SP, 16(R14) or LEAQ n(SP), R12; CMPQ R12, 16(R14), and
// then JLS (cmd/internal/obj/x86, stacksplit). morestack starts a function anew, as
// does preemption: behind the check each call comes by once. Nothing that an argument
// is in has changed there, nor has SP.
func (w *watcher) stackCheck(entry uint64) uint64 {
	var code [24]byte
	if _, err := w.t.Memory().ReadMemory(code[:], entry); err != nil {
		return 0
	}
	n := 0
	has := func(bytes ...byte) bool { return string(code[n:n+len(bytes)]) == string(bytes) }
	switch {
	case has(0x49, 0x3b, 0x66, 0x10):
		n = 4
	case has(0x4c, 0x8d, 0x64, 0x24):
		n = 5
	case has(0x4c, 0x8d, 0xa4, 0x24):
		n = 8
	default:
		return 0
	}
	if n > 4 {
		if !has(0x4d, 0x3b, 0x66, 0x10) {
			return 0
		}
		n += 4
	}
	switch {
	case has(0x76):
		return uint64(n + 2)
	case has(0x0f, 0x86):
		return uint64(n + 6)
	}
	return 0
}

// returned emits the make that has come back to its caller.
func (w *watcher) returned(h target.Hit) error {
	list := w.makes[h.G]
	for i := len(list) - 1; i >= 0; i-- {
		m := list[i]
		if m.ret != h.PC || m.sp != h.SP {
			continue
		}
		w.makes[h.G] = list[:i]
		if w.inside(m.ret) {
			return nil // of makemap64, which is still to return
		}
		e := w.event(h, m.w.fn, m.site, m.typ, hmap.Addr(h.Args[0]))
		e.Arg = m.arg
		return w.visit(e)
	}
	return nil
}

func (w *watcher) inside(pc uint64) bool {
	for _, r := range w.ranges {
		if pc > r.lo && pc <= r.hi {
			return true
		}
	}
	return false
}

func (w *watcher) event(h target.Hit, fn *event.Func, site *event.Site, typ uint64, addr hmap.Addr) *event.Event {
	e := &event.Event{T: time.Since(w.start).Nanoseconds(), Func: fn, Map: addr, Thread: h.Thread, Site: site}
	if w.goid < 0 {
		e.Goroutine = int64(h.G) // its address says which it is
	} else if h.G != 0 {
		e.Goroutine = int64(w.t.Word(h.G + uint64(w.goid)))
	}
	mt := w.mapType(typ)
	if mt != nil {
		e.Type = mt.event
	}
	if fn.Op == event.Grow && mt != nil && mt.layout != nil && mt.layout.Consts.LoadFactorDen > 0 {
		fn.LoadNum, fn.LoadDen = mt.layout.Consts.LoadFactorNum, mt.layout.Consts.LoadFactorDen
	}
	if addr != 0 && w.t.Stripped() {
		raw := make([]byte, w.header.Size)
		if _, err := w.t.Memory().ReadMemory(raw, uint64(addr)); err == nil {
			e.Header = w.header.Header(addr, raw)
		}
	}
	if addr != 0 && mt != nil && mt.layout != nil {
		if hd, err := hmap.ReadHeader(w.t.Memory(), mt.layout, addr); err == nil {
			e.Header = hd
		}
	}
	return e
}

func (w *watcher) mapType(addr uint64) *mapType {
	if addr == 0 {
		return nil
	}
	if mt, ok := w.types[addr]; ok {
		return mt
	}
	mt := &mapType{event: &event.Type{Addr: hmap.Addr(addr)}}
	if w.t.Stripped() {
		if d, err := hmap.ReadMapType(w.t.Memory(), hmap.Addr(addr), w.bases); err == nil {
			mt.event.Name, mt.event.Key, mt.event.Size, mt.event.Block = d.Name, d.Key, d.KeySize, d.BlockSize
		}
	} else if t, err := w.t.Types().OfDescriptor(hmap.Addr(addr)); err == nil && t.Key() != nil {
		mt.event.Name = t.Name
		mt.event.Key, mt.event.Size = t.Key().Kind, t.Key().Size
		if l, err := t.Layout(); err == nil {
			mt.layout = l
			mt.event.Block = int64(l.Block.Size)
		}
	}
	w.types[addr] = mt
	return mt
}

// keyMost is how much of a key is read.
const keyMost = 64

func (w *watcher) bytes(addr, n uint64) []byte {
	if addr == 0 || n == 0 {
		return nil
	}
	b := make([]byte, min(n, keyMost))
	if _, err := w.t.Memory().ReadMemory(b, addr); err != nil {
		return nil
	}
	return b
}

// site unwinds by frame pointers: at the entry BP is the caller's.
func (w *watcher) site(h target.Hit, ret uint64) *event.Site {
	pcs := []uint64{ret}
	for bp, low := h.BP, h.SP; len(pcs) <= min(w.opts.Stack, maxCallers) && bp > low && bp&7 == 0; {
		pc := w.t.Word(bp + 8)
		if pc == 0 {
			break
		}
		pcs = append(pcs, pc)
		bp, low = w.t.Word(bp), bp
	}
	for _, pc := range pcs {
		if w.sites[pc] {
			continue
		}
		w.sites[pc] = true
		if f, ok := w.t.Position(pc - 1); ok {
			w.names.Add(event.Symbols{Frames: map[uint64][]event.Frame{pc: {{Func: f.Func, File: f.File, Line: f.Line}}}})
		}
	}
	return w.names.Site(pcs...)
}
