//go:build linux && amd64 && stress

// These tests freeze processes hundreds of times, kill the tracer in the middle,
// and look at what is left of it a moment later. Some of them still fail about one
// time in three on a machine that has other work to do, so they are run by hand,
//
//	go test -tags stress -run 'Freeze|Frozen' ./internal/target
//
// until AttachFrozen is what hmapdump attach uses. freeze_copy_test.go is always run.

package target_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// freezeEnv makes this test binary freeze that process, again and again, until it
// is killed: see TestFrozenKilled.
const freezeEnv = "HMAPTOOLS_FREEZE"

func TestMain(m *testing.M) {
	if s := os.Getenv(freezeEnv); s != "" {
		freezeForever(s)
	}
	os.Exit(m.Run())
}

func freezeForever(s string) {
	pid, err := strconv.Atoi(s)
	for err == nil {
		var tg *target.Target
		if tg, err = target.AttachFrozen(pid); err == nil {
			fmt.Println(tg.Pause())
			err = tg.Close()
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// scene is what can be seen of a process from outside that a frozen copy must not
// change.
type scene struct {
	children, threads, mappings string
	tracer                      string
	pages                       int // executable and of no file
}

// sceneOf looks at a process. Of the mappings, only the executable ones: a Go
// process maps memory all the time.
func sceneOf(t *testing.T, pid int) scene {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	read := func(name string) string {
		b, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var s scene
	tasks, err := os.ReadDir(dir + "task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range tasks {
		s.threads += e.Name() + " "
		if b, err := os.ReadFile(dir + "task/" + e.Name() + "/children"); err == nil {
			s.children += string(b)
		}
	}
	for line := range strings.Lines(read("maps")) {
		f := strings.Fields(line)
		if len(f) == 5 && f[1] == "r-xp" {
			var from, to int
			fmt.Sscanf(f[0], "%x-%x", &from, &to)
			s.pages += (to - from) / os.Getpagesize()
		} else if len(f) > 1 && strings.Contains(f[1], "x") {
			s.mappings += line
		}
	}
	for line := range strings.Lines(read("status")) {
		if v, ok := strings.CutPrefix(line, "TracerPid:"); ok {
			s.tracer = strings.TrimSpace(v)
		}
	}
	return s
}

// wantUnharmed checks that nothing is left of the copies of a process. How many
// threads the runtime has is its own business, but all must be its own: they handle
// signals.
func wantUnharmed(t *testing.T, pid int, before scene) {
	t.Helper()
	after := sceneOf(t, pid)
	if after.children != before.children || after.mappings != before.mappings || after.pages != before.pages || after.tracer != "0" {
		t.Errorf("process %d was\n%+v\nand is\n%+v", pid, before, after)
	}
	if tids := strangers(after); len(tids) > 0 {
		t.Errorf("threads %v were left behind", tids)
	}
}

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
			for _, mode := range testenv.Modes() {
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

// buildSource builds a program that is given as its source.
func buildSource(t *testing.T, name, src string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".go")
	if err := os.WriteFile(file, []byte(src), 0o666); err != nil {
		t.Fatal(err)
	}
	bin, cleanup, err := target.Build(t.Context(), file, target.BuildOptions{Optimise: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cleanup() })
	return bin
}

// prog is a program that the test talks to by lines.
type prog struct {
	*exec.Cmd
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, attr *syscall.SysProcAttr, bin string, args ...string) *prog {
	t.Helper()
	p := &prog{Cmd: exec.Command(bin, args...), t: t}
	p.Stderr, p.SysProcAttr = os.Stderr, attr
	p.in, _ = p.StdinPipe()
	out, _ := p.StdoutPipe()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	return p
}

func (p *prog) pid() int { return p.Process.Pid }

func (p *prog) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("%s ended: %v", p.Path, p.Wait())
	}
	return p.out.Text()
}

func (p *prog) ask(s string) string {
	p.t.Helper()
	fmt.Fprintln(p.in, s)
	return p.line()
}

// end closes the program's standard input and checks that it ends well.
func (p *prog) end() {
	p.t.Helper()
	p.in.Close()
	for p.out.Scan() {
		p.t.Errorf("%s says %s", p.Path, p.out.Text())
	}
	if err := p.Wait(); err != nil {
		p.t.Error(err)
	}
}

const webProgram = `package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

var (
	mu   sync.Mutex
	hits = map[string]int{}
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		hits[r.URL.Path]++
		fmt.Fprint(w, hits[r.URL.Path])
	})
	go http.Serve(l, nil)
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
	fmt.Println(len(hits))
}
`

// TestFrozenServer freezes an HTTP server under requests, 200 times in a row.
func TestFrozenServer(t *testing.T) {
	times := 200
	if testing.Short() {
		times = 20
	}
	p := start(t, nil, buildSource(t, "web", webProgram))
	addr := p.line()
	before := sceneOf(t, p.pid())
	var wg sync.WaitGroup
	var requests, failed atomic.Int64
	stop := make(chan struct{})
	const clients = 8
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// Half of them connect anew each time.
			client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: c%2 == 1}}
			for n := 1; ; n++ {
				select {
				case <-stop:
					client.CloseIdleConnections()
					return
				default:
				}
				resp, err := client.Get(fmt.Sprintf("http://%s/%d", addr, c))
				requests.Add(1)
				if err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != strconv.Itoa(n) {
					failed.Add(1)
					t.Errorf("client %d: answer %q to request %d, %v", c, body, n, err)
					return
				}
			}
		}()
	}
	var pauses []time.Duration
	for range times {
		tg, err := target.AttachFrozen(p.pid())
		if err != nil {
			t.Error(err)
			break
		}
		e, err := tg.Eval("main.hits")
		if err != nil {
			t.Error(err)
		} else if w, err := word(tg, e, 0); err != nil || w == 0 {
			t.Errorf("main.hits is %#x, %v", w, err)
		}
		pauses = append(pauses, tg.Pause())
		if err := tg.Close(); err != nil {
			t.Error(err)
		}
		if s := sceneOf(t, p.pid()); s.children != before.children {
			t.Errorf("children %q, before %q", s.children, before.children)
		}
	}
	close(stop)
	wg.Wait()
	wantUnharmed(t, p.pid(), before)
	slices.Sort(pauses)
	if len(pauses) > 0 {
		t.Logf("%d copies, %d requests, %d failed; pause median %v, longest %v", len(pauses), requests.Load(), failed.Load(), pauses[len(pauses)/2], pauses[len(pauses)-1])
	}
	p.in.Close()
	if got := p.line(); got != strconv.Itoa(clients) {
		t.Errorf("the server says %s, want %d", got, clients)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestFrozenKilled kills a process that freezes another, at any moment.
func TestFrozenKilled(t *testing.T) {
	times := 150
	if testing.Short() {
		times = 10
	}
	p := testenv.Start(t, testenv.Build(t, testenv.Host(), "bigmap"), "3000000", "wait")
	before := sceneOf(t, p.PID)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	traced := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		return err == nil && !strings.Contains(string(b), "\nTracerPid:\t0\n")
	}
	during := 0
	for i := range times {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), freezeEnv+"="+strconv.Itoa(p.PID))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0: // at any time, mostly while debug information is read
			time.Sleep(time.Duration(rand.IntN(150_000)) * time.Microsecond)
		case 1: // while there is a copy
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Errorf("%q, %v", line, err)
			}
		}
		if i%3 != 0 { // while the threads are held: some 3 ms
			for start := time.Now(); !traced() && time.Since(start) < 5*time.Second; {
			}
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		}
		if traced() {
			during++
		}
		cmd.Process.Kill()
		cmd.Wait()
		settle(t, p.PID, before)
		wantUnharmed(t, p.PID, before)
		if t.Failed() {
			break
		}
	}
	t.Logf("%d kills, %d of them while the process was held", times, during)
	attachFrozen(t, p.PID).Close()
	wantUnharmed(t, p.PID, before)
	if status := p.Stop(); status != 0 {
		t.Errorf("exit status %d\n%s", status, p.Stderr())
	}
}

// settle waits for the kernel to let go and for the keeper to clean up.
func settle(t *testing.T, pid int, before scene) {
	t.Helper()
	for range 500 {
		if s := sceneOf(t, pid); s.children == before.children && s.tracer == "0" && len(strangers(s)) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// strangers are the threads with all signals blocked: not the runtime's own.
func strangers(s scene) (tids []string) {
	for _, tid := range strings.Fields(s.threads) {
		b, err := os.ReadFile("/proc/" + tid + "/status")
		if err == nil && strings.Contains(string(b), "\nSigBlk:\tffff") {
			tids = append(tids, tid)
		}
	}
	return tids
}

const blockingProgram = `package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

var word uint32

func check(name string, f func() error) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		start := time.Now()
		err := f()
		if d := time.Since(start); err == nil && d < 3*time.Second {
			err = fmt.Errorf("it took %v", d)
		}
		if err != nil {
			err = fmt.Errorf("%s: %v", name, err)
		}
		done <- err
	}()
	results = append(results, done)
}

var results []chan error

func main() {
	var fds [2]int
	syscall.Pipe(fds[:])
	check("read", func() error {
		var b [8]byte
		n, _, e := syscall.Syscall(syscall.SYS_READ, uintptr(fds[0]), uintptr(unsafe.Pointer(&b)), 8)
		if e != 0 || n != 1 || b[0] != 'x' {
			return fmt.Errorf("%d %v %q", n, e, b)
		}
		return nil
	})
	check("nanosleep", func() error {
		ts := syscall.Timespec{Sec: 3}
		if _, _, e := syscall.Syscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0); e != 0 {
			return e
		}
		return nil
	})
	check("futex", func() error {
		ts := syscall.Timespec{Sec: 3}
		_, _, e := syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), 0, 0, uintptr(unsafe.Pointer(&ts)), 0, 0)
		if e != syscall.ETIMEDOUT {
			return fmt.Errorf("%v, want a timeout", e)
		}
		return nil
	})
	check("poll", func() error {
		n, _, e := syscall.Syscall(syscall.SYS_POLL, 0, 0, 3000)
		if n != 0 || e != 0 {
			return fmt.Errorf("%d %v", n, e)
		}
		return nil
	})
	check("flock", func() error {
		f, err := os.CreateTemp("", "freeze")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		g, err := os.Open(f.Name())
		if err != nil {
			return err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			return err
		}
		go func() {
			time.Sleep(3100 * time.Millisecond)
			f.Close() // a copy of the descriptor would keep the lock
		}()
		_, _, e := syscall.Syscall(syscall.SYS_FLOCK, g.Fd(), syscall.LOCK_EX, 0)
		if e != 0 {
			return e
		}
		return nil
	})
	check("channel", func() error {
		<-time.After(3 * time.Second)
		return nil
	})
	go func() {
		time.Sleep(3100 * time.Millisecond)
		syscall.Write(fds[1], []byte("x"))
	}()
	fmt.Println("ready")
	for _, c := range results {
		if err := <-c; err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("done")
}
`

// TestFrozenBlocking freezes a process again and again whose threads are in system
// calls that block, and which checks itself that they return what they should.
func TestFrozenBlocking(t *testing.T) {
	p := start(t, nil, buildSource(t, "blocking", blockingProgram))
	p.line()
	n := 0
	for began := time.Now(); time.Since(began) < 2500*time.Millisecond; n++ {
		tg := attachFrozen(t, p.pid())
		if n%4 == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		if err := tg.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := p.line(); got != "done" {
		t.Errorf("after %d copies: %s", n, got)
	}
	p.end()
}

const churnProgram = `package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
)

var started, execs atomic.Int64

func main() {
	for range 4 {
		go func() {
			for {
				done := make(chan bool)
				go func() {
					runtime.LockOSThread() // and never unlocked: the thread ends
					started.Add(1)
					close(done)
				}()
				<-done
			}
		}()
	}
	go func() {
		for {
			if err := exec.Command("/bin/true").Run(); err != nil {
				fmt.Println(err)
			}
			execs.Add(1)
		}
	}()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	if started.Load() < 100 || execs.Load() == 0 {
		fmt.Println(started.Load(), execs.Load())
	}
}
`

// TestFrozenChurn freezes a process that starts and ends threads and children all
// the time.
func TestFrozenChurn(t *testing.T) {
	p := start(t, nil, buildSource(t, "churn", churnProgram))
	p.line()
	before := sceneOf(t, p.pid())
	ok, busy := 0, 0
	for range 40 {
		tg, err := target.AttachFrozen(p.pid())
		var fe *target.FreezeError
		if errors.As(err, &fe) && fe.Reason == target.FreezeBusy {
			busy++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		ok++
		if gs, err := tg.Goroutines(); err != nil || len(gs) < 5 {
			t.Errorf("%d goroutines, %v", len(gs), err)
		}
		if err := tg.Close(); err != nil {
			t.Error(err)
		}
	}
	if ok < 10 {
		t.Errorf("%d copies, %d times no good moment", ok, busy)
	}
	// A thread that ends blocks all signals too, for a moment.
	for i := 0; len(strangers(sceneOf(t, p.pid()))) > 0; i++ {
		if i == 1000 {
			t.Fatal("a thread was left behind")
		}
		time.Sleep(time.Millisecond)
	}
	if s := sceneOf(t, p.pid()); s.mappings != before.mappings || s.pages != before.pages {
		t.Errorf("mappings %s and %d pages, before %s and %d", s.mappings, s.pages, before.mappings, before.pages)
	}
	p.end()
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

const seccompProgram = `package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

func main() {
	runtime.LockOSThread()
	syscall.RawSyscall6(syscall.SYS_PRCTL, 38, 1, 0, 0, 0, 0)
	allow := [1]struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}{{6, 0, 0, 0x7fff0000}}
	filter := struct {
		n uint16
		p unsafe.Pointer
	}{1, unsafe.Pointer(&allow)}
	_, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, 22, 2, uintptr(unsafe.Pointer(&filter)), 0, 0, 0)
	fmt.Println("ready", e)
	io.Copy(io.Discard, os.Stdin)
}
`

const waitProgram = `package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

func main() {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		// How many threads may the user have?
		n, err := strconv.ParseUint(in.Text(), 10, 32)
		if err == nil {
			err = syscall.Setrlimit(6, &syscall.Rlimit{Cur: n, Max: 1000})
		}
		fmt.Println(err)
	}
}
`

func TestFrozenRefused(t *testing.T) {
	waiter := buildSource(t, "wait", waitProgram)
	if err := os.Chmod(filepath.Dir(waiter), 0o755); err != nil {
		t.Fatal(err)
	}
	refused := func(pid int, want target.FreezeReason, text string) {
		t.Helper()
		tg, err := target.AttachFrozen(pid)
		if err == nil {
			tg.Close()
		}
		var fe *target.FreezeError
		if !errors.As(err, &fe) || fe.Reason != want || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want a *FreezeError %v with %q", err, want, text)
		}
	}
	impossible := func(pid int, want target.ProcessReason, text string) {
		t.Helper()
		tg, err := target.AttachFrozen(pid)
		if err == nil {
			tg.Close()
		}
		var pe *target.ProcessError
		if !errors.As(err, &pe) || pe.Reason != want || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want a *ProcessError %v with %q", err, want, text)
		}
	}

	impossible(os.Getpid(), target.Self, "")
	impossible(1<<22+1, target.NoProcess, "")

	p := start(t, nil, waiter)
	p.line()
	tg, err := target.Attach(p.pid())
	if err != nil {
		t.Fatal(err)
	}
	impossible(p.pid(), target.Traced, filepath.Base(os.Args[0]))
	if err := tg.Close(); err != nil {
		t.Error(err)
	}
	attachFrozen(t, p.pid()).Close()
	p.end()

	p = start(t, nil, buildSource(t, "seccomp", seccompProgram))
	if got := p.line(); got != "ready errno 0" {
		t.Error(got)
	}
	refused(p.pid(), target.FreezeFiltered, "seccomp")
	p.end()

	// As another user, which may start no more threads: the system call that makes
	// the keeper fails in the process.
	if os.Geteuid() == 0 {
		p = start(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, waiter)
		p.line()
		before := sceneOf(t, p.pid())
		for _, limit := range []uint64{1, uint64(len(strings.Fields(before.threads))) + 1} { // of threads: no keeper, no image
			if got := p.ask(strconv.FormatUint(limit, 10)); got != "<nil>" {
				t.Fatal(got)
			}
			for range 5 {
				refused(p.pid(), target.FreezeRefused, "resource temporarily unavailable")
			}
			settle(t, p.pid(), before)
			wantUnharmed(t, p.pid(), before)
		}
		if got := p.ask("1000"); got != "<nil>" {
			t.Fatal(got)
		}
		attachFrozen(t, p.pid()).Close()
		wantUnharmed(t, p.pid(), before)
		p.end()
	}

	file := filepath.Join(t.TempDir(), "wait386.go")
	if err := os.WriteFile(file, []byte(waitProgram), 0o666); err != nil {
		t.Fatal(err)
	}
	bin, cleanup, err := target.Build(t.Context(), file, target.BuildOptions{Env: append(os.Environ(), "GOARCH=386")})
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	p = start(t, nil, bin)
	p.line()
	refused(p.pid(), target.FreezeUnsupported, "ELFCLASS32")
	p.end()

	// A process that ends meanwhile.
	for i := range 10 {
		p = start(t, nil, waiter)
		p.line()
		pid := p.pid()
		go func() {
			time.Sleep(time.Duration(i) * 3 * time.Millisecond)
			syscall.Kill(pid, syscall.SIGKILL)
		}()
		tg, err := target.AttachFrozen(pid)
		if err == nil {
			err = tg.Close()
		}
		var pe *target.ProcessError
		if err != nil && !errors.As(err, &pe) {
			t.Errorf("killed after %d ms: %v", i*3, err)
		}
		p.Wait()
	}
}

const forkProgram = `package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

var big = map[int64]int64{}

func bareFork() time.Duration {
	runtime.LockOSThread()
	start := time.Now()
	pid, _, e := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 && e == 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	d := time.Since(start)
	syscall.Wait4(int(pid), nil, 0, nil)
	runtime.UnlockOSThread()
	return d
}

func main() {
	n, _ := strconv.Atoi(os.Args[1])
	threads, _ := strconv.Atoi(os.Args[2])
	for i := int64(0); i < int64(n); i++ {
		big[i] = i
	}
	var fds [2]int
	syscall.Pipe(fds[:])
	for i := 0; i < threads; i++ {
		go func() {
			runtime.LockOSThread()
			var b [1]byte
			syscall.Read(fds[0], b[:])
		}()
	}
	time.Sleep(time.Second)
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(bareFork().Nanoseconds())
	}
}
`

// TestFrozenPause measures. It asserts nothing about time: go test -v prints it.
func TestFrozenPause(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	bin := buildSource(t, "fork", forkProgram)
	for _, c := range []struct{ entries, threads int }{{1000, 0}, {20000000, 0}, {1000, 1000}, {20000000, 1000}} {
		p := start(t, nil, bin, strconv.Itoa(c.entries), strconv.Itoa(c.threads))
		p.line()
		var forks, pauses []time.Duration
		for range 9 {
			ns, err := strconv.Atoi(p.ask("fork"))
			if err != nil {
				t.Fatal(err)
			}
			tg, err := target.AttachFrozen(p.pid())
			if err != nil {
				t.Error(err)
				continue
			}
			forks, pauses = append(forks, time.Duration(ns)), append(pauses, tg.Pause())
			if err := tg.Close(); err != nil {
				t.Error(err)
			}
		}
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
		_, rss, _ := strings.Cut(string(b), "VmRSS:")
		rss, _, _ = strings.Cut(strings.TrimSpace(rss), "\n")
		slices.Sort(forks)
		slices.Sort(pauses)
		if k := len(forks); k > 0 {
			t.Logf("%s, %d threads and the runtime's: bare fork %v (least %v), pause %v (least %v): ratio of medians %.2f", rss, c.threads,
				forks[k/2], forks[0], pauses[k/2], pauses[0], float64(pauses[k/2])/float64(forks[k/2]))
		}
		p.end()
	}
}
