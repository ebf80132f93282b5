//go:build linux && amd64

package probe_test

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/probe"
	"hmaptools/internal/testenv"
)

// webserver starts the program of that name and returns its process and its URL. The
// program must end well when the test does.
func webserver(t *testing.T, bin string) (pid int, url string) {
	t.Helper()
	cmd := exec.Command(bin)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("the server ended with %v: %s", err, stderr.Bytes())
		}
	})
	return cmd.Process.Pid, "http://" + strings.Fields(line)[1]
}

// load sends requests until stop is called, which returns how many were answered.
func load(t *testing.T, url string) (stop func() uint64) {
	t.Helper()
	var done, failed atomic.Uint64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ctx.Err() == nil; n++ {
				path := fmt.Sprintf("/page%d", (n*7+i)%50)
				resp, err := client.Get(url + path)
				if err == nil {
					var b []byte
					b, err = io.ReadAll(resp.Body)
					resp.Body.Close()
					if err == nil && !strings.HasPrefix(string(b), path+" 50 ") {
						err = fmt.Errorf("it answered %q", b)
					}
				}
				if err != nil {
					if failed.Add(1) == 1 {
						t.Errorf("request %s: %v", path, err)
					}
					continue
				}
				done.Add(1)
			}
		}()
	}
	return func() uint64 {
		cancel()
		wg.Wait()
		if failed.Load() > 0 {
			t.Errorf("%d requests failed, %d were answered", failed.Load(), done.Load())
		}
		return done.Load()
	}
}

// sameCode fails unless the process's text is that of its executable.
func sameCode(t *testing.T, pid int, bin string) {
	t.Helper()
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := f.Section(".text")
	want, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	got := make([]byte, len(want))
	if _, err := mem.ReadAt(got, int64(text.Addr)); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("the code at %#x is %#x, in the executable %#x", text.Addr+uint64(i), got[i], want[i])
		}
	}
}

// attach records a process for a time.
func attach(t *testing.T, pid int, d time.Duration) *tally {
	t.Helper()
	s, err := probe.Attach(pid, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := newTally()
	c.s = s
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	end, err := s.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if end.Exited || end.Unfinished > 0 {
		t.Errorf("end: %+v", end)
	}
	return c
}

// attachFor is how long TestAttachUnderLoad records each time.
var attachFor = flag.Duration("attach-for", 50*time.Millisecond, "how long each of 100 recordings of a process takes")

// TestAttachUnderLoad attaches to a server under load again and again: no request
// fails, events come each time, and the code is the original in the end.
func TestAttachUnderLoad(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "webserver")
	pid, url := webserver(t, bin)
	stop := load(t, url)
	times, during := 100, *attachFor
	if testing.Short() {
		times = 20
	}
	events := uint64(0)
	for i := range times {
		c := attach(t, pid, during)
		if t.Failed() {
			t.Fatalf("in round %d", i)
		}
		events += c.events
	}
	answered := stop()
	sameCode(t, pid, bin)
	if events < uint64(times) || answered < uint64(times) {
		t.Errorf("%d events, %d answers in %d rounds", events, answered, times)
	}
	t.Logf("%d rounds: %d events, %d requests answered", times, events, answered)
}

// TestTwoRecorders: a second recorder is refused while the first is alive.
func TestTwoRecorders(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "webserver")
	pid, _ := webserver(t, bin)
	s, err := probe.Attach(pid, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = probe.Attach(pid, probe.Options{})
	var already *probe.AlreadyError
	if !errors.As(err, &already) || already.Owner != os.Getpid() {
		t.Errorf("a second time: %v, want an AlreadyError", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := newTally()
	c.s = s
	if _, err := s.Run(ctx, c); err != nil {
		t.Fatal(err)
	}
	sameCode(t, pid, bin)
	attach(t, pid, time.Millisecond) // now it may
	sameCode(t, pid, bin)
}

// TestDeadRecorder: the probes of a recorder that was killed do no harm, and the next
// one takes them out.
func TestDeadRecorder(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "webserver")
	pid, url := webserver(t, bin)
	if os.Getenv("PROBE_TEST_ATTACH") != "" {
		t.Fatal("this is the recorder")
	}
	recorder := exec.Command(os.Args[0], "-test.run=^TestHelperAttach$")
	recorder.Env = append(os.Environ(), fmt.Sprintf("PROBE_TEST_ATTACH=%d", pid))
	out, err := recorder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := recorder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "placed\n" {
		t.Fatalf("the recorder said %q, %v", line, err)
	}
	if err := recorder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = recorder.Wait()
	stop := load(t, url)
	time.Sleep(300 * time.Millisecond)
	if n := stop(); n == 0 {
		t.Error("no request was answered after the recorder was killed")
	}
	s, err := probe.Attach(pid, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Notes()) == 0 {
		t.Error("it does not say that it took out somebody's probes")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := newTally()
	c.s = s
	if _, err := s.Run(ctx, c); err != nil {
		t.Fatal(err)
	}
	sameCode(t, pid, bin)
}

// TestHelperAttach is the recorder that TestDeadRecorder kills; by itself it has
// nothing to do.
func TestHelperAttach(t *testing.T) {
	var pid int
	if _, err := fmt.Sscan(os.Getenv("PROBE_TEST_ATTACH"), &pid); err != nil {
		return
	}
	if _, err := probe.Attach(pid, probe.Options{}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("placed")
	time.Sleep(time.Minute)
}

// TestRefused: what cannot be recorded is refused with an error of a type that says
// why.
func TestRefused(t *testing.T) {
	var not *probe.NotSupportedError
	if _, err := probe.Launch("/bin/sh", nil, probe.Options{}); !errors.As(err, &not) {
		t.Errorf("a program that is not Go's: %v", err)
	}
	if _, err := probe.Launch("probe_test.go", nil, probe.Options{}); !errors.As(err, &not) {
		t.Errorf("a text: %v", err)
	}
	if _, err := probe.Launch("no-such-file", nil, probe.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	var proc *probe.ProcessError
	for _, pid := range []int{os.Getpid(), 1 << 22} {
		if _, err := probe.Attach(pid, probe.Options{}); !errors.As(err, &proc) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	if _, err := probe.Launch("x", nil, probe.Options{Stack: probe.MaxStack + 1}); err == nil {
		t.Error("a stack that does not fit into a slot")
	}
	var missing *event.MissingError
	if _, _, err := event.Present(func(string) bool { return false }, nil); !errors.As(err, &missing) {
		t.Errorf("no functions: %v", err)
	}
}
