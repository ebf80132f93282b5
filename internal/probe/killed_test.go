//go:build linux && amd64

package probe_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hmaptools/internal/probe"
	"hmaptools/internal/testenv"
)

// statusOf is what a file of /proc says under a key.
func statusOf(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestKilledWhilePlacing kills a recorder again and again, mostly while it holds the
// process: a server under load answers every request, no thread of it is left with
// signals blocked or stopped, and in the end its code is the original.
func TestKilledWhilePlacing(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "webserver")
	pid, url := webserver(t, bin)
	stop := load(t, url)
	status := fmt.Sprintf("/proc/%d/status", pid)
	times, during := 60, 0
	if testing.Short() {
		times = 20
	}
	for i := range times {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperAttachForEver$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("PROBE_TEST_FOR_EVER=%d", pid))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "go\n" {
			t.Fatalf("the recorder said %q, %v", line, err)
		}
		if i%4 > 0 {
			for start := time.Now(); statusOf(status, "TracerPid") == "0" && time.Since(start) < 5*time.Second; {
			}
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		} else {
			time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		}
		if statusOf(status, "TracerPid") != "0" {
			during++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	time.Sleep(50 * time.Millisecond)
	answered := stop()
	t.Logf("%d kills, %d of them while the process was held; %d requests answered", times, during, answered)
	if during < times/10 {
		t.Errorf("the process was held at %d of %d kills", during, times)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatal(err, "no threads")
	}
	for _, task := range tasks {
		if s := statusOf(task, "SigBlk"); strings.Trim(s, "0") != "" {
			t.Errorf("%s: signals %s are blocked", task, s)
		}
		if s := statusOf(task, "State"); strings.HasPrefix(s, "T") || strings.HasPrefix(s, "t") {
			t.Errorf("%s: state %s", task, s)
		}
	}
	attach(t, pid, time.Millisecond) // it takes out what the killed have left
	sameCode(t, pid, bin)
}

// TestHelperAttachForEver is the recorder that TestKilledWhilePlacing kills; by itself it
// has nothing to do.
func TestHelperAttachForEver(t *testing.T) {
	var pid int
	if _, err := fmt.Sscan(os.Getenv("PROBE_TEST_FOR_EVER"), &pid); err != nil {
		return
	}
	fmt.Println("go")
	for {
		s, err := probe.Attach(pid, probe.Options{RingBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c := newTally()
		c.s = s
		if _, err := s.Run(ctx, c); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}
