package target

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"hmaptools/internal/ptrace"
)

const (
	// lenderFlags are those with which the runtime itself starts a thread:
	// runtime/os_linux.go, cloneFlags.
	lenderFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	imageFlags  = unix.CLONE_FS | unix.CLONE_FILES // exit signal 0

	// The keeper has one child, the image, and waits for no other thread's.
	waitAny   = ^uint64(0)
	waitFlags = unix.WALL | unix.WNOTHREAD
)

// waiting makes registers those with which the keeper waits for the image and exits.
func (s *sites) waiting(r ptrace.Regs) ptrace.Regs {
	r.Rip, r.Rax, r.Orig_rax = s.exitCall, unix.SYS_WAIT4, ptrace.NoSyscall
	r.Rdi, r.Rsi, r.Rdx, r.R10 = waitAny, 0, waitFlags, 0
	return r
}

// cloning makes registers those with which a thread calls clone(2). The parent returns to
// the frame at stack, the child has childStack and is about to exit.
func (s *sites) cloning(r ptrace.Regs, flags, stack, childStack uint64) ptrace.Regs {
	r.Rip, r.Rax, r.Orig_rax, r.Rsp = s.clone, unix.SYS_CLONE, ptrace.NoSyscall, stack
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8 = flags, childStack, 0, 0, 0
	r.R9, r.R13, r.R12 = 0, 0, s.exit // R13 == 0: not a thread of the runtime's
	return r
}

// startKeeper has a lender start the keeper, and leaves the lender as it was.
func (tr *tracer) startKeeper() error {
	for _, th := range tr.crew[0].stopped {
		r := &th.regs
		wait, ok := tr.sites.WaitAt(r.Orig_rax, r.Rip)
		if !ok || th.signal != 0 || !tr.room(r) {
			continue // not waiting, or about to handle a signal
		}
		switch err := tr.lend(th, wait); {
		case err == nil:
			return nil
		case !errors.Is(err, errNextLender):
			return err
		}
	}
	return tr.fail(FreezeBusy, nil, "none of its threads is idle any more")
}

// errNextLender says that a signal came in between.
var errNextLender = errors.New("a signal arrived")

func (tr *tracer) lend(th *frozenThread, wait ptrace.WaitSite) error {
	mask, errno := ptrace.SignalMask(th.tid)
	if errno != 0 {
		err := errno
		return tr.fail(FreezeRefused, err, "read signal mask of thread %d", th.tid)
	}
	// From here on the kernel is past restarting the call, so the lender makes it again.
	again := wait.Again(th.regs)
	tr.stack = ptrace.Below(&th.regs)
	keeper := tr.sites.waiting(again)
	keeper.Rsp = tr.stack
	frames := append(tr.sites.Frame(&keeper, ^uint64(0)), tr.sites.Frame(&again, mask)...)
	if err := writeProcess(tr.pid, frames, tr.stack); err != nil {
		return tr.fail(FreezeRefused, err, "write below the stack of thread %d", th.tid)
	}
	if err := ptrace.Call(unix.PTRACE_SETOPTIONS, th.tid, 0, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD); err != 0 {
		return tr.fail(FreezeRefused, err, "set options of thread %d", th.tid)
	}
	r := tr.sites.cloning(th.regs, lenderFlags, tr.stack+ptrace.FrameSize, tr.stack)
	if err := ptrace.SetRegs(th.tid, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "set registers of thread %d", th.tid)
	}
	// Into the call, and out of it.
	status, err := tr.toSyscall(th.tid)
	if err == nil && status.AtSyscall() {
		status, err = tr.toSyscall(th.tid)
	}
	if err != nil {
		return err
	}
	back, failed := again, error(errNextLender)
	switch {
	case status.Event() == unix.PTRACE_EVENT_CLONE:
		failed = nil
		if tr.keeper, err = ptrace.EventPid(th.tid); err != nil {
			return err
		}
	case status.AtSyscall():
		if err := ptrace.GetRegs(th.tid, &r); err != 0 {
			return tr.fail(FreezeRefused, err, "read registers of thread %d", th.tid)
		}
		// A system call that a signal has interrupted.
		if errno := unix.Errno(-int64(r.Rax)); errno < 512 {
			failed = tr.fail(FreezeRefused, errno, "start a thread in it")
		}
	default: // where it was
		th.signal = status.Signal()
		back = th.regs
	}
	if err := ptrace.SetRegs(th.tid, &back); err != 0 {
		return tr.fail(FreezeRefused, err, "restore registers of thread %d", th.tid)
	}
	return failed
}

// room reports whether the thread's stack, on which its stack pointer is, reaches down to
// the frames. Its g begins with the bounds: runtime/runtime2.go, "offset known to
// runtime/cgo".
func (tr *tracer) room(r *ptrace.Regs) bool {
	word := make([]byte, 8)
	if n, _ := readProcess(tr.pid, word, r.Fs_base+tr.gOffset); n < len(word) {
		return false
	}
	bounds := make([]byte, 16) // g.stack.lo, g.stack.hi
	if n, _ := readProcess(tr.pid, bounds, binary.LittleEndian.Uint64(word)); n < len(bounds) {
		return false
	}
	lo, hi := binary.LittleEndian.Uint64(bounds), binary.LittleEndian.Uint64(bounds[8:])
	return ptrace.Room(r, lo, hi)
}

// fork has the keeper make the copy, and sends it to wait for its end.
func (tr *tracer) fork() error {
	if _, err := tr.wait(tr.keeper, time.Now().Add(stopLimit)); err != nil {
		return err
	}
	// The copying is its work: all of P waits for it.
	_ = unix.Setpriority(unix.PRIO_PROCESS, tr.keeper, -20)
	err := tr.keeperForks()
	if err == nil {
		err = tr.keeperWaits()
	}
	_ = ptrace.Call(unix.PTRACE_DETACH, tr.keeper, 0, 0)
	return err
}

// keeperForks has the keeper make the image. If it fails the keeper is about to exit.
func (tr *tracer) keeperForks() error {
	if err := ptrace.SetSignalMask(tr.keeper, ^uint64(0)); err != 0 {
		return tr.fail(FreezeRefused, err, "block signals of a new thread")
	}
	var leave ptrace.Regs // with which it would exit
	if err := ptrace.GetRegs(tr.keeper, &leave); err != 0 {
		return tr.fail(FreezeRefused, err, "read registers of a new thread")
	}
	r := tr.sites.cloning(leave, imageFlags, tr.stack, tr.stack)
	if err := ptrace.SetRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "set registers of a new thread")
	}
	status, err := tr.toSyscall(tr.keeper)
	if err == nil && status.AtSyscall() {
		status, err = tr.toSyscall(tr.keeper)
	}
	switch {
	case err != nil:
		return err
	case status.Event() == unix.PTRACE_EVENT_CLONE:
		tr.copy, err = ptrace.EventPid(tr.keeper)
		return err
	case !status.AtSyscall():
		return tr.fail(FreezeRefused, nil, "a new thread stopped with status %#x", int(status))
	}
	if err := ptrace.GetRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "read registers of a new thread")
	}
	leave.Orig_rax = ptrace.NoSyscall
	_ = ptrace.SetRegs(tr.keeper, &leave)
	errno := unix.Errno(-int64(r.Rax))
	if errno == unix.ENOMEM {
		return tr.fail(FreezeNoMemory, errno, "the kernel does not let it be copied")
	}
	return tr.fail(FreezeRefused, errno, "copy it")
}

// keeperWaits lets the keeper out of the call that made the image. What is on its stack
// would send it to wait for the image by itself; but that is in the way of nobody only
// as long as the process stands still.
func (tr *tracer) keeperWaits() error {
	status, err := tr.toSyscall(tr.keeper)
	if err != nil {
		return err
	}
	var r ptrace.Regs
	if err := ptrace.GetRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "read registers of a new thread, status %#x", int(status))
	}
	r = tr.sites.waiting(r)
	if err := ptrace.SetRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "set registers of a new thread")
	}
	return nil
}
