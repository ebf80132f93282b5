package stackmap

import (
	"errors"
	"fmt"

	"hmaptools/internal/hmap"
)

// maxGoroutines bounds runtime.allgs, which keeps goroutines that have ended.
const maxGoroutines = 1 << 22

// Goroutine is a goroutine as the runtime describes it.
type Goroutine struct {
	ID     int64
	Lo, Hi hmap.Addr // its stack: Lo <= address < Hi
	// Running: it is on a thread, and where it stands is in the thread's registers. One
	// in a system call is not.
	Running bool

	addr                      hmap.Addr // of its runtime.g
	status                    uint64
	sched, syscall            place
	ctxt, top                 uint64
	deferred, panicking, m, x uint64
}

// place is where an unwinding begins.
type place struct{ pc, sp, lr uint64 }

// Goroutines lists the goroutines that are alive, the runtime's own among them, in
// the order of their making. Those that cannot be read are left out and named in the
// joined errors. It takes about a microsecond for each.
func (r *Reader) Goroutines() ([]Goroutine, error) {
	at, _, ok := r.types.Var("runtime.allgs")
	if !ok {
		return nil, fmt.Errorf("list goroutines: %w", &hmap.LayoutError{Type: "a stack", Lacks: "variable runtime.allgs"})
	}
	array, err1 := r.mem.word(uint64(at))
	n, err2 := r.mem.word(uint64(at) + r.facts.ptr)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("list goroutines: runtime.allgs: %w", err)
	}
	var errs []error
	if n > maxGoroutines {
		errs = append(errs, fmt.Errorf("list goroutines: %d in runtime.allgs; all but %d are left out", n, maxGoroutines))
		n = maxGoroutines
	}
	list := make([]byte, n*r.facts.ptr)
	if err := r.mem.read(list, array); err != nil {
		return nil, fmt.Errorf("list goroutines: runtime.allgs: %w", err)
	}
	gs := make([]Goroutine, 0, n)
	buf := make([]byte, r.facts.g.size)
	for i := range n {
		at := wordOf(list[i*r.facts.ptr : (i+1)*r.facts.ptr])
		if at == 0 {
			continue
		}
		g, err := r.goroutine(buf, at)
		if err != nil {
			if len(errs) < 10 {
				errs = append(errs, fmt.Errorf("list goroutines: g at %s: %w", hmap.Addr(at), err))
			}
			continue
		}
		if g.status != r.facts.idle && g.status != r.facts.dead[0] && g.status != r.facts.dead[1] {
			gs = append(gs, g)
		}
	}
	return gs, errors.Join(errs...)
}

func (r *Reader) goroutine(buf []byte, at uint64) (Goroutine, error) {
	if err := r.mem.read(buf, at); err != nil {
		return Goroutine{}, err
	}
	x := r.facts
	g := Goroutine{
		ID: x.gID.Int(buf), Lo: hmap.Addr(x.gLo.Uint(buf)), Hi: hmap.Addr(x.gHi.Uint(buf)),
		addr: hmap.Addr(at), status: x.gStatus.Uint(buf) &^ x.scan,
		sched:   place{x.schedPC.Uint(buf), x.schedSP.Uint(buf), x.schedLR.Uint(buf)},
		syscall: place{pc: x.sysPC.Uint(buf), sp: x.sysSP.Uint(buf)},
		ctxt:    x.schedCtxt.Uint(buf), top: x.gTop.Uint(buf),
		deferred: x.gDefer.Uint(buf), panicking: x.gPanic.Uint(buf), m: x.gM.Uint(buf),
	}
	if x.xRegs.Size > 0 && x.asyncSafePoint.Uint(buf) != 0 {
		g.x = x.xRegs.Uint(buf)
	}
	g.Running = g.status == x.running
	return g, nil
}

// on reports whether an address is of the goroutine's stack.
func (g *Goroutine) on(sp uint64) bool { return sp >= uint64(g.Lo) && sp < uint64(g.Hi) }

// Registers are those of a thread.
type Registers struct {
	PC, SP uint64
	LR     uint64 // where a call leaves its return address, on machines that have such
	// General are the others that may hold a pointer. The stack pointer must not be
	// among them: it points at whatever lies at the bottom of the frame.
	General []uint64
}

// ErrMoving says that a goroutine's stack was just being copied to a larger or a smaller
// one: neither of the two can be read.
var ErrMoving = errors.New("its stack is being moved")

// errRuns says that nobody knows where a goroutine stands.
var errRuns = errors.New("it runs, and its thread's registers are not known")

// start is where a goroutine stands on its own stack.
type start struct {
	place
	// anywhere: it stands at an instruction that need not be a call.
	anywhere bool
	// registers are what it has in registers, live or not. saved is where a signal
	// handler put them, 0 if they are in the thread.
	registers []uint64
	saved     uint64
}

// start finds where the goroutine stands: where its thread is, if that is on the
// goroutine's stack; else where it left its stack for another one.
func (r *Reader) start(g *Goroutine, regs *Registers) (start, error) {
	switch {
	case g.status == r.facts.copystack:
		return start{}, ErrMoving
	case g.syscall.sp != 0 && !g.Running:
		return start{place: g.syscall}, nil
	case regs == nil || regs.SP == 0:
		if g.Running {
			return start{}, errRuns
		}
		return start{place: g.sched}, nil
	case g.on(regs.SP):
		return start{place: place{regs.PC, regs.SP, regs.LR}, anywhere: true, registers: regs.General}, nil
	case !g.Running:
		return start{place: g.sched}, nil
	}
	buf := make([]byte, r.facts.m.size)
	if err := r.mem.read(buf, g.m); err != nil {
		return start{}, fmt.Errorf("its m: %w", err)
	}
	if in, saved, ok := r.interrupted(r.facts.mSignal.Uint(buf), regs); ok {
		if g.on(in.SP) {
			return start{place: place{in.PC, in.SP, in.LR}, anywhere: true, registers: in.General, saved: saved}, nil
		}
		regs = in
	}
	// Code of the kernel that asks for the time runs on the thread's stack, and no
	// other trace of the goroutine is left.
	if vdso := (place{pc: r.facts.vdsoPC.Uint(buf), sp: r.facts.vdsoSP.Uint(buf)}); g.on(vdso.sp) {
		return start{place: vdso}, nil
	}
	if g.on(g.sched.sp) {
		return start{place: g.sched}, nil
	}
	return start{}, fmt.Errorf("its thread is at %s, on another stack, and did not say where it left", hmap.Addr(regs.PC))
}
