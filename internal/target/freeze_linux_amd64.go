package target

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/linutil"
)

// How a frozen copy is made, of a process P by this process T.
//
//  1. Stop: PTRACE_SEIZE and PTRACE_INTERRUPT every thread of P (freezecrew).
//  2. One thread of P, the lender, is made to call clone(2) for one more thread of
//     P, the keeper, and goes back to what it did (freezekeeper).
//  3. The keeper calls clone(CLONE_FILES|CLONE_FS, 0): the child is the image, a
//     copy-on-write fork of P that T traces and that never runs. The keeper goes on to
//     wait4(2), from which it returns when the image has ended, to exit.
//  4. T lets go of all threads of P.
//  5. T reads the image. In the end it kills it; the keeper reaps it.
//
// Why so. T may be killed at any moment (SIGKILL cannot be held off), and then the
// kernel resumes all that T holds with the registers that it has. So at no moment
// may anything have registers with which it must not run, and no step may need T to
// be undone:
//
//   - The lender is a thread that waits for something to do in runtime.futex or
//     runtime.usleep: an idle M or sysmon. There is no harm in waiting once more from
//     the beginning: what a lender is put back to is the instruction that makes the
//     call.
//   - Lender and keeper borrow the system call instruction of runtime.clone, for what
//     follows there is good for parent and child. The child calls R12, which we point
//     at the runtime's own "exit this thread". The parent returns to what is on its
//     stack. That is the runtime's rt_sigreturn(2), which loads registers: the lender
//     goes back to its call, the keeper calls wait4 where the runtime exits a thread.
//     As long as T lives it does the same, earlier and without the stack.
//   - The keeper is a thread, and no process, because the kernel reaps threads by
//     itself. Neither in it nor in the image does an instruction of the program ever
//     run; no memory is mapped and no code is written.
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
// All that is changed of P's memory are 640 bytes far below the lender's stack pointer
// but within its stack, where nothing lives: what the two would return to.
// Nothing is single-stepped: the trap flag would stay set if T died.
//
// System calls that block go on: a thread stops for PTRACE_INTERRUPT in the kernel's
// get_signal, with -ERESTART... in AX and the number of the call in ORIG_RAX, and the
// kernel restarts the call from there. The lender makes its own call again. Signals
// that arrive meanwhile stay pending, or are handed back with PTRACE_DETACH. A process
// that was stopped by SIGSTOP stays so: a thread that is detached from joins the group
// stop again.

const canFreeze = true

// Limits of the freezing.
const (
	stopLimit   = 250 * time.Millisecond // for all threads to stop, in the last try
	stopAtFirst = 20 * time.Millisecond  // in the first; then twice as long each time
	parkedLimit = 2 * time.Second        // for a thread to be idle
	goneLimit   = time.Second            // for the keeper to end
	freezeTries = 20

	pageSize = 4096 // no function that we look into is larger
)

type image struct {
	pid     int
	exe     string
	bi      *proc.BinaryInfo
	entry   uint64
	sites   sites
	gOffset uint64        // of the word that points at g, from FS
	limit   time.Duration // for all threads to stop
	threads []*frozenThread
	parked  int // thread id of one that was idle in runtime.futex
	copy    int // process id of the image
	mem     *os.File
	keeper  int    // thread id
	stack   uint64 // the keeper's stack pointer
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
	defer muteStops()()
	var err error
	for try := range freezeTries {
		im.limit = min(stopAtFirst<<min(try, 8), stopLimit)
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
	if err == nil {
		im.gOffset, err = im.bi.GStructOffset(nil) // the memory is for other systems
	}
	if err != nil {
		im.bi.Close()
	}
	return err
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
	_ = im.mem.Close()
	close(im.quit)
	return <-im.done
}

func (im *image) pause() time.Duration { return im.stood }

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
	if _, err := tr.wait(tr.copy, time.Now().Add(stopLimit)); err != nil {
		return err
	}
	if err := ptrace(unix.PTRACE_SETOPTIONS, tr.copy, 0, unix.PTRACE_O_EXITKILL); err != 0 {
		return tr.fail(FreezeRefused, err, "set options of the copy")
	}
	var err error
	if tr.mem, err = os.Open(fmt.Sprintf("/proc/%d/mem", tr.copy)); err != nil {
		return tr.fail(FreezeRefused, err, "the copy cannot be read")
	}
	// Should memory run out, the copy shall go before the process. Whoever may trace
	// a process may do this; if not, the two are equal.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", tr.copy), []byte("1000"), 0)
	return nil
}
