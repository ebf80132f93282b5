package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

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
	for i := range d.Maps {
		m := &d.Maps[i]
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
	case "attach":
		return "attached"
	case "core":
		return "core dump"
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
	for i, h := range m.Holders {
		if i == maxNames && len(m.Holders) > maxNames+1 {
			ws = append(ws, strings.Fields(fmt.Sprintf("and %d others", len(m.Holders)-i))...)
			break
		}
		name := h.Path
		if h.Func != "" {
			name += " in " + shortFunc(h.Func)
			if h.Goroutine > 1 || len(m.Goroutines) > 1 && h.Goroutine != 0 {
				name += fmt.Sprintf(" (goroutine %d)", h.Goroutine)
			}
		}
		if i < len(m.Holders)-1 {
			name += " ="
		}
		ws = append(ws, name)
	}
	ws = append(ws, hmap.ShortName(m.Type), m.Addr.String())
	if g := m.Growth; g != nil && g.State != "idle" {
		ws = append(ws, fmt.Sprintf("[growing: %s, %d of %d old buckets evacuated]", g.State, g.Evacuated, g.OldBuckets))
	}
	if m.found.Busy {
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
	t += fmt.Sprintf(", %s, %s, %s wasted", plural2(s.Entries, "entry", "entries"), Bytes(s.Bytes), Bytes(s.Wasted))
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

func plural(n int64, what string) string { return plural2(n, what, what+"s") }

func plural2(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
