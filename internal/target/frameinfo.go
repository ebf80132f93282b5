package target

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-delve/delve/pkg/proc"
)

// StackFrame is a physical frame of a goroutine's stack; inlined calls share it.
type StackFrame struct {
	Goroutine int64
	Index     int    // 0 is the innermost of those that are listed
	Func      string // whose frame it is; "" where no function is known
	Entry     uint64 // of Func
	// PC is where the frame goes on: a return address, unless Innermost.
	PC uint64
	// SP and CFA are the frame's ends: CFA is the stack pointer after Func has
	// returned. On amd64 the return address lies below it.
	SP, CFA   uint64
	Innermost bool
	File      string // where Func stands: the call, outside of what was inlined there
	Line      int
}

// Frames lists the physical frames of all goroutines, the runtime's own included, by
// goroutine and from the innermost outwards. Frames on a thread's own stack, where the
// runtime does what takes more room than a goroutine has, are left out. What could be
// unwound is returned along with the joined errors.
//
// It is Delve that unwinds, as in Locals: some 100 microseconds for each goroutine,
// and little if Locals has come before, for Delve keeps the stacks of a stop.
func (t *Target) Frames() ([]StackFrame, error) {
	gs, err := t.goroutines()
	errs := []error{err}
	var list []StackFrame
	for _, g := range gs {
		if g.Unreadable != nil {
			errs = append(errs, fmt.Errorf("read goroutine: %w", g.Unreadable))
			continue
		}
		s, err := t.stack(g, maxFrames)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		n := 0
		for i := range s.frames {
			f := &s.frames[i]
			if f.Err != nil {
				errs = append(errs, fmt.Errorf("unwind goroutine %d: frame %d: %w", g.ID, i, f.Err))
				break
			}
			if f.SystemStack || f.Inlined {
				continue
			}
			e := StackFrame{
				Goroutine: g.ID, Index: n, PC: f.Current.PC, SP: f.Regs.SP(), CFA: uint64(f.Regs.CFA), Innermost: n == 0,
				File: f.Call.File, Line: f.Call.Line,
			}
			if fn := f.Current.Fn; fn != nil {
				e.Func, e.Entry = unescape(fn.Name), fn.Entry
			}
			list = append(list, e)
			n++
		}
		if len(s.frames) > maxFrames {
			errs = append(errs, fmt.Errorf("unwind goroutine %d: %d frames: %w", g.ID, maxFrames, errDeepStack))
		}
	}
	return list, errors.Join(errs...)
}

// Thread is a thread of the target.
type Thread struct {
	ID        int
	Goroutine int64 // that it runs; 0 if none
	PC, SP    uint64
	LR        uint64 // where a call leaves its return address; 0 on machines without such
	// Registers are the general ones, in the order of the machine. The program counter,
	// the stack pointer, flags and segments are not among them.
	Registers []Reg
}

// Reg is a general register.
type Reg struct {
	Name  string // as the machine calls it: "RAX", "X19"
	Value uint64
}

// Threads lists the threads of the target with their registers, by id. A goroutine
// that is in a system call, or whose code runs on the thread's own stack for a while,
// is on the thread all the same; the registers are not its own then. Of a target that
// is a core, it lists those that the core has.
func (t *Target) Threads() ([]Thread, error) {
	if err := t.valid(); err != nil {
		return nil, fmt.Errorf("list threads: %w", err)
	}
	var errs []error
	var list []Thread
	for _, th := range t.tgt.ThreadList() {
		x := Thread{ID: th.ThreadID()}
		err := guard("read registers", func() error {
			regs, err := th.Registers()
			if err != nil {
				return err
			}
			x.PC, x.SP = regs.PC(), regs.SP()
			if arch := t.bi.Arch.Name; arch != "amd64" && arch != "386" {
				x.LR = regs.LR()
			}
			all, err := regs.Slice(false)
			for _, r := range all {
				if r.Reg != nil && general(t.bi.Arch.Name, r.Name) {
					x.Registers = append(x.Registers, Reg{r.Name, r.Reg.Uint64Val})
				}
			}
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("thread %d: %w", x.ID, err))
			continue
		}
		// A thread without a goroutine has none that can be read.
		_ = guard("find goroutine", func() error {
			g, err := proc.GetG(th)
			if err == nil && g != nil {
				x.Goroutine = g.ID
			}
			return err
		})
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Thread) int { return a.ID - b.ID })
	return list, errors.Join(errs...)
}

// general reports whether a register may hold a pointer to an object.
func general(arch, name string) bool {
	switch arch {
	case "amd64":
		switch name {
		case "Rax", "Rbx", "Rcx", "Rdx", "Rsi", "Rdi", "Rbp", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15":
			return true
		}
		return false
	case "arm64":
		return len(name) > 1 && name[0] == 'X'
	}
	return name != "PC" && name != "SP"
}

// Position is where an instruction lies: its function, file and line. ok is false
// where no function is. Inlined code has its own file and line, and the function that
// it was inlined in.
func (t *Target) Position(pc uint64) (at Frame, ok bool) {
	file, line, fn := t.bi.PCToLine(pc)
	if fn == nil {
		return Frame{}, false
	}
	return Frame{unescape(fn.Name), file, line}, true
}
