package syncmap

import (
	"errors"
	"fmt"

	"hmaptools/internal/hmap"
)

// Map is what [Inspect] found out about one sync.Map or HashTrieMap.
type Map struct {
	Addr   hmap.Addr
	Layout *Layout

	// Len is how many entries are live: what Range would visit.
	Len int64
	// Bytes is the memory of the map as the allocator rounds it: the value itself
	// (not rounded: it lies in a variable or a struct), and the inner maps, entries
	// and values' interface words, or the nodes, behind it. What keys and values
	// point at is not the map's.
	Bytes int64
	// Busy says that a goroutine holds one of the map's mutexes, or waits for it.
	Busy bool

	Maps *Maps // the read-dirty design
	Trie *Trie // the hash-trie

	// Broken are the invariants of package sync that do not hold, those of the
	// inner maps included. What a goroutine breaks for a moment is not judged while
	// it holds the mutex.
	Broken []hmap.Broken
	// Complete says that all of the map's memory could be read.
	Complete bool
}

// Maps is the state of a read-dirty map.
type Maps struct {
	// Read and Dirty are the inner maps: their headers, types and statistics. A nil
	// map has a header at address 0.
	Read, Dirty *hmap.Map
	// ReadOnly is where the readOnly struct lies that holds Read; 0 if nothing was
	// ever stored.
	ReadOnly hmap.Addr
	Amended  bool  // Dirty holds keys that Read does not
	Misses   int64 // loads that had to look into Dirty since it was made; as many as it has keys make it Read
	Deleted  int64 // entries without a value, in either map, but the expunged
	Expunged int64 // entries that are deleted, and that Dirty was made without
}

// Trie is the state of a hash-trie.
type Trie struct {
	Root hmap.Addr // 0 before the first use
	Seed uint64    // of the hash
	// Levels are the levels of the tree from the root down.
	Levels []Level
	// Indirects is how many indirect nodes there are, Entries how many entries that
	// are children of one, and Overflow how many are behind these in chains.
	Indirects, Entries, Overflow int64
	LongestChain                 int64 // the most entries behind one
}

// Depth is how many indirect nodes lie on the longest path, the root included.
func (t *Trie) Depth() int { return len(t.Levels) }

// Level is a level of a hash-trie: its indirect nodes, and the entries that are
// their children.
type Level struct{ Indirects, Entries int64 }

const (
	// maxBroken bounds Map.Broken for each rule, and maxErrors the errors: corrupt
	// memory breaks everything.
	maxBroken = 16
	maxErrors = 64
)

// Options say what Inspect does beyond counting.
type Options struct {
	// Hash computes the runtime's hash of a key under a seed: see [Hash]. Where it is
	// set, every key is checked against its place. Nil where the hash cannot be had.
	Hash func(key []byte, seed uint64) (hash uint64, ok bool)
}

// Inspect reads the map of layout l at addr, and returns its statistics and the
// invariants that it breaks. It reads what is scattered in the order of addresses,
// neighbours together. The memory held is 24 bytes for each node of a level of a
// hash-trie, some 100 MiB at most, and 16 bytes for each entry of a read-dirty map
// while it has a dirty map.
//
// On errors the Map, never nil, holds what was read, and the errors are joined.
func Inspect(mem hmap.Memory, l *Layout, addr hmap.Addr, opts Options) (*Map, error) {
	w := &walk{mem: mem, l: l, m: &Map{Addr: addr, Layout: l}, hash: opts.Hash}
	w.m.Bytes = int64(l.size)
	w.run()
	w.m.Complete = len(w.errs) == 0
	return w.m, errors.Join(w.errs...)
}

// An Entry is a key with its value, as [Entries] meets it.
type Entry struct {
	// Key and Value are the bytes of either, of the types Layout.Key and
	// Layout.Value: for those of a sync.Map the two words of the interface. They are
	// valid during the call.
	Key, Value []byte
	// KeyAt and ValueAt are where these bytes lie.
	KeyAt, ValueAt hmap.Addr
	At             hmap.Addr // of the entry
	// Level is how many indirect nodes are above the entry, and Chain its place in
	// an overflow chain, 0 for the first: in a hash-trie.
	Level, Chain int
}

// Entries calls visit for every live entry of the map behind m, which Inspect
// returned: what Range would visit, in an order that depends on addresses alone. It
// ends with the first error of visit, which it returns unless it is [hmap.ErrStop]; memory
// that cannot be read is left out and told of at the end. It holds as much memory as
// Inspect.
func Entries(mem hmap.Memory, m *Map, visit func(e *Entry) error) error {
	w := &walk{mem: mem, l: m.Layout, m: &Map{Addr: m.Addr, Layout: m.Layout}, visit: visit}
	w.run()
	if w.stop == hmap.ErrStop {
		w.stop = nil
	}
	return errors.Join(w.stop, errors.Join(w.errs...))
}

// walk is one run through a map.
type walk struct {
	mem   hmap.Memory
	l     *Layout
	m     *Map
	hash  func(key []byte, seed uint64) (uint64, bool)
	visit func(*Entry) error
	entry Entry
	stop  error // of visit
	errs  []error
	// brokenBy counts Broken by rule.
	brokenBy map[string]int
	rec      []byte // the value itself
}

func (w *walk) run() {
	w.rec = make([]byte, w.l.size)
	if err := read(w.mem, "sync.Map", w.rec, w.m.Addr); err != nil {
		w.fail(err)
		w.rec = nil
	}
	if w.l.Design == ReadDirty {
		w.maps()
	} else {
		(&trieWalk{walk: w}).run()
	}
}

func (w *walk) fail(err error) {
	if len(w.errs) < maxErrors {
		w.errs = append(w.errs, err)
	}
}

// over says that the walk ends: visit wants no more, or so much could not be read
// that the rest is not tried.
func (w *walk) over() bool { return w.stop != nil || len(w.errs) >= maxErrors }

// meet calls visit.
func (w *walk) meet(e Entry) {
	if w.visit != nil && w.stop == nil {
		w.entry = e
		w.stop = w.visit(&w.entry)
	}
}

func (w *walk) broken(rule string, at hmap.Addr, format string, args ...any) {
	if w.brokenBy == nil {
		w.brokenBy = map[string]int{}
	}
	if w.brokenBy[rule]++; w.brokenBy[rule] <= maxBroken {
		w.m.Broken = append(w.m.Broken, hmap.Broken{Rule: rule, Addr: at, Detail: fmt.Sprintf(format, args...)})
	}
}

// flag reads a bool: broken, and true, if it is neither 0 nor 1.
func (w *walk) flag(f hmap.RecordField, rec []byte, at hmap.Addr) bool {
	x := f.Uint(rec)
	if x > 1 {
		w.broken("bool", at+hmap.Addr(f.Off), "%s is %#x", f.Name, x)
	}
	return x != 0
}
