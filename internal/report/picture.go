package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"hmaptools/internal/hmap"
)

// maxRows is how many tables the picture lists; JSON has all of them.
const maxRows = 32

// Picture writes everything that is known of every map in the document: the
// header with the meaning of its fields, load, growth, tables, holders, and the
// slots if AddSlots was called.
func (d *Document) Picture(out io.Writer) error {
	p := &picture{bufio.NewWriter(out)}
	p.printf("%s\n", d.headline())
	for m := range d.listed() {
		p.printf("\n")
		p.draw(m)
	}
	return p.w.Flush()
}

type picture struct{ w *bufio.Writer }

func (p *picture) printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

// para writes a label and a text that wraps beside it.
func (p *picture) para(label, text string) {
	for i, line := range wrap(strings.Fields(text), width-10) {
		if i > 0 {
			label = ""
		}
		p.printf("%-9s %s\n", label, line)
	}
}

func (p *picture) draw(m *Map) {
	if m.Sync != nil {
		p.drawSync(m)
		return
	}
	f := m.found
	p.printf("%s at %s, %s\n", m.Type, m.Addr, design(f.Layout))
	label := "held by"
	for _, h := range m.Holders {
		p.printf("%-9s %s\n", label, h.String())
		label = ""
	}
	p.printf("\n")
	p.header(m)
	p.printf("\n")
	p.para("load", fmt.Sprintf("%s %s  %d of %d slots", bar(m.Load), percent(m.Load), m.Len, m.Slots)+tombstones(m))
	p.para("memory", fmt.Sprintf("%s, of which %s wasted: make(%s, %d) would take %s",
		Bytes(m.Bytes), Bytes(m.Wasted), m.Type, m.Len, Bytes(m.Bytes-m.Wasted)))
	p.growth(m)
	p.tables(m)
	for _, n := range m.Notes {
		if n.Code != "growing" && n.Code != "overflow-heavy" { // said above
			p.para("note", n.Text)
		}
	}
	p.check(m)
	p.slots(m)
}

// check says which invariants are broken, and what could not be read.
func (p *picture) check(m *Map) {
	var busy, complete bool
	if s := m.found.sync; s != nil {
		busy, complete = s.Busy, s.Complete
	} else {
		busy, complete = m.found.Busy, m.found.Complete
	}
	switch {
	case len(m.Broken) > 0:
		for _, b := range m.Broken {
			p.para("BROKEN", b)
		}
	case busy:
	case complete:
		p.para("check", "every invariant that the runtime itself checks holds")
	}
	for _, e := range m.Errors {
		p.para("ERROR", e)
	}
}

func design(l *hmap.Layout) string {
	switch l.Variant {
	case hmap.Bucket:
		return "Classic: buckets of 8 slots"
	case hmap.SplitGroup:
		return "Swiss: groups of 8 slots, keys together, then elems"
	}
	return "Swiss: groups of 8 slots"
}

func (h *Holder) String() string {
	s := h.Path + " (" + h.Kind
	if h.Func != "" {
		s += fmt.Sprintf(", %s, goroutine %d, %s:%d", shortFunc(h.Func), h.Goroutine, base(h.File), h.Line)
	}
	if h.Addr != 0 {
		s += ", word at " + h.Addr.String()
	}
	return s + ")"
}

// bar draws a load from 0 to 1 in 32 cells.
func bar(load float64) string {
	n := min(32, int(load*32+0.5))
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", 32-n) + "]"
}

func tombstones(m *Map) string {
	if m.Tombstones == 0 {
		return ""
	}
	return ", " + plural(m.Tombstones, "tombstone")
}

// meanings of header fields, in the words of runtime/map.go and
// internal/runtime/maps/map.go.
var meanings = map[string]string{
	"count":             "entries: what len() returns",
	"flags":             "state bits",
	"B":                 "log2 of the number of buckets",
	"noverflow":         "overflow buckets (an estimate from B 16 on)",
	"hash0":             "hash seed",
	"buckets":           "the array of 2^B buckets",
	"oldbuckets":        "the previous array, while it is being evacuated",
	"nevacuate":         "every old bucket below this one is evacuated",
	"extra":             "bookkeeping of overflow buckets",
	"used":              "entries: what len() returns",
	"seed":              "hash seed",
	"dirLen":            "pointers to tables in the directory",
	"globalDepth":       "bits of the hash that select the table",
	"globalShift":       "the hash is shifted by this to select the table",
	"writing":           "odd while a writer is inside",
	"tombstonePossible": "a deleted slot may not be empty",
	"clearSeq":          "how many times it was cleared",
}

func (p *picture) header(m *Map) {
	l, h := m.found.Layout, &m.found.Header
	name := "runtime.hmap"
	if l.Generation == hmap.Swiss {
		name = "internal/runtime/maps.Map"
	}
	p.printf("%-9s %s, %d bytes\n", "header", name, l.Header.Size)
	for _, f := range m.Header {
		if f.Name == "flag_names" {
			continue
		}
		mean := meanings[f.Name]
		switch {
		case f.Name == "flags" && h.Flags != 0:
			mean = strings.Join(h.FlagNames(l.Consts), ", ")
		case f.Name == "B":
			mean = plural(int64(1)<<min(h.B, 62), "bucket")
		case f.Name == "dirPtr" && h.DirPtr == 0:
			mean = "no group yet: allocated by the first insert"
		case f.Name == "dirPtr" && h.DirLen == 0:
			mean = "the only group of a small map"
		case f.Name == "dirPtr":
			mean = "the directory of " + plural(h.DirLen, "pointer") + " to tables"
		case f.Name == "dirLen" && h.DirLen == 0:
			mean = "no directory: a small map"
		case f.Name == "buckets" && h.Buckets == 0:
			mean = "no bucket yet: allocated by the first insert"
		case f.Name == "oldbuckets" && h.OldBuckets == 0:
			mean = "not growing"
		case f.Name == "nevacuate" && h.OldBuckets == 0:
			mean = "of the last growth"
		}
		p.printf("  %-18s %-20s %s\n", f.Name, fmt.Sprint(f.Value), mean)
	}
}

func (p *picture) growth(m *Map) {
	f := m.found
	soon := ""
	switch {
	case f.GrowIn == 0:
		soon = "the next insert of a new key can make it grow"
	case f.GrowIn == 1:
		soon = "1 insert is certain not to make it grow"
	default:
		soon = fmt.Sprintf("%d inserts are certain not to make it grow", f.GrowIn)
	}
	if g := f.Growth; g != nil {
		if g.State == hmap.Idle {
			p.para("growth", "idle; "+soon)
		} else {
			kind := "into twice as many buckets"
			if g.State == hmap.SameSize {
				kind = "into as many buckets, to shed overflow buckets"
			}
			done := 0.0
			if g.OldBuckets > 0 {
				done = float64(g.Evacuated) / float64(g.OldBuckets)
			}
			p.para("growth", fmt.Sprintf("%s %s  evacuation %s: %s", bar(done), percent(done), kind, evacuation(g)))
		}
		o := f.Overflow
		p.para("overflow", fmt.Sprintf("%s linked, longest chain %d, %d preallocated", plural(o.Buckets, "overflow bucket"), o.LongestChain, o.Prealloc))
		return
	}
	p.para("growth", soon)
}

func (p *picture) tables(m *Map) {
	if len(m.Tables) == 0 {
		return
	}
	p.printf("\n%-9s %6s %9s %6s %6s %9s %11s %11s  %s\n", "tables", "index", "dir.ptrs", "depth", "used", "capacity", "growthLeft", "tombstones", "address")
	for i, t := range m.Tables {
		if i == maxRows && len(m.Tables) > maxRows+1 {
			p.printf("%-9s ... %d more; --json has all\n", "", len(m.Tables)-i)
			break
		}
		p.printf("%-9s %6d %9d %6d %6d %9d %11d %11d  %s\n", "", t.Index, t.Entries, t.LocalDepth, t.Used, t.Capacity, t.GrowthLeft, t.Tombstones, t.Addr)
	}
}

func (p *picture) slots(m *Map) {
	classic := m.found.Layout.Generation == hmap.Classic
	lastTable := int64(-1)
	for _, b := range m.Slot {
		if !classic && len(m.Tables) > 0 && b.Table != lastTable {
			lastTable = b.Table
			p.printf("\ntable %d\n", b.Table)
		}
		name := fmt.Sprintf("group %d", b.Block)
		if classic {
			name = fmt.Sprintf("bucket %d", b.Block)
			if b.Old {
				name = "old " + name
			}
			if b.Chain > 0 {
				name += fmt.Sprintf(", overflow %d", b.Chain)
			}
		}
		p.printf("\n%s at %s  %s\n", name, b.Addr, spaced(b.Meta))
		for _, s := range b.Slots {
			p.printf("  %d  %s  %s: %s\n", s.Slot, b.Meta[2*s.Slot:2*s.Slot+2], s.Key, s.Elem)
		}
	}
}

// spaced separates the bytes of a hexadecimal string.
func spaced(hex string) string {
	var b strings.Builder
	for i := 0; i+2 <= len(hex); i += 2 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(hex[i : i+2])
	}
	return b.String()
}
