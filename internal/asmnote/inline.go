package asmnote

import (
	"slices"
	"strings"

	"hmaptools/internal/disasm"
)

// inlined finds the operations that are no calls of map routines, at the lines
// that the code has; and those of the function itself of which nothing is left.
func (n *annotation) inlined() {
	for _, src := range n.candidates {
		if n.used[src] > 0 || !src.Typed || n.nested(src) {
			continue
		}
		switch src.Kind {
		case Make, Literal:
			n.onStack(src)
		case Len:
			n.length(src)
		case NilCheck:
			n.nilCheck(src)
		case Copy:
			n.copyWord(src)
		case Closure:
			n.closure(src)
		}
	}
	for _, src := range n.own {
		if src.Kind == Copy && n.used[src] == 0 && src.Typed {
			n.noCopy(src)
		}
	}
}

// nested reports whether an operation belongs to another function that begins on
// the line of this one: what surrounds a literal, or a literal in it.
func (n *annotation) nested(src *SourceOp) bool {
	if len(n.owners) == 0 || src.Func == nil || slices.Contains(n.owners, src.Func) {
		return false
	}
	for _, o := range n.owners {
		if o.File == src.Func.File && (o.Line == src.Func.Line || src.Kind == Closure && o.Lit && src.Line == o.Line) {
			return true
		}
	}
	return false
}

// each calls fn for the instructions at the lines of an operation, until it
// returns false.
func (n *annotation) each(src *SourceOp, fn func(i int, in *disasm.Inst) bool) {
	for i := range n.f.Insts {
		in := &n.f.Insts[i]
		if !isPseudo(in) && slices.Contains(n.a.at(in.File, in.Line), src) && !fn(i, in) {
			return
		}
	}
}

// add records an operation without a call, at instruction i.
func (n *annotation) add(src *SourceOp, i int, variant, how string) *Op {
	n.used[src]++
	if variant == "none" {
		n.a.none[src] = how
	} else {
		n.a.found[src] = how
	}
	op := Op{Kind: src.Kind, File: src.File, Line: src.Line, Col: src.Col, Expr: src.Expr, MapType: src.MapType, Variant: variant, Why: how, Source: src}
	if i >= 0 {
		op.PC = n.f.Insts[i].PC
	} else if len(n.f.Insts) > 0 {
		op.PC = n.f.Insts[0].PC
	}
	n.out.Ops = append(n.out.Ops, op)
	if i >= 0 {
		n.note(i, len(n.out.Ops)-1, string(src.Kind)+" "+src.Expr)
	}
	return &n.out.Ops[len(n.out.Ops)-1]
}

// onStack finds a map that lives on the stack: of its making only the seed is left,
// and the control word of an empty group.
func (n *annotation) onStack(src *SourceOp) {
	found, outlined := -1, false
	n.each(src, func(i int, in *disasm.Inst) bool {
		switch {
		case in.Kind == disasm.Call && strings.Contains(in.Sym, mapInit):
			outlined = true
		case in.Kind == disasm.Call && (in.Sym == "runtime.rand" || in.Sym == "runtime.rand32" || in.Sym == "runtime.fastrand"):
			if found < 0 {
				found = i
			}
		case in.Line == src.Line && strings.Contains(in.Args, "-9187201950435737472") && found < 0:
			found = i
		}
		return true
	})
	if found >= 0 {
		n.add(src, found, "stack", "on the stack: "+whyMake("stack"))
		n.note(found, len(n.out.Ops)-1, "the seed of a map on the stack")
		return
	}
	// A large literal of a package has a function of its own, so that the linker can drop
	// it with the variable. Else, if there is no seed either, it is not needed.
	if n.ownOp(src) && !outlined {
		n.add(src, n.firstAt(src), "none", "no call: the map is not needed, or its making is not told apart")
		delete(n.a.none, src) // which of both is not known
	}
}

// mapInit is in the names of functions that make maps of package variables, since Go
// 1.21.
const mapInit = ".map.init."

func (n *annotation) ownOp(src *SourceOp) bool {
	return slices.Contains(n.own, src)
}

func (n *annotation) firstAt(src *SourceOp) int {
	first := -1
	n.each(src, func(i int, _ *disasm.Inst) bool { first = i; return false })
	return first
}

// length finds the load of the header's first word, which is the number of
// entries: count or used.
func (n *annotation) length(src *SourceOp) {
	at := -1
	tested := map[string]bool{} // registers that were compared with zero on the line
	n.each(src, func(i int, in *disasm.Inst) bool {
		if reg := zeroTested(in); reg != "" {
			tested[reg] = true
		}
		// What is an argument of a call may be a length too; two lengths are two loads.
		if strings.Contains(n.marks[i].note, string(Len)+" ") || in.Kind != disasm.Plain {
			return true
		}
		for j, o := range operandsOf(in) {
			last := strings.HasSuffix(in.Args, o) && j > 0
			if last && !strings.HasPrefix(in.Op, "CMP") && !strings.HasPrefix(in.Op, "TEST") {
				break
			}
			if o = strings.TrimPrefix(o, "0("); strings.HasPrefix(o, "(") || o != "" && !strings.Contains(o, "(") && strings.HasSuffix(o, ")") {
				reg := strings.Trim(o, "()")
				if isRegister(reg) && reg != "SP" && reg != "RSP" && reg != "SB" && reg != "FP" {
					// A map that may be nil is tested first.
					if at < 0 || tested[reg] {
						at = i
					}
					return !tested[reg]
				}
			}
		}
		if n.a.Target.Arch == "wasm" && in.Op == "I64Load" && in.Args == "$0" {
			at = i
			return false
		}
		return true
	})
	if at >= 0 {
		op := n.add(src, at, "inline", "no call: a test for nil, and the first word of the header")
		op.Notes = append(op.Notes, "0 for a nil map")
		return
	}
	// A later use of the same word needs no load.
	if n.lines[src] && n.ownOp(src) {
		n.add(src, n.firstAt(src), "none", "no load of its own: the number was loaded before, or is known")
	}
}

// zeroTested returns the register that an instruction compares with zero, "memory" for
// one in memory, "" if it does no such thing.
func zeroTested(in *disasm.Inst) string {
	ops := operandsOf(in)
	if len(ops) < 2 {
		return ""
	}
	zero := func(o string) bool { return o == "$0" || o == "ZR" || o == "X0" || o == "ZERO" || o == "R0" }
	what := ""
	switch {
	case strings.HasPrefix(in.Op, "TEST") && ops[0] == ops[1]:
		what = ops[0]
	case strings.HasPrefix(in.Op, "CBZ"), strings.HasPrefix(in.Op, "CBNZ"), in.Op == "BEQZ", in.Op == "BNEZ":
		what = ops[0]
	case strings.HasPrefix(in.Op, "CMP") || strings.HasPrefix(in.Op, "CG") || strings.HasPrefix(in.Op, "CLG"):
		for i, o := range ops[:2] {
			if zero(o) {
				what = ops[1-i]
			}
		}
		if len(ops) == 4 && zero(ops[2]) { // CGIJ $8, R2, $0, 16
			what = ops[1]
		}
	case in.Op == "BEQ" || in.Op == "BNE":
		if what = ops[0]; len(ops) > 2 && zero(ops[0]) {
			what = ops[1]
		}
	}
	if what != "" && !isRegister(what) {
		return "memory"
	}
	return what
}

// nilCheck finds the test of the map word, a comparison with zero above all.
func (n *annotation) nilCheck(src *SourceOp) {
	at := -1
	n.each(src, func(i int, in *disasm.Inst) bool {
		if _, taken := n.marks[i]; !taken && zeroTested(in) != "" {
			at = i
			return false
		}
		return true
	})
	n.each(src, func(i int, in *disasm.Inst) bool {
		if at >= 0 {
			return false
		}
		if in.Kind == disasm.Branch || strings.HasPrefix(in.Op, "SET") || strings.HasPrefix(in.Op, "CSET") || in.Op == "I64Eqz" || strings.HasPrefix(in.Op, "TEST") ||
			strings.HasPrefix(in.Op, "SEQZ") || strings.HasPrefix(in.Op, "SNEZ") || strings.HasPrefix(in.Op, "CMP") || in.Op == "SGTU" || strings.HasPrefix(in.Op, "ISEL") ||
			strings.HasPrefix(in.Op, "LOCGR") || in.Op == "SETBC" || strings.HasPrefix(in.Op, "MOVW.") || in.Op == "I64Ne" {
			at = i
			return false
		}
		return true
	})
	if at >= 0 {
		n.add(src, at, "inline", "no call: the map word is compared with zero")
		return
	}
	if n.lines[src] && n.ownOp(src) {
		n.add(src, n.firstAt(src), "none", "no test of its own: the answer is known")
	}
}

// closure finds where a captured map goes.
func (n *annotation) closure(src *SourceOp) {
	heap, typed := -1, false
	n.each(src, func(i int, in *disasm.Inst) bool {
		// The closure's own type is passed first.
		if in.Use == disasm.Addr && strings.Contains(in.Sym, "noalg.struct { F uintptr") {
			typed = true
		}
		if in.Kind == disasm.Call && (in.Sym == "runtime.newobject" || strings.HasPrefix(in.Sym, "runtime.mallocgc")) && (heap < 0 || typed) {
			heap = i
			return !typed
		}
		return true
	})
	if heap >= 0 {
		op := n.add(src, heap, "inline", "the closure is allocated, and holds the map word or the address of its variable")
		op.Words = 1
		return
	}
	i := n.firstAt(src)
	op := n.add(src, i, "stack", "no allocation: the closure is on the stack, or inlined")
	op.Words = 1
}
