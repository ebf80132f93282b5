//go:build linux && amd64

package target_test

import (
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
)

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
	name := filepath.Base(os.Args[0])
	impossible(p.pid(), target.Traced, fmt.Sprintf("process %d (%s)", os.Getpid(), name[:min(15, len(name))]))
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
