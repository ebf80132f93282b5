package census

import (
	"slices"

	"hmaptools/internal/hmap"
	"hmaptools/internal/syncmap"
)

// SyncMap is a sync.Map that was used, or the hash-trie that one consists of since Go
// 1.24 where a program has one by itself. The maps inside one of the older design are
// among Result.Maps too.
type SyncMap struct {
	*syncmap.Map
	// Holder is the variable, field or element that it is: it lies there by value.
	Holder Holder
	Errors []error // what could not be read

	keys, elems *plan // nil: they lead nowhere
}

// Own is the memory of the map without the maps inside it, in bytes.
func (m *SyncMap) Own() int64 {
	n := m.Bytes
	if in := m.Maps; in != nil {
		n -= in.Read.Bytes + in.Dirty.Bytes
	}
	return n
}

// syncType is what is known of the sync.Maps of one type.
type syncType struct {
	layout      *syncmap.Layout // nil: it cannot be read
	keys, elems *plan
	hash        func(key []byte, seed uint64) (hash uint64, ok bool)
}

// syncMap looks at a sync.Map and queues its entries. In the older design they are in
// ordinary maps too, which are met by their types.
func (w *walk) syncMap(from nodeID, r *ref, s *sighting) {
	at := hmap.Addr(s.addr)
	if at == 0 || w.syncs[at] {
		return
	}
	st := w.syncType(r.t)
	if st.layout == nil {
		return
	}
	w.syncs[at] = true
	m, err := syncmap.Inspect(w.src.Memory, st.layout, at, syncmap.Options{Hash: st.hash})
	if in := m.Maps; m.Len == 0 && err == nil && len(m.Broken) == 0 {
		if in != nil && in.ReadOnly == 0 && in.Dirty.Header.Addr == 0 || m.Trie != nil && m.Trie.Root == 0 {
			return // nothing was ever stored
		}
	}
	n := w.paths.child(from, r, s.index)
	x := &SyncMap{Map: m, Holder: Holder{Kind: s.kind, Type: r.t, Addr: at, paths: &w.paths, node: n}, keys: st.keys, elems: st.elems}
	if err != nil {
		x.Errors = []error{err}
	}
	w.res.SyncMaps = append(w.res.SyncMaps, x)
	if m.Len > 0 && (x.keys != nil || x.elems != nil) {
		w.queue = append(w.queue, item{addr: s.addr, node: n, more: &more{sync: x}})
	}
}

func (w *walk) syncType(t *hmap.Type) *syncType {
	if st := w.syncTypes[t]; st != nil {
		return st
	}
	st := &syncType{}
	w.syncTypes[t] = st
	l, err := syncmap.LayoutOf(w.src.Types, t)
	if err != nil {
		w.fail(err)
		return st
	}
	st.layout = l
	st.keys, st.elems = w.entryPlans(l.Key, l.Value)
	if w.opts.Hashes {
		st.hash = syncmap.Hash(w.src.Memory, w.src.Types, w.src.Arch, l.Key)
	}
	return st
}

// syncEntries looks at the keys and values of a sync.Map.
func (s *scanner) syncEntries(it *item, i int32) {
	m := it.more.sync
	err := syncmap.Entries(s.src.Memory, m.Map, func(e *syncmap.Entry) error {
		if p := m.elems; p != nil && int64(len(e.Value)) >= p.size {
			s.value(p, e.Value, uint64(e.ValueAt), int64(e.KeyAt), MapValue, i)
		}
		if p := m.keys; p != nil && int64(len(e.Key)) >= p.size {
			s.value(p, e.Key, uint64(e.KeyAt), int64(e.KeyAt), MapKey, i)
		}
		if len(s.out.seen) >= maxSightings {
			s.flush(false)
		}
		return nil
	})
	if err != nil && len(m.Errors) == 0 {
		s.out.errs = append(s.out.errs, findError{i, it.addr, err})
	}
}

// sortSync puts the sync.Maps in the order of their addresses.
func (w *walk) sortSync() {
	slices.SortFunc(w.res.SyncMaps, func(a, b *SyncMap) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
}
