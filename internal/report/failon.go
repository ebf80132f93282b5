package report

import (
	"fmt"
	"strconv"
	"strings"
)

// Condition is what --fail-on asks of a Diff: that a figure has not grown by more
// than a limit, for any map or in total.
type Condition struct {
	text    string
	figure  string
	limit   float64
	percent bool
}

// conditionFigures are what a Condition can ask for.
var conditionFigures = []string{"bytes", "wasted_bytes", "slots", "len", "holders", "maps"}

// ParseCondition reads "bytes>10%" or "len>1000": a figure that grew by more than
// so many percent, or by more than so much.
func ParseCondition(s string) (Condition, error) {
	bad := func() (Condition, error) {
		return Condition{}, fmt.Errorf("condition %q: want FIGURE>N or FIGURE>N%%, where FIGURE is one of %s", s, strings.Join(conditionFigures, ", "))
	}
	figure, limit, ok := strings.Cut(s, ">")
	if !ok {
		return bad()
	}
	c := Condition{text: s, figure: strings.TrimSpace(figure)}
	limit, c.percent = strings.CutSuffix(strings.TrimSpace(limit), "%")
	var err error
	if c.limit, err = strconv.ParseFloat(limit, 64); err != nil || !(c.limit >= 0) {
		return bad()
	}
	for _, f := range conditionFigures {
		if f == c.figure {
			return c, nil
		}
	}
	return bad()
}

// OfRecordings reports whether recordings tell the figure.
func (c Condition) OfRecordings() bool { return c.figure == "len" || c.figure == "maps" }

// String is the condition as it was given.
func (c Condition) String() string { return c.text }

// Met says for which map, or that in total, the condition is met; "" if it is not.
func (c Condition) Met(d *Diff) string {
	if c.exceeded(d.Total.Old, d.Total.New) {
		return fmt.Sprintf("%s in total: %d -> %d", c.text, c.of(d.Total.Old), c.of(d.Total.New))
	}
	for i := range d.Maps {
		m := &d.Maps[i]
		if m.Old != nil && m.New != nil && c.exceeded(m.Old, m.New) {
			return fmt.Sprintf("%s for %s: %d -> %d", c.text, m.Path, c.of(m.Old), c.of(m.New))
		}
	}
	return ""
}

func (c Condition) exceeded(old, new *Figures) bool {
	before, after := float64(c.of(old)), float64(c.of(new))
	if !c.percent {
		return after-before > c.limit
	}
	return after > before && after-before > before*c.limit/100
}

func (c Condition) of(f *Figures) int64 {
	switch c.figure {
	case "bytes":
		return f.Bytes
	case "wasted_bytes":
		return f.Wasted
	case "slots":
		return f.Slots
	case "len":
		return f.Len
	case "holders":
		return f.Holders
	}
	return f.Maps
}
