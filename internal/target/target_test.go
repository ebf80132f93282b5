package target_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// run is a target that the test started, and what it has written.
type run struct {
	*target.Target
	t      *testing.T
	stderr string
}

func launch(t *testing.T, bin string, args ...string) *run {
	t.Helper()
	r := &run{t: t, stderr: filepath.Join(t.TempDir(), "stderr")}
	tg, err := target.Launch(bin, args, target.LaunchOptions{Stdin: os.DevNull, Stdout: os.DevNull, Stderr: r.stderr})
	if err != nil {
		t.Fatal(err)
	}
	r.Target = tg
	t.Cleanup(func() {
		if err := tg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := syscall.Kill(tg.Pid(), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d outlived Close: %v", tg.Pid(), err)
		}
	})
	return r
}

func (r *run) cont(until target.Until) target.Stop {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	stop, err := r.Continue(ctx, until)
	if err != nil {
		r.t.Fatal(err)
	}
	return stop
}

func (r *run) truth() *testenv.Truth {
	r.t.Helper()
	b, err := os.ReadFile(r.stderr)
	if err != nil {
		r.t.Fatal(err)
	}
	tr, err := testenv.ParseTruth(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return tr
}

// word reads the word of a root at off, wherever the root lies.
func word(tg *target.Target, r target.Root, off int64) (uint64, error) {
	if r.Raw != nil {
		return binary.LittleEndian.Uint64(r.Raw[off:]), nil
	}
	if r.Addr == 0 {
		return 0, fmt.Errorf("%s has no value: %v", r.Name, r.Err)
	}
	var b [8]byte
	_, err := tg.Memory().ReadMemory(b[:], r.Addr+uint64(off))
	return binary.LittleEndian.Uint64(b[:]), err
}

func roots(t *testing.T, tg *target.Target) []target.Root {
	t.Helper()
	rs, err := tg.Roots()
	if err != nil {
		t.Errorf("roots: %v", err)
	}
	return rs
}

// find returns the roots of that name in that function, "" being any.
func find(rs []target.Root, fn, name string) []target.Root {
	var found []target.Root
	for _, r := range rs {
		if r.Name == name && (fn == "" || r.Func == fn) {
			found = append(found, r)
		}
	}
	return found
}

// wantWord checks that one root of that name holds the address.
func wantWord(t *testing.T, tg *target.Target, rs []target.Root, fn, name string, off int64, want uint64) {
	t.Helper()
	found := find(rs, fn, name)
	if len(found) == 0 {
		t.Errorf("no root %s in %q", name, fn)
		return
	}
	var got []string
	for _, r := range found {
		w, err := word(tg, r, off)
		if err == nil && w == want {
			return
		}
		got = append(got, fmt.Sprintf("%#x (%v, root error %v)", w, err, r.Err))
	}
	t.Errorf("%s in %q holds %s, the target says %#x", name, fn, strings.Join(got, ", "), want)
}

// TestMainReturn stops where main.main returns, in every mode of every toolchain,
// and compares what its locals hold there with what the target printed.
func TestMainReturn(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			for _, mode := range testenv.Modes() {
				t.Run(mode.Name, func(t *testing.T) {
					r := launch(t, testenv.Build(t, tc, "registers", mode.Flags...))
					stop := r.cont(target.Until{})
					if stop.Reason != target.MainReturn || stop.Func != "main.main" || stop.Goroutine != 1 {
						t.Fatalf("stop %+v", stop)
					}
					if tc.Go != "local" && !strings.HasPrefix(r.GoVersion(), tc.Go) {
						t.Errorf("version %q of a target built by %s", r.GoVersion(), tc.Go)
					}
					rs := roots(t, r.Target)
					tr := r.truth()
					for _, name := range []string{"first", "second", "made"} {
						wantWord(t, r.Target, rs, "main.main", name, 0, tr.Map(t, name).Addr)
						e, err := r.Eval(name)
						if err != nil {
							t.Errorf("eval %s: %v", name, err)
						} else if w, err := word(r.Target, e, 0); err != nil || w != tr.Map(t, name).Addr {
							t.Errorf("eval %s: %#x, %v", name, w, err)
						}
					}
					wantWord(t, r.Target, rs, "main.main", "p", 0, tr.Map(t, "p.left").Addr)
					wantWord(t, r.Target, rs, "main.main", "p", 8, tr.Map(t, "p.right").Addr)
					for _, x := range find(rs, "main.main", "first") {
						if x.Type == nil || x.Type.Name != "map[string]int" || x.Kind == target.Arg {
							t.Errorf("first: type %v, kind %s", x.Type, x.Kind)
						}
					}
				})
			}
		})
	}
}

// TestRegisters stops at the entry of functions whose arguments are in registers.
func TestRegisters(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			bin := testenv.Build(t, tc, "registers")
			for _, at := range []struct {
				fn    string
				words map[string][]string
			}{
				{"main.hold", map[string][]string{"first": {"first"}, "second": {"second"}}},
				{"main.deep", map[string][]string{"p": {"p.left", "p.right"}}},
				{"main.spill", map[string][]string{"late": {"first"}}},
			} {
				r := launch(t, bin)
				stop := r.cont(target.Until{At: at.fn})
				if stop.Reason != target.At || stop.Func != at.fn {
					t.Errorf("%s: stop %+v", at.fn, stop)
					continue
				}
				rs := roots(t, r.Target)
				got := make(map[string]uint64)
				kinds := make(map[string]target.RootKind)
				for name, holds := range at.words {
					for i := range holds {
						for _, x := range find(rs, at.fn, name) {
							w, err := word(r.Target, x, int64(8*i))
							if err != nil {
								t.Errorf("%s: %s: %v", at.fn, name, err)
							}
							got[holds[i]] = w
							kinds[name] = x.Kind
						}
					}
				}
				if at.fn != "main.spill" && kinds["p"] != target.Register && kinds["first"] != target.Register {
					t.Errorf("%s: kinds %v", at.fn, kinds)
				}
				// The target tells where its maps are when it ends.
				if stop := r.cont(target.Until{}); stop.Reason != target.MainReturn {
					t.Fatalf("stop %+v", stop)
				}
				tr := r.truth()
				for name, w := range got {
					if want := tr.Map(t, name).Addr; w != want {
						t.Errorf("%s: %s at %#x, the target says %#x", at.fn, name, w, want)
					}
				}
				if len(got) == 0 {
					t.Errorf("%s: no roots", at.fn)
				}
			}
		})
	}
}

// TestEnds covers the other ways in which a program ends.
func TestEnds(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			for _, c := range []struct {
				prog   string
				args   []string
				reason target.Reason
				msg    string
				fn     string
			}{
				{"exits", nil, target.Exit, "", "main.leave"},
				{"panics", nil, target.Panic, "out of maps", "main.die"},
				{"panics", []string{"error"}, target.Panic, "failure 7", "main.die"},
				{"panics", []string{"index"}, target.Panic, "runtime error: index out of range [2] with length 1", "main.die"},
				{"panics", []string{"nilmap"}, target.Panic, "assignment to entry in nil map", "main.die"},
				{"panics", []string{"goroutine"}, target.Panic, "out of maps", "main.die"},
				{"panics", []string{"recovered"}, target.MainReturn, "", "main.main"},
				{"concurrent", nil, target.Fatal, "concurrent map writes", "main.worker"},
			} {
				for _, mode := range testenv.Modes()[:2] {
					t.Run(c.prog+strings.Join(c.args, "")+"/"+mode.Name, func(t *testing.T) {
						r := launch(t, testenv.Build(t, tc, c.prog, mode.Flags...), c.args...)
						stop := r.cont(target.Until{})
						if stop.Reason != c.reason || stop.Message != c.msg || stop.Func != c.fn {
							t.Errorf("stop %+v, want %s %q in %s", stop, c.reason, c.msg, c.fn)
						}
						if c.reason == target.Exit && (stop.ExitStatus == nil || *stop.ExitStatus != 3) {
							t.Errorf("exit status %v", stop.ExitStatus)
						}
						rs := roots(t, r.Target)
						tr := r.truth()
						for _, m := range tr.Maps {
							if strings.HasPrefix(m.Name, "main.") {
								wantWord(t, r.Target, rs, "", m.Name, 0, m.Addr)
							}
						}
						if c.fn == "main.worker" {
							wantWord(t, r.Target, rs, "main.worker", "m", 0, tr.Map(t, "main.shared").Addr)
						}
					})
				}
			}
		})
	}
}

func TestNeverReached(t *testing.T) {
	r := launch(t, testenv.Build(t, testenv.Host(), "registers"))
	stop := r.cont(target.Until{At: "main.hold", Hit: 7})
	if stop.Reason != target.Exited || stop.ExitStatus == nil || *stop.ExitStatus != 0 || stop.Hits != 1 {
		t.Errorf("stop %+v", stop)
	}
	if _, err := r.Goroutines(); !errors.Is(err, target.ErrExited) {
		t.Errorf("goroutines of a process that has ended: %v", err)
	}
	if _, err := r.Memory().ReadMemory(make([]byte, 8), 0x400000); !errors.Is(err, target.ErrExited) {
		t.Errorf("memory of a process that has ended: %v", err)
	}
	if _, err := r.Continue(t.Context(), target.Until{}); !errors.Is(err, target.ErrExited) {
		t.Errorf("continue a process that has ended: %v", err)
	}
}

func TestHits(t *testing.T) {
	r := launch(t, testenv.Build(t, testenv.Host(), "registers"))
	// results is called with 12 and makes 12 assignments at one line.
	stop := r.cont(target.Until{At: "registers/main.go:" + lineOf(t, "registers", "out[i] = i"), Hit: 5})
	if stop.Reason != target.At || stop.Hits != 5 {
		t.Fatalf("stop %+v", stop)
	}
	i, err := r.Eval("i")
	if err != nil {
		t.Fatal(err)
	}
	if w, err := word(r.Target, i, 0); err != nil || w != 4 {
		t.Errorf("i = %d at the fifth pass, %v", w, err)
	}
}

// lineOf is the number of the first line of a program's source that holds text.
func lineOf(t *testing.T, prog, text string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testenv.ProgramDir(t), prog, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		if strings.Contains(line, text) {
			return strconv.Itoa(i + 1)
		}
	}
	t.Fatalf("%s has no line with %q", prog, text)
	return ""
}

func TestLocations(t *testing.T) {
	r := launch(t, testenv.Build(t, testenv.Host(), "registers"))
	for spec, want := range map[string]string{
		"main.holt":         "main.hold",
		"main.go:99999":     "no code at this line",
		"nosuch.go:3":       "no such file",
		"*0x1":              "not an address",
		"String":            "ambiguous",
		"no.such.thing":     "no such function",
		"main.go:0":         "no such line",
		"runtime.mapacess1": "runtime.mapaccess",
		" ":                 "empty",
	} {
		_, err := r.Continue(t.Context(), target.Until{At: spec})
		var le *target.LocationError
		if !errors.As(err, &le) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", spec, err, want)
		}
	}
	if _, err := r.Continue(t.Context(), target.Until{Hit: -1}); err == nil {
		t.Error("hit -1 was accepted")
	}
}

// TestInterrupt stops a program that runs for ever, in all the ways there are.
func TestInterrupt(t *testing.T) {
	src := filepath.Join(t.TempDir(), "loop.go")
	if err := os.WriteFile(src, []byte(loopProgram), 0o666); err != nil {
		t.Fatal(err)
	}
	loop, cleanup, err := target.Build(t.Context(), src, target.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	for name, stopIt := range map[string]func(r *run, cancel context.CancelFunc){
		"method":  func(r *run, _ context.CancelFunc) { r.Interrupt() },
		"context": func(_ *run, cancel context.CancelFunc) { cancel() },
		"signal":  func(r *run, _ context.CancelFunc) { syscall.Kill(r.Pid(), syscall.SIGINT) },
		// A program that handles the signal itself.
		"notified": func(r *run, _ context.CancelFunc) { syscall.Kill(r.Pid(), syscall.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			var args []string
			if name == "notified" {
				args = []string{"notify"}
			}
			r := launch(t, loop, args...)
			times := 3
			if name == "signal" {
				times = 1 // the second would be in the middle of dying of the first
			}
			for range times {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					time.Sleep(100 * time.Millisecond)
					stopIt(r, cancel)
				}()
				stop, err := r.Continue(ctx, target.Until{})
				cancel()
				if err != nil || stop.Reason != target.Interrupt {
					t.Fatalf("stop %+v, %v", stop, err)
				}
				if stop.Func != "main.spin" && stop.Func != "main.main" && name != "notified" {
					t.Errorf("stopped in %q", stop.Func)
				}
				e, err := r.Eval("main.counts")
				if err != nil {
					t.Fatal(err)
				}
				if w, err := word(r.Target, e, 0); err != nil || w == 0 {
					t.Errorf("counts: %#x, %v", w, err)
				}
			}
			// Before it runs.
			r.Interrupt()
			if stop := r.cont(target.Until{}); stop.Reason != target.Interrupt {
				t.Errorf("stop %+v", stop)
			}
			if name == "signal" || name == "notified" {
				return
			}
			// Other signals go to the program.
			go func() {
				time.Sleep(50 * time.Millisecond)
				syscall.Kill(r.Pid(), syscall.SIGTERM)
			}()
			if stop := r.cont(target.Until{}); stop.Reason != target.Exit || stop.Message != "terminated" {
				t.Errorf("stop %+v", stop)
			}
		})
	}
}

const loopProgram = `package main

import (
	"os"
	"os/signal"
)

var counts = map[int]int{}

func spin(m map[int]int) {
	for {
		m[1]++
	}
}

func main() {
	if len(os.Args) > 1 {
		signal.Notify(make(chan os.Signal, 9), os.Interrupt)
	}
	spin(counts)
}
`

func TestBuildErrors(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.go")
	if err := os.WriteFile(bad, []byte("package main\n\nfunc main() { undefined() }\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, _, err := target.Build(t.Context(), bad, target.BuildOptions{})
	var be *target.BuildError
	if !errors.As(err, &be) || !strings.Contains(be.Output, "bad.go:3:15: undefined: undefined") {
		t.Errorf("%v", err)
	}
	lib := filepath.Join(dir, "lib.go")
	if err := os.WriteFile(lib, []byte("package lib\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, _, err := target.Build(t.Context(), lib, target.BuildOptions{}); !errors.As(err, &be) {
		t.Errorf("a library was built: %v", err)
	}
	for arg, want := range map[string]bool{".": true, "x.go": true, dir: true, bad: true, "example.com/x": true,
		"/bin/ls": false, "./nosuch": false, "nosuch": false} {
		if got := target.NeedsBuild(arg); got != want {
			t.Errorf("NeedsBuild(%q) = %v", arg, got)
		}
	}
}

func TestBadBinaries(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	var notELF *target.NotELFError
	var notGo *target.NotGoError
	var noDWARF *target.NoDWARFError
	for _, c := range []struct {
		path string
		as   any
	}{
		{text, &notELF}, {dir, &notELF}, {"/bin/ls", &notGo},
		{testenv.Build(t, testenv.Host(), "registers", testenv.Strip), &noDWARF},
	} {
		tg, err := target.Launch(c.path, nil, target.LaunchOptions{})
		if err == nil {
			tg.Close()
		}
		if !errors.As(err, c.as) {
			t.Errorf("%s: %v, want a %T", c.path, err, c.as)
		}
	}
	if _, err := target.Launch(filepath.Join(dir, "nosuch"), nil, target.LaunchOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
