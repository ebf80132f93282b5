//go:build linux && amd64

package target_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

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

// TestFrozenServer freezes an HTTP server under requests, 200 times in a row where all
// is asked for.
func TestFrozenServer(t *testing.T) {
	times := testenv.Times(200)
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
