package stackmap

import "hmaptools/internal/hmap"

// signalFrame says where the kernel puts the registers of a thread when it calls a
// signal handler: bytes from the CFA of runtime.sigtramp, which is the handler.
type signalFrame struct {
	general, n int // the general registers, in words
	sp, pc, lr int // lr: negative where there is none
}

// signalFrames is by architecture, for Linux: struct rt_sigframe, ucontext and
// sigcontext in arch/{x86,arm64}/include of the kernel. Elsewhere the registers are
// not found, or what is found is no place in the target's code.
func signalFrames(arch string) (signalFrame, bool) {
	switch arch {
	case "amd64":
		// The CFA is at the ucontext: r8 to r15, di, si, bp, bx, dx, ax, cx, sp, ip.
		return signalFrame{general: 40, n: 15, sp: 40 + 15*8, pc: 40 + 16*8, lr: -1}, true
	case "arm64":
		// The CFA is at the siginfo, 128 bytes. In the ucontext behind it, at 176: a
		// fault address, 31 registers, sp, pc.
		const regs = 128 + 176 + 8
		return signalFrame{general: regs, n: 31, sp: regs + 31*8, pc: regs + 32*8, lr: regs + 30*8}, true
	}
	return signalFrame{}, false
}

// maxHandler bounds the frames of a signal handler.
const maxHandler = 64

// interrupted returns the registers that a thread had when a signal handler took it,
// and where the handler keeps the general ones. gsignal is the goroutine on whose
// stack the thread's handlers run; ok is false if the thread is not there.
func (r *Reader) interrupted(gsignal uint64, regs *Registers) (in *Registers, saved uint64, ok bool) {
	layout, known := signalFrames(r.arch)
	if !known || gsignal == 0 {
		return nil, 0, false
	}
	g, err := r.goroutine(make([]byte, r.facts.g.size), gsignal)
	if err != nil || !g.on(regs.SP) {
		return nil, 0, false
	}
	at := place{regs.PC, regs.SP, regs.LR}
	for i := range maxHandler {
		fn := r.function(at.pc)
		if fn == nil || fn.err != nil {
			break
		}
		cfa := r.cfa(fn, at)
		if fn.name == "runtime.sigtramp" {
			buf := make([]byte, layout.pc+8)
			if r.mem.read(buf, cfa) != nil {
				break
			}
			word := func(off int) uint64 { return hmap.RecordField{Off: off, Size: 8}.Uint(buf) }
			in := &Registers{PC: word(layout.pc), SP: word(layout.sp)}
			if layout.lr >= 0 {
				in.LR = word(layout.lr)
			}
			for k := range layout.n {
				in.General = append(in.General, word(layout.general+8*k))
			}
			return in, cfa + uint64(layout.general), !g.on(in.SP)
		}
		ret, err := r.returnAddress(at, cfa, i == 0, func(at uint64) (uint64, error) { return r.mem.word(at) })
		if err != nil || cfa <= at.sp && i > 0 {
			break
		}
		at = place{pc: ret, sp: cfa}
	}
	return nil, 0, false
}
