package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ticks reads the time stamp counter.
func ticks() uint64

// stopLimit is how long all threads may take to stop.
const stopLimit = 2 * time.Second

// stopped is a process all of whose threads stand still. Only the thread of ours
// that made it may use it.
type stopped struct {
	pid     int
	threads []*thread
	mem     *os.File // /proc/PID/mem
	seized  bool
}

type thread struct {
	tid    int
	signal int  // that it was about to be handed
	event  bool // it stands in the kernel's get_signal
	regs   unix.PtraceRegs
}

// onThread runs f on a thread of its own, which the kernel takes for a tracer, and
// ends it after that: what it still traces goes on.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

func ptrace(request, tid int, addr, data uintptr) error {
	if _, _, err := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0); err != 0 {
		return err
	}
	return nil
}

// stopAll seizes and stops all threads of a process.
func stopAll(pid int) (*stopped, error) {
	s := &stopped{pid: pid, seized: true}
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
			switch err := ptrace(unix.PTRACE_SEIZE, tid, 0, 0); {
			case errors.Is(err, unix.ESRCH):
				continue
			case errors.Is(err, unix.EPERM) && threadState(pid, tid) == 'Z':
				seen[tid] = true
				continue
			case err != nil:
				return fail(fmt.Sprintf("thread %d cannot be traced", tid), err)
			}
			seen[tid], again = true, true
			if err := ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0); err != nil {
				continue // it has ended
			}
			th := &thread{tid: tid}
			alive, err := th.wait(deadline)
			if err != nil {
				return fail(fmt.Sprintf("thread %d does not stop", tid), err)
			}
			if alive {
				s.threads = append(s.threads, th)
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
		if err := unix.PtraceGetRegs(th.tid, &th.regs); err != nil {
			s.release()
			return &ProcessError{s.pid, fmt.Sprintf("registers of thread %d", th.tid), err}
		}
	}
	return nil
}

// wait waits for a thread to stop. It returns false if the thread has ended.
func (th *thread) wait(deadline time.Time) (bool, error) {
	for i := 0; ; i++ {
		var status unix.WaitStatus
		tid, err := unix.Wait4(th.tid, &status, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return false, nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return false, err
		case tid == th.tid && err == nil:
			if !status.Stopped() {
				return false, nil
			}
			th.event = int(status)>>16 == unix.PTRACE_EVENT_STOP
			if sig := status.StopSignal(); int(status)>>16 == 0 && sig != unix.SIGTRAP && sig != unix.SIGTRAP|0x80 {
				th.signal = int(sig)
			}
			return true, nil
		case time.Now().After(deadline):
			return false, os.ErrDeadlineExceeded
		case i > 200:
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// release lets all threads go on.
func (s *stopped) release() {
	for _, th := range s.threads {
		_ = ptrace(unix.PTRACE_DETACH, th.tid, 0, uintptr(th.signal))
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

// stepOut lets each thread that stands inside one of the spans, behind its first
// byte, execute instructions until it does not.
func (s *stopped) stepOut(spans []span) error {
	for _, th := range s.threads {
		for n := 0; insideAny(spans, th.regs.Rip); n++ {
			if n == 64 {
				return &ProcessError{s.pid, fmt.Sprintf("thread %d stays at %#x, where a probe goes", th.tid, th.regs.Rip), nil}
			}
			if err := ptrace(unix.PTRACE_SINGLESTEP, th.tid, 0, 0); err != nil {
				return &ProcessError{s.pid, "step", err}
			}
			signal := th.signal
			alive, err := th.wait(time.Now().Add(stopLimit))
			if th.signal == 0 {
				th.signal = signal
			}
			if err != nil || !alive {
				return &EndedError{s.pid}
			}
			if err := unix.PtraceGetRegs(th.tid, &th.regs); err != nil {
				return &ProcessError{s.pid, "registers", err}
			}
		}
	}
	return nil
}

func insideAny(spans []span, pc uint64) bool {
	for _, sp := range spans {
		if pc > sp.lo && pc < sp.hi {
			return true
		}
	}
	return false
}

// calls has a thread make system calls, by the instruction at site.
type calls struct {
	s    *stopped
	th   *thread
	site uint64
	mask uint64 // of signals, as it was
}

// borrow prepares a thread for system calls; giveBack must follow.
func (s *stopped) borrow(site uint64) (*calls, error) {
	c := &calls{s: s, th: s.threads[0], site: site}
	if _, _, err := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGMASK, uintptr(c.th.tid), 8, uintptr(unsafe.Pointer(&c.mask)), 0, 0); err != 0 {
		return nil, &ProcessError{s.pid, "read the signal mask", err}
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, c.th.tid, 0, unix.PTRACE_O_TRACESYSGOOD); err != nil {
		return nil, &ProcessError{s.pid, "set options", err}
	}
	return c, c.setMask(^uint64(0))
}

func (c *calls) setMask(mask uint64) error {
	if _, _, err := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SETSIGMASK, uintptr(c.th.tid), 8, uintptr(unsafe.Pointer(&mask)), 0, 0); err != 0 {
		return &ProcessError{c.s.pid, "set the signal mask", err}
	}
	return nil
}

const noSyscall = ^uint64(0) // in ORIG_RAX: the kernel has nothing to restart

// call makes a system call and returns its result.
func (c *calls) call(what string, nr uint64, args ...uint64) (uint64, error) {
	var a [6]uint64
	copy(a[:], args)
	r := c.th.regs
	r.Rip, r.Rax, r.Orig_rax = c.site, nr, noSyscall
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = a[0], a[1], a[2], a[3], a[4], a[5]
	if err := unix.PtraceSetRegs(c.th.tid, &r); err != nil {
		return 0, &ProcessError{c.s.pid, what, err}
	}
	for stops := 0; stops < 2; { // into the call, out of it
		if err := ptrace(unix.PTRACE_SYSCALL, c.th.tid, 0, 0); err != nil {
			return 0, &EndedError{c.s.pid}
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(c.th.tid, &status, unix.WALL, nil); err != nil || !status.Stopped() {
			return 0, &EndedError{c.s.pid}
		}
		switch {
		case int(status)>>16 == 0 && status.StopSignal() == unix.SIGTRAP|0x80:
			stops++
		case int(status)>>16 == 0:
			return 0, &ProcessError{c.s.pid, fmt.Sprintf("%s: it got %v", what, status.StopSignal()), nil}
		}
	}
	if err := unix.PtraceGetRegs(c.th.tid, &r); err != nil {
		return 0, &ProcessError{c.s.pid, what, err}
	}
	if n := int64(r.Rax); n < 0 && n > -4096 {
		return 0, &ProcessError{c.s.pid, what, unix.Errno(-n)}
	}
	return r.Rax, nil
}

// giveBack puts the thread where it was. A system call in which it was is restarted
// by the kernel, which looks for that where a thread stops for PTRACE_INTERRUPT.
func (c *calls) giveBack() error {
	if c.s.seized {
		if err := ptrace(unix.PTRACE_INTERRUPT, c.th.tid, 0, 0); err != nil {
			return &EndedError{c.s.pid}
		}
		if err := ptrace(unix.PTRACE_CONT, c.th.tid, 0, 0); err != nil {
			return &EndedError{c.s.pid}
		}
		signal := c.th.signal
		alive, err := c.th.wait(time.Now().Add(stopLimit))
		if c.th.signal == 0 {
			c.th.signal = signal
		}
		if err != nil || !alive {
			return &EndedError{c.s.pid}
		}
	}
	if err := unix.PtraceSetRegs(c.th.tid, &c.th.regs); err != nil {
		return &ProcessError{c.s.pid, "restore registers", err}
	}
	return c.setMask(c.mask)
}
