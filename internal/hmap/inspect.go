package hmap

import (
	"errors"
	"fmt"
	"slices"
)

// Map is what [Inspect] found out about one map.
type Map struct {
	Header Header
	Type   *Type
	Layout *Layout

	// Len is the number of entries that were counted in the slots; Header.Len
	// is what the header states. They differ when memory is torn or corrupt,
	// or was only read in part.
	Len int64
	// Slots is how many entries the map has room for where it lies: slots of
	// all tables (Swiss), of the bucket array without overflow buckets
	// (Classic).
	Slots int64
	// Tombstones are deleted slots that are not empty again (Swiss).
	Tombstones int64
	// Bytes is the memory of the whole map as the allocator rounds it: header,
	// directory, tables, groups; bucket arrays, overflow buckets, extra; and
	// keys and elems that slots only point at. What keys and elems themselves
	// point at (strings, slices) is not the map's.
	Bytes int64
	// Wasted is Bytes less what a fresh map made with make(map, len) and filled
	// with the same entries would take; at least 0. See [Layout.FreshBytes].
	Wasted int64
	// GrowIn is how many inserts of new keys are certain not to make the map,
	// or any of its tables, grow, be it to the same size: whatever the keys are,
	// and without deletes in between. The one behind them may.
	GrowIn int64

	Growth   *Growth   // Classic
	Overflow *Overflow // Classic
	Tables   []Table   // Swiss, in the order of the directory; empty for a small map
	Groups   int64     // Swiss

	// Broken are the invariants of the runtime that do not hold.
	Broken []Broken
	// Busy says that a writer was inside: invariants may then be broken for a
	// moment, and are not judged.
	Busy bool
	// Complete says that all of the map's memory could be read.
	Complete bool

	rec []byte // the header as it lies in memory
}

// Fields are all fields of the header in the order of memory, those that this
// package does not interpret included. A nil map has none.
func (m *Map) Fields() []Value { return m.AppendFields(nil) }

// AppendFields appends what Fields returns.
func (m *Map) AppendFields(vs []Value) []Value {
	if m.rec == nil {
		return vs
	}
	vs = slices.Grow(vs, len(m.Layout.Header.Fields))
	for _, f := range m.Layout.Header.Fields {
		vs = append(vs, Value{f, f.Uint(m.rec)})
	}
	return vs
}

// Load is the share of Slots that is full, from 0 to 1; a Classic map with
// overflow buckets can exceed 1.
func (m *Map) Load() float64 {
	if m.Slots == 0 {
		return 0
	}
	return float64(m.Len) / float64(m.Slots)
}

// Growing reports whether an evacuation is in progress.
func (m *Map) Growing() bool { return m.Growth != nil && m.Growth.State != Idle }

// Growth is the state of a Classic map's growth.
type Growth struct {
	State      GrowthState
	OldBuckets int64 // buckets of the old array; 0 when idle
	Evacuated  int64 // of these, how many have been evacuated
	Old        Addr
	// X and Y are how many entries the lower and the upper half of the new array hold
	// while it is doubled. runtime/map.go calls the halves so: what was in bucket i goes
	// to bucket i of X or to bucket i of Y, by one more bit of the hash.
	X, Y int64
	// Next is the next old bucket that a write evacuates besides the one of its own
	// key: hmap.nevacuate.
	Next int64
}

// Writes is how many more writes (assignments and deletions) end the evacuation: each
// evacuates the old bucket of its key, if that is still to do, and then the next one
// (growWork of runtime/map.go). least is when all keys fall into buckets that are
// still to do, most when none does.
func (g *Growth) Writes() (least, most int64) {
	left := g.OldBuckets - g.Evacuated
	return (left + 1) / 2, left
}

// GrowthState is how a Classic map is growing.
type GrowthState uint8

const (
	Idle     GrowthState = iota
	Double               // into twice as many buckets: the load factor was exceeded
	SameSize             // into as many: too many overflow buckets
)

func (s GrowthState) String() string { return [...]string{"idle", "double", "same-size"}[s] }

// Overflow describes the overflow buckets of a Classic map.
type Overflow struct {
	Buckets      int64 // linked to the buckets, and to old buckets not yet evacuated
	LongestChain int64 // the most behind one bucket
	Prealloc     int64 // overflow buckets that were allocated with the array, used or not
}

// Table is a table of a Swiss map.
type Table struct {
	Addr       Addr
	Index      int64 // of its first entry in the directory
	Entries    int64 // directory entries that point at it
	LocalDepth uint8
	Used       uint16
	Capacity   uint16 // slots
	GrowthLeft uint16 // empty slots that may be filled before it grows
	Tombstones int64
	Groups     Addr

	groups int64 // that were read
}

// Broken is an invariant that does not hold.
type Broken struct {
	Rule   string // a short name: "count", "growth-left"
	Addr   Addr   // of what breaks it
	Detail string // wanted and got
}

func (b Broken) String() string { return fmt.Sprintf("%s: %s (at %s)", b.Rule, b.Detail, b.Addr) }

const (
	// maxBroken bounds Map.Broken for each rule: corrupt memory breaks everything,
	// and one rule must not hide the other.
	maxBroken = 16
	// maxErrors bounds the errors.
	maxErrors = 64
)

// Options say what Inspect does beyond counting.
type Options struct {
	// Hash computes the runtime's hash of a key under the map's seed. Where it
	// is set, every key is checked against its tophash or control byte and its
	// place. Nil where the hash cannot be had.
	Hash func(key []byte, seed uint64) (hash uint64, ok bool)
}

// Inspect reads the whole map behind the header at addr once, in large reads,
// and returns its statistics and the invariants that it breaks. t must be a map
// type. The memory held is that of a chunk (256 KiB), or of one table, plus some
// bytes for each table and each overflow bucket.
//
// On errors the Map holds what was read; errors.Join tells all of them. Only
// when the layout is unknown is the Map nil. A header address of 0, a nil map,
// gives an empty complete Map.
func Inspect(mem Memory, t *Type, addr Addr, opts Options) (*Map, error) {
	var in Inspector
	return in.Inspect(mem, t, addr, opts)
}

// Inspector inspects one map after another and keeps its buffers in between: most of
// the work on a small map is to allocate them. The zero value is ready for use, by one
// goroutine at a time.
type Inspector struct {
	last    inspector
	records []byte // what is left for the bytes of headers
	// recordsNext is how many were allocated last.
	recordsNext int
	// fresh is FreshBytes of small maps of one layout, 0 where it was not asked for.
	fresh  [64]int64
	layout *Layout
}

// freshBytes is l.FreshBytes(n).
func (i *Inspector) freshBytes(l *Layout, n int64) int64 {
	if n < 0 || n >= int64(len(i.fresh)) {
		return l.FreshBytes(n)
	}
	if i.layout != l {
		i.layout, i.fresh = l, [64]int64{}
	}
	if i.fresh[n] == 0 {
		i.fresh[n] = l.FreshBytes(n)
	}
	return i.fresh[n]
}

// Inspect does what the function [Inspect] does.
func (i *Inspector) Inspect(mem Memory, t *Type, addr Addr, opts Options) (*Map, error) {
	if _, err := t.Layout(); err != nil {
		return nil, err
	}
	m := new(Map)
	return m, i.InspectInto(m, mem, t, addr, opts)
}

// InspectInto does what the function [Inspect] does, and sets *m, which the caller may
// have allocated with others. It fails with a zero Map when the layout is unknown.
//
// Several Inspectors may read maps of one type at a time if t.Layout has been called
// before, and Pointers on its key and elem.
func (i *Inspector) InspectInto(m *Map, mem Memory, t *Type, addr Addr, opts Options) error {
	l, err := t.Layout()
	if err != nil {
		*m = Map{}
		return err
	}
	*m = Map{Type: t, Layout: l, Header: Header{Addr: addr, Generation: l.Generation}}
	if addr == 0 {
		m.Complete = true
		return nil
	}
	rec := i.record(l.Header.Size)
	if err := read(mem, "header", rec, addr); err != nil {
		return err
	}
	m.Header = l.decodeHeader(addr, rec)
	m.rec = rec
	in := &i.last
	*in = inspector{mem: mem, l: l, m: m, opts: opts, buf: in.buf}
	m.Busy = m.Header.WriterInside(l.Consts)
	m.Bytes = int64(l.Alloc.RoundUp(uint64(l.Header.Size), true))
	if l.Generation == Classic {
		in.classic()
	} else {
		in.swiss()
	}
	in.indirect()
	if len(in.errs) == 0 {
		m.Complete = true
		in.count()
		m.Wasted = max(0, m.Bytes-i.freshBytes(l, m.Len))
	}
	if m.Busy {
		m.Broken = nil
	}
	return errors.Join(in.errs...)
}

// maxRecords bounds the bytes of the headers that are allocated together.
const maxRecords = 8 << 10

// record allocates the bytes of a header: one alone, then more and more together.
func (i *Inspector) record(n int) []byte {
	if cap(i.records) < n {
		i.recordsNext = min(max(n, 2*i.recordsNext), max(n, maxRecords))
		i.records = make([]byte, i.recordsNext)
	}
	rec := i.records[:n:n]
	i.records = i.records[n:]
	return rec
}

// inspector is one run of Inspect.
type inspector struct {
	mem  Memory
	l    *Layout
	m    *Map
	opts Options
	buf  []byte
	errs []error
	// behind is how many bytes behind each block are held with it.
	behind int
	// brokenBy counts Broken by rule.
	brokenBy map[string]int
	// tablesSeen are the tables that a directory entry pointed at before.
	tablesSeen map[Addr]bool
}

func (in *inspector) fail(err error) {
	if len(in.errs) < maxErrors {
		in.errs = append(in.errs, err)
	}
}

// hopeless says that so much could not be read that the rest is not tried: a
// torn directory can hold millions of pointers into nowhere.
func (in *inspector) hopeless() bool { return len(in.errs) >= maxErrors }

func (in *inspector) broken(rule string, at Addr, format string, args ...any) {
	if in.brokenBy == nil {
		in.brokenBy = map[string]int{}
	}
	if in.brokenBy[rule]++; in.brokenBy[rule] <= maxBroken {
		in.m.Broken = append(in.m.Broken, Broken{rule, at, fmt.Sprintf(format, args...)})
	}
}

// indirect adds the memory of keys and elems that slots only point at.
func (in *inspector) indirect() {
	l := in.l
	if l.Block.IndirectKey {
		in.m.Bytes += in.m.Len * int64(l.Alloc.RoundUp(uint64(l.Key.Size), l.Key.Pointers()))
	}
	if l.Block.IndirectElem {
		in.m.Bytes += in.m.Len * int64(l.Alloc.RoundUp(uint64(l.Elem.Size), l.Elem.Pointers()))
	}
}

// count checks the number of entries (Swiss: Map.checkInvariants adds up the
// tables; Classic: every iteration relies on it).
func (in *inspector) count() {
	if got := in.m.Header.Len(); got != in.m.Len {
		in.broken("count", in.m.Header.Addr, "the header says %d entries, the slots hold %d", got, in.m.Len)
	}
}

// blocks reads n blocks from addr in chunks and calls look with each chunk: its
// address, the number of its first block, and whole blocks of data, valid only
// during the call. It stops at the first error.
func (in *inspector) blocks(what string, addr Addr, n int64, look func(at Addr, first int64, data []byte)) bool {
	size := int64(in.l.Block.Size)
	per := max(1, chunkBytes/(size+int64(in.behind)))
	for i := int64(0); i < n; i += per {
		k := min(per, n-i)
		if need := int(k * size); cap(in.buf) < need {
			in.buf = make([]byte, need)
		}
		data := in.buf[:k*size]
		at := addr + Addr(i*size)
		if err := read(in.mem, what, data, at); err != nil {
			in.fail(err)
			return false
		}
		look(at, i, data)
	}
	return true
}
