package census

import (
	"reflect"
	"slices"
	"strconv"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// nodeID names a node among paths.
type nodeID uint32

// node is a step of a path, from a variable to where it leads: a place in the value
// that the parent leads to. There is one for every object that is met, so it is
// small, holds no pointer that a garbage collector would have to follow, and is put
// into words only for what is shown.
type node struct {
	index  int64  // of the element in which the place is, or the address of the key; -1: neither
	parent nodeID // of a variable: itself
	jump   nodeID // an ancestor, so that any is found in a logarithm of steps
	ref    uint32 // in paths.refs
	top    uint32 // the variable's, in paths.refs
	depth  uint32
	again  uint32 // how many more times the same step follows: .next.next.next
}

// paths are the nodes of a walk.
type paths struct {
	pieces []*[nodesPerPiece]node
	n      nodeID
	refs   []*ref
}

const (
	pieceShift    = 12
	nodesPerPiece = 1 << pieceShift
)

func (p *paths) get(id nodeID) *node { return &p.pieces[id>>pieceShift][id%nodesPerPiece] }

// add keeps a node.
func (p *paths) add(n node) nodeID {
	id := p.n
	if id%nodesPerPiece == 0 {
		p.pieces = append(p.pieces, new([nodesPerPiece]node))
	}
	p.n++
	*p.get(id) = n
	return id
}

// refID is the place of a ref in refs.
func (p *paths) refID(r *ref) uint32 {
	if r.id == 0 {
		p.refs = append(p.refs, r)
		r.id = uint32(len(p.refs))
	}
	return r.id
}

func (p *paths) ref(n *node) *ref { return p.refs[n.ref-1] }

// root makes the node at which a path starts.
func (p *paths) root(r *ref) nodeID {
	id := p.refID(r)
	return p.add(node{index: -1, parent: p.n, jump: p.n, ref: id, top: id})
}

// child makes the node of a place in what a node leads to.
func (p *paths) child(of nodeID, r *ref, index int64) nodeID {
	id, n := p.refID(r), p.get(of)
	if n.ref == id && n.index < 0 && index < 0 && r.op != opRoot {
		// A list is as long as it likes; its path is one step.
		c := *n
		c.again++
		return p.add(c)
	}
	c := node{index: index, parent: of, jump: of, ref: id, top: n.top, depth: n.depth + 1}
	if n.depth > 0 {
		if j := p.get(n.jump); j.depth > 0 {
			if k := p.get(j.jump); n.depth-j.depth == j.depth-k.depth {
				c.jump = j.jump
			}
		}
	}
	return p.add(c)
}

// at returns the ancestor at a depth.
func (p *paths) at(id nodeID, depth uint32) nodeID {
	for n := p.get(id); n.depth > depth; n = p.get(id) {
		if p.get(n.jump).depth >= depth {
			id = n.jump
		} else {
			id = n.parent
		}
	}
	return id
}

// first is the variable's ref in the path to a node.
func (p *paths) first(id nodeID) *ref { return p.refs[p.get(id).top-1] }

// top is the variable at which the path starts.
func (p *paths) top(id nodeID) *target.Root { return p.first(id).root }

// keyText writes the keys of maps of one type.
type keyText struct {
	t    *hmap.Type
	key  bool // the path goes on in the key, not in the elem
	mem  hmap.Memory
	text *hmap.Formatter
	buf  []byte
}

// at writes the key that lies at an address.
func (k *keyText) at(addr hmap.Addr) string {
	if k.buf == nil {
		k.buf = make([]byte, min(max(k.t.Size, 0), 1<<20))
	}
	if n, _ := k.mem.ReadMemory(k.buf, uint64(addr)); n < len(k.buf) {
		return "?"
	}
	return k.text.Format(k.t, k.buf)
}

const (
	// Of a path with more steps, only the first and the last are written.
	maxSteps  = 40
	headSteps = 12
	tailSteps = 12
	// A step that is taken more often is written once, with how often.
	maxAgain = 3
)

// steps appends the nodes to write, from the variable on; left is how many are left out
// behind the first headSteps.
func (p *paths) steps(id nodeID, list []*node) (_ []*node, left int) {
	end, depth := uint32(0), p.get(id).depth
	if depth > maxSteps {
		end = depth - tailSteps
		left = int(end - headSteps)
	}
	up := func(id nodeID, end uint32) {
		for n := p.get(id); ; n = p.get(n.parent) {
			list = append(list, n)
			if n.depth == end {
				return
			}
		}
	}
	up(id, end)
	if left > 0 {
		up(p.at(id, headSteps-1), 0)
	}
	slices.Reverse(list)
	return list, left
}

// text writes the path as a Go expression: "main.srv.sessions[42].Attrs",
// "*main.p", "(*main.p)[3]", "main.any.(main.T).m". A type assertion at the very
// end is left out: the type is the map's own. Three liberties: what a func value
// holds follows the function's name, "main.f.(func main.New.func1).cache"; a step
// that is taken over and over has a count, "main.list.next{1000}.m"; and "..."
// stands for the middle of a long path.
func (p *paths) text(id nodeID) string {
	var nodes [maxSteps + 1]*node
	var text [128]byte
	list, left := p.steps(id, nodes[:0])
	b := pathText{text: text[:0]}
	for i, s := range list {
		if left > 0 && i == headSteps {
			b.write("...")
			b.number(int64(left))
			b.write("...")
		}
		b.step(s, p.ref(s))
	}
	return string(b.text)
}

// pathText is a path as far as it was written.
type pathText struct {
	text   []byte
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
		b.text, b.star = append(slices.Insert(b.text, 0, '('), ')'), false
	}
	b.text = append(b.text, s...)
}

// number appends to what was written.
func (b *pathText) number(n int64) { b.text = strconv.AppendInt(b.text, n, 10) }

func (b *pathText) flush() {
	if b.assert != "" {
		b.text = append(append(append(b.text, ".("...), b.assert...), ')')
		b.assert = ""
	}
}

func (b *pathText) step(n *node, r *ref) {
	if n.index >= 0 {
		if k := r.keys; k != nil {
			if k.key {
				b.write(".key")
			}
			b.write("[")
			b.write(k.at(hmap.Addr(n.index)))
		} else {
			b.write("[")
			b.number(n.index)
		}
		b.write("]")
	}
	if n.again < maxAgain {
		for range n.again + 1 {
			b.place(r)
		}
		return
	}
	b.place(r)
	b.write("{")
	b.number(int64(n.again) + 1)
	b.write("}")
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
		b.text, b.star = slices.Insert(b.text, 0, '*'), true
	}
}
