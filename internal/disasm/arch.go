package disasm

import (
	"debug/elf"
	"encoding/binary"
)

// An arch is a machine whose code can be decoded.
type arch struct {
	name        string // GOARCH
	ptrSize     int
	order       binary.ByteOrder
	elfMachine  elf.Machine
	elfRelative uint32 // the relocation that adds the base address; 0 if its addend lies in the memory
	minLen      int    // of an instruction, in bytes
	// step decodes the instruction at d.code[d.off:], and text writes it down.
	step func(d *Decoder, in *Inst)
	text func(d *Decoder, in *Inst) (text string, ok bool)
}

// Archs returns the GOARCHs for which machine code can be decoded. The others,
// the mips family and wasm, have no decoder in golang.org/x/arch; their listings
// can be read like all others.
func Archs() []string {
	var names []string
	for _, a := range archs() {
		names = append(names, a.name)
	}
	return names
}

func archs() []*arch {
	little, big := binary.ByteOrder(binary.LittleEndian), binary.ByteOrder(binary.BigEndian)
	return []*arch{
		{"amd64", 8, little, elf.EM_X86_64, uint32(elf.R_X86_64_RELATIVE), 1, stepX86, textX86},
		{"386", 4, little, elf.EM_386, 0, 1, stepX86, textX86},
		{"arm", 4, little, elf.EM_ARM, 0, 4, stepARM, textARM},
		{"arm64", 8, little, elf.EM_AARCH64, uint32(elf.R_AARCH64_RELATIVE), 4, stepARM64, textARM64},
		{"loong64", 8, little, elf.EM_LOONGARCH, 3, 4, stepLOONG64, textLOONG64},
		{"ppc64", 8, big, elf.EM_PPC64, uint32(elf.R_PPC64_RELATIVE), 4, stepPPC64, textPPC64},
		{"ppc64le", 8, little, elf.EM_PPC64, uint32(elf.R_PPC64_RELATIVE), 4, stepPPC64, textPPC64},
		{"riscv64", 8, little, elf.EM_RISCV, uint32(elf.R_RISCV_RELATIVE), 2, stepRISCV64, textRISCV64},
		{"s390x", 8, big, elf.EM_S390, uint32(elf.R_390_RELATIVE), 2, stepS390X, textS390X},
	}
}

func archByName(goarch string) *arch {
	for _, a := range archs() {
		if a.name == goarch {
			return a
		}
	}
	return nil
}

// archByELF returns nil for a machine that is not supported, and for the 32-bit
// and other variants of those that are.
func archByELF(f *elf.File) *arch {
	for _, a := range archs() {
		if a.elfMachine == f.Machine && a.order == f.ByteOrder && (a.ptrSize == 8) == (f.Class == elf.ELFCLASS64) {
			return a
		}
	}
	return nil
}
