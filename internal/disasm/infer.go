package disasm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Guess is what a listing reveals of its compiler: the text itself names
// neither architecture nor version nor experiments.
type Guess struct {
	// Arch is the GOARCH, "" if the text fits several or none. ArchFrom are
	// mnemonics, relocations and registers that say so, the strongest first.
	Arch     string
	ArchFrom []string
	// Generation is "classic" or "swiss", "" if no map is in the listing, "mixed"
	// if both are. GenerationFrom is a symbol that says so.
	Generation     string
	GenerationFrom string
	// MinGo and MaxGo are the minor releases that the text fits: 21 is Go 1.21. 0
	// is an open end. If MinGo is over MaxGo, listings of several compilers are
	// mixed. VersionFrom are the narrowest findings.
	MinGo, MaxGo int
	VersionFrom  []string
}

// Version returns the range of versions in words: "go1.22 to go1.26".
func (g *Guess) Version() string {
	switch {
	case g.MinGo == 0 && g.MaxGo == 0:
		return "unknown"
	case g.MinGo != 0 && g.MaxGo != 0 && g.MinGo > g.MaxGo:
		return "several versions"
	case g.MaxGo == 0:
		return fmt.Sprintf("go1.%d or later", g.MinGo)
	case g.MinGo == 0:
		return fmt.Sprintf("go1.%d or earlier", g.MaxGo)
	case g.MinGo == g.MaxGo:
		return fmt.Sprintf("go1.%d", g.MinGo)
	}
	return fmt.Sprintf("go1.%d to go1.%d", g.MinGo, g.MaxGo)
}

// archNames are the architectures that compilers list, the index of [votes].
// Those of two byte orders come in pairs, the big one first.
const (
	archAMD64 = iota
	arch386
	archARM
	archARM64
	archLOONG64
	archMIPS
	archMIPSLE
	archMIPS64
	archMIPS64LE
	archPPC64
	archPPC64LE
	archRISCV64
	archS390X
	archWASM
	numArch
)

func archName(i int) string {
	return [numArch]string{
		"amd64", "386", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm",
	}[i]
}

// votes say for each architecture how strongly something speaks for it.
type votes [numArch]int32

func (v *votes) add(n int32, archs ...int) {
	for _, a := range archs {
		v[a] += n
	}
}

// votesOf returns what a mnemonic says. The words are those that compilers of Go
// 1.18 to 1.27 print for ordinary code.
func votesOf(op string) (v votes) {
	const strong, weak = 20, 1
	if len(op) > 1 && op[1] >= 'a' && op[1] <= 'z' {
		v.add(strong, archWASM)
		return v
	}
	base, suffix, _ := strings.Cut(op, ".")
	switch base {
	case "TEXT", "FUNCDATA", "PCDATA", "PCALIGN", "PCALIGNMAX", "CALL", "JMP", "NOP", "RET", "UNDEF":
		return v
	case "LEAQ", "MOVQ", "ADDQ", "SUBQ", "CMPQ", "PUSHQ", "POPQ", "XORQ", "TESTQ", "INCQ", "SHLQ", "SHRQ", "ANDQ", "ORQ", "MOVLQSX", "MOVBQSX", "CQO":
		v.add(strong, archAMD64)
	case "LEAL", "MOVL", "ADDL", "SUBL", "CMPL", "XORL", "TESTL", "MOVBLZX", "MOVWLZX", "PUSHL", "POPL", "SHLL", "ANDL", "JLS", "JEQ", "JNE", "TESTB",
		"MOVUPS", "XCHGL":
		v.add(weak, archAMD64, arch386)
	case "STP", "LDP", "CBZ", "CBNZ", "CBZW", "CBNZW", "TBZ", "TBNZ", "CSET", "CSINC", "CSEL", "STPW", "LDPW", "FSTPQ", "FLDPQ", "LDAR", "LDARW", "STLR", "STLRW", "LDAXRW",
		"STLXRW", "CASALW", "LDADDALW", "HINT", "UBFX", "SBFX", "FMOVQ", "FSTPD", "FLDPD":
		v.add(strong, archARM64)
	case "MULA", "MULLU", "MOVM", "TEQ", "LDREX", "STREX":
		v.add(strong, archARM)
	case "MOV", "JAL", "JALR", "BNEZ", "BEQZ", "ADDI", "ANDI", "XORI", "SLLI", "SRLI", "SEQZ", "SNEZ", "LRD", "LRW", "SCW", "AMOADDW", "AMOSWAPW", "SLTI", "SLTIU", "FENCE":
		v.add(strong, archRISCV64)
	case "MOVDU", "BC", "BCL", "LWSYNC", "ISYNC", "ISEL", "RLDICL", "STXVD2X", "LXVD2X", "STXV", "LXV", "XXLXOR", "ANDCC", "CLRLSLDI", "MOVWBR", "LWAR", "STWCCC", "EQV", "ADDCCC":
		v.add(strong, archPPC64, archPPC64LE)
	case "CMPU":
		v.add(weak, archPPC64, archPPC64LE, archS390X)
	case "STMG", "LMG", "STMY", "LMY", "MVC", "CGIJ", "CIJ", "CLIJ", "CLGIJ", "CGRJ", "CRJ", "CLGRJ", "CLRJ", "BRC", "RISBGZ", "CLEAR", "LOCGR", "NOPH", "LAA", "CS":
		v.add(strong, archS390X)
	case "MASKEQZ", "MASKNEZ", "DBAR", "ALSLV", "AMADDDBW", "AMSWAPDBW", "AMCASDBW", "VMOVQ", "VXORV", "BSTRPICKV", "REVBV":
		v.add(strong, archLOONG64)
	case "MOVV", "ADDV", "ADDVU", "SUBVU", "SLLV", "SRLV":
		v.add(weak, archLOONG64, archMIPS64, archMIPS64LE)
	case "NOOP", "LL", "SC", "SGTU", "SGT":
		v.add(weak, archMIPS, archMIPSLE, archMIPS64, archMIPS64LE, archLOONG64)
	case "ADDU", "SUBU", "CMOVZ", "CMOVN":
		v.add(strong, archMIPS, archMIPSLE)
	case "MOVD":
		v.add(weak, archARM64, archPPC64, archPPC64LE, archS390X)
	case "MOVW":
		v.add(weak, archARM, archMIPS, archMIPSLE)
		switch suffix {
		case "W", "P":
			v.add(strong, archARM)
		}
	case "BLS":
		v.add(weak, archARM, archARM64)
	}
	switch {
	case hasPrefix(base, "CMPUB", "CMPBEQ", "CMPBNE", "CMPBLT", "CMPBGE"):
		v.add(strong, archS390X)
	case base == "MOVD" && (suffix == "W" || suffix == "P"):
		v.add(strong, archARM64)
	case suffix != "" && len(suffix) == 2 && base != "MOVD": // a condition: MOVW.EQ
		v.add(strong, archARM)
	}
	return v
}

// A relocType is what the name of a relocation tells. A Reader makes one for each.
type relocType struct {
	name     string
	seen     int64
	votes    votes
	min, max int // minor versions of Go that print it so; 0 for an open end
}

func newRelocType(text string) *relocType {
	t := &relocType{name: text}
	switch {
	case strings.HasPrefix(text, "R_"), strings.HasPrefix(text, "RelocType("):
		t.min = 22
	default:
		// The numbers of cmd/internal/objabi/reloctype.go up to 37 are the same in
		// Go 1.18, 1.20 and 1.21. Later releases print names.
		t.max = 21
		if n, ok := parseInt(text); ok && n > 0 {
			t.name = oldRelocName(int(n), text)
		}
	}
	switch {
	case hasPrefix(t.name, "R_CALLARM64", "R_ADDRARM64", "R_ARM64_"):
		t.votes.add(50, archARM64)
	case hasPrefix(t.name, "R_CALLARM"):
		t.votes.add(50, archARM)
	case hasPrefix(t.name, "R_CALLPOWER", "R_ADDRPOWER", "R_POWER_"):
		t.votes.add(50, archPPC64, archPPC64LE)
	case hasPrefix(t.name, "R_RISCV_"):
		t.votes.add(50, archRISCV64)
	case hasPrefix(t.name, "R_CALLLOONG64", "R_LOONG64_", "R_ADDRLOONG64"):
		t.votes.add(50, archLOONG64)
	case hasPrefix(t.name, "R_CALLMIPS", "R_ADDRMIPS", "R_JMPMIPS"):
		t.votes.add(50, archMIPS, archMIPSLE, archMIPS64, archMIPS64LE)
	case t.name == "R_PCRELDBL":
		t.votes.add(50, archS390X)
	}
	return t
}

func oldRelocName(n int, otherwise string) string {
	names := [...]string{
		1: "ADDR", "ADDRPOWER", "ADDRARM64", "ADDRMIPS", "ADDROFF", "SIZE", "CALL", "CALLARM", "CALLARM64", "CALLIND", "CALLPOWER", "CALLMIPS",
		"CONST", "PCREL", "TLS_LE", "TLS_IE", "GOTOFF", "PLT0", "PLT1", "PLT2", "USEFIELD", "USETYPE", "USEIFACE", "USEIFACEMETHOD",
		"USEGENERICIFACEMETHOD", "METHODOFF", "KEEP", "POWER_TOC", "GOTPCREL", "JMPMIPS", "DWARFSECREF", "DWARFFILEREF", "ARM64_TLS_LE", "ARM64_TLS_IE",
		"ARM64_GOTPCREL", "ARM64_GOT", "ARM64_PCREL",
	}
	if n < len(names) {
		return "R_" + names[n]
	}
	return otherwise
}

// evidence collects what a listing says of its compiler.
type evidence struct {
	regs   [6]int32 // how often each of stackRegs is a base
	looked int      // instructions of which the operands were looked at
	big    int      // returns in either byte order, of those that show it
	little int

	symbols, recount int // delivered, and when to count the votes again
	known            string

	classic, swiss string // the first symbol of either generation
	min, max       int    // minor versions of Go; 0 if open
	minBy, maxBy   string
}

// enough is after how many instructions the registers are known.
const enough = 100_000

// stackRegs are the stack pointers by which MOVV, MOVW and MOVD are told apart.
func stackRegs() [6]string {
	return [6]string{"(RSP)", "(R13)", "(R1)", "(R15)", "(R3)", "(R29)"}
}

func (e *evidence) notBefore(minor int, because string) {
	if minor > e.min {
		e.min, e.minBy = minor, because
	}
}

func (e *evidence) notAfter(minor int, because string) {
	if e.max == 0 || minor < e.max {
		e.max, e.maxBy = minor, because
	}
}

// fields looks at the order of a header's fields.
func (e *evidence) fields(alignAt, argsAt int) {
	switch {
	case alignAt < 0:
	case argsAt < 0 || alignAt < argsAt:
		e.notBefore(27, "align= behind size=")
	default:
		e.notAfter(26, "align= behind args=")
	}
}

// function looks at a function's operands before they are understood, and
// returns the architecture as far as it is known.
func (e *evidence) function(r *Reader, f *Func) string {
	if r.Arch != "" {
		return r.Arch
	}
	if e.looked < enough && f.Text {
		e.looked += len(f.Insts)
		for i := range f.Insts {
			in := &f.Insts[i]
			if !hasPrefix(in.Op, "MOV") {
				continue
			}
			for i, reg := range stackRegs() {
				if strings.Contains(in.Args, reg) {
					e.regs[i]++
				}
			}
		}
	}
	if e.big+e.little < enough && len(f.Code) > 0 {
		e.byteOrder(f)
	}
	// Counting again after twice as many symbols each time costs nothing.
	if e.symbols++; e.symbols >= e.recount {
		e.recount = 2 * e.symbols
		if a := e.arch(r); a >= 0 {
			e.known = archName(a)
		}
	}
	return e.known
}

// byteOrder looks at the bytes of a jump through the link register.
func (e *evidence) byteOrder(f *Func) {
	for i := range f.Insts {
		in := &f.Insts[i]
		if in.Op != "JMP" || in.Args != "LR" && in.Args != "(R31)" || in.PC+4 > uint64(len(f.Code)) {
			continue
		}
		// blr of ppc64 is 4e800020, jr $31 of mips 03e00008.
		switch string(f.Code[in.PC : in.PC+4]) {
		case "\x4e\x80\x00\x20", "\x03\xe0\x00\x08":
			e.big++
		case "\x20\x00\x80\x4e", "\x08\x00\xe0\x03":
			e.little++
		}
	}
}

// arch counts the votes. It returns -1 if there are none, or as many for another.
func (e *evidence) arch(r *Reader) int {
	var total [numArch]int64
	for _, op := range r.ops {
		for a, n := range op.votes {
			total[a] += int64(n) * op.seen
		}
	}
	for _, t := range r.types {
		for a, n := range t.votes {
			total[a] += int64(n) * t.seen
		}
	}
	// The stack pointer decides between those whose mnemonics are alike.
	for i, archs := range [6][]int{
		{archARM64}, {archARM}, {archPPC64, archPPC64LE}, {archS390X}, {archLOONG64}, {archMIPS, archMIPSLE, archMIPS64, archMIPS64LE},
	} {
		for _, a := range archs {
			if total[a] > 0 {
				total[a] += int64(e.regs[i])
			}
		}
	}
	// What has no 64-bit mnemonic at all is not 64-bit.
	if total[archAMD64] == total[arch386] && total[arch386] > 0 {
		total[arch386]++
	}
	for _, a := range []int{archMIPS, archMIPS64, archPPC64} {
		if e.little > e.big {
			total[a] = 0
		} else if e.big > e.little {
			total[a+1] = 0
		}
	}
	best, second := 0, int64(0)
	for a, n := range total {
		switch {
		case a == 0:
		case n > total[best]:
			best, second = a, total[best]
		case n > second:
			second = n
		}
	}
	if total[best] == second {
		return -1
	}
	return best
}

// because returns the three strongest reasons for an architecture.
func (e *evidence) because(r *Reader, arch int) []string {
	type reason struct {
		text  string
		votes int64
	}
	var all []reason
	for _, op := range r.ops {
		if n := int64(op.votes[arch]) * op.seen; n > 0 {
			all = append(all, reason{op.name, n})
		}
	}
	for _, t := range r.types {
		if n := int64(t.votes[arch]) * t.seen; n > 0 {
			all = append(all, reason{t.name, n})
		}
	}
	slices.SortFunc(all, func(a, b reason) int {
		return cmp.Or(cmp.Compare(b.votes, a.votes), strings.Compare(a.text, b.text))
	})
	var texts []string
	for _, r := range all[:min(3, len(all))] {
		texts = append(texts, r.text)
	}
	return texts
}

// symbol looks at the names of a symbol and of what it refers to.
func (e *evidence) symbol(r *Reader, f *Func) {
	switch name := f.Name; {
	case strings.HasPrefix(name, `"".`):
		e.notAfter(19, `the prefix "".`)
	case hasPrefix(name, "type.", "go.string.", "go.info."):
		e.notAfter(19, "the prefix type. or go.")
	case hasPrefix(name, "type:", "go:string.", "go:cuinfo."):
		e.notBefore(20, "the prefix type: or go:")
	}
	descriptor := !f.Text && hasPrefix(f.Name, "type:map[", "type.map[")
	for i := range f.Relocs {
		sym := f.Relocs[i].Sym
		switch {
		case descriptor && strings.Contains(sym, "map.group["):
			e.swissBy(f.Name)
			if f.Relocs[i].Len == 8 {
				// abi.MapType got two more words in Go 1.27.
				switch f.Size {
				case 112:
					e.notAfter(26, "the size of "+f.Name)
				case 136:
					e.notBefore(27, "the size of "+f.Name)
				}
			}
		case descriptor && strings.Contains(sym, "map.bucket["):
			e.classicBy(f.Name)
		case strings.HasPrefix(sym, "runtime."):
			e.callee(sym)
		}
	}
}

// callee looks at a routine of the runtime that compiled code calls.
func (e *evidence) callee(sym string) {
	switch sym {
	case "runtime.mapIterStart", "runtime.mapIterNext":
		e.swissBy(sym)
		e.notBefore(24, sym)
	case "runtime.mapiterinit", "runtime.mapiternext":
		e.classicBy(sym)
		e.notAfter(25, sym)
	case "runtime.fastrand":
		e.notAfter(21, sym)
	case "runtime.rand32", "runtime.rand":
		e.notBefore(22, sym)
	case "runtime.gcWriteBarrier", "runtime.gcWriteBarrierBX", "runtime.gcWriteBarrierCX", "runtime.gcWriteBarrierDX":
		e.notAfter(20, sym)
	case "runtime.gcWriteBarrier1", "runtime.gcWriteBarrier2":
		e.notBefore(21, sym)
	}
}

func (e *evidence) swissBy(sym string) {
	if e.swiss == "" {
		e.swiss = sym
	}
}

func (e *evidence) classicBy(sym string) {
	if e.classic == "" {
		e.classic = sym
	}
}

// Guess says what the symbols that were delivered so far reveal of the compiler.
// Two listings of different compilers in one stream show as "mixed" where they
// contradict each other.
func (r *Reader) Guess() Guess {
	e := &r.evidence
	g := Guess{Arch: r.Arch}
	if r.Arch != "" {
		g.ArchFrom = []string{"as told"}
	} else if a := e.arch(r); a >= 0 {
		g.Arch, g.ArchFrom = archName(a), e.because(r, a)
	}
	switch {
	case e.swiss != "" && e.classic != "":
		g.Generation, g.GenerationFrom = "mixed", e.classic+" and "+e.swiss
	case e.swiss != "":
		g.Generation, g.GenerationFrom = "swiss", e.swiss
	case e.classic != "":
		g.Generation, g.GenerationFrom = "classic", e.classic
	}
	for _, t := range r.types {
		if t.min > 0 {
			e.notBefore(t.min, "relocations with names: "+t.name)
		} else if t.max > 0 {
			e.notAfter(t.max, "relocations with numbers")
		}
	}
	g.MinGo, g.MaxGo = e.min, e.max
	for _, by := range []string{e.minBy, e.maxBy} {
		if by != "" {
			g.VersionFrom = append(g.VersionFrom, by)
		}
	}
	return g
}
