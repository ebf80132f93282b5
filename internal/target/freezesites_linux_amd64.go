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

	"hmaptools/internal/ptrace"
)

// sites are the places in the runtime's text that the freezing uses.
type sites struct {
	ptrace.Sites
	clone    uint64 // the system call of runtime.clone
	exit     uint64 // where runtime.clone exits the thread
	exitCall uint64 // the system call there; exit follows it
}

// What those of runtime.clone look like: the same from Go 1.18 to 1.27,
// runtime/sys_linux_amd64.s.
var (
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
)

// findSites finds the sites in the text that the process has.
func (im *image) findSites() error {
	find := ptrace.In(func(name string) (texts []ptrace.Text) {
		fns, err := im.bi.FindFunction(name)
		if err != nil {
			return nil
		}
		for _, fn := range fns {
			if fn.Entry == 0 || fn.End <= fn.Entry || fn.End-fn.Entry > pageSize {
				continue
			}
			text := make([]byte, fn.End-fn.Entry)
			if n, _ := readProcess(im.pid, text, fn.Entry); n == len(text) {
				texts = append(texts, ptrace.Text{Addr: fn.Entry, Code: text})
			}
		}
		return texts
	})
	im.sites.Sites = ptrace.FindSites(find)
	clone, after := find("runtime.clone", cloneTail)
	if len(im.sites.Waits) > 0 && im.sites.Sigreturn != 0 && len(after) > 0 {
		// The target of the JEQ.
		if to := 1 + int(after[0]); to+len(exitTail) <= len(after) && bytes.Equal(after[to:][:len(exitTail)], exitTail) {
			call := clone + uint64(len(cloneTail)+to)
			im.sites.clone, im.sites.exit, im.sites.exitCall = clone, call+3, call+13
			return nil
		}
	}
	return im.fail(FreezeUnsupported, nil, "runtime.futex, runtime.clone and runtime.sigreturn of this binary are not as those of Go 1.18 to 1.27")
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
			if _, ok := im.sites.WaitAt(uint64(number), pc); ok && err1 == nil && err2 == nil {
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
