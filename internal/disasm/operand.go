package disasm

import (
	"iter"
	"strings"
)

// Operands yields the operands of an instruction, [Inst.Args], from left to
// right without the separating ", ". Commas within quotes, parentheses, brackets
// and braces belong to a symbol's name or to a list of registers.
func Operands(args string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(args) > 0 {
			end := operandEnd(args)
			if !yield(args[:end]) {
				return
			}
			args = strings.TrimPrefix(strings.TrimPrefix(args[end:], ","), " ")
		}
	}
}

// operandEnd returns the length of the first operand of args. A separator is a
// comma outside of quotes and brackets; it is followed by a space but in
// "$1,X6". Unbalanced brackets run to the end: no compiler prints them.
func operandEnd(args string) int {
	depth := 0
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case '"':
			i = quoteEnd(args, i)
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ',':
			if depth <= 0 {
				return i
			}
		}
	}
	return len(args)
}

// quoteEnd returns the index of the quote that closes the one at i, or the last
// index of s. Within, a backslash protects the next byte: names are quoted by
// strconv.Quote.
func quoteEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(s) - 1
}

// symbol finds the operand of args that names a symbol, and returns the name, the
// offset behind it, whether it is an address or a GOT reference, and whether it
// is the last operand.
func symbol(args string) (name string, off int64, use Use, last bool) {
	// Most instructions name none.
	if strings.LastIndexByte(args, ')') < 0 {
		return "", 0, None, false
	}
	sb := strings.Contains(args, "(SB)")
	if !sb && !strings.Contains(args, ":") && !strings.Contains(args, "@") {
		return "", 0, None, false
	}
	for len(args) > 0 {
		end := operandEnd(args)
		op := args[:end]
		args = strings.TrimPrefix(strings.TrimPrefix(args[end:], ","), " ")
		if name, off, use, ok := symbolOperand(op); ok {
			return name, off, use, args == "" || strings.HasPrefix(args, "R???")
		}
	}
	return "", 0, None, false
}

// symbolOperand takes apart an operand of the form [$|*]NAME[<>][+OFF][@GOT](REG)
// with an optional index (REG*SCALE) behind it. REG is SB; on 386 with -shared it
// is the general register that holds the base. The stack's registers name
// variables, which are no symbols.
func symbolOperand(op string) (name string, off int64, use Use, ok bool) {
	base := strings.LastIndexByte(op, '(')
	if base < 0 || op[len(op)-1] != ')' {
		return "", 0, None, false
	}
	reg := op[base+1 : len(op)-1]
	if strings.IndexByte(reg, '*') >= 0 { // an index: the base stands before it
		op = op[:base]
		base = strings.LastIndexByte(op, '(')
		if base < 0 || len(op) == 0 || op[len(op)-1] != ')' {
			return "", 0, None, false
		}
		reg = op[base+1 : len(op)-1]
	}
	switch reg {
	case "SB":
	case "AX", "BX", "CX", "DX", "SI", "DI", "BP":
	default:
		return "", 0, None, false
	}
	name, use = op[:base], Load
	if name != "" && (name[0] == '$' || name[0] == '*') {
		if name[0] == '$' {
			use = Addr
		}
		name = name[1:]
	}
	if n, ok := strings.CutSuffix(name, "@GOT"); ok {
		name, use = n, GOT
	}
	name, off = cutOffset(name)
	name = strings.TrimSuffix(name, "<>")
	if name == "" || reg != "SB" && use != GOT && !strings.ContainsAny(name, ".:") {
		return "", 0, None, false
	}
	return name, off, use, true
}

// cutOffset splits "name+8" and "name-8". Names do not end so: base64 hashes end
// in "==", quoted strings in a quote.
func cutOffset(s string) (string, int64) {
	i := len(s)
	for i > 0 && '0' <= s[i-1] && s[i-1] <= '9' {
		i--
	}
	if i == len(s) || i == 0 || s[i-1] != '+' && s[i-1] != '-' || len(s)-i > 18 {
		return s, 0
	}
	n, _ := parseUint(s[i:])
	if s[i-1] == '-' {
		n = -n
	}
	return s[:i-1], n
}

// parseUint reads decimal digits, at most 19.
func parseUint[T string | []byte](s T) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}

// parseInt reads decimal digits with an optional minus sign.
func parseInt[T string | []byte](s T) (n int64, ok bool) {
	if len(s) > 0 && s[0] == '-' {
		n, ok = parseUint(s[1:])
		return -n, ok
	}
	return parseUint(s)
}
