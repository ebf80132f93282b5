package asmnote

import (
	"slices"
	"strings"

	"hmaptools/internal/disasm"
)

// window is how many instructions before or after a call are looked at.
const window = 80

// operandsOf splits the operands of an instruction.
func operandsOf(in *disasm.Inst) []string { return slices.Collect(disasm.Operands(in.Args)) }

// arguments finds what is in the carriers at a call, and the indices of the
// instructions that put it there, -1 where that is not known.
func (n *annotation) arguments(i int, r routine) (args []Arg, writers []int) {
	carriers, _ := n.a.Target.carriers(r)
	for j, p := range r.params {
		name, _ := param(p, n.a.Target.ptrSize())
		arg := Arg{Name: name}
		w := -1
		if j < len(carriers) {
			arg.In = carriers[j].String()
			arg.Value, w = n.writer(i, carriers[j])
		}
		args, writers = append(args, arg), append(writers, w)
	}
	return args, writers
}

// writer finds the last instruction before i that writes a carrier, going back as
// long as there is one way only, and no call.
func (n *annotation) writer(i int, c carrier) (value string, at int) {
	for back := 0; back < window; back++ {
		if n.targets[n.f.Insts[i].PC] && back > 0 {
			return "", -1 // other ways lead here
		}
		i--
		if i < 0 {
			return "", -1
		}
		in := &n.f.Insts[i]
		switch in.Kind {
		case disasm.Pseudo:
			continue
		case disasm.Plain:
		case disasm.Branch:
			continue
		default:
			return "", -1
		}
		if in.Args == "" {
			continue
		}
		value, ok := written(in, c)
		if !ok {
			continue
		}
		// What a stack slot gets comes from a register, mostly.
		if c.stack != "" && isRegister(value) {
			if v, w := n.writer(i, carrier{reg: value}); v != "" {
				_ = w
				return v, i
			}
		}
		return value, i
	}
	return "", -1
}

// written returns what an instruction puts into a carrier.
func written(in *disasm.Inst, c carrier) (string, bool) {
	ops := operandsOf(in)
	if len(ops) == 0 {
		return "", false
	}
	last := ops[len(ops)-1]
	if strings.HasPrefix(last, "R???") && len(ops) > 1 { // 386: the base that a thunk made
		last = ops[len(ops)-2]
	}
	switch {
	case strings.HasPrefix(in.Op, "CMP") || strings.HasPrefix(in.Op, "TEST") || strings.HasPrefix(in.Op, "UCOMIS") || strings.HasPrefix(in.Op, "PREFETCH"):
		return "", false
	case in.Op == "STMG" && len(ops) == 3: // s390x stores several registers
		return storedOf(ops, c)
	case in.Op == "LMG" || strings.HasPrefix(last, "(") && strings.Contains(last, ", "): // a pair
		for _, r := range strings.Split(strings.Trim(last, "()"), ", ") {
			if c.is(r) {
				return "", true
			}
		}
		return "", false
	case strings.HasPrefix(in.Op, "XCHG") && len(ops) == 2:
		// With itself it marks an inlined call.
		return "", ops[0] != ops[1] && (c.is(ops[0]) || c.is(ops[1]))
	}
	if len(ops) == 2 && strings.HasPrefix(ops[0], "(") && strings.Contains(ops[0], ", ") && strings.HasPrefix(in.Op, "STP") {
		return pairOf(ops, c)
	}
	if !c.is(last) {
		return "", false
	}
	if len(ops) == 1 { // INCQ AX
		return "", true
	}
	value := ops[0]
	switch {
	case in.Sym != "" && in.Use != disasm.None:
		value = in.Sym
		if in.Use == disasm.Load {
			value = "*" + in.Sym
		}
	case strings.HasPrefix(in.Op, "XOR") && len(ops) == 2 && ops[0] == ops[1]:
		value = "0"
	case strings.HasPrefix(in.Op, "LEA"):
		value = "&" + value
	case !strings.HasPrefix(in.Op, "MOV"):
		value = in.Op + " " + in.Args
	}
	return strings.TrimPrefix(value, "$"), true
}

// storedOf is written for STMG R1, R4, 8(R15).
func storedOf(ops []string, c carrier) (string, bool) {
	if c.stack == "" {
		return "", false
	}
	from, ok1 := number(ops[0], "R")
	to, ok2 := number(ops[1], "R")
	base, ok3 := strings.CutSuffix(ops[2], "("+c.stack+")")
	if i := strings.LastIndexByte(base, '+'); i >= 0 {
		base = base[i+1:]
	}
	at, ok4 := number(base, "")
	if base == "" {
		at, ok4 = 0, true
	}
	if !ok1 || !ok2 || !ok3 || !ok4 || c.off < at || (c.off-at)%8 != 0 || from+(c.off-at)/8 > to {
		return "", false
	}
	return "R" + itoa(from+(c.off-at)/8), true
}

// pairOf is written for STP (R0, R1), 8(RSP).
func pairOf(ops []string, c carrier) (string, bool) {
	regs := strings.Split(strings.Trim(ops[0], "()"), ", ")
	if c.stack == "" || len(regs) != 2 {
		return "", false
	}
	if c.is(ops[1]) {
		return regs[0], true
	}
	second := c
	second.off -= 8
	if second.is(ops[1]) {
		return regs[1], true
	}
	return "", false
}

func number(s, prefix string) (int, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1<<20 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, ok && s != ""
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// isRegister reports whether an operand is a bare register.
func isRegister(s string) bool {
	if s == "" || s[0] < 'A' || s[0] > 'Z' || len(s) > 4 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// mapType returns the name of the map type that a call is given, "" if it comes
// from a dictionary or is not known.
func (n *annotation) mapType(i int, r routine, args []Arg) string {
	if len(args) == 0 {
		return ""
	}
	if len(args) > 0 && (args[0].Name == "typ" || args[0].Name == "m.type") {
		if name, ok := typeSymbol(args[0].Value); ok {
			return name
		}
		// From register to register.
		value, at := args[0].Value, i
		if carriers, _ := n.a.Target.carriers(r); len(carriers) > 0 && isRegister(value) {
			_, at = n.writer(i, carriers[0])
		}
		for hops := 0; hops < 4 && at >= 0 && isRegister(value); hops++ {
			value, at = n.writer(at, carrier{reg: value})
			if name, ok := typeSymbol(value); ok {
				return name
			}
		}
	}
	if r.part || r.variant == "small" || strings.Contains(n.f.Name, "go.shape.") {
		return ""
	}
	// Without operands, on wasm, and where a register's content is not followed: the
	// last type that is named before the call.
	for back := 0; back < window; back++ {
		if n.targets[n.f.Insts[i].PC] && back > 0 {
			return ""
		}
		if i--; i < 0 {
			return ""
		}
		in := &n.f.Insts[i]
		if in.Kind == disasm.Call || in.Kind == disasm.CallIndirect || in.Kind == disasm.Return {
			return ""
		}
		if in.Use != disasm.Addr && in.Use != disasm.GOT {
			continue
		}
		if n.a.MapTypeAt != nil {
			if in.Ref != 0 {
				if name := n.a.MapTypeAt(in.Ref); name != "" {
					return name
				}
			}
			continue
		}
		if name, ok := typeSymbol(in.Sym); ok && !named(name) {
			return name
		}
	}
	return ""
}

// typeSymbol takes the type out of a symbol's name, without the prefix for the own
// package of Go 1.18.
func typeSymbol(sym string) (string, bool) {
	name, ok := strings.CutPrefix(sym, "type:")
	if !ok {
		if name, ok = strings.CutPrefix(sym, "type."); !ok {
			return "", false
		}
	}
	if i := strings.Index(name, "+"); i > 0 && isNumber(name[i+1:]) {
		name = name[:i]
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, `"".`, ""), "%2e", "."), name != ""
}

func isNumber(s string) bool {
	_, ok := number(s, "")
	return ok
}

// result finds what the code does with what a call returns.
func (n *annotation) result(i int, r routine, op *Op, k int) {
	if r.result == "" {
		return
	}
	_, results := n.a.Target.carriers(r)
	res := &Result{Means: r.result}
	op.Result = res
	if len(results) == 0 {
		return
	}
	res.In = results[0].String()
	if r.ok {
		res.Means += "; ok in " + results[1].String()
	}
	if r.kind != Assign && r.kind != Access && r.kind != Access2 {
		return
	}
	if n.a.Target.Arch == "wasm" {
		n.stackMachine(i, r, op)
		return
	}
	n.follow(i, r, op, k, results[0])
}

// follow finds what is done through the address that a call returned, in registers
// and stack slots that it moves to.
func (n *annotation) follow(i int, r routine, op *Op, k int, result carrier) {
	res := op.Result
	aliases := map[string]bool{}
	if result.stack == "" {
		aliases[result.reg] = true
	}
	barrier := false
	for j := i + 1; j < len(n.f.Insts) && j < i+window; j++ {
		in := &n.f.Insts[j]
		switch {
		case in.Kind == disasm.Pseudo || in.Args == "":
			continue
		case in.Kind == disasm.Call && strings.HasPrefix(in.Sym, "runtime.gcWriteBarrier"), in.Sym == "runtime.writeBarrier":
			barrier = true
			continue
		case in.Kind == disasm.Call || in.Kind == disasm.CallIndirect:
			if _, ok := routineOf(in.Sym); ok {
				return
			}
			for a := range aliases { // registers do not survive it
				if isRegister(a) {
					delete(aliases, a)
				}
			}
			continue
		case in.Kind == disasm.Return:
			return
		}
		ops := operandsOf(in)
		last := ops[len(ops)-1]
		compares := strings.HasPrefix(in.Op, "CMP") || strings.HasPrefix(in.Op, "TEST")
		through := slices.IndexFunc(ops, func(o string) bool { b := baseOf(o); return b != "" && aliases[b] })
		from := aliases[ops[0]] || result.stack != "" && result.is(ops[0])
		switch {
		case r.kind == Assign && through == len(ops)-1 && !compares:
			if res.Store == "" || barrier {
				res.Store, res.StorePC = in.Op+" "+in.Args, in.PC
				n.note(j, k, "stores the value in the slot")
			}
			if barrier {
				op.WriteBarrier = true
				return
			}
			continue
		case r.kind != Assign && through >= 0 && (through < len(ops)-1 || compares):
			res.Store, res.StorePC = in.Op+" "+in.Args, in.PC
			n.note(j, k, "loads the value")
			return
		case len(ops) == 2 && from && strings.HasPrefix(in.Op, "MOV"):
			aliases[last] = true // a register or a stack slot
		case aliases[last] && !compares && in.Kind == disasm.Plain && len(ops) > 1:
			delete(aliases, last)
		}
		if len(aliases) == 0 && result.stack == "" {
			return
		}
	}
}

// stackMachine finds the write barrier of an assignment on wasm, where operands
// have no names.
func (n *annotation) stackMachine(i int, r routine, op *Op) {
	for j := i + 1; r.kind == Assign && j < len(n.f.Insts) && j < i+window; j++ {
		in := &n.f.Insts[j]
		if in.Kind == disasm.Call {
			if _, ok := routineOf(in.Sym); ok {
				return
			}
		}
		if in.Sym == "runtime.writeBarrier" && in.Line == n.f.Insts[i].Line {
			op.WriteBarrier = true
			return
		}
	}
}

// baseOf returns the register through which an operand goes to memory.
func baseOf(op string) string {
	if len(op) < 3 || op[len(op)-1] != ')' {
		return ""
	}
	i := strings.LastIndexByte(op, '(')
	if i < 0 {
		return ""
	}
	return op[i+1 : len(op)-1]
}
