package watch_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
	"hmaptools/internal/watch"
)

// observe runs a program with breakpoints and returns its events and what it wrote.
func observe(t *testing.T, bin string, opts watch.Options, args ...string) (*event.Analysis, string) {
	t.Helper()
	stdout := filepath.Join(t.TempDir(), "stdout")
	tgt, err := target.Launch(bin, args, target.LaunchOptions{Stdin: os.DevNull, Stdout: stdout, Stripped: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tgt.Close()
	a := event.NewAnalysis()
	stop, err := watch.Run(context.Background(), tgt, opts, func(e *event.Event) error { a.Add(e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if stop.Reason != target.Exited || stop.ExitStatus == nil || *stop.ExitStatus != 0 {
		t.Errorf("it stopped: %+v", stop)
	}
	out, err := os.ReadFile(stdout)
	if err != nil {
		t.Fatal(err)
	}
	return a, string(out)
}

// TestCounts: with breakpoints in all functions, events are as many as the program
// counts itself, for every version, and of a stripped binary as well.
func TestCounts(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) { counts(t, testenv.Build(t, tc, "opcount")) })
		t.Run(tc.Name+"-stripped", func(t *testing.T) { counts(t, testenv.Build(t, tc, "opcount", testenv.Strip)) })
	}
	t.Run("pie-stripped", func(t *testing.T) {
		counts(t, testenv.Build(t, testenv.Host(), "opcount", testenv.Strip, testenv.PIE))
	})
}

func counts(t *testing.T, bin string) {
	a, out := observe(t, bin, watch.Options{}, "-g", "1", "-n", "150")
	byAddr := map[uint64]*event.Life{}
	for _, l := range a.Lives {
		byAddr[uint64(l.Addr)] = l
	}
	maps := 0
	for line := range strings.Lines(out) {
		var addr uint64
		var typ string
		var mk, assign, access, del, iter, clr, n uint64
		if k, _ := fmt.Sscanf(line, "count 0x%x %s make=%d assign=%d access=%d delete=%d iter=%d clear=%d len=%d", &addr, &typ, &mk, &assign, &access, &del, &iter, &clr, &n); k != 9 {
			continue
		}
		maps++
		l := byAddr[addr]
		if l == nil {
			t.Errorf("no events of %s", line)
			continue
		}
		got := [...]uint64{l.Ops[event.Make], l.Ops[event.Assign], l.Ops[event.Access], l.Ops[event.Delete], l.Ops[event.Iter], l.Ops[event.Clear]}
		if want := [...]uint64{mk, assign, access, del, iter, clr}; got != want {
			t.Errorf("make, assign, access, delete, iter, clear are %v, want %v: %s", got, want, line)
		}
		if l.Type == nil || l.Type.Name != typ {
			t.Errorf("type %+v, want %s", l.Type, typ)
		}
	}
	if maps < 7 {
		t.Errorf("the program told of %d maps", maps)
	}
}

// TestGrowth: with the operations that trace has by default, a map's growth is seen
// from its first group or bucket on, each old bucket's evacuation once, and its
// caller is the program's.
func TestGrowth(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			ops := []event.Op{event.Make, event.Grow, event.Evacuate}
			a, _ := observe(t, testenv.Build(t, tc, "oploop"), watch.Options{Ops: ops, Stack: 8}, "int", "100000")
			var l *event.Life
			for _, x := range a.Lives {
				if x.Type != nil && x.Type.Name == "map[int]int" && (l == nil || x.Grown > l.Grown) {
					l = x
				}
			}
			if l == nil || l.Grown < 6 {
				t.Fatalf("no map[int]int grew: %+v", l)
			}
			slots := l.Growths[0].OldSlots
			for i, g := range l.Growths {
				if g.OldSlots != slots || g.NewSlots != 2*slots && slots > 0 {
					t.Errorf("growth %d: %d to %d slots, it had %d", i, g.OldSlots, g.NewSlots, slots)
				}
				slots = g.NewSlots
				if c := g.Site.Caller(); c.Func != "main.ints" {
					t.Errorf("growth %d: caller %+v", i, c)
				}
				if tc.Classic() && (g.Evacuated != g.OldBuckets || g.OldBuckets != g.OldSlots/8) {
					t.Errorf("growth %d: %d of %d buckets evacuated", i, g.Evacuated, g.OldBuckets)
				}
			}
			if slots != 2048 {
				t.Errorf("%d slots in the end, want 2048", slots)
			}
		})
	}
}

// TestTypeNames: what the descriptor of a map type tells by itself, which is all that
// there is of a stripped binary, is what debug information tells.
func TestTypeNames(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			checked := 0
			for _, prog := range []string{"kinds", "generic"} {
				tgt, err := target.Launch(testenv.Build(t, tc, prog), nil, target.LaunchOptions{Stdin: os.DevNull, Stdout: os.DevNull, Stderr: os.DevNull})
				if err != nil {
					t.Fatal(err)
				}
				defer tgt.Close()
				seen := map[hmap.Addr]bool{}
				_, err = watch.Run(context.Background(), tgt, watch.Options{Ops: []event.Op{event.Make, event.Assign, event.Grow}}, func(e *event.Event) error {
					if e.Type == nil || seen[e.Type.Addr] {
						return nil
					}
					seen[e.Type.Addr] = true
					got, err := hmap.ReadMapType(tgt.Memory(), e.Type.Addr, tgt.TypeBases())
					want := hmap.MapType{Name: e.Type.Name, Key: e.Type.Key, KeySize: e.Type.Size, BlockSize: e.Type.Block}
					if err != nil || got != want {
						t.Errorf("%s: %+v, %v; debug information has %+v", prog, got, err, want)
					}
					checked++
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if checked < 10 {
				t.Errorf("%d types", checked)
			}
		})
	}
}
