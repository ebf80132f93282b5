//go:build linux && amd64

package target_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
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

// TestFrozenKilled kills a process that freezes another, at any moment.
func TestFrozenKilled(t *testing.T) {
	times := testenv.Times(150)
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
