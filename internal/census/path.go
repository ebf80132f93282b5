package census

import (
	"reflect"
	"slices"
	"strconv"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// node is a step of a path, from a variable to where it leads: a place in the value
// that the parent leads to. There is one for every object that is met, so it is
// small, and put into words only for what is shown.
type node struct {
	parent *node
	jump   *node // an ancestor, so that any is found in a logarithm of steps
	ref    *ref
	index  int64 // of the element in which the place is, or the address of the key; -1: neither
	depth  uint32
	again  uint32 // how many more times the same step follows: .next.next.next
}

// child makes the node of a place in what n leads to.
func (n *node) child(r *ref, index int64) *node {
	if n.ref == r && n.index < 0 && index < 0 && r.op != opRoot {
		// A list is as long as it likes; its path is one step.
		return &node{n.parent, n.jump, r, -1, n.depth, n.again + 1}
	}
	c := &node{parent: n, ref: r, index: index, depth: n.depth + 1, jump: n}
	if j := n.jump; j != nil && j.jump != nil && n.depth-j.depth == j.depth-j.jump.depth {
		c.jump = j.jump
	}
	return c
}

// at returns the ancestor at a depth.
func (n *node) at(depth uint32) *node {
	for n.depth > depth {
		if n.jump != nil && n.jump.depth >= depth {
			n = n.jump
		} else {
			n = n.parent
		}
	}
	return n
}

// top is the variable at which the path starts.
func (n *node) top() *target.Root { return n.at(0).ref.root }

// keyText writes the keys of maps of one type.
type keyText struct {
	t    *hmap.Type
	key  bool // the path goes on in the key, not in the elem
	mem  hmap.Memory
	text *hmap.Formatter
}

// at writes the key that lies at an address.
func (k *keyText) at(addr hmap.Addr) string {
	buf := make([]byte, min(max(k.t.Size, 0), 1<<20))
	if n, _ := k.mem.ReadMemory(buf, uint64(addr)); n < len(buf) {
		return "?"
	}
	return k.text.Format(k.t, buf)
}

const (
	// Of a path with more steps, only the first and the last are written.
	maxSteps  = 40
	headSteps = 12
	tailSteps = 12
	// A step that is taken more often is written once, with how often.
	maxAgain = 3
)

// steps are the nodes to write, from the variable on; left is how many are left out
// behind the first headSteps.
func (n *node) steps() (list []*node, left int) {
	end := uint32(0)
	if n.depth > maxSteps {
		end = n.depth - tailSteps
		left = int(end - headSteps)
	}
	for d := n; d != nil && d.depth >= end; d = d.parent {
		list = append(list, d)
	}
	if left > 0 {
		for d := n.at(headSteps - 1); d != nil; d = d.parent {
			list = append(list, d)
		}
	}
	slices.Reverse(list)
	return list, left
}

// String writes the path as a Go expression: "main.srv.sessions[42].Attrs",
// "*main.p", "(*main.p)[3]", "main.any.(main.T).m". A type assertion at the very
// end is left out: the type is the map's own. Three liberties: what a func value
// holds follows the function's name, "main.f.(func main.New.func1).cache"; a step
// that is taken over and over has a count, "main.list.next{1000}.m"; and "..."
// stands for the middle of a long path.
func (n *node) String() string {
	list, left := n.steps()
	var b pathText
	for i, s := range list {
		if left > 0 && i == headSteps {
			b.write("..." + strconv.Itoa(left) + "...")
		}
		b.step(s)
	}
	return b.text
}

// pathText is a path as far as it was written.
type pathText struct {
	text   string
	assert string // to be written if anything follows
	star   bool   // text begins with one
}

// write appends to the path, nothing if there is nothing to append.
func (b *pathText) write(s string) {
	if s == "" {
		return
	}
	b.flush()
	if b.star {
		b.text, b.star = "("+b.text+")", false
	}
	b.text += s
}

func (b *pathText) flush() {
	if b.assert != "" {
		b.text += ".(" + b.assert + ")"
		b.assert = ""
	}
}

func (b *pathText) step(n *node) {
	r := n.ref
	if n.index >= 0 {
		if k := r.keys; k != nil {
			if k.key {
				b.write(".key")
			}
			b.write("[" + k.at(hmap.Addr(n.index)) + "]")
		} else {
			b.write("[" + strconv.FormatInt(n.index, 10) + "]")
		}
	}
	if n.again < maxAgain {
		for range n.again + 1 {
			b.place(r)
		}
		return
	}
	b.place(r)
	b.write("{" + strconv.FormatUint(uint64(n.again)+1, 10) + "}")
}

// place writes where in a value a ref is, and what it takes to get behind it.
func (b *pathText) place(r *ref) {
	b.write(r.suffix)
	if r.assert != "" {
		b.flush()
		b.assert = r.assert
	}
	if r.op == opPointer && !r.variable && r.elem != nil && r.elem.Kind != reflect.Struct {
		b.flush()
		b.text, b.star = "*"+b.text, true
	}
}
