package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hmaptools/internal/testenv"
)

// dlvDump is what of a dump the scripts say too.
type dlvDump struct {
	Maps []dlvMap `json:"maps"`
}

type dlvMap struct {
	Addr, Type, Generation string
	Len, Slots             int64
	Header                 map[string]any
	Growth                 struct {
		State      string
		Evacuated  int64
		OldBuckets int64 `json:"old_buckets"`
	}
	Tables []struct {
		Addr       string
		Index      int64
		LocalDepth int64 `json:"local_depth"`
		Used       int64
		Capacity   int64
		GrowthLeft int64 `json:"growth_left"`
	}
	Holders []struct {
		Kind, Name, Path, Func string
		Goroutine              int64
	}
	Slot []struct {
		Addr, Meta string
		Slots      []struct {
			Slot      int
			Key, Elem string
		}
	} `json:"slots_detail"`
}

func (d *dlvDump) holding(t *testing.T, name string) *dlvMap {
	t.Helper()
	for i := range d.Maps {
		for _, h := range d.Maps[i].Holders {
			if h.Path == name {
				return &d.Maps[i]
			}
		}
	}
	t.Fatalf("no map that %s holds", name)
	return nil
}

// TestDlvScripts: at one stop, in a session on a headless server, the scripts of
// scripts/dlv say what hmapdump says through the same server.
func TestDlvScripts(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		if tc.Name == "go1.18" {
			continue // the scripts are for Go 1.21 and later
		}
		for _, mode := range testenv.Modes()[:2] {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				t.Parallel()
				h := serve(t, "exec", "--accept-multiclient", testenv.Build(t, tc, "stops", mode.Flags...))
				s := converse(t, "connect", h.addr)
				s.do("break stopping main.stop")
				s.do("continue")
				var stdout, stderr bytes.Buffer
				if status := run([]string{"--json", "--slots", "connect", h.addr}, &stdout, &stderr); status != 0 {
					t.Fatalf("hmapdump connect: exit status %d\n%s", status, stderr.String())
				}
				var d dlvDump
				if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"main.table", "main.growing", "main.growing6", "main.few", "main.wide", "main.holed", "main.young", "main.empty"} {
					compareHeader(t, s.do("hmap "+name+" all"), d.holding(t, name), tc)
					compareSlots(t, s.do("hmap_slots "+name+" all"), d.holding(t, name), name != "main.wide")
				}
				if got := s.do("hmap_slots main.table 2"); strings.Count(got, " at 0x") != 2 || !strings.Contains(got, "are shown") {
					t.Errorf("hmap_slots main.table 2: %s", got)
				}
				if a, b := d.holding(t, "main.growing"), d.holding(t, "main.growing6"); tc.Classic() && a.Growth.State == "idle" && b.Growth.State == "idle" {
					t.Errorf("no map is in growth")
				}
				compareHolders(t, s.do("hmap_shared main.table"), d.holding(t, "main.table"))
				if got := s.do("hmap_shared"); !strings.Contains(got, "main.srv.names[0]\n") || !strings.Contains(got, "  *main.pointer\n") || strings.Contains(got, "main.wide") {
					t.Errorf("hmap_shared: %s", got)
				}
				if got := s.do("hmap_who main.table"); strings.Count(got, "as m in main.hold at main.go:") != 2 || !strings.Contains(got, "0 inside an operation, 2 more hold it") {
					t.Errorf("hmap_who main.table: %s", got)
				}
				refusals(t, s)
				lostVariables(t, s, mode.Name == "default")
				traceAndGrow(t, s, tc)
			})
		}
	}
}

var headerLine = regexp.MustCompile(`(?m)^  (\w+) +(\S+)`)

func compareHeader(t *testing.T, got string, m *dlvMap, tc testenv.Toolchain) {
	t.Helper()
	if !strings.Contains(got, " "+m.Type+": header "+m.Addr+", ") || !strings.Contains(strings.ToLower(got), tc.Generation+":") {
		t.Errorf("hmap does not say %s at %s, %s\n%s", m.Type, m.Addr, tc.Generation, got)
	}
	fields := map[string]string{}
	for _, f := range headerLine.FindAllStringSubmatch(got, -1) {
		fields[f[1]] = f[2]
	}
	n := 0
	for name, want := range m.Header {
		if name == "flag_names" {
			continue
		}
		n++
		text := fmt.Sprint(want)
		if f, ok := want.(float64); ok {
			text = strconv.FormatFloat(f, 'f', -1, 64)
		}
		g := fields[name]
		a, err1 := strconv.ParseUint(g, 0, 64)
		b, err2 := strconv.ParseUint(text, 0, 64)
		if g == "" || g != text && (err1 != nil || err2 != nil || a != b) {
			t.Errorf("hmap: %s is %q, hmapdump says %v\n%s", name, g, want, got)
		}
	}
	if n < 8 {
		t.Errorf("hmapdump says %d fields of a header", n)
	}
	if want := fmt.Sprintf("load      %d of %d slots,", m.Len, m.Slots); !strings.Contains(got, want) {
		t.Errorf("hmap: want %q\n%s", want, got)
	}
	if tc.Classic() {
		want := "growth    idle\n"
		if m.Growth.State != "idle" {
			want = fmt.Sprintf("growth    %s: %d of %d old buckets are evacuated\n", m.Growth.State, m.Growth.Evacuated, m.Growth.OldBuckets)
		}
		if !strings.Contains(got, want) {
			t.Errorf("hmap: want %q\n%s", want, got)
		}
		return
	}
	rows := map[string][]string{}
	for line := range strings.Lines(got) {
		if f := strings.Fields(line); len(f) == 7 && strings.HasPrefix(f[6], "0x") && f[0] != "index" {
			rows[f[6]] = f
		}
	}
	if len(rows) != len(m.Tables) {
		t.Errorf("hmap: %d tables, hmapdump says %d\n%s", len(rows), len(m.Tables), got)
	}
	for _, x := range m.Tables {
		want := fmt.Sprint(x.Index, x.LocalDepth, x.Used, x.Capacity, x.GrowthLeft)
		if row := rows[x.Addr]; row == nil || strings.Join(row[:5], " ") != want {
			t.Errorf("hmap: table %s: want %s\n%s", x.Addr, want, got)
		}
	}
}

var blockLine = regexp.MustCompile(` at (0x[0-9a-f]+)  ((?:[0-9a-f]{2} ?){8})$`)

func compareSlots(t *testing.T, got string, m *dlvMap, elems bool) {
	t.Helper()
	want, have := map[string]bool{}, map[string]bool{}
	for _, b := range m.Slot {
		want[b.Addr+" "+b.Meta] = true
		for _, x := range b.Slots {
			s := fmt.Sprintf("%s %d %s", b.Addr, x.Slot, x.Key)
			if elems {
				s += ": " + x.Elem
			}
			want[s] = true
		}
	}
	addr := ""
	for line := range strings.Lines(got) {
		line = strings.TrimRight(line, "\n")
		if f := blockLine.FindStringSubmatch(line); f != nil {
			addr = f[1]
			have[addr+" "+strings.ReplaceAll(f[2], " ", "")] = true
		} else if slot, rest, ok := strings.Cut(strings.TrimPrefix(line, "  "), "  "); ok && strings.HasPrefix(line, "  ") {
			if !elems {
				rest, _, _ = strings.Cut(rest, ": ")
			}
			have[addr+" "+slot+" "+rest] = true
		}
	}
	// hmapdump leaves out groups and buckets that are empty.
	for line := range have {
		if !want[line] && strings.Count(line, " ") > 1 {
			t.Errorf("hmap_slots says %q, hmapdump does not", line)
		}
	}
	for line := range want {
		if !have[line] {
			t.Errorf("hmapdump says %q, hmap_slots does not", line)
		}
	}
	if m.Len > 0 && len(want) == 0 {
		t.Errorf("hmapdump shows no slots")
	}
	if t.Failed() {
		t.Logf("hmap_slots: %.3000s", got)
	}
}

func compareHolders(t *testing.T, got string, m *dlvMap) {
	t.Helper()
	want, have := map[string]int{}, map[string]int{}
	for _, h := range m.Holders {
		switch h.Kind {
		case "global", "field":
			want[h.Path]++
		case "local", "arg", "register":
			want[fmt.Sprintf("%s in goroutine %d", h.Name, h.Goroutine)]++
		}
	}
	for _, f := range regexp.MustCompile(`(?m)^  (\S+)(?:  (goroutine \d+), .*)?$`).FindAllStringSubmatch(got, -1) {
		if f[2] != "" {
			have[f[1]+" in "+f[2]]++
		} else {
			have[f[1]]++
		}
	}
	if !maps.Equal(want, have) || len(have) < 4 {
		t.Errorf("hmap_shared: %v, hmapdump says %v\n%s", slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)), got)
	}
}

// refusals: bad input gets one clear line.
func refusals(t *testing.T, s *session) {
	t.Helper()
	for command, want := range map[string]string{
		"hmap":                       "hmap: wants one expression that names a map, and perhaps all: hmap EXPR [all]",
		"hmap main.number":           "hmap: main.number: not a map but int",
		"hmap main.nosuch":           "hmap: main.nosuch: no such variable here, or not an expression that dlv can evaluate",
		"hmap 1 +":                   "hmap: wants one expression that names a map, and perhaps all: hmap EXPR [all]",
		"hmap main.null":             "hmap: main.null: a nil map (map[string]int): len is 0, reads give zero values, a write panics",
		"hmap main.pointer":          "hmap: main.pointer: a pointer to a map: try *main.pointer",
		"hmap main.boxed":            "hmap: main.boxed: an interface: try main.boxed.(data)",
		"hmap_slots main.number":     "hmap_slots: main.number: not a map but int",
		"hmap_slots main.few x":      "hmap_slots: wants one expression that names a map, and perhaps how many groups or buckets: hmap_slots EXPR [N|all]",
		"hmap_shared main.number":    "hmap_shared: main.number: not a map but int",
		"hmap_shared a b":            "hmap_shared: wants one expression that names a map, or none: hmap_shared [EXPR]",
		"hmap_who":                   "hmap_who: wants one expression that names a map: hmap_who EXPR",
		"hmap_who main.null":         "hmap_who: main.null: a nil map (map[string]int): len is 0, reads give zero values, a write panics",
		"hmap_grow":                  "hmap_grow: wants on, print or off",
		"hmap_trace main.few":        "hmap_trace: wants one expression that names a map, and how many operations: hmap_trace EXPR N",
		"hmap_trace main.few 0":      "hmap_trace: wants one expression that names a map, and how many operations: hmap_trace EXPR N",
		"hmap_trace main.number 1":   "hmap_trace: main.number: not a map but int",
		`hmap main.srv.names["a b"]`: `hmap: main.srv.names["a b"]: no such variable here, or not an expression that dlv can evaluate`,
	} {
		if got := strings.TrimSpace(s.do(command)); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if got := s.do("help hmap_trace"); !strings.HasPrefix(got, "hmap_trace EXPR N: follow a map") {
		t.Errorf("help hmap_trace: %s", got)
	}
}

// lostVariables: what the compiler did not keep, a layout that is not known, and a command
// that runs at a breakpoint.
func lostVariables(t *testing.T, s *session, optimised bool) {
	t.Helper()
	s.do("on stopping hmap main.few")
	if got := s.do("breakpoints"); !strings.Contains(got, "hmap main.few") {
		t.Errorf("breakpoints: %s", got)
	}
	if got := s.do("continue"); strings.Count(got, "main.few map[string]int: header ") != 1 || !strings.Contains(got, "load      3 of 8 slots, 37%\n") {
		t.Errorf("continue to a breakpoint with hmap: %s", got)
	}
	s.do("up")
	got := strings.TrimSpace(s.do("hmap lost"))
	if optimised && got != "hmap: lost: optimised away here: try up, another line, or a build with -gcflags='all=-N -l'" {
		t.Errorf("hmap lost: %s", got)
	}
	if !optimised && !strings.Contains(got, "lost map[string]int: header ") {
		t.Errorf("hmap lost: %s", got)
	}
	s.do("down")
	for _, f := range []struct{ def, want string }{
		{`eval(None, "*main.srv", Fielded).Variable`, "hmap: main.few: a header of a layout that is not known: its fields are index, names\n"},
		{`real(typ, addr)`, "main.few map[string]int: header "},
	} {
		s.script("def At(typ, addr):\n\treturn " + strings.Replace(f.def, "real(typ, addr)", `eval(None, "*(*%s)(%d)" % (Quoted(typ), addr), Fielded).Variable`, 1))
		if got := s.do("hmap main.few"); !strings.HasPrefix(got, f.want) {
			t.Errorf("hmap main.few: %q, want %q", got, f.want)
		}
	}
}

func traceAndGrow(t *testing.T, s *session, tc testenv.Toolchain) {
	t.Helper()
	got := s.do("hmap_trace main.few 3")
	var ops []string
	for _, f := range regexp.MustCompile(`(?m)^\d+  (\w+) (\S+)  goroutine 1, (main\.\w+) at main\.go:\d+ \(runtime\.map`).FindAllStringSubmatch(got, -1) {
		ops = append(ops, strings.Join(f[1:], " "))
	}
	if want := []string{`assign "k" main.operate`, `access "a" main.operate`, `delete "k" main.operate`}; !slices.Equal(ops, want) {
		t.Errorf("hmap_trace: %q, want %q\n%s", ops, want, got)
	}
	count, h, first := "used", "m", "growToSmall|growToTable"
	if tc.Classic() {
		count, h, first = "count", "h", "hashGrow"
	}
	if !strings.Contains(got, count+" 3 -> 4\n") || !strings.HasSuffix(got, "hmap_trace: 3 operations\n") {
		t.Errorf("hmap_trace: want %s 3 -> 4, and 3 operations\n%s", count, got)
	}
	if got := s.do("hmap_who main.few"); !strings.Contains(got, "  goroutine 1: inside delete (runtime.mapdelete_faststr), called by main.operate at main.go:") {
		t.Errorf("hmap_who main.few, stopped in a delete: %s", got)
	}
	if got := s.do("breakpoints"); strings.Contains(got, "hmapTrace") {
		t.Errorf("hmap_trace left breakpoints: %s", got)
	}
	if got := s.do("hmap_grow on"); !regexp.MustCompile(`(?m)^hmapGrow\d  grow: .*(`+first+`)$`).MatchString(got) || !strings.HasSuffix(got, "hmap_grow: on\n") {
		t.Errorf("hmap_grow on: %s", got)
	}
	if got := s.do("continue"); !regexp.MustCompile(`\[hmapGrow\d\] \S+(` + first + `)\(`).MatchString(got) {
		t.Errorf("the growth of main.young does not stop the program: %s", got)
	}
	if got := s.do("hmap " + h); !strings.Contains(got, ": header ") || !strings.Contains(got, "  "+count) {
		t.Errorf("hmap %s: %s", h, got)
	}
	if got := s.do("hmap_slots " + h); !strings.Contains(got, "says nothing of keys and elems: name the map itself") {
		t.Errorf("hmap_slots %s: %s", h, got)
	}
	if got := s.do("hmap_grow off"); !strings.HasPrefix(got, "hmap_grow: off, ") || strings.Contains(got, ", 0 ") {
		t.Errorf("hmap_grow off: %s", got)
	}
	if got := s.do("hmap_trace main.empty 1"); !strings.Contains(got, "hmap_trace: the program has ended after 0 operations") {
		t.Errorf("hmap_trace of a map that nobody uses: %s", got)
	}
	if got := s.do("hmap main.few"); !strings.Contains(got, "has exited with status 0") || strings.Count(got, "\n") != 1 {
		t.Errorf("hmap after the end: %q", got)
	}
}
