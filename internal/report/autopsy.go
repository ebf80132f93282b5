package report

import (
	"fmt"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// Autopsy is what is known of a program that died of a concurrent map access.
type Autopsy struct {
	Message    string       `json:"message"`
	Map        hmap.Addr    `json:"map,omitzero"`
	Certain    bool         `json:"certain"` // read from the arguments of the runtime's function
	Writing    bool         `json:"writing"` // the header says that a writer is inside
	Fatal      int64        `json:"fatal_goroutine"`
	Goroutines []InsideCall `json:"goroutines"`
	Text       []string     `json:"text"` // the same in sentences
}

// InsideCall is a goroutine that is inside an operation on the map, or holds it.
type InsideCall struct {
	ID     int64    `json:"id"`
	Op     string   `json:"op,omitempty"`
	Symbol string   `json:"symbol,omitempty"`
	Func   string   `json:"func,omitempty"`
	File   string   `json:"file,omitempty"`
	Line   int      `json:"line,omitempty"`
	Holds  []string `json:"holds,omitempty"`
}

// SetAutopsy adds an autopsy to the document; nil leaves it without one.
func (d *Document) SetAutopsy(a *census.Autopsy) {
	if a == nil {
		return
	}
	out := &Autopsy{Message: a.Message, Fatal: a.Fatal, Certain: a.Certain, Goroutines: []InsideCall{}}
	if a.Map != nil {
		out.Map, out.Writing = a.Map.Header.Addr, a.Map.Busy
	}
	for _, g := range a.Goroutines {
		out.Goroutines = append(out.Goroutines, InsideCall(g))
	}
	out.Text = sentences(a)
	d.Autopsy = out
}

// sentences say who did what to which map.
func sentences(a *census.Autopsy) []string {
	if a.Map == nil {
		return []string{fmt.Sprintf("fatal error: %s, noticed by goroutine %d; which map it was cannot be told: its address was not kept, "+
			"and more than one map comes into question", a.Message, a.Fatal)}
	}
	names := []string{}
	for _, h := range a.Map.Holders {
		if g, _, _, _ := h.Frame(); g == 0 && h.Kind != census.Unknown && len(names) < maxNames {
			names = append(names, h.Path())
		}
	}
	what := a.Map.Type.Name
	if len(names) > 0 {
		what = strings.Join(names, " = ") + ", " + what
	}
	sure := ""
	if !a.Certain {
		sure = " (by what goroutine " + fmt.Sprint(a.Fatal) + " holds)"
	}
	lines := []string{fmt.Sprintf("%s: the map is %s at %s%s", a.Message, what, a.Map.Header.Addr, sure)}
	idle := 0 // that are inside nothing
	for _, g := range a.Goroutines {
		if g.ID != a.Fatal && g.Op == "" {
			if idle++; idle > maxNames {
				continue
			}
		}
		s := fmt.Sprintf("goroutine %d ", g.ID)
		switch {
		case g.ID == a.Fatal && g.Op != "":
			s += "noticed it, on entry or on leaving " + g.Symbol
		case g.ID == a.Fatal:
			s += "noticed it"
		case g.Op != "":
			s += "is inside " + g.Symbol
		default:
			s += "holds it"
		}
		if g.Func != "" {
			s += fmt.Sprintf(", in %s at %s:%d", shortFunc(g.Func), base(g.File), g.Line)
		}
		if len(g.Holds) > 0 {
			s += ", as " + strings.Join(g.Holds, ", ")
		}
		lines = append(lines, s)
	}
	if idle > maxNames {
		lines = append(lines, fmt.Sprintf("%s more hold it", plural(int64(idle-maxNames), "goroutine")))
	}
	if a.Map.Busy {
		lines = append(lines, "the header says that a writer is inside")
	} else {
		lines = append(lines, "the header says that no writer is inside: the flags of two writers cancel each other, or one has left")
	}
	if a.Left() {
		lines = append(lines, "the other goroutine has already left the map: none but the one that noticed it is inside")
	}
	return lines
}
