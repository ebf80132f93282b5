package report

import (
	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// item is a row of a document: a map, or a sync.Map.
type item struct {
	f *census.Found
	s *census.SyncMap
}

// items are all that a census has found, the maps first.
func items(res *census.Result) []item {
	list := make([]item, 0, len(res.Maps)+len(res.SyncMaps))
	for _, f := range res.Maps {
		list = append(list, item{f: f})
	}
	for _, s := range res.SyncMaps {
		list = append(list, item{s: s})
	}
	return list
}

func (r item) addr() hmap.Addr {
	if r.s != nil {
		return r.s.Addr
	}
	return r.f.Header.Addr
}

func (r item) typeName() string {
	if r.s != nil {
		return r.s.Layout.Type.Name
	}
	return r.f.Type.Name
}

func (r item) holders() []census.Holder {
	if r.s != nil {
		return []census.Holder{r.s.Holder}
	}
	return r.f.Holders
}

// paths are those of the holders. They are read from the target's memory, by one
// goroutine at a time.
func (r item) paths() []string {
	hs := r.holders()
	ps := make([]string, len(hs))
	for i := range hs {
		ps[i] = hs[i].Path()
	}
	return ps
}

func (r item) len() int64 {
	if r.s != nil {
		return r.s.Len
	}
	return r.f.Header.Len() // a corrupt header may say less than nothing
}

// slots of a hash-trie are the children of its indirect nodes, those of the older
// design the slots of both maps.
func (r item) slots() int64 {
	switch {
	case r.s == nil:
		return r.f.Slots
	case r.s.Trie != nil:
		return r.s.Trie.Indirects * int64(r.s.Layout.Fanout())
	}
	return r.s.Maps.Read.Slots + r.s.Maps.Dirty.Slots
}

func (r item) bytes() int64 {
	if r.s != nil {
		return r.s.Own()
	}
	return r.f.Bytes
}

func (r item) wasted() int64 {
	if r.s != nil {
		return 0
	}
	return r.f.Wasted
}

func (r item) shared() bool  { return r.f != nil && r.f.Shared() }
func (r item) growing() bool { return r.f != nil && r.f.Growing() }

func (r item) errors() []error {
	if r.s != nil {
		return r.s.Errors
	}
	return r.f.Errors
}

func (r item) broken() []hmap.Broken {
	if r.s != nil {
		return r.s.Broken
	}
	return r.f.Broken
}
