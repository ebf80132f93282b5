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
	if len(all) < 7 {
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

// check runs the program with and without probes and compares.
func check(t testing.TB, bin string, args ...string) *tally {
	t.Helper()
	c := newTally()
	var end probe.End
	stdout, stderr := quiet(t, func() {
		s, err := probe.Launch(bin, args, probe.Options{RingBytes: 256 << 20})
		if err != nil {
			t.Fatal(err)
		}
		c.s = s
		if end, err = s.Run(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	})
	if !end.Exited || end.ExitStatus != 0 {
		t.Fatalf("it ended with status %d (%v): %s%s", end.ExitStatus, end.Exited, stdout, stderr)
	}
	for _, f := range c.s.Meta().Funcs {
		if f.Skipped != "" {
			t.Errorf("%s was skipped: %s", f.Sym, f.Skipped)
		}
	}
	if end.LostTotal != 0 || end.Unfinished != 0 {
		t.Errorf("%d events lost, %d unfinished", end.LostTotal, end.Unfinished)
	}
	for _, b := range c.bad {
		t.Error(b)
	}
	for addr, ops := range counted(t, stdout) {
		got := c.ops[addr]
		if got == nil {
			t.Errorf("map %#x: no events, want %v", addr, ops)
			continue
		}
		for op, want := range ops {
			if got[op] != want {
				t.Errorf("map %#x: %d times %s, the program counted %d", addr, got[op], op, want)
			}
		}
	}
	return c
}

func TestCounts(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			bin := testenv.Build(t, tc, "opcount")
			c := check(t, bin, "-g", "4", "-n", "20000")
			if c.events < 100_000 {
				t.Errorf("%d events", c.events)
			}
		})
	}
}
