package target_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/native"

	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// checkServer compares the roots of the program server with what it printed.
func checkServer(t *testing.T, tg *target.Target, tr *testenv.Truth) {
	t.Helper()
	rs := roots(t, tg)
	for _, name := range []string{"main.users", "main.cache", "main.hot"} {
		wantWord(t, tg, rs, "", name, 0, tr.Map(t, name).Addr)
	}
	wantWord(t, tg, rs, "main.main", "local", 0, tr.Map(t, "local").Addr)
	var got []uint64
	for _, r := range find(rs, "main.handle", "scratch") {
		w, err := word(tg, r, 0)
		if err != nil {
			t.Error(err)
		}
		got = append(got, w)
	}
	if len(got) != 3 {
		t.Errorf("%d locals scratch, want 3", len(got))
	}
	for _, m := range tr.Maps {
		if m.Name == "scratch" && !containsWord(got, m.Addr) {
			t.Errorf("no scratch at %#x: %#x", m.Addr, got)
		}
	}
	if e, err := tg.Eval("srv.index"); err != nil {
		t.Error(err)
	} else if w, err := word(tg, e, 0); err != nil || w != tr.Map(t, "main.users").Addr {
		t.Errorf("srv.index: %#x, %v", w, err)
	}
	if e, err := tg.Eval("local"); err != nil {
		t.Error(err)
	} else if w, err := word(tg, e, 0); err != nil || w != tr.Map(t, "local").Addr {
		t.Errorf("local: %#x, %v", w, err)
	}
}

func containsWord(ws []uint64, w uint64) bool {
	for _, x := range ws {
		if x == w {
			return true
		}
	}
	return false
}

func TestAttach(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			for _, mode := range testenv.Modes() {
				t.Run(mode.Name, func(t *testing.T) {
					p := testenv.Start(t, testenv.Build(t, tc, "server", mode.Flags...))
					tg, err := target.Attach(p.PID)
					if err != nil {
						t.Fatal(err)
					}
					defer tg.Close()
					if s := tg.Stop(); s.Reason != target.Attached {
						t.Errorf("stop %+v", s)
					}
					checkServer(t, tg, p.Truth)
					var pe *target.ProcessError
					if _, err := target.Attach(p.PID); !errors.As(err, &pe) || pe.Reason != target.Traced {
						t.Errorf("attach twice: %v", err)
					}
					if err := tg.Close(); err != nil {
						t.Error(err)
					}
					if code := p.Stop(); code != 0 {
						t.Errorf("the target ended with %d\n%s", code, p.Stderr())
					}
				})
			}
		})
	}
}

// TestAttachGoesOn interrupts a busy process again and again, and lets it go.
func TestAttachGoesOn(t *testing.T) {
	p := testenv.Start(t, testenv.Build(t, testenv.Host(), "server"), "churn")
	for i := range 10 {
		tg, err := target.Attach(p.PID)
		if err != nil {
			t.Fatalf("round %d: %v\n%s", i, err, p.Stderr())
		}
		if i%2 == 1 {
			// Stops that race with an interrupt.
			time.AfterFunc(time.Duration(i)*time.Millisecond, tg.Interrupt)
			stop, err := tg.Continue(t.Context(), target.Until{At: "main.go:" + lineOf(t, "server", "pace = i"), Hit: 10 * i})
			if err != nil || stop.Reason != target.At && stop.Reason != target.Interrupt {
				t.Fatalf("stop %+v, %v", stop, err)
			}
		}
		if err := tg.Close(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if code := p.Stop(); code != 0 {
		t.Errorf("the target ended with %d\n%s", code, p.Stderr())
	}
}

// TestKilled ends the debugger by SIGKILL while it holds a process.
func TestKilled(t *testing.T) {
	if pid := os.Getenv("TARGET_TEST_HOLD"); pid != "" {
		n, _ := strconv.Atoi(pid)
		_, err := target.Attach(n)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("held")
		time.Sleep(time.Minute)
		return
	}
	p := testenv.Start(t, testenv.Build(t, testenv.Host(), "server"), "churn")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.v")
	cmd.Env = append(os.Environ(), "TARGET_TEST_HOLD="+strconv.Itoa(p.PID))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var got []byte
	buf := make([]byte, 1024)
	for !bytes.Contains(got, []byte("held")) {
		n, err := out.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	time.Sleep(100 * time.Millisecond)
	if code := p.Stop(); code != 0 {
		t.Errorf("the target ended with %d\n%s", code, p.Stderr())
	}
}

func TestAttachErrors(t *testing.T) {
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { sleep.Process.Kill(); sleep.Wait() }()
	dead := exec.Command("true")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // a zombie until Wait
	stripped := testenv.Start(t, testenv.Build(t, testenv.Host(), "server", testenv.Strip))
	var pe *target.ProcessError
	for _, c := range []struct {
		pid    int
		reason target.ProcessReason
	}{{0, target.NoProcess}, {-3, target.NoProcess}, {1 << 29, target.NoProcess}, {os.Getpid(), target.Self}, {dead.Process.Pid, target.Zombie}} {
		if _, err := target.Attach(c.pid); !errors.As(err, &pe) || pe.Reason != c.reason {
			t.Errorf("attach to %d: %v, want %v", c.pid, err, c.reason)
		}
	}
	dead.Wait()
	var notGo *target.NotGoError
	if _, err := target.Attach(sleep.Process.Pid); !errors.As(err, &notGo) {
		t.Errorf("attach to sleep: %v", err)
	}
	var noDWARF *target.NoDWARFError
	if _, err := target.Attach(stripped.PID); !errors.As(err, &noDWARF) {
		t.Errorf("attach to a stripped binary: %v", err)
	}
	if code := stripped.Stop(); code != 0 {
		t.Errorf("the stripped target ended with %d", code)
	}
}

// gcore writes a core of the process with gdb's gcore.
func gcore(t *testing.T, pid int) string {
	t.Helper()
	if _, err := exec.LookPath("gcore"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("gcore (gdb) is not installed: .ci/run installs it")
		}
		t.Skip("gcore (gdb) is not installed")
	}
	pre := filepath.Join(t.TempDir(), "core")
	if out, err := exec.Command("gcore", "-o", pre, strconv.Itoa(pid)).CombinedOutput(); err != nil {
		t.Skipf("gcore: %v\n%s", err, out)
	}
	return pre + "." + strconv.Itoa(pid)
}

// dump writes a core as `dlv dump` does.
func dump(t *testing.T, pid int, flags proc.DumpFlags) string {
	t.Helper()
	grp, err := native.Attach(pid, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer grp.Detach(false)
	name := filepath.Join(t.TempDir(), "dlv.core")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	var state proc.DumpState
	state.DoneChan = make(chan struct{}, 1)
	state.Dumping = true
	grp.Selected.Dump(f, flags, &state)
	if state.Err != nil {
		t.Fatal(state.Err)
	}
	return name
}

// kernelCore lets the kernel write a core.
func kernelCore(t *testing.T, bin string) (core string, tr *testenv.Truth) {
	t.Helper()
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || strings.ContainsAny(string(pattern), "|/") {
		t.Skipf("the kernel does not write cores into the working directory: core_pattern %q", pattern)
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `ulimit -c unlimited && cd "$1" && GOTRACEBACK=crash exec "$2"`, "sh", dir, bin)
	stdin, _ := cmd.StdinPipe()
	defer stdin.Close()
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdout.Read(make([]byte, 10)) // ready
	cmd.Process.Signal(syscall.SIGABRT)
	cmd.Wait()
	found, _ := filepath.Glob(filepath.Join(dir, "core*"))
	if len(found) != 1 {
		t.Skipf("the kernel wrote no core: %v", found)
	}
	if tr, err = testenv.ParseTruth(errOut.Bytes()); err != nil {
		t.Fatal(err)
	}
	return found[0], tr
}

func TestCores(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			modes := testenv.Modes()
			for _, mode := range []testenv.Mode{modes[0], modes[2]} { // position dependent and not
				t.Run(mode.Name, func(t *testing.T) {
					bin := testenv.Build(t, tc, "server", mode.Flags...)
					p := testenv.Start(t, bin)
					open := func(core string, tr *testenv.Truth) {
						t.Helper()
						tg, err := target.OpenCore(bin, core)
						if err != nil {
							t.Error(err)
							return
						}
						defer tg.Close()
						if s := tg.Stop(); s.Reason != target.Core || tg.Live() {
							t.Errorf("stop %+v", s)
						}
						if len(tg.Warnings()) != 0 {
							t.Errorf("warnings %q", tg.Warnings())
						}
						checkServer(t, tg, tr)
						if _, err := tg.Continue(t.Context(), target.Until{}); !errors.Is(err, target.ErrNotLive) {
							t.Errorf("continue a core: %v", err)
						}
					}
					t.Run("dlv", func(t *testing.T) { open(dump(t, p.PID, 0), p.Truth) })
					t.Run("gcore", func(t *testing.T) { open(gcore(t, p.PID), p.Truth) })
					t.Run("kernel", func(t *testing.T) { open(kernelCore(t, bin)) })
				})
			}
		})
	}
}

func TestBadCores(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "server")
	other := testenv.Build(t, testenv.Host(), "registers")
	// The same program, built in another way: same names, other code.
	twin := testenv.Build(t, testenv.Host(), "server", testenv.NoOpt)
	p := testenv.Start(t, bin)
	core := dump(t, p.PID, 0)
	var ce *target.CoreError
	for _, c := range []struct {
		exe, core string
		reason    target.CoreReason
	}{
		{other, core, target.OtherBinary}, {twin, core, target.OtherBinary}, {bin, bin, target.NotCore},
		{bin, os.Args[0], target.NotCore}, {bin, "/etc/passwd", target.NotCore}, {bin, t.TempDir(), target.NotCore},
	} {
		tg, err := target.OpenCore(c.exe, c.core)
		if err == nil {
			tg.Close()
		}
		if !errors.As(err, &ce) || ce.Reason != c.reason {
			t.Errorf("%s of %s: %v, want %v", c.core, c.exe, err, c.reason)
		}
	}
	whole, err := os.ReadFile(core)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel writes the headers and notes first, Delve last: what was cut off
	// of Delve's cannot be opened at all.
	kernel, _ := kernelCore(t, bin)
	for _, c := range []struct {
		core  string
		frac  float64
		opens bool
	}{
		{kernel, 0, false}, {kernel, 0.000001, false}, {kernel, 0.5, true}, {kernel, 0.9, true}, {kernel, 0.999999, true},
		{core, 0, false}, {core, 0.5, false}, {core, 0.9999999, false},
	} {
		fi, err := os.Stat(c.core)
		if err != nil {
			t.Fatal(err)
		}
		n := int64(c.frac * float64(fi.Size()))
		cut := filepath.Join(t.TempDir(), "cut")
		copyN(t, cut, c.core, n)
		tg, err := target.OpenCore(bin, cut)
		if err != nil {
			if c.opens || !errors.As(err, &ce) {
				t.Errorf("%d of %d bytes: %v", n, fi.Size(), err)
			}
			continue
		}
		if !c.opens {
			t.Errorf("%d of %d bytes: opened", n, fi.Size())
		}
		if ws := tg.Warnings(); len(ws) == 0 || !strings.Contains(ws[0], "truncated") {
			t.Errorf("%d of %d bytes: warnings %q", n, fi.Size(), ws)
		}
		rs, err := tg.Globals()
		if users := find(rs, "", "main.users"); err != nil || len(users) != 1 {
			t.Errorf("%d of %d bytes: %d globals, %v", n, fi.Size(), len(rs), err)
		}
		rs, err = tg.Roots() // may fail, must return
		t.Logf("%d of %d bytes: %q, %d roots, %v", n, fi.Size(), tg.Warnings(), len(rs), err)
		// A read that runs into the end says how far it came.
		if end := lastSegment(t, kernel, n); end != 0 {
			buf := make([]byte, 64)
			if k, err := tg.Memory().ReadMemory(buf, end-24); k != 24 || err == nil {
				t.Errorf("%d of %d bytes: read %d bytes across the end, %v", n, fi.Size(), k, err)
			}
		}
		tg.Close()
	}
	// Damaged headers must give an error or a core, never a panic or a hang.
	ef, err := elf.NewFile(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	end := 64 + 56*len(ef.Progs) + 4096
	for i := 4; i < end; i += 1 + end/60 {
		b := bytes.Clone(whole)
		b[i] ^= 0xff
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if tg, err := target.OpenCore(bin, bad); err == nil {
			tg.Roots()
			tg.Close()
		}
		os.Remove(bad)
	}
}

// lastSegment is the address at which the memory ends that a core of n bytes holds,
// if it is cut within a segment.
func lastSegment(t *testing.T, core string, n int64) uint64 {
	f, err := elf.Open(core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && int64(p.Off)+64 < n && n < int64(p.Off+p.Filesz) {
			return p.Vaddr + uint64(n) - p.Off
		}
	}
	return 0
}

func copyN(t *testing.T, dst, src string, n int64) {
	t.Helper()
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if n > 0 {
		b := make([]byte, 1<<20)
		for n > 0 {
			k, err := in.Read(b[:min(n, int64(len(b)))])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Write(b[:k]); err != nil {
				t.Fatal(err)
			}
			n -= int64(k)
		}
	}
}
