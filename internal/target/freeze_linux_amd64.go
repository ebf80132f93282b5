package target

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/linutil"
)

// How a frozen copy is made, of a process P by this process T.
//
//  1. Stop: PTRACE_SEIZE and PTRACE_INTERRUPT every thread of P.
//  2. One thread of P, the lender, is made to call clone(2) for one more thread of
//     P, the keeper, and gets its registers back.
//  3. The keeper maps a page for itself, T writes the keeper's code into it (see
//     keeperCode), and the keeper calls clone(CLONE_FILES|CLONE_FS, 0): the child is
//     the image, a copy-on-write fork of P that T traces and that never runs.
//  4. T lets go of all threads of P. The keeper goes on by itself: it waits for the
//     image, unmaps its page and exits.
//  5. T reads the image. In the end it kills it; the keeper wakes up and reaps it.
//
// Why so. T may be killed at any moment (SIGKILL cannot be held off), and then the
// kernel resumes all that T holds with the registers that it has. So at no moment
// may anything have registers with which it must not run:
//
//   - The lender is a thread that waits in runtime.futex, FUTEX_WAIT, with nothing on
//     its mind: there is nearly always one, an idle M or sysmon. It borrows the
//     system call instruction of runtime.clone, and not its own, for what follows
//     there is good for parent and child. The parent stores AX at 48(SP) and returns:
//     what runtime.futex does too. The runtime sees a futex that woke up for no
//     reason, which it allows for (futexsleep: "Spurious wakeups are fine"). The
//     child calls R12, which we point at the runtime's own "exit this thread".
//   - The keeper is a thread, and no process, because the kernel reaps threads by
//     itself. Until it runs its own code it stands in front of the exit of
//     runtime.clone, and so does the image: resumed, they exit. No instruction of P's
//     own ever runs in them.
//   - The image's parent is P: only P can reap it, or init after P's death. A wait4 in
//     P by a thread of P's own would be a second stop when we close, and nobody's work
//     when we are killed. The keeper does it in any case. That init reaped it instead
//     (by forking twice) is no choice: P may be init, and many an init does not reap.
//   - The exit signal is 0: P gets no SIGCHLD, and a wait4(-1) of P's does not see the
//     image (no __WCLONE, no __WALL).
//   - All signals are blocked in the keeper: the runtime does not know this thread, and
//     its handlers must not run on it.
//   - CLONE_FILES: the image shares P's table of files and has no references of its
//     own. Had it some, a connection that P closes would stay open until the image
//     dies. CLONE_FS saves a copy.
//   - PTRACE_O_EXITKILL on the image, never on a thread of P, lets the kernel kill it
//     at once when T dies. Without, it would exit by itself.
//
// No byte of P's memory is changed, but for the new page, which is gone when the
// keeper is. One thing can be left behind: if T dies while the keeper maps it, some
// ten microseconds, the keeper exits and the mapping stays, 4 KiB of addresses that
// nobody has touched. (Code that unmaps it would have to be there before it.)
// Nothing is single-stepped: the trap flag would stay set if T died.
//
// System calls that block go on: the registers are put back, with the kernel's
// -ERESTART... in AX and the number of the call in ORIG_RAX, while the thread is in the
// kernel's get_signal, which is where it stops for PTRACE_INTERRUPT; there the kernel
// looks at both and restarts the call. Signals that arrive meanwhile stay pending, or
// are handed back with PTRACE_DETACH. A process that was stopped by SIGSTOP stays so:
// a thread that is detached from joins the group stop again.

const canFreeze = true

// Limits of the freezing.
const (
	stopLimit   = 250 * time.Millisecond // for all threads to stop
	parkedLimit = 2 * time.Second        // for a thread to wait in runtime.futex
	goneLimit   = time.Second            // for the keeper to end
	freezeTries = 20
)

const (
	// lenderFlags are those with which the runtime itself starts a thread:
	// runtime/os_linux.go, cloneFlags.
	lenderFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	imageFlags  = unix.CLONE_FS | unix.CLONE_FILES // exit signal 0

	sysgood   = int(unix.SIGTRAP) | 0x80 // a stop at a system call, with PTRACE_O_TRACESYSGOOD
	noSyscall = ^uint64(0)               // in ORIG_RAX: the kernel has nothing to restart

	// scratch is how far below the lender's stack pointer the keeper's lies. The
	// keeper writes there only if it is resumed before its time.
	scratch = 4096

	pageSize  = 4096
	ntXstate  = 0x202
	maxXstate = 32 << 10
)

// keeperCode is what the keeper runs, on its own page. R12 is the page, R13 the
// system call instruction that the runtime's exit of a thread follows. It is a whole
// number of words.
var keeperCode = []byte{
	0x0f, 0x05, // syscall: clone, as the registers say
	0x85, 0xc0, // test eax, eax
	0x7e, 0x1a, // jle done: the child, or an error
	0x89, 0xc3, // mov ebx, eax
	0xb8, 61, 0, 0, 0, // wait: mov eax, SYS_wait4
	0x89, 0xdf, // mov edi, ebx
	0x31, 0xf6, // xor esi, esi
	0xba, 0, 0, 0, 0x40, // mov edx, __WALL
	0x45, 0x31, 0xd2, // xor r10d, r10d
	0x0f, 0x05, // syscall
	0x83, 0xf8, 0xfc, // cmp eax, -EINTR
	0x74, 0xe8, // je wait
	0xb8, 11, 0, 0, 0, // done: mov eax, SYS_munmap
	0x4c, 0x89, 0xe7, // mov rdi, r12
	0xbe, 0, 0x10, 0, 0, // mov esi, pageSize
	0x41, 0xff, 0xe5, // jmp r13: syscall; exit
}

// sites are the places in the runtime's text that the freezing uses.
type sites struct {
	futex    uint64 // behind the system call of runtime.futex
	clone    uint64 // the system call of runtime.clone
	exit     uint64 // where runtime.clone exits the thread
	exitCall uint64 // the system call there; exit follows it
}

type image struct {
	pid     int
	exe     string
	bi      *proc.BinaryInfo
	entry   uint64
	sites   sites
	threads []*frozenThread
	parked  int // thread id of one that was idle in runtime.futex
	copy    int // process id of the image
	keeper  int // thread id
	stood   time.Duration
	opened  bool

	quit chan struct{}
	done chan error
}

// freeze makes a frozen copy of the process, of which exe is the binary.
func freeze(pid int, exe string) (frozenImage, error) {
	im := &image{pid: pid, exe: exe, quit: make(chan struct{}), done: make(chan error, 1)}
	if err := im.check(); err != nil {
		return nil, err
	}
	if err := im.load(); err != nil {
		return nil, err
	}
	// Collecting what the loading has left must not come in between: it may take
	// longer than the freezing.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var err error
	for try := range freezeTries {
		if err = im.awaitParked(); err != nil {
			break
		}
		taken := make(chan error)
		onOwnThread(func() { im.trace(taken) })
		var busy *FreezeError
		if err = <-taken; !errors.As(err, &busy) || busy.Reason != FreezeBusy {
			break
		}
		time.Sleep(time.Duration(try+1) * time.Millisecond)
	}
	if err == nil {
		if err = im.verify(); err == nil {
			return im, nil
		}
		err = errors.Join(err, im.Close())
	}
	im.bi.Close()
	return nil, err
}

func (im *image) fail(reason FreezeReason, err error, format string, args ...any) error {
	return &FreezeError{Pid: im.pid, Reason: reason, Detail: fmt.Sprintf(format, args...), Err: err}
}

// check fails where it can be seen beforehand that no copy can be made.
func (im *image) check() error {
	ef, err := elf.Open(im.exe)
	if err != nil {
		return err
	}
	defer ef.Close()
	if ef.Class != elf.ELFCLASS64 || ef.Machine != elf.EM_X86_64 {
		return im.fail(FreezeUnsupported, nil, "the binary is for %v, %v", ef.Machine, ef.Class)
	}
	status, err := procStatus(im.pid)
	if err != nil {
		return err
	}
	// A filter may kill a process for a system call that it does not expect: of
	// those that are made here clone(2) and wait4(2) are not in every list.
	if s := status["Seccomp"]; s != "" && s != "0" {
		return im.fail(FreezeFiltered, nil, "it might kill it for the system calls that a copy takes")
	}
	return im.checkMemory(status)
}

// load reads the debug information and finds the sites.
func (im *image) load() error {
	auxv, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", im.pid))
	if err != nil {
		return err
	}
	im.entry = linutil.EntryPointFromAuxv(auxv, 8)
	im.bi = proc.NewBinaryInfo("linux", "amd64", true)
	err = guard("read debug information", func() error { return im.bi.LoadBinaryInfo(im.exe, im.entry, nil) })
	if err == nil {
		err = im.findSites()
	}
	if err != nil {
		im.bi.Close()
	}
	return err
}

// What runtime.futex and runtime.clone look like from their system call on: the
// same from Go 1.18 to 1.27, runtime/sys_linux_amd64.s.
var (
	futexTail = []byte{
		0xb8, 0xca, 0, 0, 0, // MOVL $SYS_futex, AX
		0x0f, 0x05, // SYSCALL
		0x89, 0x44, 0x24, 0x30, // MOVL AX, ret+40(FP)
		0xc3, // RET
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
)

func (im *image) findSites() error {
	// tail finds code in the text of a function of that name, as the process has it.
	tail := func(name string, code []byte) (addr uint64, after []byte) {
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
	futex, _ := tail("runtime.futex", futexTail)
	clone, after := tail("runtime.clone", cloneTail)
	if futex != 0 && len(after) > 0 {
		// The target of the JEQ.
		if to := 1 + int(after[0]); to+len(exitTail) <= len(after) && bytes.Equal(after[to:][:len(exitTail)], exitTail) {
			call := clone + uint64(len(cloneTail)+to)
			im.sites = sites{futex: futex + 7, clone: clone, exit: call + 3, exitCall: call + 13}
			return nil
		}
	}
	return im.fail(FreezeUnsupported, nil, "runtime.futex and runtime.clone of this binary are not as those of Go 1.18 to 1.27")
}

// awaitParked waits until a thread waits in runtime.futex. It stops nothing.
func (im *image) awaitParked() error {
	for deadline := time.Now().Add(parkedLimit); ; {
		tids, err := im.tids()
		if err != nil {
			return err
		}
		for _, tid := range tids {
			// "202 0xc000080148 0x80 0x0 0x0 0x0 0x0 0x7ffc 0x480303": the number,
			// six arguments, SP, PC.
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", im.pid, tid))
			if err != nil {
				if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
					continue
				}
				return nil // look when it is stopped
			}
			f := strings.Fields(string(b))
			if len(f) == 9 && f[0] == strconv.Itoa(unix.SYS_FUTEX) && f[8] == fmt.Sprintf("%#x", im.sites.futex) {
				im.parked = tid
				return nil
			}
		}
		if time.Now().After(deadline) {
			return im.fail(FreezeBusy, nil, "within %v none of its threads was idle in runtime.futex", parkedLimit)
		}
		time.Sleep(time.Millisecond)
	}
}

func (im *image) tids() ([]int, error) {
	d, err := os.Open(fmt.Sprintf("/proc/%d/task", im.pid))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	tids := make([]int, 0, len(names))
	for _, name := range names {
		if tid, err := strconv.Atoi(name); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, err
}

// verify makes sure that the copy is of the program whose debug information was
// loaded: the process may have executed another one meanwhile.
func (im *image) verify() error {
	auxv, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", im.copy))
	if err != nil {
		return im.fail(FreezeRefused, err, "the copy cannot be read")
	}
	was, err1 := os.Stat(im.bi.Images[0].Path)
	is, err2 := os.Stat(fmt.Sprintf("/proc/%d/exe", im.copy))
	if err1 == nil && err2 == nil && !os.SameFile(was, is) || linutil.EntryPointFromAuxv(auxv, 8) != im.entry {
		return im.fail(FreezeRefused, nil, "it executed another program meanwhile")
	}
	return nil
}

// trace makes the copy, sends how that went, and holds the copy until quit is
// closed. It needs a thread of this process of its own for that: what a thread
// traces, no other can.
func (im *image) trace(taken chan<- error) {
	tr := &tracer{image: im}
	err := tr.take()
	if err != nil {
		tr.release()
	}
	tr.dismissCrew()
	taken <- err
	if err != nil {
		return
	}
	<-im.quit
	_ = unix.Kill(im.copy, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(im.copy, nil, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	im.done <- im.awaitGone()
}

// onOwnThread runs f on a thread that ends with it, and lets go of what it traces.
func onOwnThread(f func()) {
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

// awaitGone waits until the keeper has reaped the image and is gone itself: some
// ten microseconds. In a process that SIGSTOP has stopped, that takes a SIGCONT.
func (im *image) awaitGone() error {
	for start := time.Now(); unix.Kill(im.copy, 0) != unix.ESRCH || unix.Tgkill(im.pid, im.keeper, 0) != unix.ESRCH; {
		time.Sleep(20 * time.Microsecond)
		if time.Since(start) < goneLimit/100 {
			continue
		}
		status, err := procStatus(im.pid)
		if err != nil || strings.HasPrefix(status["State"], "T") || strings.HasPrefix(status["State"], "Z") {
			return nil // init's work now, or the keeper's when the process is continued
		}
		if time.Since(start) > goneLimit {
			return fmt.Errorf("close frozen copy: process %d was not reaped by process %d", im.copy, im.pid)
		}
	}
	return nil
}

// Close throws the image away.
func (im *image) Close() error {
	close(im.quit)
	return <-im.done
}

func (im *image) pause() time.Duration { return im.stood }

// tracer holds the threads of a process while it is being copied. Its methods must
// all be called on one thread of this process, which is the first of the crew.
type tracer struct {
	*image
	crew  []*hand
	start time.Time
}

// hand is a thread of this process that traces some of the threads of another. Most
// of the time that it takes to stop a thousand of them is spent in the kernel, in
// ptrace: several hands share it.
type hand struct {
	*image
	fresh   []int // to be seized
	seized  map[int]bool
	waiting []int // seized, and not yet stopped
	stopped []*frozenThread
	dead    int // threads that have ended and are still listed: a main thread that called exit
	err     error
	work    chan func() // nil: on the tracer's own thread
	done    chan bool
}

// perHand is from how many threads on another hand is worth its while.
const perHand = 100

// hire gets the hands for so many threads.
func (tr *tracer) hire(threads int) {
	tr.crew = []*hand{{image: tr.image, seized: make(map[int]bool)}}
	// While it holds the process, a thread of ours must not wait for a processor. It
	// may not be allowed to: never mind.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	for len(tr.crew) < min(threads/perHand, runtime.NumCPU(), 8) {
		h := &hand{image: tr.image, seized: make(map[int]bool), work: make(chan func()), done: make(chan bool)}
		tr.crew = append(tr.crew, h)
		onOwnThread(func() {
			_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
			for f := range h.work {
				f()
				h.done <- true
			}
		})
	}
}

// dismissCrew ends all hands but the tracer's own.
func (tr *tracer) dismissCrew() {
	for _, h := range tr.crew {
		if h.work != nil {
			close(h.work)
		}
	}
}

// all has every hand do something, at the same time, and returns the first error.
func (tr *tracer) all(f func(h *hand) error) error {
	if len(tr.crew) == 0 {
		return nil // it did not come to that
	}
	for _, h := range tr.crew[1:] {
		h.work <- func() { h.err = f(h) }
	}
	err := f(tr.crew[0])
	for _, h := range tr.crew[1:] {
		<-h.done
		if err == nil {
			err = h.err
		}
	}
	return err
}

// take makes the copy. If it fails, release lets go of the process.
func (tr *tracer) take() error {
	if err := tr.seize(); err != nil {
		return err
	}
	if err := tr.interrupt(); err != nil {
		return err
	}
	if err := tr.startKeeper(); err != nil {
		return err
	}
	if err := tr.fork(); err != nil {
		return err
	}
	tr.release()
	tr.stood = time.Since(tr.start)
	for _, h := range tr.crew {
		tr.threads = append(tr.threads, h.stopped...)
	}
	// The keeper is still in clone; from here on it is on its own.
	if err := ptrace(unix.PTRACE_DETACH, tr.keeper, 0, 0); err != 0 {
		return tr.fail(FreezeRefused, err, "detach from the keeper")
	}
	if _, err := tr.wait(tr.copy, time.Now().Add(stopLimit)); err != nil {
		return err
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, tr.copy, 0, unix.PTRACE_O_EXITKILL); err != 0 {
		return tr.fail(FreezeRefused, err, "set options of the copy")
	}
	// Should memory run out, the copy shall go before the process. Whoever may trace
	// a process may do this; if not, the two are equal.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", tr.copy), []byte("1000"), 0)
	return nil
}

// seize makes this process the tracer of all threads, which go on running.
func (tr *tracer) seize() error {
	for range freezeTries {
		n, err := tr.seizeNew()
		if n == 0 || err != nil {
			return err
		}
	}
	return nil // interrupt meets the rest
}

// seizeNew seizes the threads that are not yet, and returns how many.
func (tr *tracer) seizeNew() (n int, err error) {
	tids, err := tr.tids()
	if err != nil {
		return 0, err
	}
	if tr.crew == nil {
		tr.hire(len(tids))
	}
	tids = slices.DeleteFunc(tids, func(tid int) bool {
		return slices.ContainsFunc(tr.crew, func(h *hand) bool { return h.seized[tid] })
	})
	// A lender must be the first hand's: the one that awaitParked saw.
	if i := slices.Index(tids, tr.parked); i > 0 {
		tids[0], tids[i] = tids[i], tids[0]
	}
	for i, share := 0, (len(tids)+len(tr.crew)-1)/len(tr.crew); i < len(tr.crew); i++ {
		h := tr.crew[i]
		h.dead = 0
		h.fresh = tids[:min(share, len(tids))]
		tids = tids[len(h.fresh):]
		n -= len(h.waiting)
	}
	err = tr.all((*hand).seize)
	for _, h := range tr.crew {
		n += len(h.waiting)
	}
	return n, err
}

func (h *hand) seize() error {
	for _, tid := range h.fresh {
		switch err := ptrace(unix.PTRACE_SEIZE, tid, 0, 0); err {
		case 0:
			h.seized[tid] = true
			h.waiting = append(h.waiting, tid)
		case unix.ESRCH:
		case unix.EPERM:
			st, err := procStatus(tid)
			switch {
			case err != nil: // it has ended
			case strings.HasPrefix(st["State"], "Z"), strings.HasPrefix(st["State"], "X"):
				h.dead++
			case st["TracerPid"] == strconv.Itoa(os.Getpid()):
				return h.fail(FreezeBusy, nil, "this process traces thread %d already", tid)
			default:
				return h.denied()
			}
		default:
			return h.fail(FreezeRefused, err, "seize thread %d", tid)
		}
	}
	return nil
}

// denied says why the kernel does not let us trace the process.
func (im *image) denied() error {
	if err := checkProcess(im.pid); err != nil {
		return err
	}
	detail := unix.EPERM.Error()
	if b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && string(b) != "0\n" {
		detail += fmt.Sprintf(", kernel.yama.ptrace_scope is %s", bytes.TrimSpace(b))
	}
	return &ProcessError{im.pid, NoPermission, detail}
}

// interrupt stops all threads and reads their registers. Threads that have started
// meanwhile are stopped too; when all that were known stand still there are no more.
func (tr *tracer) interrupt() error {
	var task unix.Stat_t
	path := fmt.Sprintf("/proc/%d/task", tr.pid)
	tr.start = time.Now()
	deadline := tr.start.Add(stopLimit)
	for {
		if err := tr.all(func(h *hand) error { return h.interrupt(deadline) }); err != nil {
			return err
		}
		n := 2 // links that are not threads
		for _, h := range tr.crew {
			n += len(h.stopped) + h.dead
		}
		if n == 2 {
			return &ProcessError{tr.pid, NoProcess, "it has ended"}
		}
		// The directory has a link for each thread: that is quicker than a listing.
		if err := unix.Stat(path, &task); err == nil && int(task.Nlink) == n {
			return nil
		}
		if n, err := tr.seizeNew(); n == 0 || err != nil {
			return err
		}
	}
}

func (h *hand) interrupt(deadline time.Time) error {
	for _, tid := range h.waiting {
		_ = ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0) // ESRCH: it has ended
	}
	for len(h.waiting) > 0 {
		tid := h.waiting[0]
		status, err := h.wait(tid, deadline)
		if err != nil {
			return err
		}
		h.waiting = h.waiting[1:]
		if status.gone() {
			delete(h.seized, tid)
			continue
		}
		th := &frozenThread{image: h.image, tid: tid, signal: status.signal()}
		h.stopped = append(h.stopped, th)
		if err := th.read(); err != nil {
			return h.fail(FreezeRefused, err, "read registers of thread %d", tid)
		}
	}
	return nil
}

// release lets all threads go on. Those that have not stopped yet, which happens
// only after a failure, are let go when they do, or else when the hand ends.
func (tr *tracer) release() {
	_ = tr.all(func(h *hand) error {
		for _, th := range h.stopped {
			_ = ptrace(unix.PTRACE_DETACH, th.tid, 0, uintptr(th.signal))
		}
		for _, tid := range h.waiting {
			_ = ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
			if status, err := h.wait(tid, time.Now().Add(stopLimit)); err == nil {
				_ = ptrace(unix.PTRACE_DETACH, tid, 0, uintptr(status.signal()))
			}
		}
		return nil
	})
}

// startKeeper has a lender start the keeper, and leaves the lender as it was.
func (tr *tracer) startKeeper() error {
	for _, th := range tr.crew[0].stopped {
		r := &th.regs
		if th.signal != 0 || r.Rip != tr.sites.futex || r.Orig_rax != unix.SYS_FUTEX || r.Rsi&0x7f != 0 {
			continue // not in FUTEX_WAIT, or about to handle a signal
		}
		switch err := tr.lend(th); {
		case err == nil:
			return nil
		case !errors.Is(err, errNextLender):
			return err
		}
	}
	return tr.fail(FreezeBusy, nil, "no thread of it is idle in runtime.futex any more")
}

// errNextLender says that a signal came in between.
var errNextLender = errors.New("a signal arrived")

func (tr *tracer) lend(th *frozenThread) error {
	r := th.regs
	r.Rip, r.Rax, r.Orig_rax = tr.sites.clone, unix.SYS_CLONE, noSyscall
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8 = lenderFlags, (r.Rsp-scratch)&^15, 0, 0, 0
	r.R9, r.R13, r.R12 = 0, 0, tr.sites.exit
	if err := ptrace(unix.PTRACE_SETOPTIONS, th.tid, 0, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD); err != 0 {
		return tr.fail(FreezeRefused, err, "set options of thread %d", th.tid)
	}
	if err := setRegs(th.tid, &r); err != 0 {
		return tr.fail(FreezeRefused, err, "set registers of thread %d", th.tid)
	}
	status, err := tr.toSyscall(th.tid)
	if err != nil {
		return err
	}
	if status.atSyscall() {
		if status, err = tr.toSyscall(th.tid); err != nil {
			return err
		}
	}
	var failed error = errNextLender
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
	case status.event() == 0:
		th.signal = status.signal()
	}
	if failed == nil || status.atSyscall() {
		// Out of the system call, and to the place where it was.
		_ = ptrace(unix.PTRACE_INTERRUPT, th.tid, 0, 0)
		if status, err = tr.run(unix.PTRACE_CONT, th.tid); err != nil {
			return err
		}
		th.signal = status.signal()
	}
	if err := setRegs(th.tid, &th.regs); err != 0 {
		return tr.fail(FreezeRefused, err, "restore registers of thread %d", th.tid)
	}
	return failed
}

// fork has the keeper make the copy.
func (tr *tracer) fork() error {
	if _, err := tr.wait(tr.keeper, time.Now().Add(stopLimit)); err != nil {
		return err
	}
	blocked := ^uint64(0)
	if err := ptraceAt(unix.PTRACE_SETSIGMASK, tr.keeper, 8, unsafe.Pointer(&blocked)); err != 0 {
		return tr.dismiss(0, tr.fail(FreezeRefused, err, "block signals of a new thread"))
	}
	r, err := tr.keeperCalls(tr.sites.exitCall, unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0)
	if err != nil {
		return tr.dismiss(0, err)
	}
	// From here on, until it has its code, it would unmap the page if it ran.
	page := r.Rax
	r.Rip, r.Rax, r.Rdi, r.Rsi, r.Orig_rax = tr.sites.exitCall, unix.SYS_MUNMAP, page, pageSize, noSyscall
	if err := setRegs(tr.keeper, r); err != 0 {
		return tr.dismiss(page, tr.fail(FreezeRefused, err, "set registers of a new thread"))
	}
	for i := 0; i < len(keeperCode); i += 8 {
		word := binary.LittleEndian.Uint64(keeperCode[i:])
		if err := ptrace(unix.PTRACE_POKEDATA, tr.keeper, uintptr(page)+uintptr(i), uintptr(word)); err != 0 {
			return tr.dismiss(page, tr.fail(FreezeRefused, err, "write code of a new thread"))
		}
	}
	if _, err = tr.keeperCalls(page, unix.SYS_CLONE, imageFlags, 0, 0, 0, 0, 0); err != nil {
		return tr.dismiss(page, err)
	}
	tr.copy, err = eventPid(tr.keeper)
	return err
}

// keeperCalls has the keeper make a system call by the instruction at pc, and
// returns its registers behind that. Of a clone that succeeds it is still inside. The
// keeper goes there for getpid(2), which would do no harm, and is given the call that
// is wanted when it is inside the kernel: so there is less time to die in.
func (tr *tracer) keeperCalls(pc uint64, nr uint64, args ...uint64) (*linutil.AMD64PtraceRegs, error) {
	var r linutil.AMD64PtraceRegs
	if err := getRegs(tr.keeper, &r); err != 0 {
		return nil, tr.fail(FreezeRefused, err, "read registers of a new thread")
	}
	r.Rip, r.Rax, r.Orig_rax = pc, unix.SYS_GETPID, noSyscall
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = args[0], args[1], args[2], args[3], args[4], args[5]
	r.R12, r.R13 = pc, tr.sites.exitCall
	for inside := range 2 { // into the call, out of it
		if inside == 1 {
			if err := getRegs(tr.keeper, &r); err != 0 {
				return nil, tr.fail(FreezeRefused, err, "read registers of a new thread")
			}
			r.Orig_rax = nr
		}
		if err := setRegs(tr.keeper, &r); err != 0 {
			return nil, tr.fail(FreezeRefused, err, "set registers of a new thread")
		}
		status, err := tr.toSyscall(tr.keeper)
		switch {
		case err != nil:
			return nil, err
		case nr == unix.SYS_CLONE && status.event() == unix.PTRACE_EVENT_CLONE:
			return &r, nil
		case !status.atSyscall():
			return nil, tr.fail(FreezeRefused, nil, "a new thread stopped with status %#x", int(status))
		}
	}
	if err := getRegs(tr.keeper, &r); err != 0 {
		return nil, tr.fail(FreezeRefused, err, "read registers of a new thread")
	}
	if n := int64(r.Rax); n < 0 && n > -4096 {
		errno := unix.Errno(-n)
		if errno == unix.ENOMEM {
			return nil, tr.fail(FreezeNoMemory, errno, "the kernel does not let it be copied")
		}
		return nil, tr.fail(FreezeRefused, errno, "system call %d in it", nr)
	}
	return &r, nil
}

// dismiss has the keeper unmap its page, if it has one, and exit; it returns why.
func (tr *tracer) dismiss(page uint64, why error) error {
	var r linutil.AMD64PtraceRegs
	if err := getRegs(tr.keeper, &r); err == 0 {
		r.Rip, r.Orig_rax = tr.sites.exit, noSyscall
		if page != 0 {
			r.Rip, r.Rax, r.Rdi, r.Rsi = tr.sites.exitCall, unix.SYS_MUNMAP, page, pageSize
		}
		_ = setRegs(tr.keeper, &r)
	}
	_ = ptrace(unix.PTRACE_DETACH, tr.keeper, 0, 0)
	return why
}

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
