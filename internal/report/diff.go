package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// Read reads a dump that Document.JSON wrote.
func Read(r io.Reader) (*Document, error) {
	var d Document
	if err := json.NewDecoder(r).Decode(&d); err != nil {
		return nil, fmt.Errorf("read dump: %w", err)
	}
	if d.Schema != 1 || !strings.HasPrefix(d.Tool, "hmapdump ") {
		return nil, fmt.Errorf("read dump: schema %d of %q; want schema 1 of hmapdump", d.Schema, d.Tool)
	}
	return &d, nil
}

// Diff is what became of the maps of one dump in another.
type Diff struct {
	Schema int      `json:"schema"`
	Tool   string   `json:"tool"`
	Old    Target   `json:"old"`
	New    Target   `json:"new"`
	Total  Change   `json:"total"`
	Maps   []Change `json:"maps"` // those that differ, the largest change of bytes first
	Same   int      `json:"same"` // maps without a change
}

// Change is one map before and after; what came has no Old, what went no New.
type Change struct {
	State   string   `json:"state"` // grew, shrank, changed, moved, came, went
	Path    string   `json:"path,omitempty"`
	Type    string   `json:"type,omitempty"`
	Old     *Figures `json:"old,omitempty"`
	New     *Figures `json:"new,omitempty"`
	Holders struct {
		Came []string `json:"came,omitempty"`
		Went []string `json:"went,omitempty"`
	} `json:"holders"`
}

// Figures are what a Change compares.
type Figures struct {
	Addr    hmap.Addr `json:"addr,omitzero"`
	Maps    int64     `json:"maps,omitempty"`
	Len     int64     `json:"len"`
	Slots   int64     `json:"slots"`
	Bytes   int64     `json:"bytes"`
	Wasted  int64     `json:"wasted_bytes"`
	Holders int64     `json:"holders"`
}

func figures(m *Map) *Figures {
	return &Figures{Addr: m.Addr, Len: m.Len, Slots: m.Slots, Bytes: m.Bytes, Wasted: m.Wasted, Holders: int64(len(m.Holders))}
}

func (f *Figures) add(g *Figures) {
	f.Maps++
	f.Len, f.Slots, f.Bytes, f.Wasted, f.Holders = f.Len+g.Len, f.Slots+g.Slots, f.Bytes+g.Bytes, f.Wasted+g.Wasted, f.Holders+g.Holders
}

// Compare matches the maps of two dumps: by the path of a holder first, since
// addresses change from run to run, then by address.
func Compare(old, new *Document) *Diff {
	d := &Diff{Schema: 1, Old: old.Target, New: new.Target, Maps: []Change{}}
	d.Total = Change{State: "total", Old: &Figures{}, New: &Figures{}}
	was, is := slices.Collect(old.listed()), slices.Collect(new.listed())
	partner := match(was, is)
	taken := make([]bool, len(is))
	for i, o := range was {
		d.Total.Old.add(figures(o))
		j := partner[i]
		if j < 0 {
			d.Maps = append(d.Maps, Change{State: "went", Path: firstPath(o), Type: o.Type, Old: figures(o)})
			continue
		}
		taken[j] = true
		if c, same := change(o, is[j]); same {
			d.Same++
		} else {
			d.Maps = append(d.Maps, c)
		}
	}
	for j, n := range is {
		d.Total.New.add(figures(n))
		if !taken[j] {
			d.Maps = append(d.Maps, Change{State: "came", Path: firstPath(n), Type: n.Type, New: figures(n)})
		}
	}
	slices.SortStableFunc(d.Maps, func(a, b Change) int {
		return cmp.Or(cmp.Compare(abs(b.bytes()), abs(a.bytes())), cmp.Compare(a.Path, b.Path))
	})
	return d
}

func abs(n int64) int64 { return max(n, -n) }

// bytes is by how much the memory changed.
func (c *Change) bytes() int64 {
	n := int64(0)
	if c.New != nil {
		n = c.New.Bytes
	}
	if c.Old != nil {
		n -= c.Old.Bytes
	}
	return n
}

// holderKey tells variables of different frames apart, but not goroutines: their
// numbers change from run to run.
func holderKey(m *Map, h *Holder) string { return h.Func + "\x00" + h.Path + "\x00" + m.Type }

// match gives for each old map the index of the new one, or -1.
func match(old, new []*Map) []int {
	partner := make([]int, len(old))
	byKey, byAddr := map[string]int{}, map[hmap.Addr]int{}
	taken := make([]bool, len(new))
	for j, n := range new {
		byAddr[n.Addr] = j
		for k := range n.Holders {
			if key := holderKey(n, &n.Holders[k]); n.Holders[k].Kind != census.Unknown.String() {
				if _, ok := byKey[key]; !ok {
					byKey[key] = j
				}
			}
		}
	}
	for i, o := range old {
		partner[i] = -1
		for k := range o.Holders {
			if j, ok := byKey[holderKey(o, &o.Holders[k])]; ok && !taken[j] {
				partner[i], taken[j] = j, true
				break
			}
		}
	}
	for i, o := range old {
		if j, ok := byAddr[o.Addr]; ok && partner[i] < 0 && !taken[j] && new[j].Type == o.Type {
			partner[i], taken[j] = j, true
		}
	}
	return partner
}

func firstPath(m *Map) string {
	if len(m.Holders) == 0 {
		return ""
	}
	h := &m.Holders[0]
	if h.Func != "" {
		return h.Path + " in " + shortFunc(h.Func)
	}
	return h.Path
}

func change(o, n *Map) (c Change, same bool) {
	c = Change{Path: firstPath(n), Type: n.Type, Old: figures(o), New: figures(n)}
	before, after := paths(o), paths(n)
	for _, p := range after {
		if !slices.Contains(before, p) {
			c.Holders.Came = append(c.Holders.Came, p)
		}
	}
	for _, p := range before {
		if !slices.Contains(after, p) {
			c.Holders.Went = append(c.Holders.Went, p)
		}
	}
	a, b := *c.Old, *c.New
	a.Addr, b.Addr = 0, 0
	switch {
	case b.Bytes > a.Bytes:
		c.State = "grew"
	case b.Bytes < a.Bytes:
		c.State = "shrank"
	case a != b || len(c.Holders.Came)+len(c.Holders.Went) > 0:
		c.State = "changed"
	default:
		return c, true
	}
	return c, false
}

func paths(m *Map) []string {
	ps := make([]string, 0, len(m.Holders))
	for i := range m.Holders {
		h := &m.Holders[i]
		if h.Kind == census.Unknown.String() {
			continue // without a name that would be the same in another run
		}
		p := h.Path
		if h.Func != "" {
			p += " in " + shortFunc(h.Func)
		}
		ps = append(ps, p)
	}
	return ps
}

// JSON writes the comparison as one line.
func (d *Diff) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}

// Table writes one row for each map that differs: what it is now, and by how much
// that is more or less.
func (d *Diff) Table(out io.Writer) error {
	w := bufio.NewWriter(out)
	const row = "%-8s %10s %10s %12s %12s  "
	fmt.Fprintf(w, row+"%s\n", "", "LEN", "SLOTS", "BYTES", "WASTED", "MAP")
	indent := strings.Repeat(" ", 8+11+11+13+13+2)
	line := func(c *Change, words []string) {
		var o, n Figures
		if c.Old != nil {
			o = *c.Old
		}
		if c.New != nil {
			n = *c.New
		}
		cells := fmt.Sprintf(row, c.State, delta(n.Len-o.Len), delta(n.Slots-o.Slots), deltaBytes(n.Bytes-o.Bytes), deltaBytes(n.Wasted-o.Wasted))
		for i, l := range wrap(words, width-len(indent)) {
			if i == 0 {
				fmt.Fprintln(w, cells+l)
			} else {
				fmt.Fprintln(w, indent+l)
			}
		}
	}
	for i := range d.Maps {
		c := &d.Maps[i]
		words := []string{c.Path, hmap.ShortName(c.Type)}
		if c.Old != nil && c.New != nil {
			words = append(words, fmt.Sprintf("len %d -> %d", c.Old.Len, c.New.Len))
		}
		for _, p := range c.Holders.Came {
			words = append(words, "+"+p)
		}
		for _, p := range c.Holders.Went {
			words = append(words, "-"+p)
		}
		line(c, words)
	}
	line(&d.Total, []string{fmt.Sprintf("%s, %d the same", plural2(d.Total.New.Maps, "map", "maps"), d.Same)})
	return w.Flush()
}

func delta(n int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%+d", n)
}

func deltaBytes(n int64) string {
	switch {
	case n == 0:
		return "0"
	case n < 0:
		return "-" + Bytes(-n)
	}
	return "+" + Bytes(n)
}
