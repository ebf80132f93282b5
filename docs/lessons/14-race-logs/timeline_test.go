package main

import (
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ms(n int) time.Time { return began.Add(time.Duration(n) * time.Millisecond) }

const printed = `{"level":"info","ts":1767323045000000000,"caller":"demo/main.go:62","msg":"begin","request":"r1","goroutine":21}
hmapdump: some notice
==================
WARNING: DATA RACE
Read at 0x00c00009ae70 by goroutine 10:
  runtime.mapaccess1_faststr()
      internal/runtime/maps/runtime_faststr.go:101 +0x0
  main.feed()
      hmaptools/docs/lessons/14-race-logs/demo/main.go:77 +0x2f
  main.handle()
      hmaptools/docs/lessons/14-race-logs/demo/main.go:67 +0x2f

Previous write at 0x00c00009ae70 by main goroutine:
  main.login()
      hmaptools/docs/lessons/14-race-logs/demo/main.go:75 +0x2f

Goroutine 10 (running) created at:
  main.main()
      hmaptools/docs/lessons/14-race-logs/demo/main.go:50 +0x2f
==================`

func TestParse(t *testing.T) {
	var lines []line
	for text := range strings.SplitSeq(printed, "\n") {
		lines = append(lines, line{ms(5), text})
	}
	logs, reports, err := parse(lines)
	if err != nil || len(logs) != 1 || len(reports) != 1 || len(reports[0].sides) != 2 {
		t.Fatalf("%+v, %+v, %v", logs, reports, err)
	}
	if want := (entry{1767323045000000000, "demo/main.go:62", "begin", "r1", 21}); logs[0] != want {
		t.Errorf("log %+v, want %+v", logs[0], want)
	}
	for i, want := range []side{{"Read", 10, "main.feed", "main.go", 77}, {"Previous write", 0, "main.login", "main.go", 75}} {
		if reports[0].sides[i] != want {
			t.Errorf("side %d is %+v, want %+v", i, reports[0].sides[i], want)
		}
	}
	if _, _, err := parse(lines[1:]); err == nil {
		t.Error("no log: no error")
	}
}

// story is a race of request r2 with r1. Others do the same at other times, and one does
// something else at the same time.
func story() ([]entry, report, []op) {
	var logs []entry
	for _, r := range []struct {
		id         string
		g          int64
		begin, end int
	}{{"r0", 7, 0, 3}, {"r1", 7, 4, 20}, {"r2", 8, 4, 20}, {"r3", 9, 4, 20}, {"r4", 8, 21, 30}} {
		logs = append(logs, entry{TS: ms(r.begin).UnixNano(), Msg: "begin", Request: r.id, Goroutine: r.g},
			entry{TS: ms(r.end).UnixNano(), Msg: "end", Request: r.id, Goroutine: r.g})
	}
	var ops []op
	for _, o := range []struct {
		at   int
		g    int64
		op   string
		line int64
	}{{1, 7, "assign", 75}, {6, 7, "assign", 75}, {7, 9, "access", 77}, {8, 9, "assign", 99}, {9, 8, "access", 77}, {25, 8, "access", 77}, {26, 9, "assign", 75}} {
		ops = append(ops, op{Op: o.op, Goroutine: o.g, File: "demo/main.go", Line: o.line, at: ms(o.at)})
	}
	return logs, report{ms(10), []side{{"Read", 10, "main.feed", "main.go", 77}, {"Previous write", 3, "main.login", "main.go", 75}}}, ops
}

func TestTimeline(t *testing.T) {
	logs, r, ops := story()
	var out strings.Builder
	if err := timeline(&out, logs, []report{r, r}, ops); err != nil {
		t.Fatal(err)
	}
	want := "\nrequest r2, goroutine 8, main.feed main.go:77 races with\n  request r1, goroutine 7, main.login main.go:75\n"
	if got := out.String(); !strings.HasSuffix(got, want) || strings.Count(got, "races with") != 1 {
		t.Errorf("%s\nwant it to end in %s", got, want)
	}
}

// TestNotJoined: what does not fit is not joined.
func TestNotJoined(t *testing.T) {
	for name, change := range map[string]func([]entry, *report, []op){
		"another line":     func(_ []entry, r *report, _ []op) { r.sides[0].line = 78 },
		"another kind":     func(_ []entry, r *report, _ []op) { r.sides[1].what = "Previous read" },
		"another file":     func(_ []entry, r *report, _ []op) { r.sides[1].file = "other.go" },
		"before all":       func(_ []entry, r *report, _ []op) { r.at = ms(0) },
		"nobody's request": func(logs []entry, _ *report, _ []op) { logs[2].Goroutine = 70 },
	} {
		logs, r, ops := story()
		change(logs, &r, ops)
		var out strings.Builder
		if err := timeline(&out, logs, []report{r}, ops); err == nil {
			t.Errorf("%s: it was joined:\n%s", name, out.String())
		}
	}
}
