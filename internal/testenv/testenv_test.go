package testenv_test

import (
	"slices"
	"strings"
	"testing"

	"hmaptools/internal/testenv"
)

// ends lists the programs that do not end with status 0, and the text that they
// end with.
var ends = map[string]struct {
	exit int
	text string
}{
	"concurrent": {2, "fatal error: concurrent map writes"},
	"exits":      {3, ""},
	"panics":     {2, "panic: out of maps"},
}

// Every program, with every toolchain: builds, ends as it should, and tells a
// truth that does not contradict itself.
func TestPrograms(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			bins := testenv.BuildAll(t, tc)
			for _, prog := range testenv.Programs(t) {
				t.Run(prog, func(t *testing.T) {
					out := testenv.Run(t, bins[prog])
					checkEnd(t, prog, out)
					checkTruth(t, tc, out.Truth)
				})
			}
		})
	}
}

// Some of the programs in the other build modes. What differs is the code around
// the maps; those that are to end in growth must do so here too.
func TestModes(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range testenv.Modes()[1:] {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				if testing.Short() && mode.Name != "noopt" {
					t.Skip("-short: the default build and noopt only")
				}
				for _, prog := range []string{"small", "evacuating", "samesize", "aliases", "onstack"} {
					out := testenv.Run(t, testenv.Build(t, tc, prog, mode.Flags...))
					checkEnd(t, prog, out)
					checkTruth(t, tc, out.Truth)
					if prog == "evacuating" || prog == "samesize" {
						checkGrowth(t, tc, prog, out.Truth)
					}
				}
			})
		}
	}
}

func TestGrowth(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			for _, prog := range []string{"evacuating", "samesize"} {
				// Each run has other hash seeds: a few show whether the end
				// in mid-growth is luck.
				bin := testenv.Build(t, tc, prog)
				for range 5 {
					checkGrowth(t, tc, prog, testenv.Run(t, bin).Truth)
				}
			}
		})
	}
}

// checkGrowth: on Classic maps every map of the two programs ends in growth.
func checkGrowth(t *testing.T, tc testenv.Toolchain, prog string, truth *testenv.Truth) {
	t.Helper()
	want := map[string]string{"evacuating": "double", "samesize": "same-size"}[prog]
	for _, m := range truth.Maps {
		switch {
		case !tc.Classic():
			if m.Growth != nil {
				t.Errorf("%s %s: a Swiss map with growth %+v", prog, m.Name, m.Growth)
			}
		case m.Growth == nil || m.Growth.State != want:
			t.Errorf("%s %s: growth %+v, want state %s", prog, m.Name, m.Growth, want)
		case m.Growth.Evacuated <= 0 || m.Growth.Evacuated >= m.Growth.OldBuckets:
			t.Errorf("%s %s: growth %+v is not in the middle", prog, m.Name, m.Growth)
		case m.Words[3] == 0:
			t.Errorf("%s %s: oldbuckets is nil", prog, m.Name)
		}
	}
}

// The keys of overflow really collide.
func TestOverflow(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			truth := testenv.Run(t, testenv.Build(t, tc, "overflow")).Truth
			if tc.Classic() {
				for name, want := range map[string]int{"main.chain": 37, "main.nohint": 37, "main.ptrs": 24} {
					if o := truth.Map(t, name).Overflow; o == nil || o.LongestChain < want {
						t.Errorf("%s: overflow %+v, want a chain of %d", name, o, want)
					}
				}
				return
			}
			skew := truth.Map(t, "main.skew").Tables
			deep := slices.MaxFunc(skew, func(a, b testenv.Table) int { return a.LocalDepth - b.LocalDepth })
			flat := slices.MinFunc(skew, func(a, b testenv.Table) int { return a.LocalDepth - b.LocalDepth })
			if deep.LocalDepth < 5 || flat.LocalDepth != 1 || flat.Used > 1 {
				t.Errorf("main.skew: deepest table %+v, shallowest %+v", deep, flat)
			}
		})
	}
}

// Tombstones are left on Swiss maps, in one table and in many.
func TestTombstones(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		if tc.Classic() {
			continue
		}
		t.Run(tc.Name, func(t *testing.T) {
			truth := testenv.Run(t, testenv.Build(t, tc, "tombstones")).Truth
			for _, name := range []string{"main.some", "main.most", "main.reused"} {
				dead := 0
				for _, table := range truth.Map(t, name).Tables {
					dead += table.Tombstones
				}
				if dead == 0 {
					t.Errorf("%s has no tombstones", name)
				}
			}
		})
	}
}

// The headers of onstack, and the first group or bucket, lie in main.main's frame.
func TestOnStack(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			truth := testenv.Run(t, testenv.Build(t, tc, "onstack")).Truth
			m, empty, grown := truth.Map(t, "m"), truth.Map(t, "empty"), truth.Map(t, "grown")
			for _, other := range []*testenv.Map{empty, grown} {
				if d := int64(other.Addr - m.Addr); d < -4096 || d > 4096 {
					t.Errorf("headers of m at %#x and %s at %#x: not in one frame", m.Addr, other.Name, other.Addr)
				}
			}
			if d := int64(m.Words[2] - m.Addr); d < -4096 || d > 4096 {
				t.Errorf("header of m at %#x, its group or bucket at %#x: not in one frame", m.Addr, m.Words[2])
			}
		})
	}
}

func TestPanicModes(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "panics")
	for mode, want := range map[string]struct {
		exit int
		text string
	}{
		"error":     {2, "failure 7"},
		"index":     {2, "index out of range [2] with length 1"},
		"nilmap":    {2, "assignment to entry in nil map"},
		"goroutine": {2, "panic: out of maps"},
		"recovered": {0, "recovered: true"},
	} {
		out := testenv.Run(t, bin, mode)
		if out.ExitCode != want.exit || !strings.Contains(out.Stderr, want.text) {
			t.Errorf("panics %s: exit status %d, want %d and %q\n%s", mode, out.ExitCode, want.exit, want.text, out.Stderr)
		}
	}
}

// Targets that wait can be stopped, and say all before they are ready.
func TestStart(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			for _, args := range [][]string{{"server"}, {"server", "churn"}, {"bigmap", "1000", "wait"}} {
				p := testenv.Start(t, testenv.Build(t, tc, args[0]), args[1:]...)
				checkTruth(t, tc, p.Truth)
				last := map[string]string{"server": "main.hot", "bigmap": "main.big"}[args[0]]
				p.Truth.Map(t, last)
				if status := p.Stop(); status != 0 {
					t.Errorf("%q ended with status %d\n%s", args, status, p.Stderr())
				}
			}
		})
	}
}

func checkEnd(t *testing.T, prog string, out *testenv.Outcome) {
	t.Helper()
	if want := ends[prog]; out.ExitCode != want.exit || !strings.Contains(out.Stderr, want.text) {
		t.Errorf("%s: exit status %d, want %d and %q\n%s", prog, out.ExitCode, want.exit, want.text, out.Stderr)
	}
}

// checkTruth checks what must hold for every truth.
func checkTruth(t *testing.T, tc testenv.Toolchain, truth *testenv.Truth) {
	t.Helper()
	if tc.Go != "local" && !strings.HasPrefix(truth.Go, tc.Go) || !strings.Contains(truth.Go, tc.Experiment) {
		t.Errorf("target says it was built by %s", truth.Go)
	}
	if truth.Generation != tc.Generation {
		t.Errorf("target says its maps are %s, want %s", truth.Generation, tc.Generation)
	}
	if len(truth.Maps) == 0 {
		t.Error("target told of no map")
	}
	for _, m := range truth.Maps {
		checkMap(t, tc, truth, m)
	}
}

func checkMap(t *testing.T, tc testenv.Toolchain, truth *testenv.Truth, m *testenv.Map) {
	t.Helper()
	if m.Addr == 0 {
		if m.Len != 0 || m.Words != nil || m.Entries != nil {
			t.Errorf("%s: a nil map with content: %+v", m.Name, m)
		}
		return
	}
	words := 6
	if tc.Experiment == "noswissmap" {
		words = 7
	}
	if len(m.Words) != words {
		t.Fatalf("%s: %d header words, want %d", m.Name, len(m.Words), words)
	}
	// The first word of both headers is the number of entries.
	if m.Words[0] != uint64(m.Len) {
		t.Errorf("%s: word 0 of the header is %d, len %d", m.Name, m.Words[0], m.Len)
	}
	if m.Entries != nil && len(m.Entries) != m.Len {
		t.Errorf("%s: %d entries, len %d", m.Name, len(m.Entries), m.Len)
	}
	for _, other := range truth.At(m.Addr) {
		if other.Len != m.Len || !slices.Equal(other.Words, m.Words) {
			t.Errorf("%s and %s share a header and differ", m.Name, other.Name)
		}
	}
	if m.Fresh != "" {
		fresh := truth.Map(t, m.Fresh)
		same := fresh.Sum == m.Sum || fresh.Sum != nil && m.Sum != nil && *fresh.Sum == *m.Sum
		if fresh.Addr == m.Addr || fresh.Len != m.Len || !same || !slices.Equal(fresh.Entries, m.Entries) {
			t.Errorf("%s is not a copy of %s", m.Fresh, m.Name)
		}
	}
	if !tc.Classic() && len(m.Tables) > 0 {
		used := 0
		for _, table := range m.Tables {
			used += table.Used
			// Every slot is used, a tombstone, left for growth, or kept empty:
			// one in eight.
			if full := table.Used + table.Tombstones + table.GrowthLeft; full > table.Capacity*7/8 {
				t.Errorf("%s: table %+v: %d slots accounted for", m.Name, table, full)
			}
		}
		if used != m.Len {
			t.Errorf("%s: tables hold %d entries, len %d", m.Name, used, m.Len)
		}
	}
}

func TestParseTruth(t *testing.T) {
	const good = "noise\n" +
		"truth go \"go1.99\\x20X:none\" swiss\n" +
		"truth map m 0x10 1 map[struct { A int }]int\n" +
		"truth entry m {2} 3\ntruth word m 0 0x1\ntruth word m 1 0xff\n" +
		"truth map m 0x0 0 map[int]int\n" +
		"truth alias m other\n" +
		"panic: more noise\n"
	truth, err := testenv.ParseTruth([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if len(truth.Maps) != 2 || truth.Go != "go1.99 X:none" {
		t.Fatalf("got %+v", truth)
	}
	first, second := truth.Maps[0], truth.Maps[1]
	if first.Type != "map[struct { A int }]int" || !slices.Equal(first.Words, []uint64{1, 255}) ||
		!slices.Equal(first.Entries, []testenv.Entry{{Key: "{2}", Elem: "3"}}) || first.Aliases != nil {
		t.Errorf("first map: %+v", first)
	}
	if !slices.Equal(second.Aliases, []string{"other"}) || second.Words != nil {
		t.Errorf("second map: %+v", second)
	}
	for _, bad := range []string{
		"",
		"nothing of interest\n",
		"truth nonsense m 1\n",
		"truth map m 0x10\n",
		"truth map m here 1 map[int]int\n",
		"truth entry m 1 2\n",
		"truth map m 0x10 1 map[int]int\ntruth entry m 1 2 3\n",
		"truth map m 0x10 1 map[int]int\ntruth word m 1 0x1\n",
	} {
		if bad != "" && strings.HasPrefix(bad, "truth") {
			bad = "truth go \"go1.99\" swiss\n" + bad
		}
		if truth, err := testenv.ParseTruth([]byte(bad)); err == nil {
			t.Errorf("%q: no error, but %+v", bad, truth)
		}
	}
}

// The table has the rows that the tools must support, by unique names.
func TestTable(t *testing.T) {
	t.Setenv("HMAPTOOLS_ALL_TOOLCHAINS", "1")
	if testing.Short() {
		t.Skip("-short takes the host alone")
	}
	var names []string
	for _, tc := range testenv.Toolchains(t) {
		names = append(names, tc.Name)
	}
	want := []string{"go1.18", "go1.21", "go1.23", "go1.24", "go1.24-noswissmap", "go1.25", "go1.25-noswissmap",
		"host", "go1.27", "go1.27-mapsplitgroup"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}
