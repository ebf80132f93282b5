package target

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sort"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/amd64util"
	"github.com/go-delve/delve/pkg/proc/linutil"

	"hmaptools/internal/ptrace"
)

// group makes a target of the image for Delve.
func (im *image) group(exe string) (*proc.TargetGroup, error) {
	sort.Slice(im.threads, func(i, j int) bool { return im.threads[i].tid < im.threads[j].tid })
	p := &frozenProcess{stillProcess: newStillProcess(), image: im, byID: make(map[int]*frozenThread, len(im.threads))}
	current := im.threads[0]
	for _, th := range im.threads {
		th.process = p
		p.byID[th.tid] = th
		if th.tid == im.pid {
			current = th
		}
	}
	grp, add := proc.NewGroup(p, proc.NewTargetGroupConfig{StopReason: proc.StopAttached})
	// The debug information was loaded under this path: Delve does not read it again.
	if _, err := add(p, im.pid, current, exe, proc.StopAttached, ""); err != nil {
		return nil, err
	}
	im.opened = true
	// As attaching does: stacks lead through C's libraries. Without, they end there.
	_ = guard("find libraries", func() error { return linutil.ElfUpdateSharedObjects(p) })
	return grp, nil
}

// frozenProcess is the image as a process of Delve's.
type frozenProcess struct {
	stillProcess
	*image
	byID map[int]*frozenThread
}

func (p *frozenProcess) BinInfo() *proc.BinaryInfo     { return p.bi }
func (p *frozenProcess) EntryPoint() (uint64, error)   { return p.entry, nil }
func (p *frozenProcess) Memory() proc.MemoryReadWriter { return p }
func (p *frozenProcess) Close() error                  { return nil }

func (p *frozenProcess) ThreadList() []proc.Thread {
	list := make([]proc.Thread, len(p.threads))
	for i, th := range p.threads {
		list[i] = th
	}
	return list
}

func (p *frozenProcess) FindThread(tid int) (proc.Thread, bool) {
	th, ok := p.byID[tid]
	return th, ok
}

// ReadMemory reads the image: one system call, however much it is, up to memory that
// is not there.
//
// It goes through /proc/PID/mem. process_vm_readv(2) pins the pages that it reads, and
// the kernel gives a process a page of its own before it pins one that it shares with
// its parent (FAULT_FLAG_UNSHARE, mm/gup.c since Linux 5.19): to read the whole image
// would copy it, at two or three times the cost and at that of its memory.
func (p *frozenProcess) ReadMemory(buf []byte, addr uint64) (int, error) {
	for n := 0; ; {
		if n == len(buf) {
			return n, nil
		}
		at := addr + uint64(n)
		if at > math.MaxInt64 {
			return n, fmt.Errorf("no memory at %#x", at)
		}
		k, err := unix.Pread(int(p.mem.Fd()), buf[n:], int64(at))
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EIO:
			return n, fmt.Errorf("no memory at %#x", at)
		case err != nil:
			return n, err
		case k <= 0:
			return n, errCopyGone // the end of a file that has none
		}
		n += k
	}
}

var errCopyGone = errors.New("the frozen copy is gone: somebody killed it, or memory ran out")

// readProcess reads a process's memory by process_vm_readv.
func readProcess(pid int, buf []byte, addr uint64) (int, error) {
	for n := 0; ; {
		if n == len(buf) {
			return n, nil
		}
		local := unix.Iovec{Base: &buf[n], Len: uint64(len(buf) - n)}
		remote := unix.RemoteIovec{Base: uintptr(addr) + uintptr(n), Len: len(buf) - n}
		// It stops without an error in front of memory that is not there, and at 2 GiB.
		k, err := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || k <= 0 {
			if err == nil || err == unix.EFAULT {
				err = fmt.Errorf("no memory at %#x", addr+uint64(n))
			}
			return n, err
		}
		n += k
	}
}

// writeProcess writes to a process's memory, all or nothing within a page.
func writeProcess(pid int, data []byte, addr uint64) error {
	local := unix.Iovec{Base: &data[0], Len: uint64(len(data))}
	remote := unix.RemoteIovec{Base: uintptr(addr), Len: len(data)}
	n, err := unix.ProcessVMWritev(pid, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
	if err == nil && n < len(data) {
		err = unix.EFAULT
	}
	return err
}

// frozenThread is a thread as it was when the process was frozen.
type frozenThread struct {
	stillThread
	*image
	process *frozenProcess
	tid     int
	signal  int // the one that it was about to be handed
	regs    ptrace.Regs
	xstate  []byte // nil for a thread in a system call: no variable is in these registers there
}

const (
	ntXstate  = 0x202    // NT_X86_XSTATE
	maxXstate = 32 << 10 // bytes; AMX has the most, 11 KiB
)

// read reads the registers of the thread, which is stopped; buf is maxXstate bytes.
func (th *frozenThread) read(buf []byte) error {
	if err := ptrace.GetRegs(th.tid, &th.regs); err != 0 {
		return err
	}
	if int64(th.regs.Orig_rax) >= 0 {
		return nil
	}
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	if err := ptrace.At(unix.PTRACE_GETREGSET, th.tid, ntXstate, unsafe.Pointer(&iov)); err == 0 {
		th.xstate = bytes.Clone(buf[:iov.Len])
	}
	return nil // Delve does without them where the kernel does not give them
}

// Registers implements proc.Thread.
func (th *frozenThread) Registers() (proc.Registers, error) {
	regs := linutil.AMD64PtraceRegs(th.regs)
	return linutil.NewAMD64Registers(&regs, func(r *linutil.AMD64Registers) error {
		var x amd64util.AMD64Xstate
		if th.xstate == nil {
			r.Fpregset = &x
			return nil
		}
		x.Xsave = th.xstate
		err := amd64util.AMD64XstateRead(th.xstate, true, &x, 0)
		r.Fpregs, r.Fpregset = x.Decode(), &x
		return err
	}), nil
}

func (th *frozenThread) ThreadID() int                        { return th.tid }
func (th *frozenThread) BinInfo() *proc.BinaryInfo            { return th.bi }
func (th *frozenThread) ProcessMemory() proc.MemoryReadWriter { return th.process }
