package asmnote

import (
	"fmt"
	"strings"
)

// A routine is a function of the runtime that compiled code calls for maps.
type routine struct {
	name    string // without "runtime."
	kind    Kind
	variant string
	params  []string // words, in order; "key:64" is 8 bytes, "key:32" is 4
	result  string   // what the first result means; "" if there is none
	ok      bool     // there is a second result, a bool
	part    bool     // never an operation of its own: mapIterNext
	grows   bool
}

// IsRoutine reports whether a symbol is a routine that carries out map operations.
func IsRoutine(sym []byte) bool {
	if len(sym) < len("maps.clone") || sym[0] != 'r' && sym[0] != 'm' {
		return false
	}
	_, ok := routineOf(string(sym))
	return ok
}

// routineOf returns the routine of a symbol. The set is that of
// cmd/compile/internal/typecheck/builtin.go in Go 1.18 to 1.27, and maps.clone.
// Routines that only the runtime and package reflect call are none.
func routineOf(sym string) (routine, bool) {
	if sym == "maps.clone" {
		return routine{name: "clone", kind: Clone, variant: "slow", params: []string{"m.type", "m"}, result: "the new map in an interface"}, true
	}
	name, ok := strings.CutPrefix(sym, "runtime.")
	if !ok || len(name) < len("makemap") || name[0] != 'm' {
		return routine{}, false
	}
	r := routine{name: name}
	base, fast, _ := strings.Cut(name, "_")
	r.variant = "slow"
	key := []string{"&key"}
	switch fast {
	case "":
	case "fast32":
		r.variant, key = fast, []string{"key:32"}
	case "fast64":
		r.variant, key = fast, []string{"key:64"}
	case "fast32ptr", "fast64ptr":
		r.variant, key = fast, []string{"key"}
	case "faststr":
		r.variant, key = fast, []string{"key.ptr", "key.len"}
	case "fat":
		r.variant, key = fast, []string{"&key", "&zero"}
	case "small":
		if name == "makemap_small" {
			return routine{name: name, kind: Make, variant: "small", result: "the new header"}, true
		}
		return routine{}, false
	default:
		return routine{}, false
	}
	r.params = append([]string{"typ", "m"}, key...)
	switch base {
	case "makemap":
		r.kind, r.variant, r.params, r.result = Make, "hint", []string{"typ", "hint", "m"}, "the new header"
	case "makemap64":
		r.kind, r.variant, r.params, r.result = Make, "hint", []string{"typ", "hint:64", "m"}, "the new header"
	case "mapassign":
		r.kind, r.result, r.grows = Assign, "the address of the elem's slot", true
	case "mapaccess1":
		r.kind, r.result = Access, "the address of the elem, or of a zero elem"
	case "mapaccess2":
		r.kind, r.result, r.ok = Access2, "the address of the elem, or of a zero elem", true
	case "mapdelete":
		r.kind = Delete
	case "mapclear":
		r.kind, r.params = Clear, []string{"typ", "m"}
	case "mapiterinit", "mapIterStart":
		r.kind, r.params = Range, []string{"typ", "m", "it"}
	case "mapiternext", "mapIterNext":
		r.kind, r.params, r.part = Range, []string{"it"}, true
	default:
		return routine{}, false
	}
	return r, true
}

// words returns how many bytes a parameter takes, and its name for people.
func param(p string, ptrSize int) (name string, size int) {
	name, bits, _ := strings.Cut(p, ":")
	switch bits {
	case "32":
		return name, 4
	case "64":
		return name, 8
	}
	return name, ptrSize
}

// A carrier is where an argument or a result is at a call: a register, or the
// operand that names a stack slot.
type carrier struct {
	reg   string
	off   int    // of a stack slot from the stack pointer
	stack string // the stack pointer; "" for registers
}

func (c carrier) String() string {
	if c.stack == "" {
		return c.reg
	}
	return fmt.Sprintf("%d(%s)", c.off, c.stack)
}

// is reports whether an operand names the carrier. Listings put a variable's name
// before the offset.
func (c carrier) is(operand string) bool {
	if c.stack == "" {
		return operand == c.reg
	}
	tail := "(" + c.stack + ")"
	rest, ok := strings.CutSuffix(operand, tail)
	if !ok {
		return false
	}
	if i := strings.LastIndexByte(rest, '+'); i >= 0 {
		rest = rest[i+1:]
	}
	return rest == fmt.Sprint(c.off) || rest == "" && c.off == 0
}

// A convention is how arguments are passed: cmd/compile/abi-internal.md.
type convention struct {
	regs  []string
	stack string // the stack pointer in the words of a listing
	base  int    // bytes from it to the first argument
}

// convention returns the calling convention of compiled code. Registers came to
// arm64 and ppc64 with Go 1.18, to riscv64 with 1.19, to loong64 with 1.22 and to
// s390x with 1.26.
func (t Target) convention() convention {
	since := func(minor int, regs string, stack string, base int) convention {
		if t.Minor != 0 && t.Minor < minor {
			return convention{nil, stack, base}
		}
		return convention{strings.Fields(regs), stack, base}
	}
	switch t.Arch {
	case "amd64":
		return since(17, "AX BX CX DI SI R8 R9 R10 R11", "SP", 0)
	case "arm64":
		return since(18, "R0 R1 R2 R3 R4 R5 R6 R7", "RSP", 8)
	case "ppc64", "ppc64le":
		return since(18, "R3 R4 R5 R6 R7 R8 R9 R10", "R1", 32)
	case "riscv64":
		return since(19, "X10 X11 X12 X13 X14 X15 X16 X17", "SP", 8)
	case "loong64":
		return since(22, "R4 R5 R6 R7 R8 R9 R10 R11", "R3", 8)
	case "s390x":
		return since(26, "R2 R3 R4 R5 R6 R7 R8 R9", "R15", 8)
	case "386":
		return convention{stack: "SP"}
	case "arm":
		return convention{stack: "R13", base: 4}
	case "mips", "mipsle":
		return convention{stack: "R29", base: 4}
	case "mips64", "mips64le":
		return convention{stack: "R29", base: 8}
	case "wasm":
		return convention{stack: "SP"}
	}
	return convention{}
}

// carriers returns where the parameters of a routine are at its call, and its
// results. They are empty for an unknown architecture.
func (t Target) carriers(r routine) (params, results []carrier) {
	c := t.convention()
	if c.stack == "" {
		return nil, nil
	}
	w := t.ptrSize()
	n := 0
	if r.result != "" {
		n = 1
	}
	if r.ok || r.kind == Clone {
		n = 2
	}
	if c.regs != nil {
		for i := range r.params {
			params = append(params, carrier{reg: c.regs[i]})
		}
		for i := range n {
			results = append(results, carrier{reg: c.regs[i]})
		}
		return params, results
	}
	off := c.base
	for _, p := range r.params {
		_, size := param(p, w)
		if a := min(size, w); (off-c.base)%a != 0 {
			off += a - (off-c.base)%a
		}
		params = append(params, carrier{stack: c.stack, off: off})
		off += size
	}
	if over := (off - c.base) % w; over != 0 {
		off += w - over
	}
	for range n {
		results = append(results, carrier{stack: c.stack, off: off})
		off += w
	}
	return params, results
}
