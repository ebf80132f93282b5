package ptrace

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Regs are the registers of a thread.
type Regs = unix.PtraceRegs

const (
	sysgood = int(unix.SIGTRAP) | 0x80 // a stop at a system call, with PTRACE_O_TRACESYSGOOD
	// NoSyscall in Orig_rax says that the kernel has nothing to restart.
	NoSyscall = ^uint64(0)
)

// Call is ptrace(2).
func Call(request, tid int, addr, data uintptr) unix.Errno {
	_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	return err
}

// At is Call with the address of data.
func At(request, tid int, addr uintptr, data unsafe.Pointer) unix.Errno {
	_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, uintptr(data), 0, 0)
	return err
}

// GetRegs reads the registers of a thread that stands still.
func GetRegs(tid int, r *Regs) unix.Errno {
	return At(unix.PTRACE_GETREGS, tid, 0, unsafe.Pointer(r))
}

// SetRegs sets the registers of a thread that stands still.
func SetRegs(tid int, r *Regs) unix.Errno {
	return At(unix.PTRACE_SETREGS, tid, 0, unsafe.Pointer(r))
}

// SignalMask reads the mask of blocked signals of a thread that stands still.
func SignalMask(tid int) (mask uint64, err unix.Errno) {
	return mask, At(unix.PTRACE_GETSIGMASK, tid, 8, unsafe.Pointer(&mask))
}

// SetSignalMask sets the mask of blocked signals of a thread that stands still.
func SetSignalMask(tid int, mask uint64) unix.Errno {
	return At(unix.PTRACE_SETSIGMASK, tid, 8, unsafe.Pointer(&mask))
}

// EventPid is the process or thread that the event at which a thread stands is about.
func EventPid(tid int) (int, error) {
	var msg uint
	if err := At(unix.PTRACE_GETEVENTMSG, tid, 0, unsafe.Pointer(&msg)); err != 0 {
		return 0, fmt.Errorf("read event of thread %d: %w", tid, err)
	}
	return int(msg), nil
}

// Status is what wait4(2) says of a thread; 0 is one that is gone without a trace.
type Status int32

// Gone reports whether the thread has ended.
func (s Status) Gone() bool { return s&0xff != 0x7f }

// Event is the PTRACE_EVENT at which the thread stands, 0 if it is at none.
func (s Status) Event() int { return int(s >> 16) }

// AtSyscall reports whether the thread enters or leaves a system call.
func (s Status) AtSyscall() bool { return !s.Gone() && int(s>>8&0xff) == sysgood && s.Event() == 0 }

// Signal is the signal that the thread was about to be handed when it stopped.
func (s Status) Signal() int {
	if s.Gone() || s.Event() != 0 || s.AtSyscall() {
		return 0
	}
	return int(s >> 8 & 0xff)
}

// Wait waits for a thread to stop or to end; without a limit if the deadline is zero.
// It fails with ETIMEDOUT when that has passed. The first microseconds it yields, since
// most stops take no longer, and sleeping takes at least 50. The end of a process is not
// taken: its parent, which this process may be, is to learn of it.
func Wait(tid int, deadline time.Time) (Status, unix.Errno) {
	for i := 0; ; i++ {
		ready, err := peek(tid)
		switch {
		case err == unix.ECHILD:
			return 0, 0 // gone
		case err != 0 && err != unix.EINTR:
			return 0, err
		case ready == ended && leads(tid):
			return 0, 0
		case ready != nothing && err == 0:
			var status Status
			n, _, err := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&status)), unix.WALL|unix.WNOHANG, 0, 0, 0)
			switch {
			case int(n) == tid && err == 0:
				return status, 0
			case err == unix.ECHILD:
				return 0, 0
			case err != 0 && err != unix.EINTR:
				return 0, err
			}
		}
		if i < 500 {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			continue
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			return 0, unix.ETIMEDOUT
		}
		nap := unix.Timespec{Nsec: 20_000}
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&nap)), 0, 0)
	}
}

// What there is to wait for.
const (
	nothing = iota
	stopped
	ended
)

// peek looks what there is to wait for, and takes nothing.
func peek(tid int) (ready int, err unix.Errno) {
	// siginfo_t: si_signo, si_errno, si_code.
	var info [32]int32
	_, _, err = unix.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&info)),
		unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0, 0)
	const exited, dumped = 1, 3 // CLD_EXITED, CLD_KILLED, CLD_DUMPED
	switch code := info[2]; {
	case err != 0 || info[0] == 0:
		return nothing, err
	case code >= exited && code <= dumped:
		return ended, 0
	}
	return stopped, 0
}

// leads reports whether a thread is the first of its process, whose end is the process's.
func leads(tid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	return err == nil && bytes.Contains(b, []byte(fmt.Sprintf("\nTgid:\t%d\n", tid)))
}

// ToSyscall lets a thread go on to where it enters or leaves a system call, or to an
// event or a signal before that.
func ToSyscall(tid int) (status Status, err unix.Errno) {
	for range 4 {
		// In a process that SIGSTOP has stopped, a thread stops once more for that.
		if err := Call(unix.PTRACE_SYSCALL, tid, 0, 0); err != 0 && err != unix.ESRCH {
			return 0, err
		}
		// No limit: what it waits for is the kernel's work for us, and cannot be
		// called off.
		if status, err = Wait(tid, time.Time{}); err != 0 || status.Event() != unix.PTRACE_EVENT_STOP {
			break
		}
	}
	return status, err
}

// OnOwnThread runs f on a thread that ends with it, and lets go of what it traces.
func OnOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread never ends. Keep it busy until f has another.
			locked := make(chan bool)
			go func() {
				runtime.LockOSThread()
				locked <- true
				f()
			}()
			<-locked
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
}
