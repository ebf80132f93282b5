package target

import (
	"encoding/binary"
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-delve/delve/pkg/proc/linutil"
)

const (
	// lenderFlags are those with which the runtime itself starts a thread:
	// runtime/os_linux.go, cloneFlags.
	lenderFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	imageFlags  = unix.CLONE_FS | unix.CLONE_FILES // exit signal 0

	// The keeper has one child, the image, and waits for no other thread's.
	waitAny   = ^uint64(0)
	waitFlags = unix.WALL | unix.WNOTHREAD

	// scratch is how far below the lender's stack pointer the frames lie, and
	// stackRoom how far above the end of the lender's stack.
	scratch   = 4096 + 1024
	stackRoom = 512
)

// A frame is what runtime.clone, or rather its parent, returns to: the address of
// rt_sigreturn(2), and the ucontext that this takes the registers from. See
// arch/x86/include/uapi/asm/sigcontext.h and asm-generic/ucontext.h of the kernel.
const (
	frameSize  = 320          // 8 + 304, and a multiple of 16
	frameStack = 8 + 24       // uc_stack.ss_flags
	frameRegs  = 8 + 40       // uc_mcontext; runtime.clone overwrites half of R8, the first
	frameMask  = 8 + 40 + 256 // uc_sigmask
	noChange   = 0x7fffffff   // as ss_flags, an error that rt_sigreturn overlooks
)

// frame makes registers and a signal mask into a frame. The floating point state is
// none: nobody who is given a frame has any.
func (s *sites) frame(r *linutil.AMD64PtraceRegs, mask uint64) []byte {
	b := make([]byte, frameSize)
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
	put(0, s.sigreturn)
	put(frameStack, noChange)
	for i, v := range []uint64{
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15,
		r.Rdi, r.Rsi, r.Rbp, r.Rbx, r.Rdx, r.Rax, r.Rcx, r.Rsp, r.Rip, r.Eflags,
		r.Cs | r.Ss<<48, // and no GS, no FS: their bases stay
	} {
		put(frameRegs+8*i, v)
	}
	put(frameMask, mask)
	return b
}

// waiting makes registers those with which the keeper waits for the image and exits.
func (s *sites) waiting(r linutil.AMD64PtraceRegs) linutil.AMD64PtraceRegs {
	r.Rip, r.Rax, r.Orig_rax = s.exitCall, unix.SYS_WAIT4, noSyscall
	r.Rdi, r.Rsi, r.Rdx, r.R10 = waitAny, 0, waitFlags, 0
	return r
}

// cloning makes registers those with which a thread calls clone(2). The parent returns to
// the frame at stack, the child has childStack and is about to exit.
func (s *sites) cloning(r linutil.AMD64PtraceRegs, flags, stack, childStack uint64) linutil.AMD64PtraceRegs {
	r.Rip, r.Rax, r.Orig_rax, r.Rsp = s.clone, unix.SYS_CLONE, noSyscall, stack
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8 = flags, childStack, 0, 0, 0
	r.R9, r.R13, r.R12 = 0, 0, s.exit // R13 == 0: not a thread of the runtime's
	return r
}

// startKeeper has a lender start the keeper, and leaves the lender as it was.
func (tr *tracer) startKeeper() error {
	for _, th := range tr.crew[0].stopped {
		r := &th.regs
		wait, ok := tr.sites.waitAt(r.Orig_rax, r.Rip)
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

func (tr *tracer) lend(th *frozenThread, wait waitSite) error {
	var mask uint64
	if err := ptraceAt(unix.PTRACE_GETSIGMASK, th.tid, 8, unsafe.Pointer(&mask)); err != 0 {
		return tr.fail(FreezeRefused, err, "read signal mask of thread %d", th.tid)
	}
	// From here on the kernel is past restarting the call, so the lender makes it again.
	again := th.regs
	again.Rip, again.Orig_rax = wait.begin, noSyscall
	tr.stack = (th.regs.Rsp - scratch) &^ 15
	keeper := tr.sites.waiting(again)
	keeper.Rsp = tr.stack
	frames := append(tr.sites.frame(&keeper, ^uint64(0)), tr.sites.frame(&again, mask)...)
	if err := writeProcess(tr.pid, frames, tr.stack); err != nil {
		return tr.fail(FreezeRefused, err, "write below the stack of thread %d", th.tid)
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, th.tid, 0, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD); err != 0 {
		return tr.fail(FreezeRefused, err, "set options of thread %d", th.tid)
	}
	r := tr.sites.cloning(th.regs, lenderFlags, tr.stack+frameSize, tr.stack)
	if err := setRegs(th.tid, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "set registers of thread %d", th.tid)
	}
	// Into the call, and out of it.
	status, err := tr.toSyscall(th.tid)
	if err == nil && status.atSyscall() {
		status, err = tr.toSyscall(th.tid)
	}
	if err != nil {
		return err
	}
	back, failed := again, error(errNextLender)
	switch {
	case status.event() == unix.PTRACE_EVENT_CLONE:
		failed = nil
		if tr.keeper, err = eventPid(th.tid); err != nil {
			return err
		}
	case status.atSyscall():
		if err := getRegs(th.tid, &r); err != 0 {
			return tr.fail(FreezeRefused, err, "read registers of thread %d", th.tid)
		}
		// A system call that a signal has interrupted.
		if errno := unix.Errno(-int64(r.Rax)); errno < 512 {
			failed = tr.fail(FreezeRefused, errno, "start a thread in it")
		}
	default: // where it was
		th.signal = status.signal()
		back = th.regs
	}
	if err := setRegs(th.tid, &back); err != 0 {
		return tr.fail(FreezeRefused, err, "restore registers of thread %d", th.tid)
	}
	return failed
}

// room reports whether the thread's stack, on which its stack pointer is, reaches down to
// the frames. Its g begins with the bounds: runtime/runtime2.go, "offset known to
// runtime/cgo".
func (tr *tracer) room(r *linutil.AMD64PtraceRegs) bool {
	word := make([]byte, 8)
	if n, _ := readProcess(tr.pid, word, r.Fs_base+tr.gOffset); n < len(word) {
		return false
	}
	bounds := make([]byte, 16) // g.stack.lo, g.stack.hi
	if n, _ := readProcess(tr.pid, bounds, binary.LittleEndian.Uint64(word)); n < len(bounds) {
		return false
	}
	lo, hi := binary.LittleEndian.Uint64(bounds), binary.LittleEndian.Uint64(bounds[8:])
	return lo < hi && lo+scratch+16+stackRoom <= r.Rsp && r.Rsp < hi
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
	_ = ptrace(unix.PTRACE_DETACH, tr.keeper, 0, 0)
	return err
}

// keeperForks has the keeper make the image. If it fails the keeper is about to exit.
func (tr *tracer) keeperForks() error {
	blocked := ^uint64(0)
	if err := ptraceAt(unix.PTRACE_SETSIGMASK, tr.keeper, 8, unsafe.Pointer(&blocked)); err != 0 {
		return tr.fail(FreezeRefused, err, "block signals of a new thread")
	}
	var leave linutil.AMD64PtraceRegs // with which it would exit
	if err := getRegs(tr.keeper, &leave); err != 0 {
		return tr.fail(FreezeRefused, err, "read registers of a new thread")
	}
	r := tr.sites.cloning(leave, imageFlags, tr.stack, tr.stack)
	if err := setRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "set registers of a new thread")
	}
	status, err := tr.toSyscall(tr.keeper)
	if err == nil && status.atSyscall() {
		status, err = tr.toSyscall(tr.keeper)
	}
	switch {
	case err != nil:
		return err
	case status.event() == unix.PTRACE_EVENT_CLONE:
		tr.copy, err = eventPid(tr.keeper)
		return err
	case !status.atSyscall():
		return tr.fail(FreezeRefused, nil, "a new thread stopped with status %#x", int(status))
	}
	if err := getRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "read registers of a new thread")
	}
	leave.Orig_rax = noSyscall
	_ = setRegs(tr.keeper, &leave)
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
	var r linutil.AMD64PtraceRegs
	if err := getRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "read registers of a new thread, status %#x", int(status))
	}
	r = tr.sites.waiting(r)
	if err := setRegs(tr.keeper, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "set registers of a new thread")
	}
	return nil
}
