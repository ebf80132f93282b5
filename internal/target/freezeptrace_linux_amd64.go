package target

import (
	"fmt"
	"github.com/go-delve/delve/pkg/proc/linutil"
	"golang.org/x/sys/unix"
	"time"
	"unsafe"
)

// toSyscall lets a thread go on to where it enters or leaves a system call, or to an
// event or a signal before that.
func (tr *tracer) toSyscall(tid int) (status waitStatus, err error) {
	for range 4 {
		// In a process that SIGSTOP has stopped, a thread stops once more for that.
		status, err = tr.run(unix.PTRACE_SYSCALL, tid)
		if err != nil || status.event() != unix.PTRACE_EVENT_STOP {
			break
		}
	}
	return status, err
}

// run lets a thread go on to its next stop.
func (tr *tracer) run(request, tid int) (waitStatus, error) {
	if err := ptrace(request, tid, 0, 0); err != 0 && err != unix.ESRCH {
		return 0, tr.fail(FreezeRefused, err, "resume thread %d", tid)
	}
	// No limit: what it waits for is the kernel's work for us, and cannot be called off.
	status, err := tr.wait(tid, time.Time{})
	if err == nil && status.gone() {
		err = &ProcessError{tr.pid, NoProcess, "it ended while it was being frozen"}
	}
	return status, err
}

// wait waits for a thread to stop or to end. The first microseconds it yields,
// since most stops take no longer, and sleeping takes at least 50.
func (im *image) wait(tid int, deadline time.Time) (waitStatus, error) {
	var status waitStatus
	for i := 0; ; i++ {
		n, _, err := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&status)), unix.WALL|unix.WNOHANG, 0, 0, 0)
		switch {
		case int(n) == tid && err == 0:
			return status, nil
		case err == unix.ECHILD:
			return 0, nil // gone
		case err != 0 && err != unix.EINTR:
			return 0, im.fail(FreezeRefused, err, "wait for thread %d", tid)
		}
		if i < 500 {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			continue
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			state := ""
			if st, err := procStatus(tid); err == nil {
				state = ", it is in state " + st["State"]
			}
			return 0, im.fail(FreezeBusy, nil, "thread %d does not stop%s", tid, state)
		}
		nap := unix.Timespec{Nsec: 20_000}
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&nap)), 0, 0)
	}
}

const (
	sysgood   = int(unix.SIGTRAP) | 0x80 // a stop at a system call, with PTRACE_O_TRACESYSGOOD
	noSyscall = ^uint64(0)               // in ORIG_RAX: the kernel has nothing to restart
)

// waitStatus is what wait4 says of a thread; 0 is one that is gone without a trace.
type waitStatus int32

func (s waitStatus) gone() bool      { return s&0xff != 0x7f }
func (s waitStatus) event() int      { return int(s >> 16) }
func (s waitStatus) atSyscall() bool { return !s.gone() && int(s>>8&0xff) == sysgood && s.event() == 0 }

// signal is the signal that the thread was about to be handed when it stopped.
func (s waitStatus) signal() int {
	if s.gone() || s.event() != 0 || s.atSyscall() {
		return 0
	}
	return int(s >> 8 & 0xff)
}

func ptrace(request, tid int, addr, data uintptr) unix.Errno {
	_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	return err
}

// ptraceAt is ptrace with the address of data.
func ptraceAt(request, tid int, addr uintptr, data unsafe.Pointer) unix.Errno {
	_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, uintptr(data), 0, 0)
	return err
}

func getRegs(tid int, r *linutil.AMD64PtraceRegs) unix.Errno {
	return ptraceAt(unix.PTRACE_GETREGS, tid, 0, unsafe.Pointer(r))
}

func setRegs(tid int, r *linutil.AMD64PtraceRegs) unix.Errno {
	return ptraceAt(unix.PTRACE_SETREGS, tid, 0, unsafe.Pointer(r))
}

// eventPid is the process or thread that the event at which a thread stands is about.
func eventPid(tid int) (int, error) {
	var msg uint
	if err := ptraceAt(unix.PTRACE_GETEVENTMSG, tid, 0, unsafe.Pointer(&msg)); err != 0 {
		return 0, fmt.Errorf("read event of thread %d: %w", tid, err)
	}
	return int(msg), nil
}

// muteStops keeps the kernel from sending this process a SIGCHLD for each thread that
// stops, which costs more than the stop, until it is undone. Those for processes that
// have ended are still sent.
func muteStops() (undo func()) {
	const noCldStop = 1 // SA_NOCLDSTOP
	// struct sigaction of rt_sigaction(2): handler, flags, restorer, mask.
	change := func(set, clear uint64) (old uint64) {
		var act [4]uint64
		if _, _, err := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&act)), 8, 0, 0); err != 0 {
			return noCldStop
		}
		old = act[1]
		if act[1] = act[1]&^clear | set; act[1] != old {
			_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
		}
		return old
	}
	if change(noCldStop, 0)&noCldStop != 0 {
		return func() {}
	}
	return func() { change(0, noCldStop) }
}
