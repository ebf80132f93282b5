package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hmaptools/internal/ptrace"
)

// ticks reads the time stamp counter.
func ticks() uint64

// stopLimit is how long all threads may take to stop.
const stopLimit = 2 * time.Second

// A process is stopped up to stopTries times, until no thread stands where a jump is
// to be written, and one waits that can be borrowed.
const (
	stopTries = 200
	stopPause = 2 * time.Millisecond
)

// busyError says that a process has to be stopped once more.
type busyError struct{ detail string }

func (e *busyError) Error() string { return e.detail }

// stopped is a process all of whose threads stand still. Only the thread of ours
// that made it may use it.
type stopped struct {
	pid     int
	threads []*thread
	mem     *os.File // /proc/PID/mem
	fresh   bool     // it was launched and has executed nothing yet
}

type thread struct {
	tid    int
	signal int // that it was about to be handed
	regs   ptrace.Regs
}

// onThread runs f on a thread of its own, which the kernel takes for a tracer, and
// ends it after that: what it still traces goes on.
func onThread(f func() error) error {
	done := make(chan error, 1)
	ptrace.OnOwnThread(func() { done <- f() })
	return <-done
}

// stopAll seizes and stops all threads of a process.
func stopAll(pid int) (*stopped, error) {
	s := &stopped{pid: pid}
	fail := func(detail string, err error) (*stopped, error) {
		s.release()
		return nil, &ProcessError{pid, detail, err}
	}
	deadline := time.Now().Add(stopLimit)
	seen := map[int]bool{}
	for again := true; again; {
		again = false
		dirs, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
		if err != nil || len(dirs) == 0 {
			return fail("there is no such process", err)
		}
		for _, dir := range dirs {
			tid, _ := strconv.Atoi(filepath.Base(dir))
			if seen[tid] {
				continue
			}
			switch err := ptrace.Call(unix.PTRACE_SEIZE, tid, 0, 0); {
			case err == unix.ESRCH:
				continue
			case err == unix.EPERM && threadState(pid, tid) == 'Z':
				seen[tid] = true
				continue
			case err != 0:
				return fail(fmt.Sprintf("thread %d cannot be traced", tid), err)
			}
			seen[tid], again = true, true
			_ = ptrace.Call(unix.PTRACE_INTERRUPT, tid, 0, 0) // ESRCH: it has ended
			status, errno := ptrace.Wait(tid, deadline)
			if errno != 0 {
				return fail(fmt.Sprintf("thread %d does not stop", tid), errno)
			}
			if !status.Gone() {
				s.threads = append(s.threads, &thread{tid: tid, signal: status.Signal()})
			}
		}
	}
	if len(s.threads) == 0 {
		return fail("it has ended", nil)
	}
	return s, s.open()
}

func threadState(pid, tid int) byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil {
		return 'Z'
	}
	for i := len(b) - 1; i > 0; i-- {
		if b[i] == ')' && i+2 < len(b) {
			return b[i+2]
		}
	}
	return '?'
}

// open makes the registers and the memory of stopped threads readable.
func (s *stopped) open() error {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", s.pid), os.O_RDWR, 0)
	if err != nil {
		s.release()
		return &ProcessError{s.pid, "its memory cannot be written", err}
	}
	s.mem = mem
	for _, th := range s.threads {
		if err := ptrace.GetRegs(th.tid, &th.regs); err != 0 {
			s.release()
			return &ProcessError{s.pid, fmt.Sprintf("registers of thread %d", th.tid), err}
		}
	}
	return nil
}

// release lets all threads go on.
func (s *stopped) release() {
	for _, th := range s.threads {
		_ = ptrace.Call(unix.PTRACE_DETACH, th.tid, 0, uintptr(th.signal))
	}
	if s.mem != nil {
		s.mem.Close()
	}
	s.threads, s.mem = nil, nil
}

func (s *stopped) read(addr uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := s.mem.ReadAt(b, int64(addr)); err != nil {
		return nil, &ProcessError{s.pid, fmt.Sprintf("read %d bytes at %#x", n, addr), err}
	}
	return b, nil
}

// write writes memory, that which the process itself cannot write included.
func (s *stopped) write(addr uint64, b []byte) error {
	if _, err := s.mem.WriteAt(b, int64(addr)); err != nil {
		return &ProcessError{s.pid, fmt.Sprintf("write %d bytes at %#x", len(b), addr), err}
	}
	return nil
}

// outside fails with a *busyError if a thread stands inside one of the spans, behind
// its first byte, or will come back there from a signal handler.
func (s *stopped) outside(spans []span, sites *ptrace.Sites) error {
	for _, th := range s.threads {
		at, inside := insideAny(spans, th.regs.Rip)
		if !inside {
			if _, waits := sites.WaitAt(th.regs.Orig_rax, th.regs.Rip); waits {
				continue
			}
			at, inside = s.interrupted(th, spans)
		}
		if inside {
			return &busyError{fmt.Sprintf("thread %d stays at %#x, where a probe goes", th.tid, at)}
		}
	}
	return nil
}

// signalStack is more than handlers have on their stack, from their stack pointer to
// the registers that the kernel has put there.
const signalStack = 64 << 10

// interrupted looks for the registers that the kernel has put on a thread's stack for a
// signal handler: RIP, EFLAGS, and the selector of 64-bit code of user space,
// arch/x86/include/uapi/asm/sigcontext.h.
func (s *stopped) interrupted(th *thread, spans []span) (at uint64, inside bool) {
	b := make([]byte, signalStack)
	n, _ := processMemory(s.pid).ReadMemory(b, th.regs.Rsp) // as far as there is memory
	b = b[:n&^7]
	const userCode, always, valid = 0x33, 1 << 1, 1<<22 - 1
	for i := 0; i+24 <= len(b); i += 8 {
		at, inside = insideAny(spans, binary.LittleEndian.Uint64(b[i:]))
		if !inside {
			continue
		}
		flags := binary.LittleEndian.Uint64(b[i+8:])
		if flags&always != 0 && flags&^uint64(valid) == 0 && binary.LittleEndian.Uint16(b[i+16:]) == userCode {
			return at, true
		}
	}
	return 0, false
}

func insideAny(spans []span, pc uint64) (at uint64, inside bool) {
	for _, sp := range spans {
		if pc > sp.lo && pc < sp.hi {
			return pc, true
		}
	}
	return 0, false
}

// calls has a thread make system calls. If this process is killed meanwhile, the thread
// goes back to what it did by itself: see package ptrace. One that was launched and has
// done nothing yet is killed instead.
type calls struct {
	s     *stopped
	th    *thread
	site  uint64 // a system call instruction
	stack uint64 // what is behind it returns to what is here
	back  ptrace.Regs
	mask  uint64 // of signals, as it was
}

// borrow prepares a thread for system calls; giveBack must follow. It fails with a
// *busyError if none waits.
func (s *stopped) borrow(sites *ptrace.Sites) (*calls, error) {
	if s.fresh {
		th := s.threads[0]
		if err := ptrace.Call(unix.PTRACE_SETOPTIONS, th.tid, 0, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != 0 {
			return nil, &ProcessError{s.pid, "set options", err}
		}
		return &calls{s: s, th: th, site: sites.Return, stack: th.regs.Rsp, back: th.regs}, nil
	}
	for _, th := range s.threads {
		wait, waits := sites.WaitAt(th.regs.Orig_rax, th.regs.Rip)
		if !waits || th.signal != 0 || !s.room(th) {
			continue
		}
		c := &calls{s: s, th: th, site: sites.Return, stack: ptrace.Below(&th.regs), back: wait.Again(th.regs)}
		mask, errno := ptrace.SignalMask(th.tid)
		if errno != 0 {
			return nil, &ProcessError{s.pid, "read the signal mask", errno}
		}
		c.mask = mask
		if err := s.write(c.stack, sites.Frame(&c.back, mask)); err != nil {
			return nil, err
		}
		if err := ptrace.Call(unix.PTRACE_SETOPTIONS, th.tid, 0, unix.PTRACE_O_TRACESYSGOOD); err != 0 {
			return nil, &ProcessError{s.pid, "set options", err}
		}
		return c, nil
	}
	return nil, &busyError{"none of its threads is idle"}
}

// room reports whether there is room for a frame on the stack of a thread. R14 is g in Go
// code, and what waits does not change it; g begins with the bounds of its stack:
// runtime/runtime2.go, "offset known to runtime/cgo".
func (s *stopped) room(th *thread) bool {
	b, err := s.read(th.regs.R14, 16)
	return err == nil && ptrace.Room(&th.regs, binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]))
}

// call makes a system call and returns its result.
func (c *calls) call(what string, nr uint64, args ...uint64) (uint64, error) {
	var a [6]uint64
	copy(a[:], args)
	r := c.back
	r.Rip, r.Rax, r.Orig_rax, r.Rsp = c.site, nr, ptrace.NoSyscall, c.stack
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
	if err := ptrace.SetRegs(c.th.tid, &r); err != 0 {
		return 0, &ProcessError{c.s.pid, what, err}
	}
	if !c.s.fresh {
		// What it returns to restores the mask.
		if err := ptrace.SetSignalMask(c.th.tid, ^uint64(0)); err != 0 {
			return 0, &ProcessError{c.s.pid, "set the signal mask", err}
		}
	}
	for range 2 { // into the call, out of it
		status, err := ptrace.ToSyscall(c.th.tid)
		switch {
		case err != 0:
			return 0, &ProcessError{c.s.pid, what, err}
		case status.Gone():
			return 0, &EndedError{c.s.pid}
		case !status.AtSyscall():
			return 0, &ProcessError{c.s.pid, fmt.Sprintf("%s: it stopped with status %#x", what, int(status)), nil}
		}
	}
	if err := ptrace.GetRegs(c.th.tid, &r); err != 0 {
		return 0, &ProcessError{c.s.pid, what, err}
	}
	if n := int64(r.Rax); n < 0 && n > -4096 {
		return 0, &ProcessError{c.s.pid, what, unix.Errno(-n)}
	}
	return r.Rax, nil
}

// giveBack puts the thread where it was.
func (c *calls) giveBack() error {
	var err error
	if !c.s.fresh {
		if errno := ptrace.SetSignalMask(c.th.tid, c.mask); errno != 0 {
			err = &ProcessError{c.s.pid, "restore the signal mask", errno}
		}
	}
	if errno := ptrace.SetRegs(c.th.tid, &c.back); errno != 0 {
		err = errors.Join(err, &ProcessError{c.s.pid, "restore registers", errno})
	}
	return err
}
