//go:build linux && amd64

package target_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

func attachFrozen(t *testing.T, pid int) *target.Target {
	t.Helper()
	tg, err := target.AttachFrozen(pid)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

// TestFrozen compares what a copy shows with what the process says of itself, and
// with what Attach shows of it afterwards.
func TestFrozen(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			modes := testenv.Modes()
			if tc.Name != testenv.Host().Name {
				modes = modes[:1] // what differs by toolchain is the runtime's text
			}
			for _, mode := range modes {
				t.Run(mode.Name, func(t *testing.T) {
					p := testenv.Start(t, testenv.Build(t, tc, "server", mode.Flags...))
					before := sceneOf(t, p.PID)
					tg := attachFrozen(t, p.PID)
					if tg.Pause() <= 0 || tg.Pid() != p.PID || tg.Live() {
						t.Errorf("pause %v, pid %d, live %v", tg.Pause(), tg.Pid(), tg.Live())
					}
					if _, err := tg.Continue(t.Context(), target.Until{}); !errors.Is(err, target.ErrNotLive) {
						t.Errorf("continue: %v", err)
					}
					rs := roots(t, tg)
					for _, name := range []string{"main.users", "main.cache", "main.hot"} {
						wantWord(t, tg, rs, "", name, 0, p.Truth.Map(t, name).Addr)
					}
					wantWord(t, tg, rs, "main.main", "local", 0, p.Truth.Map(t, "local").Addr)
					if mode.Name == "noopt" {
						for _, m := range p.Truth.Maps {
							if m.Name == "scratch" {
								wantWord(t, tg, rs, "main.handle", m.Name, 0, m.Addr)
							}
						}
					}
					if n := compare(t, tg); n == 0 {
						t.Error("no map was compared")
					}
					stop, copied := tg.Stop(), values(t, tg)
					if err := tg.Close(); err != nil {
						t.Error(err)
					}
					wantUnharmed(t, p.PID, before)

					tg, err := target.Attach(p.PID)
					if err != nil {
						t.Fatal(err)
					}
					if tg.Stop() != stop {
						t.Errorf("stop %+v, Attach says %+v", stop, tg.Stop())
					}
					attached := values(t, tg)
					for _, k := range slices.Sorted(maps.Keys(attached)) {
						if copied[k] != attached[k] {
							t.Errorf("%s is %s in the copy, %s in the process", k, copied[k], attached[k])
						}
					}
					if len(copied) != len(attached) || len(copied) < 100 {
						t.Errorf("%d variables in the copy, %d in the process", len(copied), len(attached))
					}
					if err := tg.Close(); err != nil {
						t.Error(err)
					}
					if status := p.Stop(); status != 0 {
						t.Errorf("exit status %d\n%s", status, p.Stderr())
					}
				})
			}
		})
	}
}

// values are the roots of package main, by frame, with where they lie, and the words
// in registers.
func values(t *testing.T, tg *target.Target) map[string]string {
	t.Helper()
	vals := make(map[string]string)
	for _, r := range roots(t, tg) {
		if strings.HasPrefix(r.Name, "runtime.") || strings.HasPrefix(r.Func, "runtime.") {
			continue // they change
		}
		k := fmt.Sprintf("%s in %s, frame %d of goroutine %d, line %d", r.Name, r.Func, r.Frame, r.Goroutine, r.DeclLine)
		vals[k] = fmt.Sprintf("%s at %#x %x, %v", r.Kind, r.Addr, r.Raw, r.Err)
	}
	return vals
}

// TestFrozenStopped freezes a process that SIGSTOP has stopped, and leaves it so.
func TestFrozenStopped(t *testing.T) {
	p := testenv.Start(t, testenv.Build(t, testenv.Host(), "server"))
	before := sceneOf(t, p.PID)
	state := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
		_, s, _ := strings.Cut(string(b), ") ")
		return s[:min(1, len(s))]
	}
	if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		tg := attachFrozen(t, p.PID)
		wantWord(t, tg, roots(t, tg), "", "main.users", 0, p.Truth.Map(t, "main.users").Addr)
		if s := state(); s != "T" {
			t.Errorf("state %s while it is copied", s)
		}
		if err := tg.Close(); err != nil {
			t.Error(err)
		}
		if s := state(); s != "T" {
			t.Errorf("state %s after it was copied", s)
		}
	}
	if err := syscall.Kill(p.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	settle(t, p.PID, before)
	wantUnharmed(t, p.PID, before)
	if status := p.Stop(); status != 0 {
		t.Errorf("exit status %d\n%s", status, p.Stderr())
	}
}

// TestFrozenIsolated checks that the copy does not change, and that the process may
// end first.
func TestFrozenIsolated(t *testing.T) {
	p := testenv.Start(t, testenv.Build(t, testenv.Host(), "server"), "churn")
	pace := func(tg *target.Target) uint64 {
		e, err := tg.Eval("main.pace")
		if err != nil {
			t.Fatal(err)
		}
		w, err := word(tg, e, 0)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first := attachFrozen(t, p.PID)
	a := pace(first)
	time.Sleep(20 * time.Millisecond)
	second := attachFrozen(t, p.PID)
	if b, c := pace(second), pace(first); b <= a || c != a {
		t.Errorf("%d, later %d, again %d", a, b, c)
	}
	if status := p.Stop(); status != 0 {
		t.Errorf("exit status %d\n%s", status, p.Stderr())
	}
	if c := pace(first); c != a {
		t.Errorf("%d after the process's end, not %d", c, a)
	}
	for _, tg := range []*target.Target{first, second} {
		if err := tg.Close(); err != nil {
			t.Error(err)
		}
		if _, err := tg.Memory().ReadMemory(make([]byte, 8), 0x400000); !errors.Is(err, target.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
	}
}
