package target

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-delve/delve/pkg/proc"
)

// Hit is a thread that stands at one of the addresses of Trace.
type Hit struct {
	PC     uint64
	Thread int
	// G is the address of the goroutine's g by the register ABI of Go 1.17 and later.
	G uint64
	// Args are the registers of the first integer arguments: at the entry of a
	// function these are its arguments, and Args[0] is the result where it returns.
	Args []uint64
	SP   uint64
	BP   uint64 // the frame pointer; at an entry that of the caller
}

// traceArgs is how many argument registers a Hit has.
const traceArgs = 4

// FuncEntry returns where a function begins and ends; ok is false if the binary has
// none of that name outside of other functions.
func (t *Target) FuncEntry(name string) (lo, hi uint64, ok bool) {
	fns, err := t.bi.FindFunction(name)
	if err != nil || len(fns) == 0 || fns[0].Entry == 0 {
		return 0, 0, false
	}
	return fns[0].Entry, fns[0].End, true
}

// Tracepoint adds an address at which Trace stops. The target must stand still.
func (t *Target) Tracepoint(pc uint64) error {
	if _, taken := t.ours[pc]; taken {
		return nil
	}
	if _, err := t.tgt.SetBreakpoint(int(atTrace), pc, proc.UserBreakpoint, nil); err != nil {
		return fmt.Errorf("set breakpoint at %#x: %w", pc, err)
	}
	t.ours[pc] = atTrace
	return nil
}

// Trace lets the target run, and calls visit for every thread that comes to one of
// the addresses, while all threads stand still; visit may call Tracepoint. It
// returns when the target ends, when ctx is cancelled or Interrupt is called, or with
// the first error of visit. All breakpoints are taken out before it returns.
func (t *Target) Trace(ctx context.Context, pcs []uint64, visit func(Hit) error) (stop Stop, err error) {
	if !t.Live() {
		return Stop{}, fmt.Errorf("trace: %w", ErrNotLive)
	}
	if err := t.valid(); err != nil {
		return Stop{}, fmt.Errorf("trace: %w", err)
	}
	if t.bi.Arch.Name != "amd64" {
		return Stop{}, fmt.Errorf("trace: arguments on %s are not known", t.bi.Arch.Name)
	}
	defer func() {
		if t.valid() == nil {
			err = errors.Join(err, t.clearBreakpoints())
			t.absorbTrap()
		}
	}()
	for _, pc := range pcs {
		if err := t.Tracepoint(pc); err != nil {
			return Stop{}, fmt.Errorf("trace: %w", err)
		}
	}
	defer context.AfterFunc(ctx, t.Interrupt)()
	for {
		if ctx.Err() != nil {
			t.Interrupt()
		}
		if t.takeInterrupt() {
			t.stop = Stop{Reason: Interrupt}
			return t.stop, nil
		}
		ended, err := t.run()
		if err != nil {
			return Stop{}, fmt.Errorf("trace: %w", err)
		}
		if ended != nil {
			t.stop = *ended
			return t.stop, nil
		}
		t.stop = Stop{Reason: At}
		for _, h := range t.hits() {
			if h.why != atTrace {
				continue
			}
			hit, err := t.traceHit(h.th)
			if err == nil {
				err = visit(hit)
			}
			if err != nil {
				return t.stop, err
			}
		}
	}
}

func (t *Target) traceHit(th proc.Thread) (Hit, error) {
	regs, err := th.Registers()
	if err != nil {
		return Hit{}, fmt.Errorf("trace: registers of thread %d: %w", th.ThreadID(), err)
	}
	h := Hit{PC: regs.PC(), Thread: th.ThreadID(), SP: regs.SP(), BP: regs.BP()}
	d := t.bi.Arch.RegistersToDwarfRegisters(0, regs)
	const r14 = 14 // in DWARF's numbering
	h.G = d.Uint64Val(r14)
	words, ok := t.argWords(th, traceArgs)
	if !ok {
		return Hit{}, fmt.Errorf("trace: arguments of thread %d cannot be read", th.ThreadID())
	}
	h.Args = words
	return h, nil
}

// LocalsOf lists the locals and arguments of the frames of the goroutine that runs on a
// thread, the innermost first. In Trace it is for the visit of a Hit.
func (t *Target) LocalsOf(thread int) ([]Root, error) {
	th, ok := t.tgt.FindThread(thread)
	if !ok {
		return nil, fmt.Errorf("list locals: no thread %d", thread)
	}
	var g *proc.G
	err := guard("find goroutine", func() (err error) {
		g, err = proc.GetG(th)
		return err
	})
	if err != nil || g == nil {
		return nil, fmt.Errorf("list locals: thread %d runs no goroutine", thread)
	}
	s, err := t.stack(g, maxFrames)
	if err != nil {
		return nil, fmt.Errorf("list locals: %w", err)
	}
	return t.stackRoots(s)
}

// Word reads a word of the target's memory; 0 if it is not there.
func (t *Target) Word(addr uint64) uint64 {
	var b [8]byte
	if _, err := t.mem.ReadMemory(b[:], addr); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}
