package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"hmaptools/internal/hmap"
)

// RecordingDiff is what the maps of one recording did beside those of another. A
// recording knows no holders, and addresses change from run to run: maps of one type
// that were made at one place are added up and compared with their like.
type RecordingDiff struct {
	Schema int               `json:"schema"`
	Tool   string            `json:"tool"`
	Old    RecordingTarget   `json:"old"`
	New    RecordingTarget   `json:"new"`
	Total  RecordingChange   `json:"total"`
	Maps   []RecordingChange `json:"maps"` // those that differ, the largest change of entries first
	Same   int               `json:"same"` // places without a change
}

// RecordingChange is the maps of a type and a place before and after; what came has no
// Old, what went no New.
type RecordingChange struct {
	State  string            `json:"state"` // grew, shrank, changed, came, went
	Type   string            `json:"type,omitempty"`
	MadeAt *Place            `json:"made_at,omitempty"`
	UsedAt *Place            `json:"used_at,omitempty"` // where most is done with them, if it is not known where they were made
	Old    *RecordingFigures `json:"old,omitempty"`
	New    *RecordingFigures `json:"new,omitempty"`
}

// RecordingFigures are what a RecordingChange compares.
type RecordingFigures struct {
	Maps   int64 `json:"maps"`
	Len    int64 `json:"len"` // the most entries of each, added up
	Reads  int64 `json:"reads"`
	Writes int64 `json:"writes"`
	Grown  int64 `json:"grown"`
}

func (f *RecordingFigures) add(m *MapLife) {
	f.Maps += 1 + int64(m.Folded)
	f.Len += m.MaxLen
	f.Reads += int64(m.Ops["access"] + m.Ops["iter"])
	f.Writes += int64(m.Ops["assign"] + m.Ops["delete"] + m.Ops["clear"])
	f.Grown += int64(m.Grown)
}

// origin is where maps are from: what is the same from run to run.
type origin struct {
	typ  string
	at   Place
	made bool
}

func origins(r *Recording) (sums map[origin]*RecordingFigures, total *RecordingFigures) {
	sums, total = map[origin]*RecordingFigures{}, &RecordingFigures{}
	for i := range r.Maps {
		m := &r.Maps[i]
		o := origin{typ: m.Type}
		switch {
		case m.Addr == 0:
			continue // nil maps
		case m.MadeAt != nil:
			o.at, o.made = *m.MadeAt, true
		case len(m.Sites) > 0:
			o.at = m.Sites[0].Place
			for _, s := range m.Sites { // the first of those that do the same, in the order of names
				if s.N == m.Sites[0].N && strings.Compare(s.Func, o.at.Func) < 0 {
					o.at = s.Place
				}
			}
		}
		o.at.Line, o.at.File = 0, "" // lines move when the source is edited
		if sums[o] == nil {
			sums[o] = &RecordingFigures{}
		}
		sums[o].add(m)
		total.add(m)
	}
	return sums, total
}

// CompareRecordings compares the maps of two recordings, which list all of theirs.
func CompareRecordings(old, new *Recording) *RecordingDiff {
	d := &RecordingDiff{Schema: 1, Old: old.Target, New: new.Target, Maps: []RecordingChange{}}
	was, wasAll := origins(old)
	is, isAll := origins(new)
	d.Total = RecordingChange{State: "total", Old: wasAll, New: isAll}
	add := func(o origin, c RecordingChange) {
		c.Type = o.typ
		if at := o.at; o.made {
			c.MadeAt = &at
		} else {
			c.UsedAt = &at
		}
		d.Maps = append(d.Maps, c)
	}
	for o, before := range was {
		after := is[o]
		switch {
		case after == nil:
			add(o, RecordingChange{State: "went", Old: before})
		case after.Len > before.Len:
			add(o, RecordingChange{State: "grew", Old: before, New: after})
		case after.Len < before.Len:
			add(o, RecordingChange{State: "shrank", Old: before, New: after})
		case *after != *before:
			add(o, RecordingChange{State: "changed", Old: before, New: after})
		default:
			d.Same++
		}
	}
	for o, after := range is {
		if was[o] == nil {
			add(o, RecordingChange{State: "came", New: after})
		}
	}
	slices.SortFunc(d.Maps, func(a, b RecordingChange) int {
		x, y := a.delta(), b.delta()
		return cmp.Or(cmp.Compare(abs(y.Len), abs(x.Len)), cmp.Compare(abs(y.Writes)+abs(y.Reads), abs(x.Writes)+abs(x.Reads)),
			cmp.Compare(a.Type, b.Type), cmp.Compare(a.where(), b.where()))
	})
	return d
}

func (c *RecordingChange) delta() (f RecordingFigures) {
	if c.New != nil {
		f = *c.New
	}
	if o := c.Old; o != nil {
		f = RecordingFigures{f.Maps - o.Maps, f.Len - o.Len, f.Reads - o.Reads, f.Writes - o.Writes, f.Grown - o.Grown}
	}
	return f
}

func (c *RecordingChange) where() string {
	switch {
	case c.MadeAt != nil:
		return "made in " + c.MadeAt.String()
	case c.UsedAt != nil:
		return "used in " + c.UsedAt.String()
	}
	return ""
}

// JSON writes the comparison as one line.
func (d *RecordingDiff) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}

// Table writes one row for each place and type that differs: by how much it is more or
// less than it was.
func (d *RecordingDiff) Table(out io.Writer) error {
	w := bufio.NewWriter(out)
	const row = "%-8s %8s %10s %12s %12s %8s  "
	fmt.Fprintf(w, row+"%s\n", "", "MAPS", "LEN", "READS", "WRITES", "GREW", "MAPS OF")
	line := func(c *RecordingChange, what string) {
		f := c.delta()
		fmt.Fprintf(w, row+"%s\n", c.State, delta(f.Maps), delta(f.Len), delta(f.Reads), delta(f.Writes), delta(f.Grown), what)
	}
	for i := range d.Maps {
		c := &d.Maps[i]
		what := hmap.ShortName(c.Type) + " " + c.where()
		if c.Old != nil && c.New != nil {
			what += fmt.Sprintf(", len %d -> %d", c.Old.Len, c.New.Len)
		}
		line(c, what)
	}
	line(&d.Total, fmt.Sprintf("%s, %d places the same", plural2(d.Total.New.Maps, "map", "maps"), d.Same))
	return w.Flush()
}

// Figures gives what a Condition can be asked of recordings: of maps their number and
// their entries.
func (d *RecordingDiff) Figures() *Diff {
	figures := func(f *RecordingFigures) *Figures {
		if f == nil {
			return nil
		}
		return &Figures{Maps: f.Maps, Len: f.Len}
	}
	out := &Diff{Total: Change{Old: figures(d.Total.Old), New: figures(d.Total.New)}}
	for i := range d.Maps {
		c := &d.Maps[i]
		out.Maps = append(out.Maps, Change{State: c.State, Path: c.Type + " " + c.where(), Type: c.Type, Old: figures(c.Old), New: figures(c.New)})
	}
	return out
}
