package target

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/amd64util"
	"github.com/go-delve/delve/pkg/proc/linutil"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// remoteProcess is the process of a server as a process of this Delve's: what a server
// cannot be asked, where variables are, what a goroutine's stack is, is found out here.
type remoteProcess struct {
	stillProcess
	srv     *server
	bin     *serverBinary
	bi      *proc.BinaryInfo
	mem     *remoteMemory
	threads []*remoteThread
}

func newRemoteProcess(s *server, bin *serverBinary) *remoteProcess {
	return &remoteProcess{
		stillProcess: newStillProcess(), srv: s, bin: bin,
		bi: proc.NewBinaryInfo("linux", "amd64", true), mem: newRemoteMemory(s, bin.fixed),
	}
}

// group makes a target of it.
func (p *remoteProcess) group() (*proc.TargetGroup, error) {
	if err := p.bi.LoadBinaryInfo(p.bin.path, p.bin.entry, nil); err != nil {
		return nil, err
	}
	if err := p.listThreads(); err != nil {
		return nil, err
	}
	current := p.threads[0]
	for _, th := range p.threads {
		if th.id == p.srv.thread {
			current = th
		}
	}
	grp, add := proc.NewGroup(p, proc.NewTargetGroupConfig{StopReason: proc.StopAttached})
	// The debug information was loaded under this path: Delve does not read it again.
	if _, err := add(p, p.srv.pid, current, p.bin.path, proc.StopAttached, ""); err != nil {
		return nil, err
	}
	// Stacks lead through C's libraries, if they are on this machine.
	_ = guard("find libraries", func() error { return linutil.ElfUpdateSharedObjects(p) })
	return grp, nil
}

// listThreads asks for the threads and all of their registers.
func (p *remoteProcess) listThreads() error {
	var out rpc2.ListThreadsOut
	if err := p.srv.call("ListThreads", rpc2.ListThreadsIn{}, &out); err != nil {
		return err
	}
	if len(out.Threads) == 0 {
		return &ConnectError{p.srv.addr, ConnectNoProcess, "it has no threads", nil}
	}
	var calls []func() error
	for _, t := range out.Threads {
		th := &remoteThread{process: p, id: t.ID}
		p.threads = append(p.threads, th)
		regs := new(rpc2.ListRegistersOut)
		c := p.srv.start("ListRegisters", rpc2.ListRegistersIn{ThreadID: t.ID, IncludeFp: true}, regs)
		calls = append(calls, func() error {
			if th.err = wait(c, answerLimit); th.err == nil {
				th.set(regs.Regs)
			}
			return p.srv.lostError()
		})
	}
	for _, f := range calls {
		if err := f(); err != nil {
			return err
		}
	}
	slices.SortFunc(p.threads, func(a, b *remoteThread) int { return a.id - b.id })
	return nil
}

func (p *remoteProcess) BinInfo() *proc.BinaryInfo     { return p.bi }
func (p *remoteProcess) EntryPoint() (uint64, error)   { return p.bin.entry, nil }
func (p *remoteProcess) Memory() proc.MemoryReadWriter { return p.mem }
func (p *remoteProcess) Close() error                  { return nil }

func (p *remoteProcess) Valid() (bool, error) {
	err := p.srv.lostError()
	return err == nil, err
}

func (p *remoteProcess) ThreadList() []proc.Thread {
	list := make([]proc.Thread, len(p.threads))
	for i, th := range p.threads {
		list[i] = th
	}
	return list
}

func (p *remoteProcess) FindThread(id int) (proc.Thread, bool) {
	for _, th := range p.threads {
		if th.id == id {
			return th, true
		}
	}
	return nil, false
}

// remoteThread is a thread of it.
type remoteThread struct {
	stillThread
	process *remoteProcess
	id      int
	regs    linutil.AMD64PtraceRegs
	float   amd64util.AMD64Xstate
	err     error // why there are no registers
}

func (th *remoteThread) ThreadID() int                        { return th.id }
func (th *remoteThread) BinInfo() *proc.BinaryInfo            { return th.process.bi }
func (th *remoteThread) ProcessMemory() proc.MemoryReadWriter { return th.process.mem }

// Registers implements proc.Thread.
func (th *remoteThread) Registers() (proc.Registers, error) {
	if th.err != nil {
		return nil, fmt.Errorf("registers of thread %d: %w", th.id, th.err)
	}
	regs := th.regs
	return linutil.NewAMD64Registers(&regs, func(r *linutil.AMD64Registers) error {
		float := th.float
		r.Fpregs, r.Fpregset = float.Decode(), &float
		return nil
	}), nil
}

// set takes registers as Delve prints them (proc/amd64_arch.go): "0x000000c000012345",
// the flags with their names behind, XMM registers as one number of 16 bytes with other
// forms of it behind. A variable is never in another one.
func (th *remoteThread) set(list []api.Register) {
	r := &th.regs
	words := map[string]*uint64{
		"rax": &r.Rax, "rbx": &r.Rbx, "rcx": &r.Rcx, "rdx": &r.Rdx, "rsi": &r.Rsi, "rdi": &r.Rdi, "rbp": &r.Rbp, "rsp": &r.Rsp,
		"r8": &r.R8, "r9": &r.R9, "r10": &r.R10, "r11": &r.R11, "r12": &r.R12, "r13": &r.R13, "r14": &r.R14, "r15": &r.R15,
		"rip": &r.Rip, "rflags": &r.Eflags, "fs_base": &r.Fs_base, "gs_base": &r.Gs_base,
		"cs": &r.Cs, "ss": &r.Ss, "ds": &r.Ds, "es": &r.Es, "fs": &r.Fs, "gs": &r.Gs,
	}
	for _, reg := range list {
		name := strings.ToLower(reg.Name)
		value, _, _ := strings.Cut(reg.Value, "\t")
		value = strings.TrimPrefix(strings.TrimSpace(value), "0x")
		if w := words[name]; w != nil {
			n, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				th.err = fmt.Errorf("%s is %q", reg.Name, reg.Value)
				return
			}
			*w = n
			delete(words, name)
			continue
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(name, "xmm")); err == nil && n >= 0 && n < 16 {
			if b, err := hex.DecodeString(value); err == nil && len(b) == 16 {
				slices.Reverse(b)
				copy(th.float.XmmSpace[16*n:], b)
			}
		}
	}
	if words["rip"] != nil || words["rsp"] != nil {
		th.err = errors.New("the server does not say rip and rsp")
	}
}
