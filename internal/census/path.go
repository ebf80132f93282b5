package census

import (
	"slices"
	"strings"

	"hmaptools/internal/target"
)

// node is a step of a path, from a variable to where it leads. Paths are put
// into words only for holders.
type node struct {
	parent *node
	root   *target.Root // of the first step
	step   step
	label  string // as it is written behind what leads to it
}

type step uint8

const (
	stepName   step = iota // a variable
	stepInto               // .field or [index]
	stepDeref              // what a pointer to no struct points at
	stepAssert             // what an interface holds; the label is its type
)

// top is the variable at which the path starts.
func (n *node) top() *target.Root {
	for n.parent != nil {
		n = n.parent
	}
	return n.root
}

// String writes the path as a Go expression: "main.srv.sessions[42].Attrs",
// "*main.p", "(*main.p)[3]", "main.any.(main.T).m". A type assertion at the very
// end is left out: the type is the map's own.
func (n *node) String() string {
	var steps []*node
	for ; n != nil; n = n.parent {
		steps = append(steps, n)
	}
	slices.Reverse(steps)
	var b strings.Builder
	assert := ""
	star := false
	for _, s := range steps {
		if s.step == stepAssert {
			assert = s.label
			continue
		}
		if assert != "" {
			b.WriteString(".(" + assert + ")")
			assert = ""
		}
		if star && s.step != stepName {
			whole := "(" + b.String() + ")"
			b.Reset()
			b.WriteString(whole)
			star = false
		}
		if s.step == stepDeref {
			whole := "*" + b.String()
			b.Reset()
			b.WriteString(whole)
			star = true
			continue
		}
		b.WriteString(s.label)
	}
	return b.String()
}
