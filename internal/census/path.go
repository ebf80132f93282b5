package census

import (
	"slices"
	"strconv"
	"strings"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// node is a step of a path, from a variable to where it leads. There is one for
// every object that is met, so paths are put into words only for holders.
type node struct {
	parent *node
	root   *target.Root // of the first step
	step   step
	label  string // stepName, stepField, stepAssert
	index  int64  // stepIndex
	key    *entryKey
}

type step uint8

const (
	stepName   step = iota // a variable
	stepField              // .label
	stepIndex              // [index]
	stepElem               // [key] of a map
	stepKey                // .key[key]: the key itself
	stepDeref              // what a pointer to no struct points at
	stepAssert             // what an interface holds; the label is its type
)

// entryKey is the key of a map's entry, as it lay in memory.
type entryKey struct {
	t    *hmap.Type
	data []byte
	text *hmap.Formatter
}

// suffix is the step as it is written behind what leads to it.
func (n *node) suffix() string {
	switch n.step {
	case stepField:
		return "." + n.label
	case stepIndex:
		return "[" + strconv.FormatInt(n.index, 10) + "]"
	case stepElem:
		return "[" + n.key.text.Format(n.key.t, n.key.data) + "]"
	case stepKey:
		return ".key[" + n.key.text.Format(n.key.t, n.key.data) + "]"
	}
	return n.label
}

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
		b.WriteString(s.suffix())
	}
	return b.String()
}
