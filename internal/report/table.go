package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// width is what a line of text output may have.
const width = 100

// Table writes one row for each map: the figures, then all names that hold it
// joined by "=", its type and its address.
func (d *Document) Table(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprintln(w, d.headline())
	const row = "%9s %9s %5s %10s %10s  "
	head := fmt.Sprintf(row, "LEN", "SLOTS", "LOAD", "BYTES", "WASTED")
	fmt.Fprintln(w, head+"MAP")
	indent := strings.Repeat(" ", len(head))
	for m := range d.listed() {
		figures := fmt.Sprintf(row, fmt.Sprint(m.Len), fmt.Sprint(m.Slots), percent(m.Load), Bytes(m.Bytes), Bytes(m.Wasted))
		for k, line := range wrap(m.words(), width-len(indent)) {
			if k == 0 {
				fmt.Fprintln(w, figures+line)
			} else {
				fmt.Fprintln(w, indent+line)
			}
		}
	}
	fmt.Fprintln(w, d.totals())
	fmt.Fprintln(w, d.covered())
	if d.Autopsy != nil {
		fmt.Fprintln(w)
		for _, text := range d.Autopsy.Text {
			for k, line := range wrap(strings.Fields(text), width-4) {
				if k > 0 {
					line = "    " + line
				}
				fmt.Fprintln(w, line)
			}
		}
	}
	return w.Flush()
}

// headline says what was looked at and where it stood.
func (d *Document) headline() string {
	t := &d.Target
	s := t.Path
	if t.PID != 0 {
		s += fmt.Sprintf(" (pid %d)", t.PID)
	}
	s += ", " + t.Go + " " + t.Arch
	s += ": " + t.Stop.String()
	if d.Summary.PauseNS > 0 {
		s += "; it stood still for " + standstill(d.Summary.PauseNS)
	}
	return s
}

// standstill is a time for which a process stood still, in words.
func standstill(ns int64) string {
	switch ms := float64(ns) / 1e6; {
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.2f ms", ms)
	}
}

func (s Stop) String() string {
	at := ""
	if s.Func != "" {
		at = fmt.Sprintf(" in %s at %s:%d", s.Func, base(s.File), s.Line)
	}
	switch s.Reason {
	case "main-return":
		return "stopped before main.main returns" + at[min(len(at), len(" in main.main")):]
	case "exit":
		return "stopped before it exits" + at
	case "fatal":
		return "stopped at fatal error: " + s.Message + at
	case "panic":
		return "stopped at panic: " + s.Message + at
	case "at":
		return "stopped" + at
	case "attach", "core":
		what := map[string]string{"attach": "attached", "core": "core dump"}[s.Reason]
		if s.Message != "" {
			what += " at fatal error: " + s.Message + at
		}
		return what
	case "interrupt":
		return "interrupted" + at
	}
	return s.Reason + at
}

func base(file string) string { return file[strings.LastIndexByte(file, '/')+1:] }

// maxNames is how many holders of one map the table and the autopsy name.
const maxNames = 8

// words are the parts of a map's cell; a line may break between them.
func (m *Map) words() []string {
	var ws []string
	more := func(n int, what string) {
		if n > 0 {
			ws = append(ws, strings.Fields(fmt.Sprintf("and %d %s", n, what))...)
		}
	}
	// Those without a name come last, and count only where there is no other.
	named := slices.IndexFunc(m.Holders, func(h Holder) bool { return h.Kind == census.Unknown.String() })
	if named <= 0 {
		named = len(m.Holders)
	}
	shown := named
	if shown > maxNames+1 {
		shown = maxNames
	}
	for i, h := range m.Holders[:shown] {
		name := h.Path
		if h.Func != "" {
			name += " in " + shortFunc(h.Func)
			if h.Goroutine > 1 || len(m.Goroutines) > 1 && h.Goroutine != 0 {
				name += fmt.Sprintf(" (goroutine %d)", h.Goroutine)
			}
		}
		if i < shown-1 {
			name += " ="
		}
		ws = append(ws, name)
	}
	more(named-shown, "others")
	if n := len(m.Holders) - named; n == 1 {
		more(n, "word without a name")
	} else {
		more(n, "words without a name")
	}
	ws = append(ws, hmap.ShortName(m.Type), m.Addr.String())
	if g := m.Growth; g != nil && g.State != "idle" {
		ws = append(ws, fmt.Sprintf("[growing: %s, %d of %d old buckets evacuated]", g.State, g.Evacuated, g.OldBuckets))
	}
	if m.Sync != nil {
		ws = append(ws, strings.Fields("["+m.Sync.state()+"]")...)
	} else if m.found.Busy {
		ws = append(ws, "[a writer is inside]")
	}
	if n := len(m.Broken); n > 0 {
		ws = append(ws, strings.Fields(fmt.Sprintf("[%s broken: %s]", plural(int64(n), "invariant"), m.Broken[0]))...)
	}
	if n := len(m.Errors); n > 0 {
		ws = append(ws, strings.Fields(fmt.Sprintf("[read in part: %s]", m.Errors[0]))...)
	}
	return ws
}

// shortFunc leaves the last element of a function's package path.
func shortFunc(f string) string { return f[strings.LastIndexByte(f, '/')+1:] }

// wrap joins words with spaces into lines of at most n bytes; a longer word gets
// a line of its own.
func wrap(words []string, n int) []string {
	var lines []string
	for _, w := range words {
		if k := len(lines) - 1; k >= 0 && len(lines[k])+1+len(w) <= n {
			lines[k] += " " + w
			continue
		}
		for len(w) > n {
			cut := n
			if i := strings.LastIndexAny(w[:n], "./]"); i > n/3 {
				cut = i + 1
			}
			lines = append(lines, w[:cut])
			w = w[cut:]
		}
		lines = append(lines, w)
	}
	return lines
}

func percent(load float64) string { return fmt.Sprintf("%.0f%%", load*100) }

func (d *Document) totals() string {
	s := &d.Summary
	t := plural(int64(s.Maps), "map")
	if s.Listed < s.Maps {
		t = fmt.Sprintf("%d of %s listed", s.Listed, plural(int64(s.Maps), "map"))
	}
	if s.SyncMaps > 0 {
		t += ", " + plural(int64(s.SyncMaps), "sync.Map")
	}
	t += fmt.Sprintf(", %s, %s, %s wasted", plural2(s.Entries, "entry", "entries"), Bytes(s.Bytes+s.SyncBytes), Bytes(s.Wasted))
	for _, x := range []struct {
		n    int
		what string
	}{
		{s.Shared, "shared"}, {s.Growing, "growing"}, {s.Unread, "read in part"}, {s.Broken, "broken"}, {s.Nil, "nil maps"},
	} {
		if x.n > 0 {
			t += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	return t
}

// covered says what was looked at.
func (d *Document) covered() string {
	s := &d.Summary
	t := fmt.Sprintf("looked at %s in %s and the stacks of %s", Bytes(int64(s.Scanned)), plural(int64(s.Objects), "object"), plural(int64(s.Goroutines), "goroutine"))
	if s.Unexplained > 0 {
		t += fmt.Sprintf("; %s of no known type", plural2(int64(s.Unexplained), "word holds a map and is", "words hold a map and are"))
	}
	return t
}

func plural(n int64, what string) string { return plural2(n, what, what+"s") }

func plural2(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
