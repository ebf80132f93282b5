package census_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// stopped is a target at its stop, what it has told by then, and its census.
type stopped struct {
	*target.Target
	tc    testenv.Toolchain
	stop  target.Stop
	truth *testenv.Truth
	src   census.Source
	res   *census.Result
}

// stopAt runs a program to the stop and takes the census there.
func stopAt(t *testing.T, tc testenv.Toolchain, bin string, until target.Until, args ...string) *stopped {
	t.Helper()
	stderr := filepath.Join(t.TempDir(), "stderr")
	tg, err := target.Launch(bin, args, target.LaunchOptions{Stdin: os.DevNull, Stdout: os.DevNull, Stderr: stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := syscall.Kill(tg.Pid(), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d outlived Close: %v", tg.Pid(), err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := &stopped{Target: tg, tc: tc}
	if s.stop, err = tg.Continue(ctx, until); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(stderr)
	if err != nil {
		t.Fatal(err)
	}
	if s.truth, err = testenv.ParseTruth(text); err != nil && until.At == "" {
		t.Fatal(err)
	}
	s.take(t)
	return s
}

func (s *stopped) take(t *testing.T) {
	t.Helper()
	s.src = source(t, s.Target)
	s.res = census.Take(s.src, census.Options{Depth: -1})
	for _, err := range s.res.Errors {
		t.Errorf("census: %v", err)
	}
}

// reasons are the stops of the programs that do not end by returning from main.
var reasons = map[string]target.Reason{"concurrent": target.Fatal, "exits": target.Exit, "panics": target.Panic}

// progArgs are the arguments that a program needs to be small enough.
var progArgs = map[string][]string{"bigmap": {"100000"}}

// unkept are the names that an optimising compiler need not keep, as the package
// comment of testenv says; * is every name.
var unkept = map[string][]string{"small": {"localNone"}, "aliases": {"*ptr", "same"}, "onstack": {"*"}}

// returned are the names of arguments and locals whose functions have returned
// when the program stops.
var returned = map[string][]string{"manylocals": {"carried", "top"}, "registers": {"used", "late", "other"}}

// TestTruth compares the census of every program, built by every toolchain, with
// what the program itself has printed in the same run.
func TestTruth(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			for _, mode := range testenv.Modes() {
				progs := testenv.Programs(t)
				if mode.Name != "default" && mode.Name != "noopt" {
					if testing.Short() {
						continue
					}
					progs = []string{"small", "evacuating", "aliases", "nested"}
				}
				t.Run(mode.Name, func(t *testing.T) {
					for _, prog := range progs {
						t.Run(prog, func(t *testing.T) {
							bin := testenv.Build(t, tc, prog, mode.Flags...)
							s := stopAt(t, tc, bin, target.Until{}, progArgs[prog]...)
							want := target.MainReturn
							if r := reasons[prog]; r != "" {
								want = r
							}
							if s.stop.Reason != want {
								t.Fatalf("stop %+v, want %s", s.stop, want)
							}
							lax := returned[prog]
							if mode.Name != "noopt" {
								lax = append(lax, unkept[prog]...)
							}
							s.check(t, lax)
						})
					}
				})
			}
		})
	}
}

// TestTruthInside stops a program in the middle of its calls.
func TestTruthInside(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range testenv.Modes()[:2] {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				s := stopAt(t, tc, testenv.Build(t, tc, "manylocals", mode.Flags...), target.Until{At: "main.stop"})
				for _, m := range s.truth.Maps {
					m.Only = "" // all of them are in scope here
				}
				s.check(t, nil)
				if f := s.at(s.truth.Map(t, "bottom").Addr); f != nil && len(f.Holders) < 2 {
					t.Errorf("bottom is held by the argument of main.stop too: %v", paths(f))
				}
				if n := len(s.named("frame")); n != 5 {
					t.Errorf("%d locals called frame, want 5", n)
				}
			})
		}
	}
}

// named returns the holders of that path.
func (s *stopped) named(path string) []census.Holder {
	var hs []census.Holder
	for _, f := range s.res.Maps {
		for _, h := range f.Holders {
			if h.Path() == path {
				hs = append(hs, h)
			}
		}
	}
	return hs
}

func (s *stopped) at(addr uint64) *census.Found {
	for _, f := range s.res.Maps {
		if uint64(f.Header.Addr) == addr {
			return f
		}
	}
	return nil
}

func paths(f *census.Found) []string {
	var ps []string
	for _, h := range f.Holders {
		ps = append(ps, h.Path())
	}
	return ps
}

// check compares the whole census with the whole truth. lax are names that need
// not be there.
func (s *stopped) check(t *testing.T, lax []string) {
	t.Helper()
	known := map[uint64]bool{}
	for _, m := range s.truth.Maps {
		known[m.Addr] = true
		optional := m.Only != "" || slices.Contains(lax, m.Name) || slices.Contains(lax, "*")
		if m.Addr == 0 {
			s.checkNil(t, m)
			continue
		}
		f := s.at(m.Addr)
		if f == nil {
			if !optional {
				t.Errorf("%s at %#x was not found; lost: %+v", m.Name, m.Addr, s.res.Lost)
			}
			continue
		}
		s.checkMap(t, f, m)
		for _, name := range append([]string{m.Name}, m.Aliases...) {
			if !optional && !slices.Contains(lax, name) {
				s.checkHolder(t, f, name)
			}
		}
	}
	seen := map[hmap.Addr]bool{}
	for _, f := range s.res.Maps {
		if seen[f.Header.Addr] {
			t.Errorf("%s at %s stands in several rows", f.Type, f.Header.Addr)
		}
		seen[f.Header.Addr] = true
		if !known[uint64(f.Header.Addr)] && slices.ContainsFunc(f.Holders, isMain) {
			t.Errorf("%s at %s, held by %q, is none of the program's", f.Type, f.Header.Addr, paths(f))
		}
		if len(f.Errors) > 0 || !f.Complete && !f.Busy {
			t.Errorf("%q: %v", paths(f), f.Errors)
		}
		if len(f.Broken) > 0 {
			t.Errorf("%q: broken: %v", paths(f), f.Broken)
		}
		words := map[hmap.Addr]string{}
		for _, h := range f.Holders {
			if h.Addr == 0 {
				continue
			}
			if other, twice := words[h.Addr]; twice {
				t.Errorf("%s and %s are one word at %s", h.Path(), other, h.Addr)
			}
			words[h.Addr] = h.Path()
			if got := s.word(t, h.Addr); got != uint64(f.Header.Addr) {
				t.Errorf("%s: the word at %s is %#x, not the header's address %s", h.Path(), h.Addr, got, f.Header.Addr)
			}
		}
	}
}

// isMain reports whether a variable of the program's own leads to the holder.
func isMain(h census.Holder) bool {
	_, fn, _, _ := h.Frame()
	return strings.HasPrefix(h.Name(), "main.") || strings.HasPrefix(fn, "main.")
}

func (s *stopped) word(t *testing.T, addr hmap.Addr) uint64 {
	t.Helper()
	b := make([]byte, 8)
	if _, err := s.Memory().ReadMemory(b, uint64(addr)); err != nil {
		t.Errorf("word at %s: %v", addr, err)
	}
	return le(b)
}

// checkHolder checks that the map is listed under the name, or under another
// path that leads to the very same word.
func (s *stopped) checkHolder(t *testing.T, f *census.Found, name string) {
	t.Helper()
	if slices.Contains(paths(f), name) {
		return
	}
	if r, err := s.Eval(name); err == nil && r.Addr != 0 {
		for _, h := range f.Holders {
			if uint64(h.Addr) == r.Addr {
				return
			}
		}
		// What an interface holds is one word further on.
		for _, h := range f.Holders {
			if h.Kind == census.Interface && uint64(h.Addr) == r.Addr+8 {
				return
			}
		}
	}
	t.Errorf("%s does not hold %s at %s: %q", name, f.Type, f.Header.Addr, paths(f))
}

// checkNil: a nil map has no row. Another variable of the same name may have one.
func (s *stopped) checkNil(t *testing.T, m *testenv.Map) {
	t.Helper()
	others := 0
	for _, o := range s.truth.Maps {
		if o.Name == m.Name || slices.Contains(o.Aliases, m.Name) {
			others++
		}
	}
	if hs := s.named(m.Name); others == 1 && len(hs) > 0 {
		t.Errorf("%s is nil and was found: %+v", m.Name, hs)
	}
	if s.res.Nil == 0 {
		t.Errorf("%s is nil, but no nil map was counted", m.Name)
	}
}

func (s *stopped) checkMap(t *testing.T, f *census.Found, m *testenv.Map) {
	t.Helper()
	// Optimised code of a generic function knows the shapes of its types alone.
	if f.Type.Name != m.Type && !(strings.Contains(f.Type.Name, "go.shape.") && !slices.ContainsFunc(f.Holders, notShape)) {
		t.Errorf("%s: type %q, want %q", m.Name, f.Type.Name, m.Type)
	}
	if g, v := f.Layout.Generation.String(), f.Layout.Variant.String(); g != s.tc.Generation || v != s.tc.Variant {
		t.Errorf("%s: %s %s, want %s %s", m.Name, g, v, s.tc.Generation, s.tc.Variant)
	}
	if f.Header.Len() != int64(m.Len) || f.Len != int64(m.Len) {
		t.Errorf("%s: len %d in the header, %d in the slots, want %d", m.Name, f.Header.Len(), f.Len, m.Len)
	}
	if f.Slots < int64(m.Len) && s.tc.Variant != "bucket" {
		t.Errorf("%s: %d entries in %d slots", m.Name, m.Len, f.Slots)
	}
	if f.Busy {
		return // another goroutine has changed it since
	}
	s.checkHeader(t, f, m)
	s.checkEntries(t, f, m)
	s.checkShape(t, f, m)
}

func notShape(h census.Holder) bool { return !strings.Contains(h.Type.Name, "go.shape.") }

// field is a field of a header: its offset and size in bytes.
type field struct {
	name      string
	off, size int
}

// fields returns the header's fields by literal offsets, as gdb and DWARF gave
// them once for each version: shared/facts/claims.md, 2.05.
func fields(tc testenv.Toolchain, version string) []field {
	if tc.Generation == "classic" {
		fs := []field{
			{"count", 0, 8}, {"flags", 8, 1}, {"B", 9, 1}, {"noverflow", 10, 2}, {"hash0", 12, 4},
			{"buckets", 16, 8}, {"oldbuckets", 24, 8}, {"nevacuate", 32, 8},
		}
		if tc.Experiment == "noswissmap" {
			return append(fs, field{"clearSeq", 40, 8}, field{"extra", 48, 8})
		}
		return append(fs, field{"extra", 40, 8})
	}
	fs := []field{
		{"used", 0, 8}, {"seed", 8, 8}, {"dirPtr", 16, 8}, {"dirLen", 24, 8}, {"globalDepth", 32, 1}, {"globalShift", 33, 1},
		{"writing", 34, 1},
	}
	if !strings.HasPrefix(version, "go1.24") {
		fs = append(fs, field{"tombstonePossible", 35, 1})
	}
	return append(fs, field{"clearSeq", 40, 8})
}

// checkHeader compares the header as it was decoded with the words that the
// target has read of itself.
func (s *stopped) checkHeader(t *testing.T, f *census.Found, m *testenv.Map) {
	t.Helper()
	var got, want []string
	for _, v := range f.Fields() {
		got = append(got, fmt.Sprintf("%s %#x", v.Name, v.Bits))
	}
	for _, x := range fields(s.tc, s.truth.Go) {
		v := m.Words[x.off/8] >> (8 * (x.off % 8))
		if x.size < 8 {
			v &= 1<<(8*x.size) - 1
		}
		want = append(want, fmt.Sprintf("%s %#x", x.name, v))
		if d, ok := decoded(&f.Header)[x.name]; !ok || d != v {
			t.Errorf("%s: Header.%s is %#x, want %#x", m.Name, x.name, d, v)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: header %q\nwant %q", m.Name, got, want)
	}
}

func decoded(h *hmap.Header) map[string]uint64 {
	b := map[bool]uint64{true: 1}
	return map[string]uint64{
		"count": uint64(h.Count), "flags": uint64(h.Flags), "B": uint64(h.B), "noverflow": uint64(h.NOverflow),
		"hash0": uint64(h.Hash0), "buckets": uint64(h.Buckets), "oldbuckets": uint64(h.OldBuckets),
		"nevacuate": h.NEvacuate, "extra": uint64(h.Extra), "clearSeq": h.ClearSeq,
		"used": h.Used, "seed": h.Seed, "dirPtr": uint64(h.DirPtr), "dirLen": uint64(h.DirLen),
		"globalDepth": uint64(h.GlobalDepth), "globalShift": uint64(h.GlobalShift), "writing": uint64(h.Writing),
		"tombstonePossible": b[h.TombstonePossible],
	}
}

// checkEntries compares keys and elems, or their sums.
func (s *stopped) checkEntries(t *testing.T, f *census.Found, m *testenv.Map) {
	t.Helper()
	if m.Entries == nil && m.Sum == nil && m.Len > 0 {
		return
	}
	c := canon{s.src}
	var got []testenv.Entry
	var sum testenv.Sum
	n := 0
	l := f.Layout
	err := hmap.Slots(s.Memory(), f.Map, true, func(e *hmap.Entry) error {
		n++
		if m.Sum != nil {
			sum.Keys += c.sum(l.Key, e.Key)
			sum.Elems += c.sum(l.Elem, e.Elem)
			return nil
		}
		got = append(got, testenv.Entry{Key: c.text(l.Key, e.Key), Elem: c.text(l.Elem, e.Elem)})
		return nil
	})
	if err != nil {
		t.Errorf("%s: slots: %v", m.Name, err)
	}
	if n != m.Len {
		t.Errorf("%s: Slots met %d entries, want %d", m.Name, n, m.Len)
	}
	if m.Sum != nil {
		if sum != *m.Sum {
			t.Errorf("%s: sums %+v, want %+v", m.Name, sum, *m.Sum)
		}
		return
	}
	slices.SortFunc(got, func(a, b testenv.Entry) int {
		if k := strings.Compare(a.Key, b.Key); k != 0 {
			return k
		}
		return strings.Compare(a.Elem, b.Elem)
	})
	if !slices.Equal(got, m.Entries) {
		t.Errorf("%s: entries\n%q\nwant\n%q", m.Name, got, m.Entries)
	}
}

// checkShape compares growth, overflow buckets and tables.
func (s *stopped) checkShape(t *testing.T, f *census.Found, m *testenv.Map) {
	t.Helper()
	if (f.Growth != nil) != s.tc.Classic() || (f.Overflow != nil) != s.tc.Classic() {
		t.Errorf("%s: growth %v, overflow %v of a %s map", m.Name, f.Growth, f.Overflow, s.tc.Generation)
		return
	}
	if g := m.Growth; g != nil {
		got := testenv.Growth{State: f.Growth.State.String(), NEvacuate: f.Header.NEvacuate, Evacuated: int(f.Growth.Evacuated), OldBuckets: int(f.Growth.OldBuckets)}
		if got != *g {
			t.Errorf("%s: growth %+v, want %+v", m.Name, got, *g)
		}
		if f.Growing() != (g.State != "idle") {
			t.Errorf("%s: growing %v, want state %s", m.Name, f.Growing(), g.State)
		}
	}
	if o := m.Overflow; o != nil {
		// The target follows the chains of the new array alone.
		same := f.Overflow.Buckets == int64(o.Buckets) && f.Overflow.LongestChain == int64(o.LongestChain)
		more := f.Growing() && f.Overflow.Buckets >= int64(o.Buckets) && f.Overflow.LongestChain >= int64(o.LongestChain)
		if !same && !more || f.Header.NOverflow != uint16(o.NOverflow) {
			t.Errorf("%s: overflow %+v, noverflow %d, want %+v", m.Name, *f.Overflow, f.Header.NOverflow, *o)
		}
	}
	if g := m.Group; g != nil {
		if uint64(f.Header.DirPtr) != g.Addr || f.Tombstones != int64(g.Tombstones) || len(f.Tables) != 0 || f.Groups != 1 {
			t.Errorf("%s: a group at %s, %d tombstones, %d tables, want %+v", m.Name, f.Header.DirPtr, f.Tombstones, len(f.Tables), *g)
		}
	}
	if m.Tables != nil {
		var got []testenv.Table
		entries := int64(0)
		for _, x := range f.Tables {
			got = append(got, testenv.Table{
				Index: int(x.Index), Addr: uint64(x.Addr), LocalDepth: int(x.LocalDepth), Used: int(x.Used),
				Capacity: int(x.Capacity), GrowthLeft: int(x.GrowthLeft), Tombstones: int(x.Tombstones),
			})
			entries += x.Entries
		}
		if !slices.Equal(got, m.Tables) {
			t.Errorf("%s: tables\n%+v\nwant\n%+v", m.Name, got, m.Tables)
		}
		if entries != f.Header.DirLen {
			t.Errorf("%s: tables stand in %d directory entries of %d", m.Name, entries, f.Header.DirLen)
		}
	}
}

// TestFresh checks wasted bytes: bytes of a map less those of the map that the
// target has made with make(map, len) and the same entries.
func TestFresh(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			s := stopAt(t, tc, testenv.Build(t, tc, "fresh"), target.Until{})
			n := 0
			for _, m := range s.truth.Maps {
				if m.Fresh == "" {
					continue
				}
				n++
				f, fresh := s.at(m.Addr), s.at(s.truth.Map(t, m.Fresh).Addr)
				if f == nil || fresh == nil {
					t.Errorf("%s or %s was not found", m.Name, m.Fresh)
					continue
				}
				want := f.Bytes - fresh.Bytes
				t.Logf("%s: len %d, %d bytes, wasted %d, oracle %d; %s: %d bytes, wasted %d", m.Name, f.Len, f.Bytes, f.Wasted, want, m.Fresh, fresh.Bytes, fresh.Wasted)
				// Hash seeds differ: a fresh map may have an overflow bucket or
				// a table more or less than expected.
				if d := f.Wasted - max(0, want); d > f.Bytes/20+512 || -d > f.Bytes/20+512 {
					t.Errorf("%s: wasted %d of %d bytes, want about %d", m.Name, f.Wasted, f.Bytes, want)
				}
				if fresh.Wasted > fresh.Bytes/3 {
					t.Errorf("%s, which is fresh, wastes %d of %d bytes", m.Fresh, fresh.Wasted, fresh.Bytes)
				}
			}
			if n < 10 {
				t.Errorf("%d maps with a fresh one", n)
			}
		})
	}
}
