package target

import (
	"bytes"
	"fmt"
	"golang.org/x/sys/unix"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"hmaptools/internal/ptrace"
)

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
	xstate  []byte // a buffer
	cpu     int    // of its own, or -1
	dead    int    // threads that have ended and are still listed: a main thread that called exit
	err     error
	work    chan func() // nil: on the tracer's own thread
	done    chan bool
}

// A hand more is worth its while for perHand threads; many are in each other's way.
const (
	perHand  = 100
	maxHands = 8
)

// hire gets the hands for so many threads.
func (tr *tracer) hire(threads int) {
	cpus := processors()
	n := max(1, min(threads/perHand, len(cpus), maxHands))
	for i := range n {
		h := &hand{image: tr.image, cpu: -1, seized: make(map[int]bool), xstate: make([]byte, maxXstate)}
		tr.crew = append(tr.crew, h)
		if n > 1 {
			h.cpu = cpus[i]
		}
		if i > 0 {
			h.work, h.done = make(chan func()), make(chan bool)
			ptrace.OnOwnThread(func() {
				for f := range h.work {
					f()
					h.done <- true
				}
			})
		}
	}
	_ = tr.all((*hand).claim)
}

// claim makes the hand's thread come first, on a processor of its own: while it holds
// the process, it must not wait for one. It may not be allowed to: never mind.
func (h *hand) claim() error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); err == nil && h.cpu >= 0 {
		var set unix.CPUSet
		set.Set(h.cpu)
		_ = unix.SchedSetaffinity(0, &set)
	}
	return nil
}

// processors are those that this process may use.
func processors() (cpus []int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
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
	for _, h := range tr.crew {
		h.dead, h.fresh = 0, h.fresh[:0]
		n -= len(h.waiting)
	}
	most := len(tids)/len(tr.crew) + len(tids)/8 + 1
	for _, tid := range tids {
		h := tr.handFor(tid, most)
		h.fresh = append(h.fresh, tid)
	}
	err = tr.all((*hand).seize)
	for _, h := range tr.crew {
		n += len(h.waiting)
	}
	return n, err
}

// handFor chooses who is to hold a thread: the hand whose processor it ran on last, since
// waking a thread there is quickest, unless that has the most already.
func (tr *tracer) handFor(tid, most int) *hand {
	first := tr.crew[0]
	if len(tr.crew) == 1 || tid == tr.parked {
		return first // a lender must be the first hand's
	}
	cpu := lastProcessor(tr.pid, tid)
	least := first
	for _, h := range tr.crew {
		if h.cpu == cpu && len(h.fresh) < most {
			return h
		}
		if len(h.fresh) < len(least.fresh) {
			least = h
		}
	}
	return least
}

// lastProcessor is the one that a thread ran on last, or -1: the 39th field of its stat
// in proc(5), of which the second may contain spaces.
func lastProcessor(pid, tid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil {
		return -1
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) <= 36 {
		return -1
	}
	cpu, err := strconv.Atoi(string(f[36]))
	if err != nil {
		return -1
	}
	return cpu
}

func (h *hand) seize() error {
	for _, tid := range h.fresh {
		switch err := ptrace.Call(unix.PTRACE_SEIZE, tid, 0, 0); err {
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
	deadline := tr.start.Add(tr.limit)
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
		_ = ptrace.Call(unix.PTRACE_INTERRUPT, tid, 0, 0) // ESRCH: it has ended
	}
	for len(h.waiting) > 0 {
		tid := h.waiting[0]
		status, err := h.wait(tid, deadline)
		if err != nil {
			return err
		}
		h.waiting = h.waiting[1:]
		if status.Gone() {
			delete(h.seized, tid)
			continue
		}
		th := &frozenThread{image: h.image, tid: tid, signal: status.Signal()}
		h.stopped = append(h.stopped, th)
		if err := th.read(h.xstate); err != nil {
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
			_ = ptrace.Call(unix.PTRACE_DETACH, th.tid, 0, uintptr(th.signal))
		}
		for _, tid := range h.waiting {
			_ = ptrace.Call(unix.PTRACE_INTERRUPT, tid, 0, 0)
			if status, err := h.wait(tid, time.Now().Add(stopLimit)); err == nil {
				_ = ptrace.Call(unix.PTRACE_DETACH, tid, 0, uintptr(status.Signal()))
			}
		}
		return nil
	})
}
