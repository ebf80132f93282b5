//go:build linux && amd64

package target_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// TestFrozenCopy reads a frozen copy of a process while the process goes on: the
// map words of the copy are those that the program printed of itself, and nothing
// of the copy is left behind.
func TestFrozenCopy(t *testing.T) {
	p := testenv.Start(t, testenv.Build(t, testenv.Host(), "server"))
	var tg *target.Target
	var err error
	for range 10 {
		var fe *target.FreezeError
		if tg, err = target.AttachFrozen(p.PID); !errors.As(err, &fe) || fe.Reason != target.FreezeBusy {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if tg.Live() || tg.Pause() <= 0 {
		t.Errorf("live %v, pause %v", tg.Live(), tg.Pause())
	}
	for _, name := range []string{"main.users", "main.cache"} {
		r, err := tg.Eval(name)
		if err != nil {
			t.Fatal(err)
		}
		var word [8]byte
		if _, err := tg.Memory().ReadMemory(word[:], r.Addr); err != nil {
			t.Fatal(err)
		}
		if got, want := binary.LittleEndian.Uint64(word[:]), p.Truth.Map(t, name).Addr; got != want {
			t.Errorf("%s: header at %#x, want %#x", name, got, want)
		}
	}
	if gs, err := tg.Goroutines(); err != nil || len(gs) < 3 {
		t.Errorf("%d goroutines, %v", len(gs), err)
	}
	if err := tg.Close(); err != nil {
		t.Error(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.PID, p.PID))
	if err == nil && strings.TrimSpace(string(children)) != "" {
		t.Errorf("children left behind: %s", children)
	}
	if status := p.Stop(); status != 0 {
		t.Errorf("the process ended with status %d", status)
	}
}
