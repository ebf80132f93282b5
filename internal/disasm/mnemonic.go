package disasm

import (
	"slices"
	"strings"
)

// sameOp reports whether a mnemonic of a listing and one that golang.org/x/arch
// prints may be the same machine instruction. The assemblers of Go accept names
// that the machines do not have, and choose between encodings by the operands:
// MOVD of a sum is an ADD on arm64. The decoder names what was chosen.
func sameOp(goarch, listed, found string) bool {
	if i := strings.LastIndexByte(found, ' '); i >= 0 { // "REP; MOVSQ", "LOCK XADDL"
		found = found[i+1:]
	}
	if listed == found {
		return true
	}
	switch goarch {
	case "amd64", "386":
		return sameX86(listed, found)
	case "arm", "arm64", "loong64":
		// The suffixes .P and .W are in the operands of some decoders.
		listed, _, _ = strings.Cut(listed, ".")
		found, _, _ = strings.Cut(found, ".")
	case "ppc64":
		goarch = "ppc64le"
	}
	return listed == found || slices.Contains(encodings(goarch, listed), found)
}

// conditions are Go's names of the conditions of x86 and those of the decoder.
func condition(goName string) string {
	switch goName {
	case "EQ":
		return "E"
	case "LT":
		return "L"
	case "GT":
		return "G"
	case "HI":
		return "A"
	case "CS":
		return "B"
	case "CC":
		return "AE"
	case "LS":
		return "BE"
	case "MI":
		return "S"
	case "PL":
		return "NS"
	case "PS":
		return "P"
	case "PC":
		return "NP"
	case "OS":
		return "O"
	case "OC":
		return "NO"
	}
	return goName // NE, GE, LE
}

func sameX86(listed, found string) bool {
	switch {
	case strings.HasPrefix(listed, "SET"):
		return found == "SET"+condition(listed[3:])
	case strings.HasPrefix(listed, "CMOV") && len(listed) > 5:
		// The size stands before the condition in Go, and at the end in x86asm or
		// nowhere: CMOVLLT is CMOVL.
		want := "CMOV" + condition(listed[5:])
		return found == want || found == want+listed[4:5]
	case strings.HasPrefix(listed, "MOV") && (found == "MOVZX" || found == "MOVSX"):
		return strings.HasSuffix(listed, found[3:]) || strings.HasSuffix(listed, found[3:4]+"X")
	}
	// x86asm calls an 8-bit operation by another size where the other operand has
	// it, and prints "_XMM" where a name has two meanings.
	if op, ok := strings.CutSuffix(listed, "B"); ok && (found == op+"L" || found == op+"W") {
		return true
	}
	found = strings.TrimSuffix(found, "_XMM")
	return listed == found || slices.Contains(encodings("amd64", listed), found)
}

// encodings returns the machine instructions that Go's assembler for goarch may
// choose for a mnemonic, in the words of x/arch, where they are not the same. It
// is what the bytes of the standard library show.
func encodings(goarch, listed string) []string {
	type table = map[string]string
	var t table
	switch goarch {
	case "amd64":
		t = table{
			"XCHGL": "NOPL NOPW NOP", "MOVL": "MOVD", "SHRQ": "SHRDQ", "SHLQ": "SHLDQ", "SHRL": "SHRDL", "SHLL": "SHLDL", "MOVSL": "MOVSD", "STOSL": "STOSD", "MOVLQSX": "MOVSXD", "BSWAPL": "BSWAP",
			"BSWAPQ": "BSWAP", "CVTSQ2SD": "CVTSI2SDQ", "CVTSL2SD": "CVTSI2SDL", "CVTSQ2SS": "CVTSI2SSQ", "CVTSL2SS": "CVTSI2SSL", "CVTTSD2SQ": "CVTTSD2SIQ",
			"CVTTSD2SL": "CVTTSD2SIL", "CVTTSS2SQ": "CVTTSS2SIQ", "CVTTSS2SL": "CVTTSS2SIL", "IMUL3Q": "IMULQ", "IMUL3L": "IMULL", "IMUL3W": "IMULW",
		}
	case "arm":
		t = table{
			"JMP": "B", "CALL": "BL", "MOVW": "ADD SUB MVN PUSH POP RET", "MOVB": "MOVBS", "MOVH": "MOVHS", "SRL": "LSR", "SLL": "LSL", "SRA": "ASR", "MULA": "MLA",
		}
	case "arm64":
		t = table{"MOVD": "ORR ADD", "HINT": "NOOP", "CSINC": "CINC", "MOVBU": "UBFX", "MOVHU": "UBFX", "MOVW": "SXTW ORR ADD", "MOVWU": "MOVW"}
	case "loong64":
		t = table{"MOVV": "MOVW ADDV", "ADDVU": "ADDV", "SUBVU": "SUBV", "MOVWU": "BSTRPICKV", "ALSLV": "Unknown"}
	case "ppc64le":
		t = table{
			"MOVD": "OR ADD", "OR": "NOP", "SYNC": "HWSYNC", "SLD": "RLDICR", "MOVWZ": "RLDIC RLDICL", "CLRLSLDI": "RLDIC", "MOVBZ": "RLWINM", "ADDCCC": "ADDICCC",
			"MOVB": "EXTSB",
		}
	case "riscv64":
		t = table{"MOV": "ADD ADDI", "ADDI": "MOV"}
	case "s390x":
		t = table{
			"MOVD": "MOVB MVGHI LGRL STGRL MOVH", "CLEAR": "XC", "MOVWZ": "LLGFRL", "ADD": "SUB", "MOVB": "MVI STC", "MOVH": "STH", "MOVW": "MVHI", "XORW": "XOR",
			"LOCGR": "MOVDEQ MOVDNE MOVDGE MOVDLT MOVDGT MOVDLE",
		}
	}
	return strings.Fields(t[listed])
}
