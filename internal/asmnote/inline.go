package asmnote

import (
	"fmt"
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
	found := -1
	n.each(src, func(i int, in *disasm.Inst) bool {
		switch {
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
	// Never needed: no seed either.
	if n.ownOp(src) {
		n.add(src, n.firstAt(src), "none", "no call: the map is not needed, or its making is not told apart")
		delete(n.a.none, src) // which of both is not known
	}
}

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
	n.each(src, func(i int, in *disasm.Inst) bool {
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
					at = i
					return false
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

// nilCheck finds the test of the map word.
func (n *annotation) nilCheck(src *SourceOp) {
	at := -1
	n.each(src, func(i int, in *disasm.Inst) bool {
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

// copyWord finds the store of a map word.
func (n *annotation) copyWord(src *SourceOp) {
	store, barrier, address := -1, false, false
	dst := src.Dst
	if i := strings.LastIndexByte(dst, '.'); i >= 0 {
		dst = dst[i+1:]
	}
	n.each(src, func(i int, in *disasm.Inst) bool {
		if in.Sym == "runtime.writeBarrier" || strings.HasPrefix(in.Sym, "runtime.gcWriteBarrier") {
			barrier = true
			return true
		}
		if in.Kind != disasm.Plain || in.Args == "" {
			return true
		}
		if _, taken := n.marks[i]; taken {
			return true
		}
		ops := operandsOf(in)
		last := ops[len(ops)-1]
		ok, base := false, baseOf(last)
		if i := strings.IndexAny(base, "*<"); i > 0 { // of an index: BX*8, R1<<3
			base = base[:i]
		}
		memory := len(ops) > 1 && isStore(in.Op) && isRegister(base) && base != "SB" && base != "R11" && !strings.Contains(ops[0], "(")
		if n.a.Target.Arch == "wasm" {
			memory = in.Op == "I64Store"
		}
		switch src.Into {
		case Global:
			named := strings.HasSuffix(in.Sym, "."+dst)
			ok = in.Use == disasm.Store && named
			// Some machines take the address first.
			address = address || named && (in.Use == disasm.Addr || in.Use == disasm.GOT)
			ok = ok || address && memory && in.Sym == ""
		case Heap:
			ok = memory && base != "SP" && base != "RSP" && base != "FP"
		case Field:
			ok = memory
		case Local:
			ok = len(ops) > 1 && strings.HasSuffix(last, "(SP)") && !strings.Contains(ops[0], "(") && isStore(in.Op) && strings.Contains(last, dst+"+") || strings.Contains(last, dst+"-")
		}
		if ok {
			store = i // the last one is behind the barrier
		}
		return true
	})
	if store < 0 {
		return
	}
	barrier = barrier || (src.Into == Global || src.Into == Heap) && n.guarded(store)
	how := "one store of one machine word, the header's address"
	if barrier && src.Into != Local {
		how = "one store of one machine word, under a write barrier that does nothing unless the collector marks"
	}
	op := n.add(src, store, "inline", how)
	op.Words = 1
	op.WriteBarrier = barrier && src.Into != Local
	op.Notes = append(op.Notes, shares(src))
}

// guarded reports whether a store lies behind the test of a write barrier. Stores in
// a row share one.
func (n *annotation) guarded(i int) bool {
	for back := 0; back < window/2 && i > 0; back++ {
		i--
		in := &n.f.Insts[i]
		switch {
		case in.Sym == "runtime.writeBarrier":
			return true
		case in.Kind == disasm.Call && !strings.HasPrefix(in.Sym, "runtime.gcWriteBarrier"), in.Kind == disasm.CallIndirect, in.Kind == disasm.Return:
			return false
		}
	}
	return false
}

func shares(src *SourceOp) string {
	return fmt.Sprintf("%s and %s then share one header", src.Dst, src.Src)
}

func isStore(op string) bool {
	return strings.HasPrefix(op, "MOV") && op != "MOVUPS" || strings.HasPrefix(op, "STP") || strings.HasPrefix(op, "I64Store") || op == "I32Store" || op == "STMG"
}

// noCopy records a copy that needs no instruction: the word stays where it is, or
// moves between registers with others.
func (n *annotation) noCopy(src *SourceOp) {
	i := n.firstAt(src)
	how := "no instruction: both names are one register or stack slot from here on"
	if i >= 0 {
		how = "no store: the word stays in a register"
	}
	if src.Into != Local {
		how = "no store of its own at this line: it is dead, or joined with another"
	}
	op := n.add(src, i, "none", how)
	if src.Into != Local {
		delete(n.a.none, src) // which of both is not known
	}
	op.Words = 1
	op.Notes = append(op.Notes, shares(src))
}

// closure finds where a captured map goes.
func (n *annotation) closure(src *SourceOp) {
	heap := -1
	n.each(src, func(i int, in *disasm.Inst) bool {
		if in.Kind == disasm.Call && (in.Sym == "runtime.newobject" || strings.HasPrefix(in.Sym, "runtime.mallocgc")) {
			heap = i
			return false
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
