package report

import (
	"io"
	"strings"

	"github.com/google/pprof/profile"
)

// Pprof writes the listed maps as a profile for "go tool pprof": bytes, wasted bytes,
// entries and number of maps by the path of the holder that is shortest. The
// frames of a sample are the steps of its path, so that a flame graph shows which
// variable leads to the memory; all elements of a slice or map fold into one
// frame "[]".
func (d *Document) Pprof(w io.Writer) error {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{
			{Type: "maps", Unit: "count"}, {Type: "entries", Unit: "count"},
			{Type: "wasted", Unit: "bytes"}, {Type: "bytes", Unit: "bytes"},
		},
		DefaultSampleType: "bytes",
		PeriodType:        &profile.ValueType{Type: "maps", Unit: "count"},
		Period:            1,
		Comments:          []string{"maps of " + d.Target.Path + ", " + d.Target.Go},
	}
	frames := map[string]*profile.Location{}
	frame := func(name string) *profile.Location {
		if l := frames[name]; l != nil {
			return l
		}
		f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name, SystemName: name}
		l := &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, l)
		frames[name] = l
		return l
	}
	samples := map[string]*profile.Sample{}
	for m := range d.listed() {
		steps := append(pathSteps(m), m.Type)
		key := strings.Join(steps, "\x00")
		s := samples[key]
		if s == nil {
			s = &profile.Sample{Value: make([]int64, 4), Label: map[string][]string{"type": {m.Type}}}
			for i := len(steps) - 1; i >= 0; i-- { // the leaf comes first
				s.Location = append(s.Location, frame(steps[i]))
			}
			samples[key] = s
			p.Sample = append(p.Sample, s)
		}
		for i, v := range []int64{1, m.Len, m.Wasted, m.Bytes} {
			s.Value[i] += v
		}
	}
	if err := p.CheckValid(); err != nil {
		return err
	}
	return p.Write(w)
}

// pathSteps splits the path of the first holder: "main.srv.sessions[42].Attrs"
// into "main.srv", ".sessions", "[]", ".Attrs".
func pathSteps(m *Map) []string {
	if len(m.Holders) == 0 {
		return []string{"unknown"}
	}
	h := &m.Holders[0]
	var steps []string
	if h.Func != "" {
		steps = append(steps, h.Func)
	}
	rest, ok := strings.CutPrefix(h.Path, h.Name)
	if !ok {
		return append(steps, h.Path) // (*p)[...]: no plain prefix
	}
	steps = append(steps, h.Name)
	for rest != "" {
		n := stepLen(rest)
		if rest[0] == '[' {
			steps = append(steps, "[]")
		} else {
			steps = append(steps, rest[:n])
		}
		rest = rest[n:]
	}
	return steps
}

// stepLen is how long the first step of a path is: .name, [key] or .(type). A key
// may be a string with brackets and dots in quotes.
func stepLen(s string) int {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '(' || c == '{':
			if c == '[' && depth == 0 && i > 0 {
				return i
			}
			depth++
		case c == ']' || c == ')' || c == '}':
			depth--
			if depth == 0 && s[0] == '[' {
				return i + 1
			}
		case c == '.' && depth == 0 && i > 0:
			return i
		}
	}
	return len(s)
}
