package disasm

import (
	"io"

	"golang.org/x/arch/arm/armasm"
	"golang.org/x/arch/arm64/arm64asm"
)

// word32 returns the instruction word at d.off; ok is false at the end.
func (d *Decoder) word32() (w uint32, ok bool) {
	if len(d.code)-d.off < 4 {
		return 0, false
	}
	return d.b.im.arch.order.Uint32(d.code[d.off:]), true
}

// signed extends the low bits of v.
func signed(v uint32, bits uint) uint64 {
	return uint64(int64(int32(v<<(32-bits)) >> (32 - bits)))
}

// stepARM64 knows branches, and the instructions by which addresses are made:
// ADR, ADRP, ADD and loads and stores with an offset. (Arm ARM, C4.1)
func stepARM64(d *Decoder, in *Inst) {
	w, ok := d.word32()
	if !ok {
		in.Kind, in.Len = Bad, len(d.code)-d.off
		return
	}
	in.Len = 4
	rd, rn := w&31, w>>5&31
	switch {
	case w>>26 == 0b000101:
		in.Kind, in.Target = Jump, d.pc+signed(w, 26)*4
		return
	case w>>26 == 0b100101:
		in.Kind, in.Target = Call, d.pc+signed(w, 26)*4
		d.regs.known = 0
		return
	case w>>24 == 0b01010100, w>>25&0x3f == 0b011010: // B.cond, CBZ, CBNZ
		in.Kind, in.Target = Branch, d.pc+signed(w>>5, 19)*4
		return
	case w>>25&0x3f == 0b011011: // TBZ, TBNZ
		in.Kind, in.Target = Branch, d.pc+signed(w>>5, 14)*4
		return
	case w&0xfffffc1f == 0xd61f0000:
		in.Kind = JumpIndirect
		return
	case w&0xfffffc1f == 0xd63f0000:
		in.Kind = CallIndirect
		d.regs.known = 0
		return
	case w&0xfffffc1f == 0xd65f0000:
		in.Kind = Return
		return
	case w>>24&0x1f == 0b10000: // ADR, ADRP
		imm := signed(w>>5&0x7ffff<<2|w>>29&3, 21)
		if w>>31 != 0 {
			d.regs.set(rd, d.pc&^0xfff+imm<<12)
		} else {
			in.Ref, in.Use = d.pc+imm, Addr
			d.regs.set(rd, in.Ref)
		}
		return
	case w>>23 == 0b100100010: // ADD of an immediate
		imm := uint64(w >> 10 & 0xfff)
		if w>>22&1 != 0 {
			imm <<= 12
		}
		if base, ok := d.regs.get(rn); ok && rn != 31 {
			in.Ref, in.Use = base+imm, Addr
			d.regs.set(rd, in.Ref)
			return
		}
	case w>>24&0x3b == 0b111001: // load or store with an unsigned offset
		shift := w >> 30
		if w>>26&1 != 0 && w>>23&1 != 0 {
			shift = 4 // of a vector register
		}
		load := w>>22&3 != 0 && !(w>>26&1 != 0 && w>>22&1 == 0)
		if base, ok := d.regs.get(rn); ok && rn != 31 {
			in.Ref, in.Use = base+uint64(w>>10&0xfff)<<shift, Store
			if load {
				in.Use = Load
			}
		}
		if load && w>>26&1 == 0 {
			d.regs.drop(rd)
		}
		return
	case w>>24&0x3b == 0b011000: // load of a literal
		in.Ref, in.Use = d.pc+signed(w>>5, 19)*4, Load
	case w>>25&0x1d == 0b10100 && w>>22&1 != 0: // load of a pair
		d.regs.drop(w >> 10 & 31)
	}
	d.regs.drop(rd)
}

func textARM64(d *Decoder, in *Inst) (string, bool) {
	x, err := arm64asm.Decode(d.code[d.off:])
	if err != nil || x.Op == 0 {
		return "", false
	}
	return arm64asm.GoSyntax(x, d.pc, d.symname, codeReader{d}), true
}

// stepARM knows branches, what loads R15, and loads of literals, which hold
// addresses, or distances that an ADD of R15 completes. (Arm ARM v7, A5)
func stepARM(d *Decoder, in *Inst) {
	w, ok := d.word32()
	if !ok {
		in.Kind, in.Len = Bad, len(d.code)-d.off
		return
	}
	in.Len = 4
	cond, rd, rn := w>>28, w>>12&15, w>>16&15
	if cond == 15 {
		return // unconditional: barriers, preloads, floating point
	}
	const always, sp, lr, pc = 14, 13, 14, 15
	flow := func(unconditional, conditional Kind) Kind {
		if cond == always {
			return unconditional
		}
		return conditional
	}
	switch {
	case w>>25&7 == 0b101:
		in.Target = uint64(uint32(d.pc + 8 + signed(w, 24)*4))
		if w>>24&1 != 0 {
			in.Kind = Call
			d.regs.known = 0
		} else {
			in.Kind = flow(Jump, Branch)
		}
		return
	case w&0x0ffffff0 == 0x012fff30:
		in.Kind = CallIndirect
		d.regs.known = 0
		return
	case w&0x0ffffff0 == 0x012fff10:
		in.Kind = JumpIndirect
		if w&15 == lr {
			in.Kind = Return
		}
		return
	case w&0x0c50f000 == 0x0410f000 && w>>4&(w>>25)&1 == 0: // load of R15
		in.Kind = JumpIndirect
		if rn == sp {
			in.Kind = Return
		}
		return
	case w&0x0e108000 == 0x08108000: // load of several with R15
		in.Kind = Return
		return
	case w&0x0fe0fff0 == 0x01a0f000: // MOVW REG, R15
		in.Kind = JumpIndirect
		if w&15 == lr {
			in.Kind = Return
		}
		return
	case w&0x0c00f000 == 0x0000f000 && w>>23&3 != 2: // another result in R15
		if w&0x0e0000f0 != 0x00000090 {
			in.Kind = JumpIndirect
		}
		return
	case w&0x0f7f0000 == 0x051f0000: // MOVW OFF(R15), RD: a literal
		at := d.pc + 8 + uint64(w&0xfff)
		if w>>23&1 == 0 {
			at = d.pc + 8 - uint64(w&0xfff)
		}
		if v, ok := d.b.im.word(at); ok {
			d.literals[at] = at >= d.fn.Addr && at < d.fn.Addr+uint64(d.fn.Size)
			d.regs.set(rd, v)
			if _, ok := d.b.im.seg(v); ok || d.isData(v) {
				in.Ref, in.Use = v, Addr
			}
			return
		}
	case w&0x0fff0ff0 == 0x008f0000: // ADD RM, R15, RD
		if v, ok := d.regs.get(w & 15); ok {
			in.Ref, in.Use = uint64(uint32(v+d.pc+8)), Addr
			d.regs.set(rd, in.Ref)
			return
		}
	case w&0x0c000000 == 0x04000000 && w>>25&1 == 0: // load or store with an offset
		off := uint64(w & 0xfff)
		if w>>23&1 == 0 {
			off = -off
		}
		load := w>>20&1 != 0
		if base, ok := d.regs.get(rn); ok && w>>24&1 != 0 {
			in.Ref, in.Use = uint64(uint32(base+off)), Store
			if load {
				in.Use = Load
			}
		}
		if load {
			d.regs.drop(rd)
		}
		return
	}
	d.regs.drop(rd)
	d.regs.drop(rn) // the result of a multiplication
}

// isData reports whether a variable without bytes in the file has this address.
func (d *Decoder) isData(addr uint64) bool {
	name, _ := d.b.Symbol(addr)
	return name != ""
}

func textARM(d *Decoder, in *Inst) (string, bool) {
	x, err := armasm.Decode(d.code[d.off:], armasm.ModeARM)
	if err != nil || x.Op == 0 {
		return "", false
	}
	return armasm.GoSyntax(x, d.pc, d.symname, codeReader{d}), true
}

// A codeReader reads the function's code by addresses, for literals.
type codeReader struct{ d *Decoder }

func (r codeReader) ReadAt(p []byte, off int64) (int, error) {
	at := uint64(off) - r.d.fn.Addr
	if at >= uint64(len(r.d.code)) {
		return 0, io.EOF
	}
	n := copy(p, r.d.code[at:])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}
