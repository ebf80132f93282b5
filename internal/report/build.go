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

// Build makes a document of a census.
func Build(t Target, res *census.Result, sel Selection) *Document {
	d := &Document{Schema: 1, Target: t, Maps: []Map{}}
	d.Summary.Nil, d.Summary.Cut = res.Nil, res.Cut
	for _, f := range res.Maps {
		m := buildMap(f)
		d.Target.Generation = m.Generation
		if sel.matches(&m) {
			d.Maps = append(d.Maps, m)
		}
	}
	s := &d.Summary
	for i := range d.Maps {
		m := &d.Maps[i]
		s.Maps++
		s.Entries += m.Len
		s.Bytes += m.Bytes
		s.Wasted += m.Wasted
		if m.found.Shared() {
			s.Shared++
		}
		if m.found.Growing() {
			s.Growing++
		}
		if len(m.Errors) > 0 {
			s.Unread++
		}
		if len(m.Broken) > 0 {
			s.Broken++
		}
	}
	sel.sort(d.Maps)
	if sel.Top > 0 && len(d.Maps) > sel.Top {
		d.Maps = d.Maps[:sel.Top]
	}
	s.Listed = len(d.Maps)
	for _, l := range res.Lost {
		d.Lost = append(d.Lost, Lost{l.Name, l.Type.Name, l.Func, l.File, l.Line, l.Goroutine, l.Err.Error()})
	}
	for _, err := range res.Errors {
		d.Errors = append(d.Errors, err.Error())
	}
	return d
}

func (sel *Selection) matches(m *Map) bool {
	if sel.Type != nil && !sel.Type.MatchString(m.Type) {
		return false
	}
	if sel.Holder != nil && !slices.ContainsFunc(m.Holders, func(h Holder) bool { return sel.Holder.MatchString(h.Path) }) {
		return false
	}
	return m.Len >= sel.MinLen && (!sel.Shared || m.found.Shared()) && (!sel.Growing || m.found.Growing())
}

func (sel *Selection) sort(maps []Map) {
	key := func(m *Map) int64 { return m.Wasted }
	switch sel.Sort {
	case "bytes":
		key = func(m *Map) int64 { return m.Bytes }
	case "len":
		key = func(m *Map) int64 { return m.Len }
	case "slots":
		key = func(m *Map) int64 { return m.Slots }
	case "holders":
		key = func(m *Map) int64 { return int64(len(m.Holders)) }
	}
	slices.SortStableFunc(maps, func(a, b Map) int {
		if sel.Sort == "addr" {
			return 0 // the census sorts by address
		}
		return cmp.Or(cmp.Compare(key(&b), key(&a)), cmp.Compare(b.Bytes, a.Bytes))
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
	for _, v := range f.Fields {
		m.Header = append(m.Header, Field{v.Name, fieldValue(v)})
		if v.Name == "flags" {
			m.Header = append(m.Header, Field{"flag_names", h.FlagNames(l.Consts)})
		}
	}
	if g := f.Growth; g != nil {
		m.Growth = &Growth{g.State.String(), g.Evacuated, g.OldBuckets}
	}
	if o := f.Overflow; o != nil {
		m.Overflow = &Overflow{o.Buckets, o.LongestChain, h.NOverflow}
	}
	for _, t := range f.Tables {
		m.Tables = append(m.Tables, Table{t.Addr, t.Index, t.Entries, t.LocalDepth, t.Used, t.Capacity, t.GrowthLeft, t.Tombstones, t.Groups})
	}
	for _, o := range f.Holders {
		m.Holders = append(m.Holders, Holder{string(o.Kind), o.Name, o.Path, o.Type.Name, o.Addr, o.Goroutine, o.Func, o.File, o.Line})
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

// AddSlots adds the content of every map to the document, in full.
func (d *Document) AddSlots(mem hmap.Memory, types *hmap.Types) {
	for i := range d.Maps {
		m := &d.Maps[i]
		f := hmap.NewFormatter(mem, types)
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
