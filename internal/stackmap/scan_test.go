package stackmap_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hmaptools/internal/stackmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// stopped is a target that stands still, and its stacks.
type stopped struct {
	*target.Target
	t      testing.TB
	stderr string
	reader *stackmap.Reader
	gs     []stackmap.Goroutine
	regs   map[int64]*stackmap.Registers
}

// stopAt runs a program until it comes to a place for the hit-th time; "" is where
// main.main returns.
func stopAt(t testing.TB, bin, at string, hit int) *stopped {
	t.Helper()
	s := &stopped{t: t, stderr: filepath.Join(t.TempDir(), "stderr")}
	var err error
	s.Target, err = target.Launch(bin, nil, target.LaunchOptions{Stdin: os.DevNull, Stdout: os.DevNull, Stderr: s.stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stop, err := s.Continue(ctx, target.Until{At: at, Hit: hit})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[bool]target.Reason{true: target.At, false: target.MainReturn}[at != ""]; stop.Reason != want {
		t.Fatalf("stop %+v, want %s", stop, want)
	}
	s.open()
	return s
}

// open makes the reader and lists goroutines and registers.
func (s *stopped) open() {
	s.t.Helper()
	var err error
	if s.reader, err = stackmap.New(s.Memory(), s.Types(), s.Arch()); err != nil {
		s.t.Fatal(err)
	}
	if s.gs, err = s.reader.Goroutines(); err != nil {
		s.t.Fatal(err)
	}
	threads, err := s.Threads()
	if err != nil {
		s.t.Fatal(err)
	}
	s.regs = map[int64]*stackmap.Registers{}
	for _, th := range threads {
		if th.Goroutine == 0 {
			continue
		}
		r := &stackmap.Registers{PC: th.PC, SP: th.SP, LR: th.LR}
		for _, x := range th.Registers {
			r.General = append(r.General, x.Value)
		}
		s.regs[th.Goroutine] = r
	}
}

// probe is a line that program liveness prints.
type probe struct {
	name  string
	addr  uint64
	live  bool
	where string
}

func (s *stopped) probes() []probe {
	s.t.Helper()
	f, err := os.Open(s.stderr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	var list []probe
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var p probe
		var state string
		if n, _ := fmt.Sscanf(lines.Text(), "probe %s %d %s %s", &p.name, &p.addr, &state, &p.where); n == 4 {
			p.live = state == "live"
			list = append(list, p)
		}
	}
	return list
}

// sight is a word that holds a probe's address.
type sight struct {
	kind      stackmap.Kind
	fn        string
	goroutine int64
	running   bool
}

func (x sight) String() string {
	return fmt.Sprintf("%s in %s of goroutine %d", x.kind, x.fn, x.goroutine)
}

// sights scans all stacks, and finds the words that hold one of the addresses: those
// that Scan lists, and all that lie in the stacks above the stack pointer.
func (s *stopped) sights(of map[uint64]bool) (listed map[uint64][]sight, raw map[uint64]int) {
	s.t.Helper()
	listed, raw = map[uint64][]sight{}, map[uint64]int{}
	var st stackmap.Stack
	for i := range s.gs {
		g := &s.gs[i]
		if err := s.reader.Scan(&st, g, s.regs[g.ID]); err != nil {
			s.t.Errorf("%v", err)
			continue
		}
		for _, w := range st.Words {
			if of[w.Value] {
				x := sight{kind: w.Kind, goroutine: g.ID, running: g.Running}
				if w.Frame >= 0 {
					x.fn = st.Frames[w.Frame].Func
				}
				listed[w.Value] = append(listed[w.Value], x)
			}
		}
		lo := st.Frames[0].SP
		mem := make([]byte, uint64(g.Hi)-lo)
		if n, err := s.Memory().ReadMemory(mem, lo); n < len(mem) {
			s.t.Fatal(err)
		}
		for off := 0; off < len(mem); off += 8 {
			if v := binary.LittleEndian.Uint64(mem[off:]); of[v] {
				raw[v]++
			}
		}
	}
	return listed, raw
}

// modes are the ways of building that the tests try.
func modes() []testenv.Mode {
	var list []testenv.Mode
	for _, m := range testenv.Modes() {
		if m.Name == "default" || m.Name == "noopt" || m.Name == "pie" {
			list = append(list, m)
		}
	}
	return list
}

// TestLive compares what Scan takes for live with what the target's own collector
// kept, map by map.
func TestLive(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range modes() {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				s := stopAt(t, testenv.Build(t, tc, "liveness", mode.Flags...), "main.done", 1)
				probes := s.probes()
				of := map[uint64]bool{}
				for _, p := range probes {
					of[p.addr] = true
				}
				if len(of) != 31 {
					t.Fatalf("the program told of %d maps", len(of))
				}
				listed, raw := s.sights(of)
				dead, stale := 0, 0
				for _, p := range probes {
					where := listed[p.addr]
					if p.live {
						checkLive(t, p, where)
						continue
					}
					dead++
					for _, x := range where {
						// The collector stood elsewhere in a goroutine that runs.
						if x.kind != stackmap.Conservative || !x.running {
							t.Errorf("%s at %#x is dead, but %s", p.name, p.addr, x)
						}
					}
					if raw[p.addr] > 0 {
						stale++
					} else if p.where == "stale" && mode.Name != "noopt" {
						t.Errorf("%s: no stale word is left in its frame: the test tests nothing", p.name)
					}
				}
				if mode.Name != "noopt" && dead < 10 {
					t.Errorf("%d maps are dead, %d of them still in a stack", dead, stale)
				}
			})
		}
	}
}

func checkLive(t *testing.T, p probe, where []sight) {
	t.Helper()
	if p.where == "heap" {
		return
	}
	for _, x := range where {
		if p.where == "loop" && x.fn == "main.looping" {
			return
		}
		// Closures and inlined functions keep the name of what they are part of.
		if x.kind != stackmap.Conservative && strings.HasPrefix(x.fn, "main.") && p.name != "reflected" {
			return
		}
		if p.name == "reflected" && strings.HasPrefix(x.fn, "reflect.") {
			return
		}
	}
	t.Errorf("%s at %#x is live in a %s, but Scan lists it as %v", p.name, p.addr, p.where, where)
}

// TestUnwind compares the frames with those that Delve finds by its own means: by
// frame pointers and DWARF, where Scan goes by the runtime's tables.
func TestUnwind(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range modes() {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				for _, stop := range []struct {
					prog, at string
					hit      int
				}{
					{"liveness", "main.done", 1},
					{"registers", "main.hold", 1}, {"registers", "main.spill", 1}, {"registers", "", 1},
					// On the thread's stack, on behalf of the goroutine.
					{"liveness", "runtime.newproc1", 12}, {"liveness", "runtime.park_m", 40},
					{"liveness", "runtime.stopTheWorldWithSema", 2},
					// In a signal handler.
					{"liveness", "runtime.doSigPreempt", 1},
					// While a panic runs deferred calls.
					{"liveness", "runtime.gorecover", 1},
				} {
					t.Run(stop.prog+" "+stop.at, func(t *testing.T) {
						s := stopAt(t, testenv.Build(t, tc, stop.prog, mode.Flags...), stop.at, stop.hit)
						if n := s.compareFrames(); n < 3 {
							t.Errorf("%d frames were compared", n)
						}
					})
				}
			})
		}
	}
}

// sameEnd reports whether both unwound a stack to the same outermost function.
func sameEnd(got []stackmap.Frame, want []target.StackFrame) bool {
	return len(got) > 0 && len(want) > 0 && got[len(got)-1].Func == want[len(want)-1].Func
}

// compareFrames returns how many frames it has compared with Delve's.
func (s *stopped) compareFrames() int {
	s.t.Helper()
	frames, lost := s.Frames()
	if lost != nil {
		// A thread that runs may stand where Delve finds no way out of: on the way into a
		// signal handler, for one.
		s.t.Logf("Delve: %v", lost)
	}
	delve := map[int64][]target.StackFrame{}
	for _, f := range frames {
		delve[f.Goroutine] = append(delve[f.Goroutine], f)
	}
	n := 0
	var st stackmap.Stack
	for i := range s.gs {
		g := &s.gs[i]
		if err := s.reader.Scan(&st, g, s.regs[g.ID]); errors.Is(err, stackmap.ErrMoving) {
			continue // the other goroutines stand wherever they do
		} else if err != nil {
			s.t.Errorf("%v", err)
			continue
		}
		want := delve[g.ID]
		if lost != nil && g.Running && !sameEnd(st.Frames, want) {
			continue
		}
		// The runtime unwinds a goroutine that is in a system call from where that was
		// called.
		if len(want) > len(st.Frames) && !g.Running {
			want = want[len(want)-len(st.Frames):]
		}
		own := func(f target.StackFrame) bool { return f.SP >= uint64(g.Lo) && f.SP < uint64(g.Hi) }
		if len(want) > 0 && want[0].Func == "" {
			// A thread in the kernel's vDSO, on its own stack: the runtime unwinds from the
			// call that went there (m.vdsoPC, m.vdsoSP), and so does Scan.
			if i := slices.IndexFunc(want, own); i >= 0 {
				want = want[i:]
			}
		}
		if len(want) > 0 && want[0].Func == "runtime.sigtramp" && !own(want[0]) {
			// A signal had just come. Delve does not follow the kernel's frame: it takes
			// what lies there for return addresses.
			continue
		}
		describe := func(i int, fn string, pc, sp, cfa uint64) string {
			// The runtime does not name type arguments.
			fn, _, _ = strings.Cut(fn, "[")
			if i == 0 && !g.Running {
				pc = 0
			}
			return fmt.Sprintf("\n%s pc %#x sp %#x cfa %#x", fn, pc, sp, cfa)
		}
		var got, exp string
		for i, f := range st.Frames {
			got += describe(i, f.Func, f.PC, f.SP, f.CFA)
			// Delve takes where a goroutine left off for the place where it stands, and
			// does not look for the call.
			if at, ok := s.Position(f.Line); i > 0 && i < len(want) && !f.Dead && (!ok || at.Line != want[i].Line || at.File != want[i].File) {
				s.t.Errorf("goroutine %d: frame %d: %s: line %s:%d, Delve says %s:%d", g.ID, i, f.Func, at.File, at.Line, want[i].File, want[i].Line)
			}
		}
		for i, f := range want {
			exp += describe(i, f.Func, f.PC, f.SP, f.CFA)
		}
		if got != exp {
			s.t.Errorf("goroutine %d:%s\nDelve says%s", g.ID, got, exp)
		}
		n += len(st.Frames)
	}
	return n
}
