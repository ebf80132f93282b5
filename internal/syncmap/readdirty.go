package syncmap

import "hmaptools/internal/hmap"

// slotBatch is how many slots of an inner map are held at a time.
const slotBatch = 1 << 16

// slot is a slot of an inner map: a key, and where its entry lies.
type slot struct {
	entry, keyAt hmap.Addr
	p            hmap.Addr // where the entry's value lies, once that is read
	key          int       // offset in mapsWalk.keys
}

// state is what an entry says of its key.
type state uint8

const (
	live state = iota
	deleted
	expunged
)

// known is an entry of an inner map and its state.
type known struct {
	addr  hmap.Addr
	state state
}

// mapsWalk is a walk through a read-dirty map.
type mapsWalk struct {
	*walk
	expunged hmap.Addr // what an expunged entry points at
	slots    []slot
	keys     []byte
	buf      []byte
	values   []byte // what buf is, for the values
}

// maps reads a map of the read-dirty design.
func (w *walk) maps() {
	l := &w.l.maps
	s := &Maps{}
	w.m.Maps = s
	var read, dirty hmap.Addr
	if w.rec != nil {
		w.m.Busy = l.mu.Uint(w.rec) != 0
		s.Misses = l.misses.Int(w.rec)
		dirty = hmap.Addr(l.dirty.Uint(w.rec))
		s.ReadOnly = hmap.Addr(l.read.Uint(w.rec))
		if l.readType.Size > 0 {
			// atomic.Value.Load: there is none yet.
			if typ := hmap.Addr(l.readType.Uint(w.rec)); typ == 0 || typ == l.firstStore {
				s.ReadOnly = 0
			}
		}
	}
	if s.ReadOnly != 0 {
		read = w.readOnly(s)
	}
	mw := &mapsWalk{walk: w}
	if s.Read = w.inner("read", read); s.Read.Header.Addr == dirty && dirty != 0 {
		w.broken("dirty", w.m.Addr, "read and dirty are one map, at %s", dirty)
	}
	s.Dirty = w.inner("dirty", dirty)
	if s.Read.Len > 0 || s.Dirty.Len > 0 {
		if !mw.findExpunged() {
			return
		}
	}
	visited := s.Read
	if s.Amended {
		visited = s.Dirty // Range makes it read first
	}
	if w.visit != nil {
		mw.scan(visited, nil)
		return
	}
	mw.count(visited == s.Dirty)
	s.check(w)
}

// readOnly reads the struct behind the field read, and returns its map's header.
func (w *walk) readOnly(s *Maps) hmap.Addr {
	l := &w.l.maps
	if l.readOnlyErr != nil {
		w.fail(l.readOnlyErr)
		return 0
	}
	rec := make([]byte, l.readOnly)
	if err := read(w.mem, "readOnly", rec, s.ReadOnly); err != nil {
		w.fail(err)
		return 0
	}
	s.Amended = w.flag(l.amended, rec, s.ReadOnly)
	w.m.Bytes += int64(w.l.alloc.RoundUp(uint64(l.readOnly), true))
	return hmap.Addr(l.m.Uint(rec))
}

// inner inspects one of the two maps.
func (w *walk) inner(name string, header hmap.Addr) *hmap.Map {
	m, err := hmap.Inspect(w.mem, w.l.maps.inner, header, hmap.Options{Hash: w.hash})
	if m == nil { // not with the layout that LayoutOf has seen
		m = &hmap.Map{Type: w.l.maps.inner}
	}
	if err != nil {
		w.fail(err)
	}
	w.m.Busy = w.m.Busy || m.Busy
	w.m.Bytes += m.Bytes
	for _, b := range m.Broken {
		w.broken(b.Rule, b.Addr, "in the %s map: %s", name, b.Detail)
	}
	return m
}

// findExpunged reads what marks an expunged entry. Without it the live ones cannot
// be told.
func (w *mapsWalk) findExpunged() bool {
	l := w.l
	if l.maps.expunged == 0 {
		w.fail(&hmap.LayoutError{Type: l.Type.Name, Lacks: "variable sync.expunged"})
		return false
	}
	buf := make([]byte, l.ptr)
	if err := read(w.mem, "sync.expunged", buf, l.maps.expunged); err != nil {
		w.fail(err)
		return false
	}
	w.expunged = hmap.Addr(word(buf))
	return true
}

// scan reads the entries of an inner map. It calls met for each, if that is not nil,
// and visit for the live ones.
func (w *mapsWalk) scan(m *hmap.Map, met func(known)) {
	w.slots, w.keys = w.slots[:0], w.keys[:0]
	err := hmap.Slots(w.mem, m, true, func(e *hmap.Entry) error {
		if len(e.Elem) != w.l.ptr {
			return nil // cannot be: a slot holds a pointer itself
		}
		s := slot{entry: hmap.Addr(word(e.Elem)), keyAt: e.KeyAt, key: -1}
		if s.entry == 0 {
			w.broken("entry", e.ElemAt, "the pointer to an entry is nil")
			return nil
		}
		if w.visit != nil && e.Key != nil {
			s.key = len(w.keys)
			w.keys = append(w.keys, e.Key...)
		}
		if w.slots = append(w.slots, s); len(w.slots) == slotBatch {
			w.flush(met)
		}
		if w.over() {
			return hmap.ErrStop
		}
		return nil
	})
	// Inspect has told of what it could not read either.
	if err != nil && (w.visit != nil || m.Complete) {
		w.fail(err)
	}
	w.flush(met)
}

// flush reads the entries of the slots that were collected, and, for visit, their
// values.
func (w *mapsWalk) flush(met func(known)) {
	l := &w.l.maps
	n := 0 // the live ones come to the front
	gather(w.mem, "sync.entry", w.slots, func(s *slot) hmap.Addr { return s.entry }, l.entry, &w.buf, func(s *slot, data []byte, err error) bool {
		if err != nil {
			w.fail(err)
			return !w.over()
		}
		k := known{addr: s.entry}
		p := hmap.Addr(l.p.Uint(data))
		switch p {
		case 0:
			k.state = deleted
		case w.expunged:
			k.state = expunged
		}
		if met != nil {
			met(k)
		}
		if k.state == live {
			s.p = p
			w.slots[n] = *s
			n++
		}
		return true
	})
	if w.visit != nil && !w.over() {
		key := int(w.l.Key.Size)
		gather(w.mem, "value", w.slots[:n], func(s *slot) hmap.Addr { return s.p }, l.valueSize, &w.values, func(s *slot, data []byte, err error) bool {
			if err != nil {
				w.fail(err)
				return !w.over()
			}
			e := Entry{Value: data, KeyAt: s.keyAt, ValueAt: s.p, At: s.entry}
			if s.key >= 0 {
				e.Key = w.keys[s.key : s.key+key : s.key+key]
			}
			w.meet(e)
			return !w.over()
		})
	}
	w.slots, w.keys = w.slots[:0], w.keys[:0]
}

// count reads the entries of both maps and counts each entry once.
func (w *mapsWalk) count(rangeDirty bool) {
	s := w.m.Maps
	var n [expunged + 1]int64
	both := s.Read.Len > 0 && s.Dirty.Len > 0
	var lists [2][]known
	for i, m := range []*hmap.Map{s.Read, s.Dirty} {
		w.scan(m, func(k known) {
			if k.state == live && (i == 1) == rangeDirty {
				w.m.Len++
			}
			if i == 1 && k.state == expunged && !w.m.Busy {
				w.broken("expunged", k.addr, "an expunged entry stands in dirty")
			}
			if both {
				lists[i] = append(lists[i], k)
			} else {
				n[k.state]++
			}
		})
	}
	if both {
		w.union(lists, &n)
	}
	s.Deleted, s.Expunged = n[deleted], n[expunged]
	up := w.l.alloc.RoundUp
	w.m.Bytes += (n[live] + n[deleted] + n[expunged]) * int64(up(uint64(w.l.maps.entry), true))
	w.m.Bytes += n[live] * int64(up(uint64(w.l.maps.valueSize), true))
}

// union counts the entries that stand in either map, and checks that each stands
// where it belongs. The lists are its own to sort.
func (w *mapsWalk) union(lists [2][]known, n *[expunged + 1]int64) {
	for _, list := range lists {
		hmap.SortByAddr(list, func(k *known) hmap.Addr { return k.addr })
	}
	inRead, inDirty := lists[0], lists[1]
	for len(inRead) > 0 || len(inDirty) > 0 {
		switch {
		case len(inDirty) == 0 || len(inRead) > 0 && inRead[0].addr < inDirty[0].addr:
			k := inRead[0]
			inRead = inRead[1:]
			n[k.state]++
			if k.state != expunged && !w.m.Busy {
				w.broken("dirty", k.addr, "an entry of read that is not expunged is missing in dirty")
			}
		case len(inRead) == 0 || inDirty[0].addr < inRead[0].addr:
			k := inDirty[0]
			inDirty = inDirty[1:]
			n[k.state]++
			if !w.m.Maps.Amended && !w.m.Busy {
				w.broken("amended", k.addr, "dirty has an entry that read has not, but the map is not amended")
			}
		default:
			n[inDirty[0].state]++
			inRead, inDirty = inRead[1:], inDirty[1:]
		}
	}
}

// check judges what the two maps are to each other: sync/map.go.
func (s *Maps) check(w *walk) {
	if w.m.Busy || len(w.errs) > 0 {
		return
	}
	at := w.m.Addr
	switch {
	case s.Dirty.Header.Addr != 0:
	case s.Amended:
		w.broken("amended", at, "the map is amended, but dirty is nil")
	case s.Expunged > 0:
		w.broken("expunged", at, "%d entries are expunged, but dirty is nil", s.Expunged)
	}
	if s.Misses < 0 || s.Misses > 0 && s.Misses >= s.Dirty.Len {
		w.broken("misses", at, "%d misses with %d keys in dirty: it should have become read", s.Misses, s.Dirty.Len)
	}
}
