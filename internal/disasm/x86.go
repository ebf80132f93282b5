package disasm

import (
	"golang.org/x/arch/x86/x86asm"
)

// stepX86 decodes one instruction of amd64 or 386. Nothing short of a full
// decoder finds its length.
func stepX86(d *Decoder, in *Inst) {
	x, err := d.x86()
	if err != nil || x.Op == 0 {
		in.Kind, in.Len = Bad, 1
		return
	}
	in.Len = x.Len
	next := d.pc + uint64(x.Len)
	if d.b.im.arch.ptrSize == 4 {
		next = uint64(uint32(next))
	}
	rel, direct := x.Args[0].(x86asm.Rel)
	switch op := x.Op; {
	case op == x86asm.CALL:
		in.Kind = CallIndirect
		if direct {
			in.Kind, in.Target = Call, d.x86Addr(next+uint64(int64(rel)))
			d.thunk(in.Target, next)
			return
		}
	case op == x86asm.JMP:
		in.Kind = JumpIndirect
		if direct {
			in.Kind, in.Target = Jump, d.x86Addr(next+uint64(int64(rel)))
		}
	case direct: // all the others with a relative operand are conditional
		in.Kind, in.Target = Branch, d.x86Addr(next+uint64(int64(rel)))
	case op == x86asm.RET:
		in.Kind = Return
	}
	d.x86Memory(in, &x, next)
}

// x86 decodes the instruction at d.off.
func (d *Decoder) x86() (x86asm.Inst, error) {
	mode := 8 * d.b.im.arch.ptrSize
	code := d.code[d.off:]
	// ENDBR64 and ENDBR32, which x86asm takes for an unknown one of length 1.
	if len(code) >= 4 && code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3]&0xfe == 0xfa {
		return x86asm.Inst{Op: x86asm.NOP, Len: 4, Mode: mode}, nil
	}
	// x86asm reads behind the end of short code. (x/arch v0.30.0, decodeAVX)
	const longest = 15
	if len(code) < longest {
		var padded [longest]byte
		n := copy(padded[:], code)
		x, err := x86asm.Decode(padded[:], mode)
		if err == nil && x.Len > n {
			err = x86asm.ErrTruncated
		}
		return x, err
	}
	return x86asm.Decode(code, mode)
}

// x86Addr cuts an address to the size of a word.
func (d *Decoder) x86Addr(a uint64) uint64 {
	if d.b.im.arch.ptrSize == 4 {
		return uint64(uint32(a))
	}
	return a
}

// x86Memory finds the address that a memory operand leads to.
func (d *Decoder) x86Memory(in *Inst, x *x86asm.Inst, next uint64) {
	wrote := false
	for i, arg := range x.Args {
		switch a := arg.(type) {
		case nil:
			break
		case x86asm.Mem:
			addr := uint64(a.Disp)
			switch {
			case a.Segment == x86asm.FS || a.Segment == x86asm.GS:
				continue // thread-local
			case a.Base == x86asm.RIP:
				addr += next
			case d.b.im.arch.ptrSize == 4 && a.Base == 0 && a.Index == 0:
			case d.b.im.arch.ptrSize == 4 && a.Index == 0 && a.Base >= x86asm.EAX && a.Base <= x86asm.EDI:
				base, ok := d.regs.get(uint32(a.Base - x86asm.EAX))
				if !ok {
					continue
				}
				addr += base
			case a.Base == 0 && a.Index == 0 && a.Segment == 0:
			default:
				continue
			}
			in.Ref = d.x86Addr(addr)
			in.Use = Load
			switch {
			case x.Op == x86asm.LEA:
				in.Use = Addr
			case i == 0 && writesMemory(x.Op):
				in.Use = Store
			}
		case x86asm.Reg:
			if i == 0 && a >= x86asm.EAX && a <= x86asm.EDI && !wrote {
				wrote = true
			}
		}
	}
	// Only the base that a thunk left is followed, in 32-bit code.
	if d.regs.known != 0 {
		if a, ok := x.Args[0].(x86asm.Reg); ok && a >= x86asm.EAX && a <= x86asm.EDI && writesMemory(x.Op) {
			d.regs.drop(uint32(a - x86asm.EAX))
		}
		if in.Kind == CallIndirect || in.Kind == JumpIndirect {
			d.regs.known = 0
		}
	}
}

// writesMemory reports whether an instruction writes its first operand.
func writesMemory(op x86asm.Op) bool {
	switch op {
	case x86asm.CMP, x86asm.TEST, x86asm.PUSH, x86asm.CALL, x86asm.JMP, x86asm.BT, x86asm.UCOMISD, x86asm.UCOMISS, x86asm.COMISD, x86asm.COMISS,
		x86asm.DIV, x86asm.IDIV, x86asm.MUL, x86asm.PREFETCHNTA, x86asm.PREFETCHT0, x86asm.PREFETCHT1, x86asm.PREFETCHT2, x86asm.PREFETCHW:
		return false
	}
	return true
}

// thunk remembers where position independent 386 code finds its own address: the
// routine called reads the return address from the stack.
func (d *Decoder) thunk(target, next uint64) {
	d.regs.known = 0
	if d.b.im.arch.ptrSize != 4 {
		return
	}
	// MOVL (SP), REG; RET
	if code, ok := d.b.im.bytes(target, 4); ok && code[0] == 0x8b && code[1]&0xc7 == 0x04 && code[2] == 0x24 && code[3] == 0xc3 {
		d.regs.set(uint32(code[1]>>3&7), next)
	}
}

func textX86(d *Decoder, in *Inst) (string, bool) {
	x, err := d.x86()
	if err != nil || x.Op == 0 {
		return "", false
	}
	return x86asm.GoSyntax(x, d.pc, d.symname), true
}
