package disasm

import (
	"fmt"
	"slices"
	"strings"
)

// A SelfCheck decodes the bytes that a listing shows beside its text and compares
// the two: the text is the assembler's input, the bytes are its output, and the
// decoder knows nothing of either. It shows that the reader took a listing apart
// correctly, and that the decoder reads the machine code correctly. It is for one
// goroutine at a time.
type SelfCheck struct {
	// Insts are the instructions with code that were compared, Unknown those of
	// them that golang.org/x/arch does not know, and Bad those that differ.
	Insts, Unknown, Bad int64
	// Differences are the first of those that differ, at most 100.
	Differences []Difference
	// Pairs counts what differs by both mnemonics: "MOVQ / LEAQ".
	Pairs map[string]int64

	arch *arch
	dec  *Decoder
	im   *image
}

// A Difference is an instruction of which the bytes do not say what the text says.
type Difference struct {
	Func   string
	PC     uint64
	Listed string   // mnemonic and operands
	Code   []byte   // its bytes
	Found  []string // the mnemonics of the machine instructions that they are
	Why    string
}

func (d Difference) String() string {
	return fmt.Sprintf("%s+%#x: %s: % x is %s: %s", d.Func, d.PC, d.Listed, d.Code, strings.Join(d.Found, "; "), d.Why)
}

// NewSelfCheck returns a check of listings for goarch. It fails with an
// [*ArchError] for architectures without a decoder.
func NewSelfCheck(goarch string) (*SelfCheck, error) {
	a := archByName(goarch)
	if a == nil {
		return nil, &ArchError{goarch}
	}
	im := &image{format: "listing", arch: a, names: map[string]segment{}}
	b := &Binary{Arch: goarch, im: im, typeFor: map[uint64]*Type{}}
	return &SelfCheck{arch: a, im: im, dec: b.NewDecoder(true), Pairs: map[string]int64{}}, nil
}

// Check compares a function of a listing. Functions without instructions or with
// missing bytes are passed over.
func (c *SelfCheck) Check(f *Func) error {
	if !f.Text || f.Incomplete != "" || len(f.Insts) == 0 || len(f.Code) == 0 {
		return nil
	}
	// The linker's bytes are zero yet: an address of its own keeps branches within
	// the function apart from the null pointer.
	const base = 1 << 20
	c.im.segs = []segment{{base, f.Code, true}}
	g, err := c.dec.Decode(Function{Name: f.Name, Addr: base, Size: uint64(len(f.Code)), pcln: -1})
	if err != nil {
		return fmt.Errorf("self-check %s: %w", f.Name, err)
	}
	at := 0
	for i := range f.Insts {
		in := &f.Insts[i]
		if in.Len == 0 {
			continue
		}
		// A prefix has a line of its own.
		if isPrefix(in) && i+1 < len(f.Insts) {
			whole := f.Insts[i+1]
			whole.PC, whole.Len = in.PC, whole.Len+in.Len
			in = &whole
		} else if i > 0 && isPrefix(&f.Insts[i-1]) {
			continue
		}
		end := base + in.PC + uint64(in.Len)
		for at < len(g.Insts) && g.Insts[at].PC < base+in.PC {
			at++
		}
		from := at
		for at < len(g.Insts) && g.Insts[at].PC < end {
			at++
		}
		c.compare(f, in, g.Insts[from:at], base)
	}
	return nil
}

func (c *SelfCheck) compare(f *Func, in *Inst, found []Inst, base uint64) {
	c.Insts++
	var ops []string
	unknown := false
	for _, m := range found {
		ops = append(ops, m.Op)
		unknown = unknown || m.Op == "?"
	}
	why := ""
	switch {
	case len(found) == 0:
		why = "no instruction starts there"
	case found[0].PC != base+in.PC:
		why = "an instruction goes over its start"
	case isData(in.Op):
		return // literals and padding are no code
	case unknown:
		c.Unknown++
		return
	case found[len(found)-1].PC+uint64(found[len(found)-1].Len) != base+in.PC+uint64(in.Len):
		why = "an instruction goes over its end"
	default:
		why = c.differs(in, found, base)
	}
	if why == "" {
		return
	}
	c.Bad++
	c.Pairs[in.Op+" / "+strings.Join(ops, ";")]++
	if len(c.Differences) < 100 {
		code := slices.Clone(f.Code[in.PC:min(in.PC+uint64(in.Len), uint64(len(f.Code)))])
		c.Differences = append(c.Differences, Difference{f.Name, in.PC, in.Op + " " + in.Args, code, ops, why})
	}
}

// differs compares what an instruction does to the flow of control, and its
// mnemonic.
func (c *SelfCheck) differs(in *Inst, found []Inst, base uint64) string {
	// What several machine instructions do together, the flow of control apart, is
	// the assembler's business.
	flow := func(kinds ...Kind) bool {
		return slices.ContainsFunc(found, func(m Inst) bool { return slices.Contains(kinds, m.Kind) })
	}
	switch in.Kind {
	case Call, CallIndirect:
		if !flow(Call, CallIndirect) {
			return "it calls nothing"
		}
		return ""
	case Return:
		if !flow(Return, JumpIndirect, TailCall, Jump) {
			return "it does not return"
		}
		return ""
	case TailCall, Jump, JumpIndirect:
		if !flow(Jump, JumpIndirect, TailCall, Call, Branch, Return) {
			return "it does not jump"
		}
	case Branch:
		if !flow(Branch, Jump, TailCall, JumpIndirect) {
			return "it does not branch"
		}
	case Plain:
		// Signals, and loads of the own address, are branches in machine code.
		// arm's "MOVW.P 28(R13), R15" returns where the reader knows the architecture.
		if len(found) == 1 && flow(Call, Return, JumpIndirect) && in.Op != "MOVW.P" {
			return "it leaves the function"
		}
	}
	// A target within the function must be the one that the text names.
	if (in.Kind == Jump || in.Kind == Branch) && in.Target != NoTarget {
		if !slices.ContainsFunc(found, func(m Inst) bool {
			return (m.Kind == Jump || m.Kind == Branch || m.Kind == TailCall) && m.Target == base+in.Target
		}) {
			return fmt.Sprintf("it does not go to %#x", in.Target)
		}
		return ""
	}
	if len(found) == 1 && !sameOp(c.arch.name, in.Op, found[0].Op) {
		return "another mnemonic"
	}
	return ""
}

func isPrefix(in *Inst) bool {
	return in.Len == 1 && (in.Op == "REP" || in.Op == "REPN" || in.Op == "LOCK")
}

// isData reports whether a line of a listing stands for bytes that are not run.
func isData(op string) bool {
	return op == "WORD" || op == "UNDEF" || op == "BYTE" || op == "NOP" || op == "NOOP"
}
