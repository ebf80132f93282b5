package target

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hmaptools/internal/ptrace"
)

// toSyscall lets a thread go on to where it enters or leaves a system call, or to an
// event or a signal before that.
func (tr *tracer) toSyscall(tid int) (ptrace.Status, error) {
	status, errno := ptrace.ToSyscall(tid)
	if errno != 0 {
		return 0, tr.fail(FreezeRefused, errno, "resume thread %d", tid)
	}
	if status.Gone() {
		return status, &ProcessError{tr.pid, NoProcess, "it ended while it was being frozen"}
	}
	return status, nil
}

// wait waits for a thread to stop or to end.
func (im *image) wait(tid int, deadline time.Time) (ptrace.Status, error) {
	status, errno := ptrace.Wait(tid, deadline)
	switch errno {
	case 0:
		return status, nil
	case unix.ETIMEDOUT:
		state := ""
		if st, err := procStatus(tid); err == nil {
			state = ", it is in state " + st["State"]
		}
		return 0, im.fail(FreezeBusy, nil, "thread %d does not stop%s", tid, state)
	}
	return 0, im.fail(FreezeRefused, errno, "wait for thread %d", tid)
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
