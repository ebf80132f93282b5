package target

import (
	"bytes"
	"errors"
	"fmt"
	"golang.org/x/sys/unix"
	"os"
	"strconv"
	"strings"
	"time"
)

// sites are the places in the runtime's text that the freezing uses.
type sites struct {
	waits     []waitSite
	clone     uint64 // the system call of runtime.clone
	exit      uint64 // where runtime.clone exits the thread
	exitCall  uint64 // the system call there; exit follows it
	sigreturn uint64 // makes rt_sigreturn(2)
}

// waitSite is a place where a thread that has nothing to do waits.
type waitSite struct {
	number uint64 // of the system call
	begin  uint64 // where AX gets the number; the system call instruction follows
	behind uint64
}

// What those places look like: the same from Go 1.18 to 1.27,
// runtime/sys_linux_amd64.s.
var (
	futexCode = []byte{
		0xb8, 0xca, 0, 0, 0, // MOVL $SYS_futex, AX
		0x0f, 0x05, // SYSCALL
	}
	usleepCode = []byte{
		0xb8, 0x23, 0, 0, 0, // MOVL $SYS_nanosleep, AX
		0x0f, 0x05, // SYSCALL
	}
	cloneTail = []byte{
		0x0f, 0x05, // SYSCALL
		0x48, 0x83, 0xf8, 0, // CMPQ AX, $0
		0x74, 5, // JEQ 3(PC)
		0x89, 0x44, 0x24, 0x30, // MOVL AX, ret+40(FP)
		0xc3,             // RET
		0x48, 0x89, 0xf4, // MOVQ SI, SP
		0x49, 0x83, 0xfd, 0, // CMPQ R13, $0
		0x74, // JEQ, to exitTail
	}
	exitTail = []byte{
		0x41, 0xff, 0xd4, // CALL R12
		0xbf, 111, 0, 0, 0, // MOVL $111, DI
		0xb8, 60, 0, 0, 0, // MOVL $SYS_exit, AX
		0x0f, 0x05, // SYSCALL
		0xeb, 0xf2, // JMP -3(PC)
	}
	sigreturnCode = []byte{
		0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, // MOVQ $SYS_rt_sigreturn, AX: debuggers rely on this form
		0x0f, 0x05, // SYSCALL
	}
)

// findSites finds the sites in the text that the process has.
func (im *image) findSites() error {
	find := func(name string, code []byte) (addr uint64, after []byte) {
		fns, err := im.bi.FindFunction(name)
		if err != nil {
			return 0, nil
		}
		for _, fn := range fns {
			if fn.Entry == 0 || fn.End <= fn.Entry || fn.End-fn.Entry > pageSize {
				continue
			}
			text := make([]byte, fn.End-fn.Entry)
			if n, _ := readProcess(im.pid, text, fn.Entry); n < len(text) {
				continue
			}
			if i := bytes.Index(text, code); i >= 0 {
				return fn.Entry + uint64(i), text[i+len(code):]
			}
		}
		return 0, nil
	}
	for _, w := range []struct {
		name   string
		number uint64
		code   []byte
	}{{"runtime.futex", unix.SYS_FUTEX, futexCode}, {"runtime.usleep", unix.SYS_NANOSLEEP, usleepCode}} {
		if at, _ := find(w.name, w.code); at != 0 {
			im.sites.waits = append(im.sites.waits, waitSite{w.number, at, at + uint64(len(w.code))})
		}
	}
	im.sites.sigreturn, _ = find("runtime.sigreturn__sigaction", sigreturnCode)
	if im.sites.sigreturn == 0 {
		im.sites.sigreturn, _ = find("runtime.sigreturn", sigreturnCode) // up to Go 1.20
	}
	clone, after := find("runtime.clone", cloneTail)
	if len(im.sites.waits) > 0 && im.sites.sigreturn != 0 && len(after) > 0 {
		// The target of the JEQ.
		if to := 1 + int(after[0]); to+len(exitTail) <= len(after) && bytes.Equal(after[to:][:len(exitTail)], exitTail) {
			call := clone + uint64(len(cloneTail)+to)
			im.sites.clone, im.sites.exit, im.sites.exitCall = clone, call+3, call+13
			return nil
		}
	}
	return im.fail(FreezeUnsupported, nil, "runtime.futex, runtime.clone and runtime.sigreturn of this binary are not as those of Go 1.18 to 1.27")
}

// waitAt is the site at which a thread waits that is in a system call, or in none, at
// a program counter: in the call, or just before it, as one is that was a lender and
// has not run since.
func (s *sites) waitAt(number, pc uint64) (waitSite, bool) {
	for _, w := range s.waits {
		if w.number == number && w.behind == pc || w.begin == pc {
			return w, true
		}
	}
	return waitSite{}, false
}

// awaitParked waits until a thread of the process waits at one of the sites: an idle M,
// or sysmon. It stops nothing.
func (im *image) awaitParked() error {
	for deadline := time.Now().Add(parkedLimit); ; {
		tids, err := im.tids()
		if err != nil {
			return err
		}
		for _, tid := range tids {
			// "202 0xc000080148 0x80 0x0 0x0 0x0 0x0 0x7ffc 0x480303": the number, six
			// arguments, SP, PC. Or "-1 0x7ffc 0x4802fc", or "running".
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", im.pid, tid))
			if err != nil {
				if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
					continue
				}
				return nil // look when it is stopped
			}
			f := strings.Fields(string(b))
			if len(f) < 3 {
				continue
			}
			number, err1 := strconv.ParseInt(f[0], 10, 64)
			pc, err2 := strconv.ParseUint(f[len(f)-1], 0, 64)
			if _, ok := im.sites.waitAt(uint64(number), pc); ok && err1 == nil && err2 == nil {
				im.parked = tid
				return nil
			}
		}
		if time.Now().After(deadline) {
			return im.fail(FreezeBusy, nil, "within %v none of its threads was idle", parkedLimit)
		}
		time.Sleep(time.Millisecond)
	}
}
