//go:build linux && amd64

package target_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

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
