package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// request is what the log says of a request.
type request struct {
	id         string
	goroutine  int64
	begin, end time.Time
}

// requests are the requests of the log, each with its goroutine and its time.
func requests(logs []entry) []*request {
	var all []*request
	for _, e := range logs {
		at := time.Unix(0, e.TS)
		i := slices.IndexFunc(all, func(r *request) bool { return r.id == e.Request })
		if i < 0 {
			all = append(all, &request{e.Request, e.Goroutine, at, at})
			continue
		}
		r := all[i]
		if at.Before(r.begin) {
			r.begin = at
		}
		if at.After(r.end) {
			r.end = at
		}
	}
	return all
}

// of returns the request that a goroutine handled at a time, or nil. Goroutines come and
// go, and one may handle requests in turn.
func of(all []*request, g int64, at time.Time) *request {
	for _, r := range all {
		if r.goroutine == g && !at.Before(r.begin) && !at.After(r.end) {
			return r
		}
	}
	return nil
}

// join finds the operations of the recording that are the sides of a report: what the
// two have in common is the place in the source. The access that was caught is the last
// one there before the report, and the other is the last of another goroutine before it.
func join(r report, ops []op) []*op {
	found := make([]*op, len(r.sides))
	before := r.at
	for i, s := range r.sides {
		for j := range ops {
			o := &ops[j]
			if filepath.Base(o.File) != s.file || int(o.Line) != s.line || o.at.After(before) || strings.HasSuffix(strings.ToLower(s.what), "write") != (o.Op != "access") {
				continue
			}
			if i > 0 && found[0] != nil && o.Goroutine == found[0].Goroutine {
				continue
			}
			if found[i] == nil || o.at.After(found[i].at) {
				found[i] = o
			}
		}
		if found[i] != nil {
			before = found[i].at
		}
	}
	return found
}

// timeline prints all three, in the order of time.
func timeline(out io.Writer, logs []entry, reports []report, ops []op) error {
	type row struct {
		at         time.Time
		g          int64
		from, text string
	}
	all := requests(logs)
	var rows []row
	for _, e := range logs {
		rows = append(rows, row{time.Unix(0, e.TS), e.Goroutine, "log", e.Msg + " " + filepath.Base(e.Caller)})
	}
	for _, o := range ops {
		if of(all, o.Goroutine, o.at) != nil {
			rows = append(rows, row{o.at, o.Goroutine, "recording", fmt.Sprintf("%s %#x %s %s:%d", o.Op, o.Map, o.Func, filepath.Base(o.File), o.Line)})
		}
	}
	var verdicts []string
	for _, r := range reports {
		found := join(r, ops)
		var g int64
		var text, verdict []string
		for i, s := range r.sides {
			text = append(text, fmt.Sprintf("%s %s %s:%d (its goroutine %d)", s.what, s.fn, s.file, s.line, s.detector))
			if found[i] == nil {
				continue
			}
			if i == 0 {
				g = found[i].Goroutine
			}
			if q := of(all, found[i].Goroutine, found[i].at); q != nil {
				verdict = append(verdict, fmt.Sprintf("request %s, goroutine %d, %s %s:%d", q.id, q.goroutine, s.fn, s.file, s.line))
			}
		}
		rows = append(rows, row{r.at, g, "detector", strings.Join(text, "; ")})
		// One race may be reported at several words of the map.
		if v := strings.Join(verdict, " races with\n  "); len(verdict) == 2 && !slices.Contains(verdicts, v) {
			verdicts = append(verdicts, v)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return a.at.Compare(b.at) })
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MS\tREQUEST\tGOROUTINE\tFROM\tWHAT")
	for _, r := range rows {
		id := "-"
		if q := of(all, r.g, r.at); q != nil {
			id = q.id
		}
		fmt.Fprintf(w, "%.1f\t%s\t%d\t%s\t%s\n", float64(r.at.Sub(rows[0].at).Microseconds())/1000, id, r.g, r.from, r.text)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(verdicts) == 0 {
		return errors.New("no report could be joined with the recording and the log")
	}
	for _, v := range verdicts {
		fmt.Fprintf(out, "\n%s\n", v)
	}
	return nil
}
