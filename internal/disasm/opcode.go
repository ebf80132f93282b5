package disasm

import (
	"fmt"
	"strings"
)

// An opcode is what a mnemonic alone tells. A Reader makes one for each mnemonic
// that it meets.
type opcode struct {
	name  string
	class class
	wasm  bool // mixed case: WebAssembly
	seen  int64
	votes votes // what it says of the architecture, each time
}

// A class is a first sorting of mnemonics. The operands decide the rest.
type class uint8

const (
	plain       class = iota
	pseudo            // emits no code
	call              // CALL: a symbol, a register or memory
	callTable         // CallIndirect
	duff              // DUFFZERO, DUFFCOPY
	jump              // JMP: a target, a symbol, a register or memory
	branch            // may have a target as the last operand
	ret               // RET
	riscvJump         // JAL, JALR: the first operand takes the return address
	ppcLinkJump       // BCL
	wasmJump          // Br, BrTable
	wasmBranch        // BrIf
	armMove           // MOVW...: returns if it loads R15
	compare           // reads its operands, though memory may be the last one
)

func newOpcode(name string) *opcode {
	op := &opcode{name: name, votes: votesOf(name)}
	op.wasm = len(name) > 1 && name[1] >= 'a' && name[1] <= 'z'
	base, _, _ := strings.Cut(name, ".")
	switch base {
	case "TEXT", "FUNCDATA", "PCDATA", "PCALIGN", "PCALIGNMAX", "GLOBL":
		op.class = pseudo
	case "CALL", "Call", "CallImport":
		op.class = call
	case "CallIndirect":
		op.class = callTable
	case "DUFFZERO", "DUFFCOPY":
		op.class = duff
	case "JMP":
		op.class = jump
	case "RET", "Return":
		op.class = ret
	case "JAL", "JALR":
		op.class = riscvJump
	case "BCL":
		op.class = ppcLinkJump
	case "Br", "BrTable":
		op.class = wasmJump
	case "BrIf":
		op.class = wasmBranch
	case "MOVW":
		op.class = armMove
	case "PUSHQ", "PUSHL", "DIVQ", "DIVL", "IDIVQ", "IDIVL", "MULQ", "MULL":
		op.class = compare // of one operand, which is read
	default:
		switch {
		case op.wasm || base == "":
		case hasPrefix(base, "CMP", "TEST", "BTQ", "BTL", "BTW", "COMIS", "UCOMIS", "PREFETCH", "PRFM") && !hasPrefix(base, "CMPXCHG", "CMPB", "CMPU"):
			op.class = compare
		case hasPrefix(base, "CMPB", "CMPU"):
			// x86's CMPB compares; s390x's CMPBEQ, CMPUBLT branch.
			op.class = compare
			if len(base) > len("CMPB") {
				op.class = branch
			}
		case base[0] == 'J' || base[0] == 'B' || base[0] == 'C' || base[0] == 'T' || base[0] == 'X':
			op.class = branch
		}
	}
	return op
}

func hasPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// NoTarget is the Target of a Jump or Branch if the listing does not say where it
// goes: those of WebAssembly are structured, and arm jumps over its literals
// with "JMP 0(PC)".
const NoTarget = ^uint64(0)

// finish completes the current symbol, which then is no longer open.
func (r *Reader) finish() *Func {
	r.open = false
	f := &r.cur
	text := string(r.text)
	f.Name = r.name.of(text)
	for i := range f.Insts {
		f.Insts[i].Args = r.args[i].of(text)
	}
	arch := r.evidence.function(r, f)
	for i := range f.Relocs {
		t := r.rels[i]
		f.Relocs[i].Sym = t.name.of(text)
		f.Relocs[i].Add = t.dec
		// "%x" for sys.ARM and sys.PPC64, see writeSymDebugNamed.
		if arch == "arm" || arch == "ppc64" || arch == "ppc64le" {
			f.Relocs[i].Add = t.hex
		}
	}
	end := uint64(len(f.Code))
	for i := len(f.Insts) - 1; i >= 0; i-- {
		in := &f.Insts[i]
		r.understand(in, r.codes[i], arch)
		if end >= in.PC && in.Kind != Pseudo && !r.wasm {
			in.Len = int(end - in.PC)
			end = in.PC
		}
	}
	for i := range f.Insts {
		if in := &f.Insts[i]; in.Op == "TEXT" {
			textOperands(f, in.Args)
			f.File, f.Line = in.File, in.Line
			break
		}
	}
	if f.Text && !r.wasm && f.Incomplete == "" && int64(len(f.Code)) != f.Size {
		f.Incomplete = fmt.Sprintf("it has %d of %d bytes", len(f.Code), f.Size)
	}
	if f.Text && f.Incomplete == "" && len(f.Insts) == 0 && f.Size != 0 {
		f.Incomplete = "it has no instructions"
	}
	if f.Incomplete != "" {
		r.stats.Incomplete++
	}
	r.evidence.symbol(r, f)
	return f
}

// understand finds out what an instruction does, from its mnemonic and operands.
func (r *Reader) understand(in *Inst, op *opcode, arch string) {
	if op.class == pseudo {
		in.Kind = Pseudo
		return
	}
	var last bool
	in.Sym, in.SymOff, in.Use, last = symbol(in.Args)
	if in.Use == Load && last && op.class != compare {
		in.Use = Store
	}
	if in.Sym != "" && strings.HasPrefix(in.Op, "LEA") {
		in.Use = Addr
	}
	switch op.class {
	case ret:
		in.Kind = Return
		if in.Sym != "" {
			in.Kind, in.Use = TailCall, Code // RET f(SB) of assembly
		}
	case call:
		in.Kind = CallIndirect
		if in.Sym != "" {
			in.Kind, in.Use = Call, Code
		} else if t, ok := parseUint(in.Args); ok {
			in.Kind, in.Target = Call, uint64(t) // of a label in the same function
		}
	case callTable:
		in.Kind = CallIndirect
	case duff:
		in.Kind, in.Use = Call, Code
		if in.Sym == "" { // DUFFZERO $290: the offset into the routine
			in.Sym = "runtime." + strings.ToLower(in.Op)
			in.SymOff, _ = parseInt(strings.TrimPrefix(in.Args, "$"))
		}
	case jump:
		switch {
		case in.Sym != "":
			in.Kind, in.Use = TailCall, Code
		case isReturn(in.Args, arch):
			in.Kind = Return
		case strings.HasSuffix(in.Args, "(PC)"):
			in.Kind, in.Target = Jump, NoTarget
		default:
			in.Kind = JumpIndirect
			if t, ok := parseUint(in.Args); ok {
				in.Kind, in.Target = Jump, uint64(t)
			}
		}
	case branch:
		r.branch(in)
	case riscvJump:
		riscv(in)
	case ppcLinkJump:
		in.Kind = CallIndirect
	case wasmJump:
		in.Kind, in.Target = Jump, NoTarget
		if in.Op == "BrTable" {
			in.Kind = JumpIndirect
		}
	case wasmBranch:
		in.Kind, in.Target = Branch, NoTarget
	case armMove:
		if strings.HasSuffix(in.Args, ", R15") && arch == "arm" {
			in.Kind = Return
			if !strings.Contains(in.Args, "(R13)") {
				in.Kind = JumpIndirect
			}
		}
	}
}

// branch takes an instruction for a branch if its last operand is one: a number
// without "$", or for riscv64 "$" with the distance.
func (r *Reader) branch(in *Inst) {
	i := strings.LastIndexByte(in.Args, ' ')
	t := in.Args[i+1:]
	if n, ok := parseUint(t); ok {
		in.Kind, in.Target = Branch, uint64(n)
		return
	}
	if in.Op[0] != 'B' || !strings.HasPrefix(t, "$") {
		return
	}
	switch in.Op {
	case "BEQ", "BNE", "BLT", "BGE", "BLTU", "BGEU", "BGT", "BLE", "BGTU", "BLEU",
		"BEQZ", "BNEZ", "BLTZ", "BGEZ", "BGTZ", "BLEZ":
		if n, ok := parseInt(t[1:]); ok {
			in.Kind, in.Target = Branch, in.PC+uint64(n)
		}
	}
}

// riscv sorts JAL and JALR. The first operand says where the return address goes:
// X0 drops it, X1 is for calls, X5 for those of morestack and duffzero.
func riscv(in *Inst) {
	link, rest, _ := strings.Cut(in.Args, ", ")
	switch {
	case in.Sym != "" && link == "X0":
		in.Kind, in.Use = TailCall, Code
	case in.Sym != "":
		in.Kind, in.Use = Call, Code
	case link != "X0" && link != "ZERO":
		in.Kind = CallIndirect
	case strings.HasPrefix(rest, "$"):
		in.Kind, in.Target = Jump, NoTarget
		if n, ok := parseInt(rest[1:]); ok {
			in.Target = in.PC + uint64(n)
		}
	case rest == "X1" || rest == "(X1)" || rest == "0(X1)":
		in.Kind = Return
	default:
		in.Kind = JumpIndirect
	}
}

// isReturn reports whether JMP to this register returns, on the architectures
// without an instruction of their own for that.
func isReturn(args, arch string) bool {
	switch args {
	case "LR", "(LR)": // ppc64
		return true
	case "R14", "(R14)": // s390x, arm
		return arch != "amd64"
	case "(R31)": // mips
		return true
	case "(R1)":
		return arch == "loong64" || arch == ""
	}
	return false
}

// textOperands takes the frame out of "NAME(SB), ATTRS, $FRAME-ARGS".
func textOperands(f *Func, args string) {
	i := strings.LastIndex(args, ", $")
	if i < 0 {
		return
	}
	size := args[i+3:]
	args = args[:i]
	// The frame may be negative.
	if j := strings.LastIndexByte(size, '-'); j > 0 {
		if n, ok := parseInt(size[j+1:]); ok {
			f.ArgSize = n
		}
		size = size[:j]
	}
	f.Frame, _ = parseInt(size)
	if i := strings.LastIndex(args, "(SB), "); i >= 0 {
		f.Attrs = args[i+6:]
	}
}
