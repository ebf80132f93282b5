package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Limits of the text; JSON has it all.
const (
	textSites   = 20
	textGrowths = 40
	textShares  = 8
)

// Text writes the recording for people: all maps as a table, and in full those that
// there is something to say of. With full, that is all of them.
func (r *Recording) Text(out io.Writer, full bool) error {
	var b strings.Builder
	s := r.Summary
	d := time.Duration(s.DurationNS).Round(time.Microsecond)
	fmt.Fprintf(&b, "%s: %s, %s maps; %d events in %v", r.Target.Path, r.Target.Go, r.Target.Generation, s.Events, d)
	if d > 0 {
		fmt.Fprintf(&b, " (%.3g a second)", float64(s.Events)/d.Seconds())
	}
	fmt.Fprintf(&b, ", %d lost; %d maps, %d goroutines; %s\n", s.Lost, s.Maps, s.Goroutines, r.Target.End)
	for _, l := range s.LostBy {
		fmt.Fprintf(&b, "lost: %d of %s\n", l.N, l.Sym)
	}
	if s.Unfinished > 0 {
		fmt.Fprintf(&b, "%d operations had begun when the program ended\n", s.Unfinished)
	}
	for _, f := range s.Skipped {
		fmt.Fprintf(&b, "not recorded: %s: %s\n", f.Sym, f.Why)
	}
	if s.Folded > 0 {
		fmt.Fprintf(&b, "%d maps that have ended are added up with others of their type and origin\n", s.Folded)
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MAP\tTYPE\tASSIGN\tACCESS\tDELETE\tITER\tCLEAR\tGREW\tLEN\tMAX\tGOROUTINES\tMADE AT")
	for _, m := range r.Maps {
		made := "-"
		if m.MadeAt != nil {
			made = m.MadeAt.String()
		}
		fmt.Fprintf(w, "%v\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", m.Addr, m.Type, m.Ops["assign"], m.Ops["access"], m.Ops["delete"],
			m.Ops["iter"], m.Ops["clear"], m.Grown, m.Len, m.MaxLen, len(m.Goroutines), made)
	}
	w.Flush()
	if n := s.Maps - len(r.Maps); n > 0 {
		fmt.Fprintf(&b, "%d more maps\n", n)
	}
	for i := range r.Maps {
		if m := &r.Maps[i]; full || len(m.Notes) > 0 {
			m.text(&b, full)
		}
	}
	fmt.Fprintf(&b, "\nCALL SITES\n")
	sites(&b, r.Sites, textSites)
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "%s\n", e)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func sites(b *strings.Builder, all []SiteOps, limit int) {
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for i, s := range all {
		if i == limit {
			fmt.Fprintf(w, "  %d more\n", len(all)-limit)
			break
		}
		bytes := ""
		if s.Bytes > 0 {
			bytes = fmt.Sprintf("%d bytes of growth", s.Bytes)
		}
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\n", s.Op, s.N, s.Place, bytes)
	}
	w.Flush()
}

func (m *MapLife) text(b *strings.Builder, full bool) {
	fmt.Fprintf(b, "\n%v %s\n", m.Addr, m.Type)
	for _, n := range m.Notes {
		fmt.Fprintf(b, "  %s: %s\n", n.Code, n.Text)
	}
	if full || len(m.Goroutines) > 1 {
		for i, g := range m.Goroutines {
			if i == textShares {
				fmt.Fprintf(b, "  %d more goroutines\n", len(m.Goroutines)-textShares)
				break
			}
			fmt.Fprintf(b, "  goroutine %s: %d reads, %d writes\n", goroutineText(g.ID), g.Reads, g.Writes)
		}
	}
	for _, c := range m.Concurrent {
		a := "a writer that was not recorded"
		if c.A != nil {
			a = fmt.Sprintf("goroutine %s, %s at %s", goroutineText(c.A.Goroutine), c.A.Op, c.A.Place)
		}
		fmt.Fprintf(b, "  concurrent at %v: %s; goroutine %s, %s at %s\n", time.Duration(c.TNS), a, goroutineText(c.B.Goroutine), c.B.Op, c.B.Place)
	}
	for i, g := range m.Growth {
		if i == textGrowths {
			fmt.Fprintf(b, "  %d more growths\n", m.Grown-textGrowths)
			break
		}
		fmt.Fprintf(b, "  %10v %s: len %d, slots %d -> %d", time.Duration(g.TNS).Round(time.Microsecond), g.Op, g.Len, g.OldSlots, g.NewSlots)
		if g.SameSize {
			b.WriteString(" (same size)")
		}
		if g.Tombstones > 0 {
			fmt.Fprintf(b, ", %d tombstones", g.Tombstones)
		}
		if g.OldBuckets > 0 {
			fmt.Fprintf(b, ", evacuated %d of %d", g.Evacuated, g.OldBuckets)
		}
		fmt.Fprintf(b, "  %s\n", g.Place)
	}
	if full {
		sites(b, m.Sites, textSites)
	}
}
