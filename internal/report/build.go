package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// found is what a Map was made of; renderings look back at it.
type found struct {
	*census.Found
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

// Build makes a document of a census. It adds up all maps that match, and
// describes those that are listed.
func Build(t Target, res *census.Result, sel Selection) *Document {
	d := &Document{Schema: 1, Target: t, Maps: []Map{}}
	s := &d.Summary
	s.Nil, s.Cut = res.Nil, res.Cut
	var match []*census.Found
	for _, f := range res.Maps {
		d.Target.Generation = f.Layout.Generation.String()
		if !sel.matches(f) {
			continue
		}
		match = append(match, f)
		s.Maps++
		s.Entries += f.Header.Len()
		s.Bytes += f.Bytes
		s.Wasted += f.Wasted
		count := func(n *int, is bool) {
			if is {
				*n++
			}
		}
		count(&s.Shared, f.Shared())
		count(&s.Growing, f.Growing())
		count(&s.Unread, len(f.Errors) > 0)
		count(&s.Broken, len(f.Broken) > 0)
	}
	sel.sort(match)
	if sel.Top > 0 && len(match) > sel.Top {
		match = match[:sel.Top]
	}
	s.Listed = len(match)
	for _, f := range match {
		d.Maps = append(d.Maps, buildMap(f))
	}
	for _, l := range res.Lost {
		d.Lost = append(d.Lost, Lost{l.Name, l.Type.Name, l.Func, l.File, l.Line, l.Goroutine, l.Err.Error()})
	}
	for _, err := range res.Errors {
		d.Errors = append(d.Errors, err.Error())
	}
	return d
}

func (sel *Selection) matches(f *census.Found) bool {
	if sel.Type != nil && !sel.Type.MatchString(f.Type.Name) {
		return false
	}
	if sel.Holder != nil && !slices.ContainsFunc(f.Holders, func(h census.Holder) bool { return sel.Holder.MatchString(h.Path()) }) {
		return false
	}
	// A corrupt header may say less than nothing.
	return (sel.MinLen <= 0 || f.Header.Len() >= sel.MinLen) && (!sel.Shared || f.Shared()) && (!sel.Growing || f.Growing())
}

// sort keeps the census's order, by address, among equals.
func (sel *Selection) sort(fs []*census.Found) {
	if sel.Sort == "addr" {
		return
	}
	key := func(f *census.Found) int64 { return f.Wasted }
	switch sel.Sort {
	case "bytes":
		key = func(f *census.Found) int64 { return f.Bytes }
	case "len":
		key = func(f *census.Found) int64 { return f.Header.Len() }
	case "slots":
		key = func(f *census.Found) int64 { return f.Slots }
	case "holders":
		key = func(f *census.Found) int64 { return int64(len(f.Holders)) }
	}
	slices.SortStableFunc(fs, func(a, b *census.Found) int {
		return cmp.Or(cmp.Compare(key(b), key(a)), cmp.Compare(b.Bytes, a.Bytes))
	})
}

func buildMap(f *census.Found) Map {
	l, h := f.Layout, &f.Header
	m := Map{
		Addr: h.Addr, Type: f.Type.Name, Generation: l.Generation.String(), Variant: l.Variant.String(),
		Len: h.Len(), Slots: f.Slots, Load: round(f.Load()), Tombstones: f.Tombstones,
		Bytes: f.Bytes, Wasted: f.Wasted, GrowIn: f.GrowIn,
		Goroutines: f.Goroutines, Holders: []Holder{}, Notes: []Note{}, found: found{f},
	}
	if m.Goroutines == nil {
		m.Goroutines = []int64{}
	}
	for _, v := range f.Fields() {
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
	for i := range f.Holders {
		h := &f.Holders[i]
		g, fn, file, line := h.Frame()
		m.Holders = append(m.Holders, Holder{string(h.Kind), h.Name(), h.Path(), h.Type.Name, h.Addr, g, fn, file, line})
	}
	for _, b := range f.Broken {
		m.Broken = append(m.Broken, b.String())
	}
	for _, err := range f.Errors {
		m.Errors = append(m.Errors, strings.Split(err.Error(), "\n")...)
	}
	m.Notes = notes(f)
	return m
}

// round keeps three digits: more would pretend.
func round(x float64) float64 { return float64(int64(x*1000+0.5)) / 1000 }

func fieldValue(v hmap.Value) any {
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

// AddSlots adds the content of every map to the document. With whole, keys and
// elems are printed as far as a script could want them, else as far as a person
// does.
func (d *Document) AddSlots(mem hmap.Memory, types *hmap.Types, whole bool) {
	f := hmap.NewFormatter(mem, types)
	f.MaxElems = 64
	if whole {
		f.MaxString, f.MaxElems, f.MaxDepth, f.MaxText = 1<<16, 1<<12, 8, 1<<20
	}
	for i := range d.Maps {
		m := &d.Maps[i]
		l := m.found.Layout
		err := hmap.Slots(mem, m.found.Map, false, func(e *hmap.Entry) error {
			if e.Slot == 0 {
				m.Slot = append(m.Slot, SlotBlock{
					Table: max(e.Table, 0), Block: e.Block, Chain: e.Chain, Old: e.Old, Addr: e.At, Slots: []Slot{},
				})
			}
			b := &m.Slot[len(m.Slot)-1]
			b.Meta += fmt.Sprintf("%02x", e.Meta)
			if e.Full {
				b.Slots = append(b.Slots, Slot{e.Slot, f.Format(l.Key, e.Key), f.Format(l.Elem, e.Elem)})
			}
			return nil
		})
		if err != nil {
			m.Errors = append(m.Errors, err.Error())
		}
	}
}
