package asmnote

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// An Expectation is a comment "// asmtrace: assign faststr" on the line of an
// operation. Several are separated by commas.
type Expectation struct {
	File string
	Line int
	Text string
	Kind Kind
	// Words follow the kind: a variant (faststr, stack, inline, none ...), the name of
	// a routine (mapassign_faststr), barrier or nobarrier. All must hold.
	Words []string
	// Bad says why it cannot be understood; "" if it can.
	Bad string
}

const expectPrefix = "asmtrace:"

// expect takes the expectations of the file.
func (w *walker) expect(f *ast.File) {
	for _, group := range f.Comments {
		for _, c := range group.List {
			text := strings.TrimSpace(strings.TrimSuffix(strings.TrimLeft(c.Text, "/*"), "*/"))
			text, ok := strings.CutPrefix(text, expectPrefix)
			if !ok {
				continue
			}
			at := w.position(c.Pos())
			for part := range strings.SplitSeq(text, ",") {
				w.expected = append(w.expected, parseExpectation(at.Filename, at.Line, part))
			}
		}
	}
}

func parseExpectation(file string, line int, text string) Expectation {
	words := strings.Fields(text)
	e := Expectation{File: file, Line: line, Text: strings.Join(words, " ")}
	if len(words) == 0 {
		e.Bad = "an operation is missing"
		return e
	}
	e.Kind, e.Words = Kind(words[0]), words[1:]
	if !slices.Contains(Kinds(), e.Kind) {
		e.Bad = fmt.Sprintf("%q is no operation: want one of %v", words[0], Kinds())
		return e
	}
	for _, w := range e.Words {
		_, isRoutine := routineOf("runtime." + w)
		if !isRoutine && !slices.Contains(variants(), w) && w != "barrier" && w != "nobarrier" {
			e.Bad = fmt.Sprintf("%q is neither a variant nor a routine: want one of %s", w, strings.Join(variants(), ", "))
		}
	}
	return e
}

func variants() []string {
	return []string{"faststr", "fast32", "fast64", "fast32ptr", "fast64ptr", "fat", "slow", "small", "hint", "stack", "inline", "none"}
}

// Meets reports whether an operation is the one that is expected.
func (e *Expectation) Meets(op *Op) bool {
	if e.Bad != "" || op.Line != e.Line || op.File != e.File || op.Kind != e.Kind {
		return false
	}
	for _, w := range e.Words {
		switch {
		case w == op.Variant || "runtime."+w == op.Symbol:
		case w == "barrier" && op.WriteBarrier, w == "nobarrier" && !op.WriteBarrier:
		default:
			return false
		}
	}
	return true
}
