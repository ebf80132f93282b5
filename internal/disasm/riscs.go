package disasm

import (
	"golang.org/x/arch/loong64/loong64asm"
	"golang.org/x/arch/ppc64/ppc64asm"
	"golang.org/x/arch/riscv64/riscv64asm"
	"golang.org/x/arch/s390x/s390xasm"
)

// stepRISCV64 knows JAL, JALR, branches, AUIPC and what completes it, in 32 and
// 16 bits. (RISC-V ISA manual, volume I, chapters 2 and C)
func stepRISCV64(d *Decoder, in *Inst) {
	order := d.b.im.arch.order
	if len(d.code)-d.off < 2 {
		in.Kind, in.Len = Bad, len(d.code)-d.off
		return
	}
	if h := uint32(order.Uint16(d.code[d.off:])); h&3 != 3 {
		in.Len = 2
		d.compressed(in, h)
		return
	}
	w, ok := d.word32()
	if !ok {
		in.Kind, in.Len = Bad, len(d.code)-d.off
		return
	}
	in.Len = 4
	rd, rs1 := w>>7&31, w>>15&31
	immI := signed(w>>20, 12)
	switch w & 0x7f {
	case 0x6f:
		in.Target = d.pc + signed(w>>31<<20|w>>12&0xff<<12|w>>20&1<<11|w>>21&0x3ff<<1, 21)
		in.Kind = Jump
		if rd != 0 {
			in.Kind = Call
			d.regs.known = 0
		}
		return
	case 0x67:
		base, known := d.regs.get(rs1)
		switch {
		case known && rd == 0:
			in.Kind, in.Target = Jump, base+immI
		case known:
			in.Kind, in.Target = Call, base+immI
		case rd != 0:
			in.Kind = CallIndirect
		case rs1 == 1 && immI == 0:
			in.Kind = Return
		default:
			in.Kind = JumpIndirect
		}
		if rd != 0 {
			d.regs.known = 0
		}
		return
	case 0x63:
		in.Kind = Branch
		in.Target = d.pc + signed(w>>31<<12|w>>7&1<<11|w>>25&0x3f<<5|w>>8&0xf<<1, 13)
		return
	case 0x17:
		d.regs.set(rd, d.pc+signed(w&^0xfff, 32))
		return
	case 0x13: // ADDI
		if base, ok := d.regs.get(rs1); ok && w>>12&7 == 0 {
			in.Ref, in.Use = base+immI, Addr
			d.regs.set(rd, in.Ref)
			return
		}
	case 0x03, 0x07: // loads
		if base, ok := d.regs.get(rs1); ok {
			in.Ref, in.Use = base+immI, Load
		}
		if w&0x7f == 0x07 {
			return
		}
	case 0x23, 0x27: // stores
		if base, ok := d.regs.get(rs1); ok {
			in.Ref, in.Use = base+signed(w>>25<<5|w>>7&31, 12), Store
		}
		return
	}
	d.regs.drop(rd)
}

// compressed knows the flow of control in 16 bits, and what completes an address.
func (d *Decoder) compressed(in *Inst, h uint32) {
	short := 8 + h>>7&7 // registers X8 to X15
	switch h>>13<<2 | h&3 {
	case 0b101_01: // C.J
		in.Kind = Jump
		in.Target = d.pc + signed(h>>12&1<<11|h>>11&1<<4|h>>9&3<<8|h>>8&1<<10|h>>7&1<<6|h>>6&1<<7|h>>3&7<<1|h>>2&1<<5, 12)
	case 0b110_01, 0b111_01: // C.BEQZ, C.BNEZ
		in.Kind = Branch
		in.Target = d.pc + signed(h>>12&1<<8|h>>10&3<<3|h>>5&3<<6|h>>3&3<<1|h>>2&1<<5, 9)
	case 0b100_10:
		rs1, rs2 := h>>7&31, h>>2&31
		switch {
		case rs2 != 0: // C.MV, C.ADD
			d.regs.drop(rs1)
		case rs1 == 0: // C.EBREAK
		case h>>12&1 != 0:
			in.Kind = CallIndirect
			d.regs.known = 0
		case rs1 == 1:
			in.Kind = Return
		default:
			in.Kind = JumpIndirect
		}
	case 0b000_01: // C.ADDI
		rd := h >> 7 & 31
		if base, ok := d.regs.get(rd); ok && rd != 0 {
			in.Ref, in.Use = base+signed(h>>12&1<<5|h>>2&31, 6), Addr
			d.regs.set(rd, in.Ref)
		}
	case 0b011_00, 0b010_00, 0b111_00, 0b110_00: // C.LD, C.LW, C.SD, C.SW
		off := uint64(h >> 10 & 7 << 3)
		if h>>13&1 != 0 {
			off |= uint64(h >> 5 & 3 << 6)
		} else {
			off |= uint64(h>>6&1<<2 | h>>5&1<<6)
		}
		in.Use = Load
		if h>>15 != 0 {
			in.Use = Store
		}
		if base, ok := d.regs.get(short); ok {
			in.Ref = base + off
		} else {
			in.Use = None
		}
		if h>>15 == 0 {
			d.regs.drop(8 + h>>2&7)
		}
	case 0b100_01: // arithmetic
		d.regs.drop(short)
	case 0b000_00: // C.ADDI4SPN
		d.regs.drop(8 + h>>2&7)
	case 0b001_00, 0b101_00, 0b101_10, 0b110_10, 0b111_10: // floating point; stores to the stack
	default:
		d.regs.drop(h >> 7 & 31)
	}
}

func textRISCV64(d *Decoder, in *Inst) (string, bool) {
	x, err := riscv64asm.Decode(d.code[d.off:])
	if err != nil || x.Op == 0 {
		return "", false
	}
	return riscv64asm.GoSyntax(x, d.pc, d.symname, codeReader{d}), true
}

// stepLOONG64 knows branches, PCALAU12I and its like, and what completes them.
// (LoongArch reference manual, volume 1, chapter 2)
func stepLOONG64(d *Decoder, in *Inst) {
	w, ok := d.word32()
	if !ok {
		in.Kind, in.Len = Bad, len(d.code)-d.off
		return
	}
	in.Len = 4
	rd, rj := w&31, w>>5&31
	off16 := signed(w>>10, 16) * 4
	switch w >> 26 {
	case 0x14, 0x15: // B, BL
		in.Target = d.pc + signed(w&0x3ff<<16|w>>10&0xffff, 26)*4
		in.Kind = Jump
		if w>>26 == 0x15 {
			in.Kind = Call
			d.regs.known = 0
		}
		return
	case 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b:
		in.Kind, in.Target = Branch, d.pc+off16
		return
	case 0x10, 0x11, 0x12:
		in.Kind, in.Target = Branch, d.pc+signed(w&31<<16|w>>10&0xffff, 21)*4
		return
	case 0x13: // JIRL
		base, known := d.regs.get(rj)
		switch {
		case known && rd == 0:
			in.Kind, in.Target = Jump, base+off16
		case known:
			in.Kind, in.Target = Call, base+off16
		case rd != 0:
			in.Kind = CallIndirect
		case rj == 1:
			in.Kind = Return
		default:
			in.Kind = JumpIndirect
		}
		if rd != 0 {
			d.regs.known = 0
		}
		return
	}
	imm20 := signed(w>>5, 20)
	switch w >> 25 {
	case 0x0a: // LU12I
		d.regs.set(rd, imm20<<12)
		return
	case 0x0c: // PCADDI
		in.Ref, in.Use = d.pc+imm20<<2, Addr
		d.regs.set(rd, in.Ref)
		return
	case 0x0d: // PCALAU12I
		d.regs.set(rd, d.pc&^0xfff+imm20<<12)
		return
	case 0x0e: // PCADDU12I
		d.regs.set(rd, d.pc+imm20<<12)
		return
	case 0x0f: // PCADDU18I
		d.regs.set(rd, d.pc+imm20<<18)
		return
	}
	imm12 := signed(w>>10, 12)
	base, known := d.regs.get(rj)
	switch op := w >> 22; {
	case op == 0x00b: // ADDI.D
		if known {
			in.Ref, in.Use = base+imm12, Addr
			d.regs.set(rd, in.Ref)
			return
		}
	case op >= 0x0a0 && op <= 0x0a3 || op >= 0x0a8 && op <= 0x0aa: // loads
		if known {
			in.Ref, in.Use = base+imm12, Load
		}
	case op >= 0x0a4 && op <= 0x0a7: // stores
		if known {
			in.Ref, in.Use = base+imm12, Store
		}
		return
	case op >= 0x0ac && op <= 0x0af: // floating point
		if known {
			in.Ref, in.Use = base+imm12, Load
			if op&1 != 0 {
				in.Use = Store
			}
		}
		return
	}
	d.regs.drop(rd)
}

func textLOONG64(d *Decoder, in *Inst) (string, bool) {
	x, err := loong64asm.Decode(d.code[d.off:])
	if err != nil || x.Op == 0 {
		return "", false
	}
	return loong64asm.GoSyntax(x, d.pc, d.symname), true
}

// stepPPC64 knows branches, and ADDIS with what completes it: from zero, from the
// table of contents in R2 or the entry's address in R12, or relative to the
// instruction with the prefix of Power10. (Power ISA 3.1, book I)
func stepPPC64(d *Decoder, in *Inst) {
	w, ok := d.word32()
	if !ok {
		in.Kind, in.Len = Bad, len(d.code)-d.off
		return
	}
	in.Len = 4
	rt, ra := w>>21&31, w>>16&31
	imm := signed(w, 16)
	base, known := d.regs.get(ra)
	link := w&1 != 0
	switch w >> 26 {
	case 1:
		d.prefixed(in, w)
		return
	case 18: // B, BL
		in.Target = signed(w&^3, 26)
		if w&2 == 0 {
			in.Target += d.pc
		}
		in.Kind = Jump
		if link {
			in.Kind = Call
			d.regs.known &= 1 << 2
		}
		return
	case 16: // BC
		in.Target = signed(w&0xfffc, 16)
		if w&2 == 0 {
			in.Target += d.pc
		}
		in.Kind = Branch
		switch {
		case link && in.Target == d.pc+4: // fetches the address of the next one
			in.Kind, in.Target = Plain, 0
		case link:
			in.Kind = Call
		}
		return
	case 19:
		const always = 20 // BO
		switch xo := w >> 1 & 0x3ff; {
		case xo == 16 && link || xo == 528 && link:
			in.Kind = CallIndirect
			d.regs.known &= 1 << 2
		case xo == 16 && rt&always == always:
			in.Kind = Return
		case xo == 16:
			in.Kind, in.Target = Branch, NoTarget // returns on a condition
		case xo == 528:
			in.Kind = JumpIndirect
		}
		return
	case 15: // ADDIS
		switch {
		case ra == 0:
			d.regs.set(rt, imm<<16)
		case known:
			d.regs.set(rt, base+imm<<16)
		default:
			d.regs.drop(rt)
		}
		return
	case 14: // ADDI
		if known && ra != 0 {
			in.Ref, in.Use = base+imm, Addr
			d.regs.set(rt, in.Ref)
			if rt == 2 { // the table of contents itself
				in.Ref, in.Use = 0, None
			}
			return
		}
	case 32, 33, 34, 35, 40, 41, 42, 43, 48, 49, 50, 51: // LWZ ... LFD
		if known {
			in.Ref, in.Use = base+imm, Load
		}
		if w>>26 >= 48 {
			return
		}
	case 36, 37, 38, 39, 44, 45, 52, 53, 54, 55: // STW ... STFD
		if known {
			in.Ref, in.Use = base+imm, Store
		}
		return
	case 58: // LD, LWA
		if known {
			in.Ref, in.Use = base+imm&^3, Load
		}
	case 62: // STD
		if known {
			in.Ref, in.Use = base+imm&^3, Store
		}
		return
	case 24, 25, 26, 27, 28, 29, 20, 21, 23, 30: // ORI ...: the result is in RA
		d.regs.drop(ra)
		return
	case 31: // many; the result is in either
		d.regs.drop(ra)
	}
	d.regs.drop(rt)
}

// prefixed knows the instructions of 8 bytes that address relative to themselves.
func (d *Decoder) prefixed(in *Inst, prefix uint32) {
	if len(d.code)-d.off < 8 {
		in.Kind, in.Len = Bad, len(d.code)-d.off
		return
	}
	in.Len = 8
	w := d.b.im.arch.order.Uint32(d.code[d.off+4:])
	rt := w >> 21 & 31
	addr := d.pc + uint64(int64(uint64(prefix&0x3ffff)<<46|uint64(w&0xffff)<<30)>>30)
	relative := prefix>>20&1 != 0
	form := prefix >> 24 & 3 // 0: eight bytes, 2: as the word alone
	switch op := w >> 26; {
	case !relative:
	case form == 2 && op == 14:
		in.Ref, in.Use = addr, Addr
		d.regs.set(rt, addr)
		return
	case form == 2 && (op == 32 || op == 34 || op == 40 || op == 42 || op == 48 || op == 50), form == 0 && (op == 57 || op == 41):
		in.Ref, in.Use = addr, Load
	case form == 2 && (op == 36 || op == 38 || op == 44 || op == 52 || op == 54), form == 0 && op == 61:
		in.Ref, in.Use = addr, Store
		return
	}
	d.regs.drop(rt)
}

func textPPC64(d *Decoder, in *Inst) (string, bool) {
	x, err := ppc64asm.Decode(d.code[d.off:], d.b.im.arch.order)
	if err != nil || x.Len == 0 || x.Op == 0 {
		return "", false
	}
	return ppc64asm.GoSyntax(x, d.pc, d.symname), true
}

// stepS390X knows branches and what is relative to the instruction. All addresses
// are made by one instruction. (z/Architecture Principles of Operation, 7)
func stepS390X(d *Decoder, in *Inst) {
	code := d.code[d.off:]
	if len(code) == 0 {
		return
	}
	switch code[0] >> 6 {
	case 0:
		in.Len = 2
	case 3:
		in.Len = 6
	default:
		in.Len = 4
	}
	if in.Len > len(code) {
		in.Kind, in.Len = Bad, len(code)
		return
	}
	order := d.b.im.arch.order
	rel16 := func() uint64 { return d.pc + signed(uint32(order.Uint16(code[2:])), 16)*2 }
	rel32 := func() uint64 { return d.pc + signed(order.Uint32(code[2:]), 32)*2 }
	mask := code[1] >> 4
	switch code[0] {
	case 0x07: // BCR
		switch {
		case code[1]&15 == 0 || mask == 0: // nothing
		case mask == 15 && code[1]&15 == 14:
			in.Kind = Return
		case mask == 15:
			in.Kind = JumpIndirect
		default:
			in.Kind, in.Target = Branch, NoTarget
		}
	case 0x0d: // BASR
		if code[1]&15 != 0 {
			in.Kind = CallIndirect
		}
	case 0x05, 0x06: // BALR, BCTR
	case 0xa7:
		switch code[1] & 15 {
		case 4: // BRC
			switch mask {
			case 15:
				in.Kind, in.Target = Jump, rel16()
			case 0:
			default:
				in.Kind, in.Target = Branch, rel16()
			}
		case 5: // BRAS
			in.Kind, in.Target = Call, rel16()
		case 6, 7: // BRCT, BRCTG
			in.Kind, in.Target = Branch, rel16()
		}
	case 0xc0:
		switch code[1] & 15 {
		case 0: // LARL
			in.Ref, in.Use = rel32(), Addr
		case 4: // BRCL
			switch mask {
			case 15:
				in.Kind, in.Target = Jump, rel32()
			case 0:
			default:
				in.Kind, in.Target = Branch, rel32()
			}
		case 5: // BRASL
			in.Kind, in.Target = Call, rel32()
		}
	case 0xc4: // load and store relative
		switch code[1] & 15 {
		case 2, 4, 5, 6, 8, 12, 13, 14:
			in.Ref, in.Use = rel32(), Load
		case 7, 11, 15:
			in.Ref, in.Use = rel32(), Store
		}
	case 0xc6: // compare relative
		in.Ref, in.Use = rel32(), Load
	case 0xec:
		switch code[5] {
		case 0x64, 0x65, 0x76, 0x77, 0x7c, 0x7d, 0x7e, 0x7f, 0x44, 0x45: // compare and branch
			in.Kind, in.Target = Branch, rel16()
		}
	}
}

func textS390X(d *Decoder, in *Inst) (string, bool) {
	x, err := s390xasm.Decode(d.code[d.off:])
	if err != nil || x.Len == 0 || x.Op == 0 {
		return "", false
	}
	return s390xasm.GoSyntax(x, d.pc, d.symname), true
}
