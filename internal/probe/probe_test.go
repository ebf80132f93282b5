//go:build linux && amd64

package probe_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hmaptools/internal/event"
	"hmaptools/internal/probe"
	"hmaptools/internal/testenv"
)

// tally counts events by map and operation.
type tally struct {
	s      *probe.Session
	ops    map[uint64]*[event.NumOps]uint64
	last   uint64
	events uint64
	bad    []string
	types  map[uint64]uint64
	limit  uint64
	full   func()
}

func newTally() *tally {
	return &tally{ops: map[uint64]*[event.NumOps]uint64{}, types: map[uint64]uint64{}}
}

func (c *tally) Add(r *event.Raw, stack []uint64, key []byte) {
	ops := c.ops[r.Map]
	if ops == nil {
		ops = &[event.NumOps]uint64{}
		c.ops[r.Map] = ops
	}
	ops[c.s.Meta().Funcs[r.Func].Op]++
	if r.Seq <= c.last && len(c.bad) < 10 {
		c.bad = append(c.bad, fmt.Sprintf("event %d comes after %d", r.Seq, c.last))
	}
	c.last = r.Seq
	c.events++
	if r.Type != 0 {
		c.types[r.Map] = r.Type
	}
	if c.limit > 0 && c.events == c.limit {
		c.full()
	}
}

func (c *tally) AddAll(rs []event.Raw) {
	for i := range rs {
		c.Add(&rs[i], nil, nil)
	}
}

func (c *tally) Tick() error { return nil }

// counted are the lines with which opcount tells what it did.
func counted(t testing.TB, out string) map[uint64]map[event.Op]uint64 {
	t.Helper()
	all := map[uint64]map[event.Op]uint64{}
	for line := range strings.Lines(out) {
		var addr uint64
		var typ string
		var mk, assign, access, del, iter, clr, n uint64
		if !strings.HasPrefix(line, "count ") {
			continue
		}
		if _, err := fmt.Sscanf(line, "count 0x%x %s make=%d assign=%d access=%d delete=%d iter=%d clear=%d len=%d", &addr, &typ, &mk, &assign, &access, &del, &iter, &clr, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[addr] = map[event.Op]uint64{event.Make: mk, event.Assign: assign, event.Access: access, event.Delete: del, event.Iter: iter, event.Clear: clr}
	}
	if len(all) < 4 {
		t.Fatalf("the program told of %d maps:\n%s", len(all), out)
	}
	return all
}

// quiet runs f with standard output and error in files, and returns what was
// written there.
func quiet(t testing.TB, f func()) (stdout, stderr string) {
	t.Helper()
	read := make([]*os.File, 2)
	for i := range read {
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		read[i] = file
	}
	restore := redirect(t, read[0], read[1])
	f()
	restore()
	var out [2]string
	for i, file := range read {
		b, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		out[i] = string(b)
	}
	return out[0], out[1]
}

// outcome is what a program under probes did.
type outcome struct {
	*tally
	end            probe.End
	stdout, stderr string
}

// observe runs a program to its end with probes in it.
func observe(t testing.TB, bin string, opts probe.Options, args ...string) *outcome {
	t.Helper()
	o := &outcome{tally: newTally()}
	if opts.RingBytes == 0 {
		opts.RingBytes = 256 << 20
	}
	o.stdout, o.stderr = quiet(t, func() {
		s, err := probe.Launch(bin, args, opts)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		o.s = s
		if o.end, err = s.Run(context.Background(), o.tally); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return o
}

// check runs the program with probes and compares what was seen with what the
// program has counted itself: no event may be too many, and those that are missing
// must be as many as were lost.
func check(t testing.TB, bin string, opts probe.Options, args ...string) *outcome {
	t.Helper()
	o := observe(t, bin, opts, args...)
	if !o.end.Exited {
		t.Errorf("it has not ended")
	}
	noMake := false
	for _, f := range o.s.Meta().Funcs {
		switch {
		case f.Skipped == "":
		case f.Sym == "runtime.makemap_small" && strings.Contains(t.Name(), "noopt"):
			noMake = true // CALL; POPQ BP; RET: no room for a jump
		default:
			t.Errorf("%s was skipped: %s", f.Sym, f.Skipped)
		}
	}
	if o.end.Unfinished != 0 {
		t.Errorf("%d events unfinished", o.end.Unfinished)
	}
	for _, b := range o.bad {
		t.Error(b)
	}
	missing := uint64(0)
	for addr, ops := range counted(t, o.stdout) {
		got := o.ops[addr]
		if got == nil {
			got = &[event.NumOps]uint64{}
		}
		for op, want := range ops {
			if op == event.Make && noMake {
				continue
			}
			missing += want - min(want, got[op])
			if got[op] > want || got[op] < want && o.end.LostTotal == 0 {
				t.Errorf("map %#x: %d times %s, the program counted %d; %d lost", addr, got[op], op, want, o.end.LostTotal)
			}
		}
	}
	if missing > o.end.LostTotal {
		t.Errorf("%d events are missing, %d were lost", missing, o.end.LostTotal)
	}
	return o
}

func TestCounts(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			bin := testenv.Build(t, tc, "opcount")
			o := check(t, bin, probe.Options{}, "-g", "4", "-n", "20000", "-clear")
			if o.events+o.end.LostTotal < 400_000 {
				t.Errorf("%d events", o.events)
			}
		})
	}
}

// result is the line in which opcount says what it has computed.
func result(t testing.TB, out string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "result ") {
			return line
		}
	}
	t.Fatalf("no result:\n%s", out)
	return ""
}

// TestUndisturbed: a program computes under probes what it computes without, in all
// the ways in which it can be built, and whatever else goes on in it.
func TestUndisturbed(t *testing.T) {
	tc := testenv.Host()
	modes := append(testenv.Modes(), testenv.Mode{Name: "stripped", Flags: []testenv.BuildFlag{testenv.Strip}})
	for _, mode := range modes {
		t.Run(mode.Name, func(t *testing.T) {
			bin := testenv.Build(t, tc, "opcount", mode.Flags...)
			args := []string{"-g", "64", "-n", "1500", "-gc", "-prof", "-fork"}
			if mode.Name != "noopt" && mode.Name != "race" { // the compiler makes no clear there
				args = append(args, "-clear")
			}
			want := plain(t, bin, args...)
			for _, opts := range []probe.Options{{}, {Keys: true, Stack: 12}} {
				o := check(t, bin, opts, args...)
				if o.end.ExitStatus != 0 || result(t, o.stdout) != result(t, want) || o.stderr != "" {
					t.Errorf("status %d, %swant %s%s", o.end.ExitStatus, result(t, o.stdout), result(t, want), o.stderr)
				}
			}
		})
	}
	t.Run("cgo", func(t *testing.T) {
		bin := testenv.Build(t, tc, "opcgo", testenv.Cgo)
		o := check(t, bin, probe.Options{Stack: 3})
		if want := plain(t, bin); result(t, o.stdout) != result(t, want) {
			t.Errorf("%swant %s", result(t, o.stdout), result(t, want))
		}
	})
	t.Run("status", func(t *testing.T) {
		bin := testenv.Build(t, tc, "opcount")
		if o := observe(t, bin, probe.Options{}, "-n", "100", "-exit", "42"); o.end.ExitStatus != 42 {
			t.Errorf("status %d, want 42", o.end.ExitStatus)
		}
	})
}

// TestManyTimes: what goes wrong once in fifty runs goes wrong.
func TestManyTimes(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "opcount")
	args := []string{"-g", "8", "-n", "1000", "-gc", "-prof"}
	want := result(t, plain(t, bin, args...))
	for i := range 50 {
		if o := check(t, bin, probe.Options{}, args...); o.end.ExitStatus != 0 || result(t, o.stdout) != want {
			t.Errorf("run %d: status %d, %s", i, o.end.ExitStatus, o.stdout)
		}
		if t.Failed() {
			t.Fatalf("in run %d", i)
		}
	}
}
