package report

import (
	"fmt"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/syncmap"
)

// Sync is the state of a sync.Map, or of the hash-trie that one consists of since Go
// 1.24.
type Sync struct {
	Design string `json:"design"` // read-dirty, hash-trie
	Busy   bool   `json:"busy"`   // a goroutine holds its mutex, or waits for it

	// Of read-dirty: Read and Dirty are the headers of the maps inside it, which are
	// listed too.
	Read     hmap.Addr `json:"read,omitzero"`
	Dirty    hmap.Addr `json:"dirty,omitzero"`
	ReadLen  int64     `json:"read_len"`
	DirtyLen int64     `json:"dirty_len"`
	Amended  bool      `json:"amended"`
	Misses   int64     `json:"misses"`
	Deleted  int64     `json:"deleted"`
	Expunged int64     `json:"expunged"`

	// Of hash-trie:
	Root         hmap.Addr `json:"root,omitzero"`
	Depth        int       `json:"depth"`
	Indirects    int64     `json:"indirect_nodes"`
	Entries      int64     `json:"entry_nodes"`
	Overflow     int64     `json:"overflow_nodes"`
	LongestChain int64     `json:"longest_chain"`
	Levels       []Level   `json:"levels,omitempty"`
}

// Level is a level of a hash-trie: its indirect nodes, and the entries below them.
type Level struct {
	Indirects int64 `json:"indirect_nodes"`
	Entries   int64 `json:"entry_nodes"`
}

func buildSync(m *Map, s *census.SyncMap) {
	r := item{s: s}
	m.Addr, m.Type, m.Generation, m.Variant = s.Addr, r.typeName(), s.Layout.Design.String(), "sync.Map"
	m.Len, m.Slots, m.Bytes = r.len(), r.slots(), r.bytes()
	m.Goroutines, m.found = []int64{}, found{sync: s}
	m.Sync = &Sync{Design: s.Layout.Design.String(), Busy: s.Busy}
	if m.Slots > 0 {
		m.Load = round(float64(m.Len) / float64(m.Slots))
	}
	x := m.Sync
	if in := s.Maps; in != nil {
		x.Read, x.Dirty = in.Read.Header.Addr, in.Dirty.Header.Addr
		x.ReadLen, x.DirtyLen = in.Read.Header.Len(), in.Dirty.Header.Len()
		x.Amended, x.Misses, x.Deleted, x.Expunged = in.Amended, in.Misses, in.Deleted, in.Expunged
		m.Header = append(m.Header, Field{"read", in.ReadOnly}, Field{"dirty", in.Dirty.Header.Addr}, Field{"misses", in.Misses})
	}
	if t := s.Trie; t != nil {
		x.Root, x.Depth, x.Indirects, x.Entries, x.Overflow, x.LongestChain = t.Root, t.Depth(), t.Indirects, t.Entries, t.Overflow, t.LongestChain
		for _, l := range t.Levels {
			x.Levels = append(x.Levels, Level(l))
		}
		m.Header = append(m.Header, Field{"root", t.Root}, Field{"seed", hmap.Addr(t.Seed)})
	}
	m.Notes = syncNotes(s)
}

// state says in a few words how the map is.
func (x *Sync) state() string {
	if x.Design == syncmap.HashTrie.String() {
		s := fmt.Sprintf("hash-trie: depth %d, %s, %s", x.Depth, plural(x.Indirects, "indirect node"), plural2(x.Entries+x.Overflow, "entry", "entries"))
		if x.Overflow > 0 {
			s += fmt.Sprintf(", %d of them in overflow chains", x.Overflow)
		}
		return s
	}
	s := fmt.Sprintf("read-dirty: %d keys in read", x.ReadLen)
	if x.Amended {
		s += fmt.Sprintf(", %d in dirty, amended, %s", x.DirtyLen, plural2(x.Misses, "miss", "misses"))
	}
	if x.Deleted > 0 {
		s += fmt.Sprintf(", %d deleted", x.Deleted)
	}
	if x.Expunged > 0 {
		s += fmt.Sprintf(", %d expunged", x.Expunged)
	}
	return s
}

func syncNotes(s *census.SyncMap) []Note {
	ns := []Note{}
	add := func(code, format string, args ...any) { ns = append(ns, Note{code, fmt.Sprintf(format, args...)}) }
	if in := s.Maps; in != nil {
		if in.Amended {
			add("amended", "dirty has keys that read has not: a load of such a key takes the mutex, and after %s more dirty becomes read",
				plural2(max(in.Dirty.Header.Len()-in.Misses, 1), "miss", "misses"))
		}
		if gone := in.Deleted + in.Expunged; gone > 0 {
			add("tombstones", "%s of deleted keys stay until dirty has become read and a new key is stored", plural2(gone, "entry", "entries"))
		}
	}
	if t := s.Trie; t != nil && t.LongestChain > 0 {
		add("overflow-heavy", "keys with one hash form chains, the longest of %d entries: equal numbers of different types do", t.LongestChain+1)
	}
	if s.Busy {
		add("writing", "a goroutine holds a mutex of it, or waits for one")
	}
	return ns
}

// drawSync is the picture of a sync.Map.
func (p *picture) drawSync(m *Map) {
	s := m.found.sync
	p.printf("%s at %s, %s\n", m.Type, m.Addr, m.Sync.Design)
	for _, h := range m.Holders {
		p.printf("%-9s %s\n", "lies at", h.String())
	}
	p.printf("\n")
	p.para("entries", fmt.Sprintf("%d that Range would visit", m.Len))
	p.para("state", m.Sync.state())
	p.para("memory", Bytes(m.Bytes))
	if in := s.Maps; in != nil {
		for _, x := range []struct {
			name string
			m    *hmap.Map
		}{{"read", in.Read}, {"dirty", in.Dirty}} {
			if x.m.Header.Addr == 0 {
				p.para(x.name, "nil")
				continue
			}
			p.para(x.name, fmt.Sprintf("a map at %s: %d of %d slots, %s", x.m.Header.Addr, x.m.Header.Len(), x.m.Slots, Bytes(x.m.Bytes)))
		}
	}
	if len(m.Sync.Levels) > 0 {
		p.printf("\n%-9s %5s %14s %8s\n", "levels", "level", "indirect nodes", "entries")
		for i, l := range m.Sync.Levels {
			p.printf("%-9s %5d %14d %8d\n", "", i, l.Indirects, l.Entries)
		}
	}
	for _, n := range m.Notes {
		p.para("note", n.Text)
	}
	p.check(m)
	for _, b := range m.Slot {
		for _, slot := range b.Slots {
			p.printf("  %s: %s\n", slot.Key, slot.Elem)
		}
	}
}

// addEntries adds the entries of a sync.Map.
func (m *Map) addEntries(mem hmap.Memory, f *hmap.Formatter) {
	s := m.found.sync
	b := SlotBlock{Addr: m.Addr, Slots: []Slot{}}
	err := syncmap.Entries(mem, s.Map, func(e *syncmap.Entry) error {
		b.Slots = append(b.Slots, Slot{len(b.Slots), f.Format(s.Layout.Key, e.Key), f.Format(s.Layout.Value, e.Value)})
		return nil
	})
	if len(b.Slots) > 0 {
		m.Slot = append(m.Slot, b)
	}
	if err != nil {
		m.Errors = append(m.Errors, strings.Split(err.Error(), "\n")...)
	}
}
