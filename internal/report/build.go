package report

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"regexp"
	"slices"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// listed goes through the maps and the sync.Maps in the order of the table.
func (d *Document) listed() iter.Seq[*Map] {
	return func(yield func(*Map) bool) {
		for _, r := range d.items {
			var m Map
			d.describe(&m, r, r.paths())
			if !yield(&m) {
				return
			}
		}
		// Those that are kept or were read from a file.
		i, j := 0, 0
		for i < len(d.Maps) || j < len(d.SyncMaps) {
			var m *Map
			if k := i + j; i == len(d.Maps) || k < len(d.order) && d.order[k] {
				m = &d.SyncMaps[j]
				j++
			} else {
				m = &d.Maps[i]
				i++
			}
			if !yield(m) {
				return
			}
		}
	}
}

// describe makes a Map of an item and the paths of its holders. It uses the space of what
// was there.
func (d *Document) describe(m *Map, r item, paths []string) {
	buildMap(m, r, paths)
	if d.content != nil {
		d.content.add(m)
	}
}

// Keep describes all maps that are listed, so that the target is not needed any more.
func (d *Document) Keep() {
	items := d.items
	d.items = nil
	for _, r := range items {
		var m Map
		d.describe(&m, r, r.paths())
		m.found.values = nil
		d.order = append(d.order, r.s != nil)
		if r.s != nil {
			d.SyncMaps = append(d.SyncMaps, m)
		} else {
			d.Maps = append(d.Maps, m)
		}
	}
	d.content = nil
}

// Listed is how many maps and sync.Maps the document lists.
func (d *Document) Listed() int { return len(d.items) + len(d.Maps) + len(d.SyncMaps) }

// found is what a Map was made of; renderings look back at it.
type found struct {
	*census.Found                 // nil for a sync.Map
	sync          *census.SyncMap // nil for any other
	values        []hmap.Value    // of the header
}

// Selection says which maps are listed, and in which order.
type Selection struct {
	Type, Holder *regexp.Regexp // nil: all
	MinLen       int64
	Top          int // 0: all
	Sort         string
	Shared       bool // only shared headers
	Growing      bool // only maps in growth
}

// SortKeys are what Selection.Sort can be; each sorts the largest first, addr
// the smallest.
var SortKeys = []string{"waste", "bytes", "len", "slots", "holders", "addr"}

// Build makes a document of a census. It adds up all maps that match. Those that are
// listed are described as they are written, since there may be millions: until Keep
// is called the target must stand as it stood, and its memory must be readable.
func Build(t Target, res *census.Result, sel Selection) *Document {
	d := &Document{Schema: 1, Target: t, Maps: []Map{}}
	s := &d.Summary
	s.Nil, s.Cut = res.Nil, res.Cut
	s.Scanned, s.Objects, s.Unexplained = res.Bytes, res.Objects, res.Unknown
	s.Headers, s.Goroutines, s.Stale = len(res.Maps), res.Goroutines, res.Stale
	if len(res.Maps) > 0 {
		d.Target.Generation = res.Maps[0].Layout.Generation.String()
	}
	match := slices.DeleteFunc(items(res), func(r item) bool { return !sel.matches(r) })
	count := func(n *int, is bool) {
		if is {
			*n++
		}
	}
	for _, r := range match {
		if r.s != nil {
			s.SyncMaps++
			s.SyncBytes += r.bytes()
			count(&s.Unread, len(r.errors()) > 0)
			count(&s.Broken, len(r.broken()) > 0)
			continue
		}
		s.Maps++
		s.Entries += r.len()
		s.Bytes += r.bytes()
		s.Wasted += r.wasted()
		count(&s.Shared, r.shared())
		count(&s.Growing, r.growing())
		count(&s.Unread, len(r.errors()) > 0)
		count(&s.Broken, len(r.broken()) > 0)
	}
	d.items = sel.order(match)
	for _, r := range d.items {
		if r.s == nil {
			s.Listed++
		}
	}
	for _, l := range res.Lost {
		d.Lost = append(d.Lost, Lost{l.Name, l.Type.Name, l.Func, l.File, l.Line, l.Goroutine, l.Err.Error()})
	}
	for _, err := range res.Errors {
		d.Errors = append(d.Errors, err.Error())
	}
	return d
}

func (sel *Selection) matches(r item) bool {
	if sel.Type != nil && !sel.Type.MatchString(r.typeName()) {
		return false
	}
	if sel.Holder != nil && !slices.ContainsFunc(r.holders(), func(h census.Holder) bool { return sel.Holder.MatchString(h.Path()) }) {
		return false
	}
	return (sel.MinLen <= 0 || r.len() >= sel.MinLen) && (!sel.Shared || r.shared()) && (!sel.Growing || r.growing())
}

// order sorts items, and keeps the first of them if only so many are asked for. Among
// equals it keeps the census's order, by address.
func (sel *Selection) order(rs []item) []item {
	key := item.wasted
	switch sel.Sort {
	case "addr":
		key = func(r item) int64 { return math.MaxInt64 - int64(r.addr()) }
	case "bytes":
		key = item.bytes
	case "len":
		key = item.len
	case "slots":
		key = item.slots
	case "holders":
		key = func(r item) int64 { return int64(len(r.holders())) }
	}
	// The figures lie beside the items: to fetch them again for each comparison takes
	// most of the time where there are many.
	type keyed struct {
		key, bytes int64
		i          int
	}
	before := func(a, b keyed) int {
		return cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.i, b.i))
	}
	top := len(rs)
	if sel.Top > 0 {
		top = min(top, sel.Top)
	}
	// More than is asked for is kept, and cut off now and then; what comes behind the
	// last one that was left then is not kept.
	ks, cut := make([]keyed, 0, min(len(rs), 2*top+64)), false
	for i, r := range rs {
		k := keyed{key(r), r.bytes(), i}
		if cut && before(k, ks[top-1]) > 0 {
			continue
		}
		if len(ks) == cap(ks) {
			slices.SortFunc(ks, before)
			ks, cut = ks[:top], true
		}
		ks = append(ks, k)
	}
	slices.SortFunc(ks, before)
	ks = ks[:min(top, len(ks))]
	list := make([]item, len(ks))
	for i := range ks {
		list[i] = rs[ks[i].i]
	}
	return list
}

// buildMap describes an item.
func buildMap(m *Map, r item, paths []string) {
	*m = Map{Header: m.Header[:0], Holders: m.Holders[:0], found: found{values: m.found.values[:0]}}
	if r.s != nil {
		buildSync(m, r.s)
	} else {
		buildFound(m, r.f)
	}
	hs := r.holders()
	if m.Holders == nil {
		m.Holders = make([]Holder, 0, len(hs))
	}
	for i := range hs {
		h := &hs[i]
		g, fn, file, line := h.Frame()
		m.Holders = append(m.Holders, Holder{h.Kind.String(), h.Name(), paths[i], h.Type.Name, h.Addr, g, fn, file, line})
	}
	for _, b := range r.broken() {
		m.Broken = append(m.Broken, b.String())
	}
	for _, err := range r.errors() {
		m.Errors = append(m.Errors, strings.Split(err.Error(), "\n")...)
	}
}

func buildFound(m *Map, f *census.Found) {
	l, h := f.Layout, &f.Header
	m.Addr, m.Type, m.Generation, m.Variant = h.Addr, f.Type.Name, l.Generation.String(), l.Variant.String()
	m.Len, m.Slots, m.Load, m.Tombstones = h.Len(), f.Slots, round(f.Load()), f.Tombstones
	m.Bytes, m.Wasted, m.GrowIn = f.Bytes, f.Wasted, f.GrowIn
	m.Goroutines, m.found = f.Goroutines, found{Found: f, values: f.AppendFields(m.found.values)}
	if m.Goroutines == nil {
		m.Goroutines = []int64{}
	}
	if m.Header == nil {
		m.Header = make(Fields, 0, len(m.found.values)+1)
	}
	for i := range m.found.values {
		v := &m.found.values[i]
		m.Header = append(m.Header, Field{v.Name, fieldValue(v)})
		if v.Name == "flags" {
			m.Header = append(m.Header, Field{"flag_names", h.FlagNames(l.Consts)})
		}
	}
	if g := f.Growth; g != nil {
		m.Growth = &Growth{g.State.String(), g.Evacuated, g.OldBuckets, g.X, g.Y, g.Next}
	}
	if o := f.Overflow; o != nil {
		m.Overflow = &Overflow{o.Buckets, o.LongestChain, h.NOverflow}
	}
	for _, t := range f.Tables {
		m.Tables = append(m.Tables, Table{t.Addr, t.Index, t.Entries, t.LocalDepth, t.Used, t.Capacity, t.GrowthLeft, t.Tombstones, t.Groups})
	}
	m.Notes = notes(f)
}

// round keeps three digits: more would pretend.
func round(x float64) float64 { return float64(int64(x*1000+0.5)) / 1000 }

func fieldValue(v *hmap.Value) any {
	switch {
	case v.Pointer:
		return hmap.Addr(v.Bits)
	case v.Bool:
		return v.Bits != 0
	case v.Name == "seed" || v.Name == "hash0":
		return hmap.Addr(v.Bits) // up to 64 bits: not a number in JSON
	case v.Name == "count" || v.Name == "dirLen":
		return int64(v.Bits)
	}
	return v.Bits
}

// content reads what is in maps.
type content struct {
	mem  hmap.Memory
	text *hmap.Formatter
}

// AddSlots adds the content of every map to the document. With whole, keys and
// elems are printed as far as a script could want them, else as far as a person
// does.
func (d *Document) AddSlots(mem hmap.Memory, types *hmap.Types, whole bool) {
	f := hmap.NewFormatter(mem, types)
	f.MaxElems = 64
	if whole {
		f.MaxString, f.MaxElems, f.MaxDepth, f.MaxText = 1<<16, 1<<12, 8, 1<<20
	}
	d.content = &content{mem, f}
}

// add adds the content of one map.
func (c *content) add(m *Map) {
	if m.Sync != nil {
		m.addEntries(c.mem, c.text)
		return
	}
	l := m.found.Layout
	err := hmap.Slots(c.mem, m.found.Map, false, func(e *hmap.Entry) error {
		if e.Slot == 0 {
			m.Slot = append(m.Slot, SlotBlock{
				Table: max(e.Table, 0), Block: e.Block, Chain: e.Chain, Old: e.Old, Addr: e.At, Slots: []Slot{},
			})
		}
		b := &m.Slot[len(m.Slot)-1]
		b.Meta += fmt.Sprintf("%02x", e.Meta)
		if e.Full {
			b.Slots = append(b.Slots, Slot{e.Slot, c.text.Format(l.Key, e.Key), c.text.Format(l.Elem, e.Elem)})
		}
		return nil
	})
	if err != nil {
		m.Errors = append(m.Errors, err.Error())
	}
}
