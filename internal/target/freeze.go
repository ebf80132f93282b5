package target

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-delve/delve/pkg/proc"
)

// AttachFrozen takes a copy-on-write image of a running process and opens it. The
// process stands still for as long as the kernel takes to copy its page tables,
// which Pause tells, and goes on before AttachFrozen returns; the debug
// information is read before that. What Memory reads, and where the goroutines
// are, is the process as it was at that moment: nothing of it changes any more,
// but for memory that it shares with other processes (MAP_SHARED), which is not
// copied. Continue is not possible; Close throws the image away.
//
// The process keeps its registers, pending signals, blocking system calls, files
// and children. It has one thread and one child more until Close: the thread
// waits for the child, which is the image and never runs. If this process is
// killed, whenever that is, both vanish by themselves; freeze_linux_amd64.go says
// how and why.
//
// A *FreezeError says that no copy can be made of this process here and now;
// Attach may still do. Any other error is one that Attach would have returned too.
func AttachFrozen(pid int) (*Target, error) {
	if err := checkProcess(pid); err != nil {
		return nil, err
	}
	if !canFreeze {
		return nil, &FreezeError{Pid: pid, Reason: FreezeUnsupported, Detail: "it takes a linux/amd64 machine"}
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	name := exe
	if link, err := os.Readlink(exe); err == nil {
		name = strings.TrimSuffix(link, " (deleted)")
	}
	info, err := checkBinary(exe, name)
	if err != nil {
		return nil, attachError(pid, err)
	}
	fz, err := freeze(pid, exe)
	if err != nil {
		return nil, attachError(pid, err)
	}
	t := &Target{kind: frozen, path: name, info: info, image: fz, pause: fz.pause(), tty: &terminal{}}
	err = guard("open the copy", func() (err error) {
		t.grp, err = fz.group(exe)
		return err
	})
	if err == nil {
		err = t.init()
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("attach to process %d: %w", pid, err)
	}
	t.stop = Stop{Reason: Attached}
	t.describeStop(t.tgt.CurrentThread(), false)
	t.describeDeath()
	return t, nil
}

// frozenImage is the copy of a process that freeze has made.
type frozenImage interface {
	io.Closer
	pause() time.Duration
	// group makes a target of it; exe is the path under which its debug
	// information was loaded.
	group(exe string) (*proc.TargetGroup, error)
}

// Pause is how long the process has stood still, from the first thread that was
// stopped to the last that was let go: while AttachFrozen made its copy; or, known when
// it is over, from Attach to Close. It is 0 for a target that is not somebody else's
// process.
func (t *Target) Pause() time.Duration { return t.pause }

// attachError puts an error of attaching into the words of this package. A process
// that has ended meanwhile makes for many.
func attachError(pid int, err error) error {
	var fe *FreezeError
	var pe *ProcessError
	if errors.As(err, &pe) {
		return err
	}
	if errors.As(checkProcess(pid), &pe) && (pe.Reason == NoProcess || pe.Reason == Zombie) {
		return pe
	}
	switch {
	case errors.As(err, &fe):
		return err
	case errors.Is(err, os.ErrPermission):
		return &ProcessError{pid, NoPermission, err.Error()}
	case errors.Is(err, syscall.ESRCH):
		// It has given up its memory and is not yet a zombie.
		return &ProcessError{pid, NoProcess, err.Error()}
	}
	return fmt.Errorf("attach to process %d: %w", pid, err)
}

// FreezeError says why no frozen copy of a process can be made. The process goes
// on as if nothing had happened, and Attach may be able to open it.
type FreezeError struct {
	Pid    int
	Reason FreezeReason
	Detail string
	Err    error // of the system call that failed, if one did
}

// FreezeReason is why no frozen copy of a process can be made.
type FreezeReason int

const (
	FreezeUnsupported FreezeReason = iota // not this platform, or not this binary
	FreezeFiltered                        // a seccomp filter might kill the process
	FreezeNoMemory                        // the copy might not fit
	FreezeBusy                            // no thread is idle, or one does not stop
	FreezeRefused                         // the kernel refuses
)

func (r FreezeReason) String() string {
	switch r {
	case FreezeUnsupported:
		return "not supported"
	case FreezeFiltered:
		return "the process has a seccomp filter"
	case FreezeNoMemory:
		return "not enough memory"
	case FreezeBusy:
		return "no good moment"
	case FreezeRefused:
		return "the kernel refuses"
	}
	return "unknown"
}

func (e *FreezeError) Error() string {
	s := fmt.Sprintf("freeze process %d: %v", e.Pid, e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *FreezeError) Unwrap() error { return e.Err }
