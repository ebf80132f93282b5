package probe

import (
	"encoding/binary"
	"fmt"

	"hmaptools/internal/event"
)

// Where things lie in the ring. Its first page holds counters, each on a line of
// its own as far as it is written often; the slots follow.
const (
	ringHead  = 0   // how many slots have been claimed
	ringTail  = 64  // how many have been read
	ringLost  = 256 // by probe, 8 bytes each
	ringSlots = 4096
	maxProbes = (ringSlots - ringLost) / 8

	// A slot is an event.Raw and, where keys or stacks are stored, what follows.
	slotKey    = event.RawBytes
	slotKeyLen = slotKey + KeyBytes // 4 bytes: how many bytes of the key are there
	slotDepth  = slotKeyLen + 4     // 4 bytes: how many callers follow
	slotStack  = slotDepth + 4
)

// Offsets in event.Raw.
const (
	rawSeq, rawClock, rawFunc, rawThread  = 0, 8, 16, 20
	rawGoroutine, rawType, rawMap         = 24, 32, 40
	rawCaller, rawArg, rawArg2, rawHeader = 48, 56, 64, 72
)

// goroutineOffsets says where a stub finds what it wants of g; see image.
type goroutineOffsets struct {
	goid, m, procid int // -1: not known
	stackHi         int
}

// ring is the geometry of a ring.
type ring struct {
	addr  uint64 // in the target
	slots uint64 // a power of two
	shift uint   // log2 of a slot's size
}

func (r ring) bytes() int { return ringSlots + int(r.slots<<r.shift) }

// slack is how many slots are left free: more than there can be threads between
// their look at the counters and their claim.
func (r ring) slack() uint64 { return min(r.slots/4, 8192) }

// newRing returns a ring for opts.
func newRing(opts Options) ring {
	size := event.RawBytes
	if opts.Keys || opts.Stack > 0 {
		size = slotStack + 8*opts.Stack
	}
	r := ring{shift: 7}
	for 1<<r.shift < size {
		r.shift++
	}
	want := opts.RingBytes
	if want <= 0 {
		want = DefaultRingBytes
	}
	r.slots = 1024
	for int(r.slots<<r.shift) < min(want, MaxRingBytes) {
		r.slots *= 2
	}
	return r
}

// Registers by their numbers in instructions.
const (
	rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi = 0, 1, 2, 3, 4, 5, 6, 7
	r8, r9, r10, r11, r12, r13, r14        = 8, 9, 10, 11, 12, 13, 14
)

// argRegs are the registers of integer arguments, in their order.
var argRegs = [...]int{rax, rbx, rcx, rdi}

// asm assembles the few instructions that a stub needs.
type asm struct{ b []byte }

func (a *asm) bytes(b ...byte) { a.b = append(a.b, b...) }
func (a *asm) imm32(v uint32)  { a.b = binary.LittleEndian.AppendUint32(a.b, v) }

// mem emits an instruction with a 64-bit operand at disp(base) and a register.
func (a *asm) mem(op byte, reg, base int, disp int) { a.memOp(0x48, []byte{op}, reg, base, disp) }

func (a *asm) memOp(rex byte, op []byte, reg, base, disp int) {
	rex |= byte(reg>>3)<<2 | byte(base>>3)
	if rex != 0x40 {
		a.bytes(rex)
	}
	a.bytes(op...)
	a.bytes(0x80 | byte(reg&7)<<3 | byte(base&7)) // 32 bits of displacement
	if base&7 == rsp {
		a.bytes(0x24)
	}
	a.imm32(uint32(int32(disp)))
}

func (a *asm) load(reg, base, disp int)  { a.mem(0x8b, reg, base, disp) }
func (a *asm) store(base, disp, reg int) { a.mem(0x89, reg, base, disp) }

// regs emits a 64-bit instruction op dst, src.
func (a *asm) regs(op byte, dst, src int) {
	a.bytes(0x48|byte(src>>3)<<2|byte(dst>>3), op, 0xc0|byte(src&7)<<3|byte(dst&7))
}

func (a *asm) move(dst, src int) { a.regs(0x89, dst, src) }

func (a *asm) imm64(reg int, v uint64) {
	a.bytes(0x48|byte(reg>>3), 0xb8|byte(reg&7))
	a.b = binary.LittleEndian.AppendUint64(a.b, v)
}

// imm emits an instruction of the group 0x81: 0 is add, 4 and, 5 sub, 7 cmp.
func (a *asm) imm(group byte, reg int, v uint32) {
	a.bytes(0x48|byte(reg>>3), 0x81, 0xc0|group<<3|byte(reg&7))
	a.imm32(v)
}

// label is a place that jumps go to.
type label struct {
	at   int
	from []int // where a distance of 32 bits has to be filled in
}

// jcc emits a conditional jump; cc is the low nibble of its opcode.
func (a *asm) jcc(cc byte, l *label) {
	a.bytes(0x0f, 0x80|cc)
	l.from = append(l.from, len(a.b))
	a.imm32(0)
}

// here makes the jumps to l come here.
func (a *asm) here(l *label) {
	l.at = len(a.b)
	a.to(l)
}

// to fills in the jumps to l.
func (a *asm) to(l *label) {
	for _, from := range l.from {
		binary.LittleEndian.PutUint32(a.b[from:], uint32(l.at-from-4))
	}
}

// Conditions.
const (
	ccB, ccAE, ccE, ccNE, ccBE, ccA = 2, 3, 4, 5, 6, 7
)

// copy16 copies 16 bytes by way of X0.
func (a *asm) copy16(dst, dstDisp, src, srcDisp int) {
	a.memOp(0x40, []byte{0x0f, 0x10}, 0, src, srcDisp)
	a.memOp(0x40, []byte{0x0f, 0x11}, 0, dst, dstDisp)
}

// stubSpec is what a stub is made for.
type stubSpec struct {
	index  int // of the probe: Raw.Func, and of the counter of lost events
	fn     event.Spec
	ret    bool // at a return rather than at the entry
	code   displaced
	ring   ring
	offs   goroutineOffsets
	header int // bytes
	keys   bool
	stack  int
	only   *variable // nil: all maps
	bias   uint64
}

// newStub returns the code of a stub that lies at addr.
func newStub(s stubSpec, addr uint64) ([]byte, error) {
	a := &asm{}
	before := s.code.code[:s.code.check]
	if s.ret {
		before = s.code.code[:len(s.code.code)-1] // all but the return itself
	}
	moved, err := relocate(before, s.code.pc, addr)
	if err != nil {
		return nil, err
	}
	a.bytes(moved...)

	var unwanted label
	if s.only != nil && !s.ret && s.fn.Map >= 0 {
		a.imm64(r8, s.only.addr+s.bias)
		for _, off := range s.only.steps {
			a.load(r8, r8, 0)
			a.regs(0x85, r8, r8) // TESTQ
			a.jcc(ccE, &unwanted)
			a.imm(0, r8, uint32(int32(off)))
		}
		a.load(r8, r8, 0)
		a.regs(0x85, r8, r8) // TESTQ
		a.jcc(ccE, &unwanted)
		a.regs(0x39, r8, argRegs[s.fn.Map]) // CMPQ
		a.jcc(ccNE, &unwanted)
	}

	// Claim a slot: R11 becomes its number, R12 its address.
	var lost, back label
	a.imm64(r10, s.ring.addr)
	// The tail first: both only grow, so that the difference cannot be negative.
	a.load(r11, r10, ringTail)
	a.load(r8, r10, ringHead)
	a.regs(0x29, r8, r11) // SUBQ R11, R8
	a.imm(7, r8, uint32(s.ring.slots-s.ring.slack()))
	a.jcc(ccAE, &lost)
	a.bytes(0x41, 0xbb, 1, 0, 0, 0)       // MOVL $1, R11
	a.bytes(0xf0, 0x4d, 0x0f, 0xc1, 0x1a) // LOCK XADDQ R11, (R10)
	a.move(r8, rax)
	a.move(r9, rdx)
	a.bytes(0x0f, 0x31)             // RDTSC
	a.bytes(0x48, 0xc1, 0xe2, 0x20) // SHLQ $32, DX
	a.regs(0x09, rax, rdx)          // ORQ DX, AX
	a.move(r12, r11)
	a.imm(4, r12, uint32(s.ring.slots-1))
	a.bytes(0x49, 0xc1, 0xe4, byte(s.ring.shift)) // SHLQ $shift, R12
	a.bytes(0x4f, 0x8d, 0xa4, 0x22)               // LEAQ ringSlots(R10)(R12*1), R12
	a.imm32(ringSlots)
	a.store(r12, rawClock, rax)
	a.move(rdx, r9)
	a.move(rax, r8)

	a.memOp(0x40, []byte{0xc7}, 0, r12, rawFunc) // MOVL $index, rawFunc(R12)
	a.imm32(uint32(s.index))
	if s.offs.m >= 0 && s.offs.procid >= 0 {
		a.load(r8, r14, s.offs.m)
		a.load(r8, r8, s.offs.procid)
	} else {
		a.bytes(0x45, 0x31, 0xc0) // XORL R8, R8
	}
	a.memOp(0x40, []byte{0x89}, r8, r12, rawThread) // MOVL
	if s.offs.goid >= 0 {
		a.load(r8, r14, s.offs.goid)
		a.store(r12, rawGoroutine, r8)
	} else {
		a.store(r12, rawGoroutine, r14)
	}
	a.load(r8, rsp, 0)
	a.store(r12, rawCaller, r8)

	zero := func(off int) {
		a.memOp(0x48, []byte{0xc7}, 0, r12, off) // MOVQ $0
		a.imm32(0)
	}
	arg := func(off, n int) {
		if n < 0 || s.ret {
			zero(off)
			return
		}
		a.store(r12, off, argRegs[n])
	}
	arg(rawType, s.fn.Typ)
	arg(rawArg, s.fn.Arg)
	switch {
	case s.fn.Table >= 0 && !s.ret:
		a.load(r8, argRegs[s.fn.Table], 0)
		a.store(r12, rawArg2, r8)
	case s.fn.Key == event.Text:
		arg(rawArg2, s.fn.Arg+1)
	default:
		zero(rawArg2)
	}
	header := -1
	if s.ret {
		header = rax
	} else if s.fn.Map >= 0 {
		header = argRegs[s.fn.Map]
	}
	if header < 0 {
		zero(rawMap)
	} else {
		var none label
		a.store(r12, rawMap, header)
		a.regs(0x85, header, header) // TESTQ
		a.jcc(ccE, &none)
		off := 0
		for ; off+16 <= s.header; off += 16 {
			a.copy16(r12, rawHeader+off, header, off)
		}
		if off+8 <= s.header {
			a.load(r8, header, off)
			a.store(r12, rawHeader+off, r8)
		}
		a.here(&none)
	}
	if s.keys {
		a.key(s)
	}
	if s.keys || s.stack > 0 {
		a.callers(s)
	}
	a.imm(0, r11, 1)
	a.store(r12, rawSeq, r11)

	// Back to the function.
	back.at = len(a.b)
	a.here(&unwanted)
	if s.ret {
		a.bytes(0xc3)
	} else {
		rest, err := relocate(s.code.code[s.code.check:], s.code.pc+uint64(s.code.check), addr+uint64(len(a.b)))
		if err != nil {
			return nil, err
		}
		a.bytes(rest...)
		j, err := jump(addr+uint64(len(a.b)), s.code.pc+uint64(len(s.code.code)))
		if err != nil {
			return nil, err
		}
		a.bytes(j...)
	}

	a.here(&lost)
	a.bytes(0xf0) // LOCK
	a.memOp(0x48, []byte{0xff}, 0, r10, ringLost+8*s.index)
	a.bytes(0xe9) // JMP back
	back.from = append(back.from, len(a.b))
	a.imm32(0)
	a.to(&back)
	if len(a.b) > stubMax {
		return nil, fmt.Errorf("a stub of %d bytes", len(a.b))
	}
	return a.b, nil
}

// stubMax bounds a stub's code.
const stubMax = 1024

// key stores the first bytes of the key, all of KeyBytes if they do not reach
// beyond the page: memory behind the key is then there as well.
func (a *asm) key(s stubSpec) {
	a.memOp(0x40, []byte{0xc7}, 0, r12, slotKeyLen) // MOVL $0
	a.imm32(0)
	if s.ret || s.fn.Key != event.Text && s.fn.Key != event.InMem {
		return
	}
	ptr := argRegs[s.fn.Arg]
	var none label
	if s.fn.Key == event.Text {
		n := argRegs[s.fn.Arg+1]
		a.regs(0x85, n, n) // TESTQ
		a.jcc(ccE, &none)
	}
	a.move(r8, ptr)
	a.imm(4, r8, 4095)
	a.imm(7, r8, 4096-KeyBytes)
	a.jcc(ccA, &none)
	a.copy16(r12, slotKey, ptr, 0)
	a.copy16(r12, slotKey+16, ptr, 16)
	a.memOp(0x40, []byte{0xc7}, 0, r12, slotKeyLen)
	a.imm32(KeyBytes)
	a.here(&none)
}

// callers stores return addresses, found by frame pointers: those of the caller and
// of its callers. At the entry of a Go function BP is its caller's frame pointer,
// which points at the one before it; above each lies a return address. The walk
// stays within the goroutine's stack and only goes up.
func (a *asm) callers(s stubSpec) {
	var loop, end label
	a.bytes(0x45, 0x31, 0xed) // XORL R13, R13
	if s.stack > 0 && !s.ret {
		a.move(r8, rbp)
		a.load(r9, r14, s.offs.stackHi)
		a.imm(5, r9, 16)
		a.move(rsi, rsp)
		loop.at = len(a.b)
		a.regs(0x39, r8, rsi) // CMPQ R8, SI
		a.jcc(ccBE, &end)
		a.regs(0x39, r8, r9) // CMPQ R8, R9
		a.jcc(ccA, &end)
		a.bytes(0x41, 0xf6, 0xc0, 7) // TESTB $7, R8
		a.jcc(ccNE, &end)
		a.load(r10, r8, 8)
		a.regs(0x85, r10, r10)
		a.jcc(ccE, &end)
		a.bytes(0x4f, 0x89, 0x94, 0xec) // MOVQ R10, slotStack(R12)(R13*8)
		a.imm32(slotStack)
		a.imm(0, r13, 1)
		a.move(rsi, r8)
		a.load(r8, r8, 0)
		a.imm(7, r13, uint32(s.stack))
		a.jcc(ccB, &loop)
		a.to(&loop)
		a.here(&end)
	}
	a.memOp(0x40, []byte{0x89}, r13, r12, slotDepth) // MOVL
}
