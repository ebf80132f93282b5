package census

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"hmaptools/internal/hmap"
)

// met is a map that was met.
type met struct {
	Found
	own        hmap.Map  // Found.Map, once it was read
	first      [1]Holder // most maps have one
	header     hmap.Addr
	t          *hmap.Type
	keys       *plan // nil: they lead nowhere
	elems      *plan
	node       nodeID // the first that led to it
	next       *met   // another way to lay out what is there
	entriesErr error
}

// metsPerPiece is how many are allocated at a time: what fits into the allocator's
// largest size class, 32 KiB.
const metsPerPiece = 32 << 10 / unsafe.Sizeof(met{})

func (w *walk) newMet() *met {
	if len(w.spareMets) == 0 {
		w.spareMets = make([]met, metsPerPiece)
	}
	m := &w.spareMets[0]
	w.spareMets = w.spareMets[1:]
	return m
}

// entryType is what is known of the entries of maps of one type.
type entryType struct{ keys, elems *plan }

// toInspect has a map read: at once if its entries lead on, else whenever a processor
// has nothing better to do.
func (w *walk) toInspect(m *met, l *hmap.Layout) {
	e, ok := w.entries[m.t]
	if !ok {
		e.keys, e.elems = w.entryPlans(l.Key, l.Elem)
		w.entries[m.t] = e
		// A Type finds out about itself when it is asked first. What reads maps of it
		// beside the walk asks no more than that.
		_, _ = l.Key.Pointers(), l.Elem.Pointers()
	}
	m.keys, m.elems = e.keys, e.elems
	if w.opts.Hashes || m.keys != nil || m.elems != nil {
		w.fresh = append(w.fresh, m)
	} else {
		w.aside.add(m)
	}
}

// inspect reads the maps whose entries lead on and that were met since it was called
// last, on all processors, and queues their entries.
func (w *walk) inspect() {
	for len(w.fresh) > 0 {
		fresh := w.fresh
		w.fresh = nil
		if len(fresh) < itemsPerTurn || w.workers < 2 {
			var in hmap.Inspector
			for _, m := range fresh {
				w.read(&in, m)
			}
		} else {
			var next atomic.Int64
			var group sync.WaitGroup
			for range w.workers {
				group.Go(func() {
					var in hmap.Inspector
					for {
						to := next.Add(itemsPerTurn)
						for _, m := range fresh[min(to-itemsPerTurn, int64(len(fresh))):min(to, int64(len(fresh)))] {
							w.read(&in, m)
						}
						if to >= int64(len(fresh)) {
							return
						}
					}
				})
			}
			group.Wait()
		}
		for _, m := range fresh {
			w.inside(m)
		}
	}
}

// read inspects one map.
func (w *walk) read(in *hmap.Inspector, m *met) {
	var how hmap.Options
	if w.opts.Hashes {
		how.Hash = w.src.Types.Hash(w.src.Arch, m.t.Key())
	}
	m.Map, m.Errors = &m.own, nil
	if err := in.InspectInto(m.Map, w.src.Memory, m.t, m.header, how); err != nil {
		m.Errors = []error{err}
	}
}

// inside queues the entries of a map if they lead on.
func (w *walk) inside(m *met) {
	if m.keys == nil && m.elems == nil || m.Header.Len() == 0 && m.Len == 0 || w.tooDeep(m.node) {
		return
	}
	w.queue = append(w.queue, item{addr: uint64(m.header), node: m.node, more: &more{found: m}})
}

// aside reads maps while the walk goes on: those that lead nowhere, which are most.
type aside struct {
	w    *walk
	turn []*met // what the walk has not handed over yet

	mu      sync.Mutex
	ended   sync.Cond // a reader has ended
	queue   []*met
	readers int
}

// metsPerTurn is how many maps a reader takes at a time.
const metsPerTurn = 32

func newAside(w *walk) *aside {
	a := &aside{w: w}
	a.ended.L = &a.mu
	return a
}

// add has a map read some time before wait returns.
func (a *aside) add(m *met) {
	if a.turn = append(a.turn, m); len(a.turn) >= itemsPerTurn {
		a.start()
	}
}

// start hands over what was added. The walk itself keeps a processor.
func (a *aside) start() {
	if len(a.turn) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, a.turn...)
	a.turn = a.turn[:0]
	if a.readers < a.w.workers-1 {
		a.readers++
		go a.read()
	}
}

// read reads maps until none is left.
func (a *aside) read() {
	var in hmap.Inspector
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 {
		n := min(metsPerTurn, len(a.queue))
		turn := a.queue[:n]
		a.queue = a.queue[n:]
		a.mu.Unlock()
		for _, m := range turn {
			a.w.read(&in, m)
		}
		a.mu.Lock()
	}
	a.readers--
	a.ended.Broadcast()
}

// wait reads what is left, on all processors.
func (a *aside) wait() {
	a.start()
	a.mu.Lock()
	a.readers++
	a.mu.Unlock()
	a.read()
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.readers > 0 {
		a.ended.Wait()
	}
}
