package report

import (
	"fmt"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// notes says in words what is remarkable about a map.
func notes(f *census.Found) []Note {
	ns := []Note{}
	add := func(code, format string, args ...any) { ns = append(ns, Note{code, fmt.Sprintf(format, args...)}) }
	l := f.Layout
	if f.Complete && f.Wasted > 4096 && f.Wasted > f.Bytes/2 {
		add("sparse", "a copy into make(%s, %d) would take %s instead of %s",
			f.Type, f.Len, Bytes(f.Bytes-f.Wasted), Bytes(f.Bytes))
	}
	if f.Tombstones > 0 && f.Tombstones*8 >= f.Slots {
		add("tombstones", "%d of %d slots are tombstones: deleted, but not empty", f.Tombstones, f.Slots)
	}
	if g := f.Growth; g != nil && g.State != hmap.Idle {
		add("growing", "%s", evacuation(g))
	}
	if o := f.Overflow; o != nil && o.Buckets > 0 && o.Buckets*int64(l.Block.Slots)*2 > f.Slots {
		add("overflow-heavy", "%d overflow buckets, up to %d behind one bucket", o.Buckets, o.LongestChain)
	}
	if skew := directorySkew(f); skew > 0 {
		add("directory-skew", "%d directory entries point at %d tables", f.Header.DirLen, skew)
	}
	switch b := l.Block; {
	case b.IndirectKey && b.IndirectElem:
		add("indirect", "keys and elems of more than 128 bytes are allocated one by one")
	case b.IndirectKey:
		add("indirect", "keys of more than 128 bytes are allocated one by one")
	case b.IndirectElem:
		add("indirect", "elems of more than 128 bytes are allocated one by one")
	}
	if len(f.Goroutines) > 1 {
		add("shared-across-goroutines", "held in the frames of %d goroutines", len(f.Goroutines))
	}
	if f.Busy {
		add("writing", "a writer is inside: the invariants were not judged")
	}
	return ns
}

// evacuation says how far an evacuation is, and what the next writes will do.
func evacuation(g *hmap.Growth) string {
	s := fmt.Sprintf("%d of %d old buckets are evacuated", g.Evacuated, g.OldBuckets)
	if g.State == hmap.Double {
		s += fmt.Sprintf(" (x, the lower half of the new ones, holds %d entries, y %d)", g.X, g.Y)
	}
	least, most := g.Writes()
	s += fmt.Sprintf("; the next write evacuates the old bucket of its key and old bucket %d; after %d to %d writes none is left", g.Next, least, most)
	return s + ", reads evacuate nothing"
}

// directorySkew returns the number of tables of a map whose directory is four
// times as long or more: a few tables have split far deeper than the others.
func directorySkew(f *census.Found) int64 {
	n := int64(len(f.Tables))
	if n > 0 && f.Header.DirLen >= 4*n {
		return n
	}
	return 0
}

// Bytes prints a size as people say it.
func Bytes(n int64) string {
	const unit = 1024
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%.1f KiB", float64(n)/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.1f MiB", float64(n)/unit/unit)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/unit/unit/unit)
}
