package census_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// placed is what the program places has said: a word that holds a header.
type placed struct {
	kind         string
	header, word uint64
}

// readPlaces parses the output of the program places.
func readPlaces(t *testing.T, file string) (places []placed, garbage map[uint64]bool) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	garbage = map[uint64]bool{}
	for in := bufio.NewScanner(f); in.Scan(); {
		var p placed
		var g uint64
		if n, _ := fmt.Sscanf(in.Text(), "place %s %v %v", &p.kind, &p.header, &p.word); n == 3 {
			places = append(places, p)
		} else if n, _ := fmt.Sscanf(in.Text(), "garbage %v", &g); n == 1 {
			garbage[g] = true
		}
	}
	if len(places) < 5000 || len(garbage) < 1000 {
		t.Fatalf("%d places, %d headers of garbage", len(places), len(garbage))
	}
	for _, p := range places {
		delete(garbage, p.header) // used again
	}
	return places, garbage
}

// source is what a census needs of a target.
func source(t *testing.T, tg *target.Target) census.Source {
	t.Helper()
	src, err := census.Of(tg)
	if err != nil {
		t.Errorf("source: %v", err)
	}
	return src
}

// atReturn runs a program to the return of main.main, and returns where its standard error
// went.
func atReturn(t *testing.T, bin string, args ...string) (tg *target.Target, stderr string) {
	t.Helper()
	stderr = filepath.Join(t.TempDir(), "stderr")
	tg, err := target.Launch(bin, args, target.LaunchOptions{Stdin: os.DevNull, Stdout: os.DevNull, Stderr: stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	stop, err := tg.Continue(ctx, target.Until{})
	if err != nil || stop.Reason != target.MainReturn {
		t.Fatalf("stop %+v: %v", stop, err)
	}
	return tg, stderr
}

// TestPlaces compares the census with what a program knows that puts thousands of
// maps wherever one can be.
func TestPlaces(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range testenv.Modes() {
			if testing.Short() && mode.Name != "default" && mode.Name != "noopt" {
				continue
			}
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				bin := testenv.Build(t, tc, "places", mode.Flags...)
				tg, stderr := atReturn(t, bin)
				places, garbage := readPlaces(t, stderr)
				checkPlaces(t, census.Take(source(t, tg), census.Options{Depth: -1}), places, garbage)
			})
		}
	}
}

func checkPlaces(t *testing.T, res *census.Result, places []placed, garbage map[uint64]bool) {
	t.Helper()
	for _, err := range res.Errors {
		t.Errorf("census: %v", err)
	}
	found := map[uint64]*census.Found{}
	for _, f := range res.Maps {
		if found[uint64(f.Header.Addr)] != nil {
			t.Errorf("%s is listed twice", f.Header.Addr)
		}
		found[uint64(f.Header.Addr)] = f
		if garbage[uint64(f.Header.Addr)] {
			t.Errorf("%s is garbage, and is held by %q", f.Header.Addr, paths(f))
		}
		if len(f.Broken)+len(f.Errors) > 0 {
			t.Errorf("%s, held by %q: broken %v, errors %v", f.Header.Addr, paths(f), f.Broken, f.Errors)
		}
	}
	missing, unnamed := map[string]int{}, map[string]int{}
	wrong := map[string]string{}
	all := map[string]int{}
	for _, p := range places {
		all[p.kind]++
		f := found[p.header]
		if f == nil {
			missing[p.kind]++
			continue
		}
		ok := false
		for _, h := range f.Holders {
			same := p.word != 0 && h.Addr == hmap.Addr(p.word)
			right := p.kind == "any" || h.Kind.String() == p.kind
			if same && !right {
				wrong[p.kind+" "+h.Kind.String()] = h.Path()
			}
			ok = ok || right && (same || p.word == 0)
		}
		if !ok {
			unnamed[p.kind]++
		}
	}
	t.Logf("%d maps found, %d objects, %d stale pointers", len(res.Maps), res.Objects, res.Stale)
	report := func(what string, n map[string]int) {
		var kinds []string
		for k := range n {
			kinds = append(kinds, k)
		}
		sort.Strings(kinds)
		for _, k := range kinds {
			t.Errorf("%s: %d of %d of kind %s", what, n[k], all[k], k)
		}
	}
	report("maps not found", missing)
	report("holders not named", unnamed)
	for k, path := range wrong {
		want, got, _ := strings.Cut(k, " ")
		t.Errorf("%s is of kind %s, want %s", path, got, want)
	}
}

// TestGoroutines: ten thousand goroutines, each with a map on its stack alone.
func TestGoroutines(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range testenv.Modes() {
			if testing.Short() && mode.Name != "default" {
				continue
			}
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				n := 2000
				if mode.Name == "default" {
					n = 10000
				}
				bin := testenv.Build(t, tc, "goroutines", mode.Flags...)
				tg, stderr := atReturn(t, bin, fmt.Sprint(n))
				res := census.Take(source(t, tg), census.Options{Depth: -1})
				for _, err := range res.Errors {
					// A goroutine may be on its way to where it parks.
					if !strings.Contains(err.Error(), "its stack is being moved") {
						t.Errorf("census: %v", err)
					}
				}
				if res.Goroutines < n {
					t.Errorf("the stacks of %d goroutines were looked at; there are %d and more", res.Goroutines, n)
				}
				checkParked(t, res, stderr, n)
			})
		}
	}
}

func checkParked(t *testing.T, res *census.Result, file string, n int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint64]*census.Found{}
	for _, f := range res.Maps {
		found[uint64(f.Header.Addr)] = f
	}
	missing, nameless, lines := map[string]int{}, map[string]int{}, 0
	for _, line := range strings.Split(string(text), "\n") {
		var addr uint64
		var kind string
		if n, _ := fmt.Sscanf(line, "map %v %s", &addr, &kind); n != 2 {
			continue
		}
		lines++
		f := found[addr]
		if f == nil {
			missing[kind]++
			continue
		}
		if f.Len != 1 || len(f.Broken)+len(f.Errors) > 0 || len(f.Goroutines) == 0 {
			t.Errorf("%s, held by %q: len %d, broken %v, errors %v, goroutines %d", f.Header.Addr, paths(f), f.Len, f.Broken, f.Errors, f.Goroutines)
		}
		if f.Holders[0].Kind == census.Unknown {
			nameless[kind]++
		}
	}
	if lines != n || len(missing) > 0 {
		t.Errorf("of %d maps these were not found: %v", lines, missing)
	}
	if len(nameless) > 0 {
		t.Errorf("maps without a name: %v", nameless)
	}
}
