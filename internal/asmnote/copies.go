package asmnote

import (
	"fmt"
	"strings"

	"hmaptools/internal/disasm"
)

// What a map assignment is in the code: a store of one word, or of a value that holds
// some, or nothing.

// How sure it is that an instruction stores the map word.
const (
	doubtful = iota + 1 // it may be a spilled register
	possible            // it is some store of the line
	likely              // what it stores was loaded from the source's field
	certain             // it stores where the destination's field is
)

// copyWord finds the store of a map word. The displacement of a field tells it from
// other stores of the line.
func (n *annotation) copyWord(src *SourceOp) {
	c := src.Copy
	if len(c.Fields) > 0 {
		n.copyValue(src)
		return
	}
	store, sure, barrier, address := -1, 0, false, false
	loaded := map[string]bool{} // registers with the word, from the source's field
	dst := c.Dst[strings.LastIndexByte(c.Dst, '.')+1:]
	n.each(src, func(i int, in *disasm.Inst) bool {
		if in.Sym == "runtime.writeBarrier" || strings.HasPrefix(in.Sym, "runtime.gcWriteBarrier") {
			barrier = true
			return true
		}
		if in.Kind != disasm.Plain || in.Args == "" {
			return true
		}
		ops := operandsOf(in)
		last := ops[len(ops)-1]
		if len(ops) == 2 && isRegister(last) {
			loaded[last] = c.SrcOff >= 0 && displacement(ops[0]) == c.SrcOff && isRegister(baseOf(ops[0]))
		}
		if _, taken := n.marks[i]; taken {
			return true
		}
		base := baseOf(last)
		if i := strings.IndexAny(base, "*<"); i > 0 { // of an index: BX*8, R1<<3
			base = base[:i]
		}
		memory := len(ops) > 1 && isStore(in.Op) && isRegister(base) && base != "SB" && base != "R11" && !strings.Contains(ops[0], "(")
		if n.a.Target.Arch == "wasm" {
			memory = in.Op == "I64Store"
		}
		frame := base == "SP" || base == "RSP" || base == "FP"
		how := 0
		rank := func(ok bool, r int) {
			if ok {
				how = max(how, r)
			}
		}
		switch c.Into {
		case Global:
			named := strings.HasSuffix(in.Sym, "."+dst)
			rank(in.Use == disasm.Store && named, certain)
			// Some machines take the address first.
			address = address || named && (in.Use == disasm.Addr || in.Use == disasm.GOT)
			rank(address && memory && in.Sym == "", possible)
		case Heap:
			// What is behind a pointer may still lie on the stack.
			rank(memory && !frame, possible)
			rank(memory && loaded[ops[0]], likely)
			rank(memory && !frame && c.DstOff >= 0 && displacement(last) == c.DstOff, certain)
		case Field:
			// What is spilled has no name, or that of an argument.
			rank(memory, doubtful)
			rank(memory && (!frame || strings.Contains(last, "autotmp")), possible)
			rank(memory && loaded[ops[0]], likely)
			rank(memory && !frame && c.DstOff >= 0 && displacement(last) == c.DstOff, certain)
		case Local:
			rank(len(ops) > 1 && strings.HasSuffix(last, "(SP)") && !strings.Contains(ops[0], "(") && isStore(in.Op) && strings.Contains(last, dst+"+") || strings.Contains(last, dst+"-"), certain)
		}
		if how > 0 && how >= sure {
			store, sure = i, how // the last one is behind the barrier
		}
		return true
	})
	how := "one store of one machine word, the header's address"
	if c.What == CopyNil {
		how = "one store of one machine word, zero"
		if i := n.joined(src); i >= 0 && sure < certain {
			store, how = i, "one store of zero, together with the field beside it"
		}
	}
	if store < 0 {
		return
	}
	barrier = barrier || (c.Into == Global || c.Into == Heap) && n.guarded(store)
	if barrier && c.Into != Local {
		how = strings.TrimSuffix(how, ", the header's address") + ", under a write barrier that does nothing unless the collector marks"
	}
	op := n.add(src, store, "inline", how)
	op.WriteBarrier = barrier && c.Into != Local
	n.words(op)
}

// joined finds the store of two words that sets a field to nil and one beside it, which
// has the line of either.
func (n *annotation) joined(src *SourceOp) int {
	const lines = 8
	off := src.Copy.DstOff
	if off < 0 {
		return -1
	}
	for i := range n.f.Insts {
		in := &n.f.Insts[i]
		if in.File != src.File && n.a.Source.known(in.File) != n.a.Source.known(src.File) || max(in.Line-src.Line, src.Line-in.Line) > lines {
			continue
		}
		zero := in.Op == "MOVUPS" && strings.HasPrefix(in.Args, "X15, ") || in.Op == "STP" && strings.HasPrefix(in.Args, "(ZR, ZR), ")
		if ops := operandsOf(in); zero && isRegister(baseOf(ops[len(ops)-1])) {
			if d := displacement(ops[len(ops)-1]); d == off || d >= 0 && d+8 == off {
				return i
			}
		}
	}
	return -1
}

// copyValue finds where a value is copied that holds maps.
func (n *annotation) copyValue(src *SourceOp) {
	at, sure, barrier := -1, 0, false
	n.each(src, func(i int, in *disasm.Inst) bool {
		how := 0
		switch {
		case in.Kind == disasm.Call && (in.Sym == "runtime.typedmemmove" || in.Sym == "runtime.wbMove"):
			how, barrier = likely, true // the words themselves may move behind it
		case in.Kind == disasm.Call && (in.Sym == "runtime.memmove" || strings.HasPrefix(in.Sym, "runtime.duffcopy")):
			how = certain
		case in.Sym == "runtime.writeBarrier" || strings.HasPrefix(in.Sym, "runtime.gcWriteBarrier"):
			barrier = true
		case in.Kind == disasm.Plain && in.Args != "":
			ops := operandsOf(in)
			base := baseOf(ops[len(ops)-1])
			frame := base == "SP" || base == "RSP" || base == "FP"
			switch {
			case len(ops) < 2 || !strings.HasPrefix(in.Op, "MOV") && !isStore(in.Op) || strings.Contains(ops[0], "("):
			case in.Op == "MOVUPS" && ops[0] != "X15" && base != "":
				how = certain
			case isRegister(base) && (!frame || src.Copy.Into == Local):
				how = possible
			}
		}
		if _, taken := n.marks[i]; !taken && how > sure {
			at, sure = i, how
		}
		return true
	})
	if at < 0 {
		return
	}
	op := n.add(src, at, "inline", fmt.Sprintf("the value is copied whole; %s in it", plural(len(src.Copy.Fields), "map word")))
	op.WriteBarrier = barrier && src.Copy.Into != Local
	n.words(op)
}

// words says of a copy how many map words it moves, and what that means.
func (n *annotation) words(op *Op) {
	op.Words = max(1, len(op.Source.Copy.Fields))
	op.Notes = append(op.Notes, op.Source.Copy.sharing())
}

func plural(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// displacement returns 8 for 8(AX) and 0 for (AX), -1 for what is no plain memory
// operand.
func displacement(op string) int {
	i := strings.LastIndexByte(op, '(')
	if i < 0 || op[len(op)-1] != ')' || strings.Count(op, "(") > 1 {
		return -1
	}
	if i == 0 {
		return 0
	}
	if d, ok := number(op[:i], ""); ok {
		return d
	}
	return -1
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

func isStore(op string) bool {
	return strings.HasPrefix(op, "MOV") && op != "MOVUPS" || strings.HasPrefix(op, "STP") || strings.HasPrefix(op, "I64Store") || op == "I32Store" || op == "STMG"
}

// noCopy records a copy that needs no instruction: the word stays where it is, or
// moves between registers with others.
func (n *annotation) noCopy(src *SourceOp) {
	i := n.firstAt(src)
	how := "no instruction: both names are one register or stack slot from here on"
	switch {
	case src.Copy.What == CopyNil:
		how = "no store: it is known to be nil from here on"
	case i >= 0:
		how = "no store: the word stays in a register"
	}
	if src.Copy.Into != Local {
		how = "no store of its own at this line: it is dead, or joined with another"
	}
	op := n.add(src, i, "none", how)
	if src.Copy.Into != Local {
		delete(n.a.none, src) // which of both is not known
	}
	n.words(op)
}
