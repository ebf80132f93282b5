package syncmap

import (
	"fmt"

	"hmaptools/internal/hmap"
)

const (
	// nodeBatch is how many nodes of a level are held at a time: they are sorted by
	// address, and the more there are the more of them are neighbours.
	nodeBatch = 1 << 20
	// maxChain bounds an overflow chain. Keys with one hash in a sync.Map are equal
	// numbers of different types, as many as a program has types at most.
	maxChain = 1 << 16
	// chainsPerEntry bounds all chains together, by the entries before them.
	chainsPerEntry = 64
	// maxStrays is how many indirect nodes with a wrong parent are followed.
	maxStrays = 16
)

// node is a node that a child points at: what it is, it says itself.
type node struct {
	addr   hmap.Addr
	parent hmap.Addr
	path   uint64 // the bits of the hash that lead to it
}

// link is an entry behind another one in an overflow chain.
type link struct {
	addr  hmap.Addr
	seen  hmap.Addr // an entry before it: meeting it again is a cycle
	path  uint64
	level int
}

// trieWalk is a walk through a hash-trie, a level at a time, or as many nodes of one
// as are held at a time.
//
// It ends: an indirect node is followed only where its own field parent says it is a
// child, which is at most once, but for maxStrays.
type trieWalk struct {
	*walk
	t      *Trie
	size   int       // bytes that a node can have
	bufs   [][]byte  // by level
	nexts  [][]node  // by level: the children
	links  [2][]link // chains, and what is behind them
	chain  []byte
	strays map[hmap.Addr]bool

	noEntries bool // entries cannot be read: that was said
}

func (w *trieWalk) run() {
	l := &w.l.trie
	w.t = &Trie{}
	w.m.Trie = w.t
	if w.rec == nil {
		return
	}
	w.t.Root, w.t.Seed = hmap.Addr(l.root.Uint(w.rec)), l.seed.Uint(w.rec)
	if l.inited.Size > 0 {
		held := l.initMu.Uint(w.rec) != 0
		w.m.Busy = held
		if inited := l.inited.Uint(w.rec); inited > 1 || inited == 1 != (w.t.Root != 0) && !held {
			w.broken("inited", w.m.Addr, "inited is %d, the root is at %s", inited, w.t.Root)
		}
	}
	if w.t.Root == 0 {
		return
	}
	w.size = max(l.indirect, l.entry)
	levels := 8*w.l.ptr/l.log2 + 1 // and one for the entries below the last
	w.bufs, w.nexts = make([][]byte, levels), make([][]node, levels)
	w.level(0, []node{{addr: w.t.Root}})
	up := w.l.alloc.RoundUp
	w.m.Len = w.t.Entries + w.t.Overflow
	w.m.Bytes += w.t.Indirects*int64(up(uint64(l.indirect), true)) + w.m.Len*int64(up(uint64(l.entry), true))
}

// level reads the nodes, which have depth indirect nodes above them, and what is
// below them.
func (w *trieWalk) level(depth int, nodes []node) {
	next := w.nexts[depth][:0]
	last := hmap.Addr(0)
	gather(w.mem, "node", nodes, func(n *node) hmap.Addr { return n.addr }, w.size, &w.bufs[depth], func(n *node, data []byte, err error) bool {
		if n.addr == last {
			w.broken("twice", n.addr, "a node is a child more than once")
			return true
		}
		last = n.addr
		next = w.node(depth, n, data, err, next)
		if len(next) >= nodeBatch {
			w.level(depth+1, next)
			next = next[:0]
		}
		if len(w.links[0]) >= nodeBatch {
			w.chains()
		}
		return !w.over()
	})
	w.nexts[depth] = next
	w.chains()
	if len(next) > 0 && !w.over() {
		w.level(depth+1, next)
	}
}

// node looks at a node: of size bytes, or of fewer with the error that says why. It
// appends the children of an indirect one to next.
func (w *trieWalk) node(depth int, n *node, data []byte, err error, next []node) []node {
	l := &w.l.trie
	if end := l.isEntry.Off + l.isEntry.Size; len(data) < end {
		w.fail(err)
		return next
	}
	switch flag := l.isEntry.Uint(data); {
	case flag > 1:
		w.broken("isEntry", n.addr, "isEntry is %#x", flag)
	case flag == 1 && depth == 0:
		w.broken("isEntry", n.addr, "the root is an entry")
	case flag == 1 && l.entryErr != nil:
		if !w.noEntries {
			w.noEntries = true
			w.fail(l.entryErr)
		}
	case flag == 1 && len(data) < l.entry, flag == 0 && len(data) < l.indirect:
		w.fail(err)
	case flag == 1:
		w.t.Entries++
		w.t.Levels[depth-1].Entries++
		if at := w.leaf(n.addr, data, n.path, depth, 0); at != 0 {
			w.links[0] = append(w.links[0], link{at, n.addr, n.path, depth})
		}
	default:
		return w.indirect(depth, n, data, next)
	}
	return next
}

// indirect looks at an indirect node and appends its children to next.
func (w *trieWalk) indirect(depth int, n *node, data []byte, next []node) []node {
	l := &w.l.trie
	if bits := 8 * w.l.ptr; (depth+1)*l.log2 > bits {
		w.broken("depth", n.addr, "an indirect node below %d others: a hash has %d bits", depth, bits)
		return next
	}
	if n.addr == w.t.Root && depth > 0 {
		w.broken("cycle", n.addr, "the root is a child")
		return next
	}
	if parent := hmap.Addr(l.parent.Uint(data)); parent != n.parent {
		w.broken("parent", n.addr, "the parent of an indirect node is %s, want %s", parent, n.parent)
		if w.strays[n.addr] {
			return next
		}
		if len(w.strays) >= maxStrays {
			w.fail(&hmap.ReadError{What: "indirect", Addr: n.addr, Size: l.indirect, Err: fmt.Errorf("more than %d indirect nodes have a wrong parent", maxStrays)})
			return next
		}
		if w.strays == nil {
			w.strays = map[hmap.Addr]bool{}
		}
		w.strays[n.addr] = true
	}
	if depth == len(w.t.Levels) {
		w.t.Levels = append(w.t.Levels, Level{})
	}
	w.t.Levels[depth].Indirects++
	w.t.Indirects++
	held := l.mu.Uint(data) != 0
	w.m.Busy = w.m.Busy || held
	before := len(next)
	for i := range l.fanout {
		if c := hmap.Addr(word(data[l.children+i*w.l.ptr:][:w.l.ptr])); c != 0 {
			next = append(next, node{c, n.addr, n.path<<l.log2 | uint64(i)})
		}
	}
	if held {
		return next // it may be empty, and dead, before it is taken out of its parent
	}
	if l.dead.Uint(data) != 0 {
		w.broken("dead", n.addr, "a dead indirect node is a child of %s", n.parent)
	}
	if len(next) == before && depth > 0 {
		w.broken("empty", n.addr, "an indirect node without children is a child of %s", n.parent)
	}
	return next
}

// leaf looks at an entry that has level indirect nodes above it and at others before
// it in its chain, and returns the one behind it.
func (w *trieWalk) leaf(at hmap.Addr, data []byte, path uint64, level, chain int) hmap.Addr {
	l := &w.l.trie
	key := l.key.of(data)
	if w.hash != nil {
		if h, ok := w.hash(key, w.t.Seed); ok {
			if got := h >> (8*w.l.ptr - level*l.log2); got != path {
				w.broken("hash", at, "the hash of a key begins with %#x, %d digits, its place is %#x", got, level, path)
			}
		}
	}
	if w.visit != nil {
		w.meet(Entry{
			Key: key, Value: l.value.of(data), KeyAt: at + hmap.Addr(l.key.off), ValueAt: at + hmap.Addr(l.value.off),
			At: at, Level: level, Chain: chain,
		})
	}
	return hmap.Addr(l.overflow.Uint(data))
}

// chains follows the overflow chains that begin at links, all first links together,
// then all second ones.
func (w *trieWalk) chains() {
	l := &w.l.trie
	limit := chainsPerEntry * (w.t.Entries + 1<<10)
	for n := 1; len(w.links[0]) > 0 && !w.over(); n++ {
		if n > maxChain || w.t.Overflow > limit {
			err := fmt.Errorf("%d entries in overflow chains, %d behind one: %w", w.t.Overflow, n, errLimit)
			w.fail(&hmap.ReadError{What: "entry", Addr: w.links[0][0].addr, Size: l.entry, Err: err})
			break
		}
		w.links[1] = w.links[1][:0]
		gather(w.mem, "entry", w.links[0], func(x *link) hmap.Addr { return x.addr }, l.entry, &w.chain, func(x *link, data []byte, err error) bool {
			if err != nil {
				w.fail(err)
				return !w.over()
			}
			if flag := l.isEntry.Uint(data); flag != 1 {
				w.broken("isEntry", x.addr, "isEntry of an entry in an overflow chain is %#x", flag)
				return true
			}
			if x.addr == x.seen {
				w.broken("cycle", x.addr, "an overflow chain is a cycle")
				return true
			}
			w.t.Overflow++
			w.t.LongestChain = max(w.t.LongestChain, int64(n))
			if at := w.leaf(x.addr, data, x.path, x.level, n); at != 0 {
				seen := x.seen
				if n&(n-1) == 0 {
					seen = x.addr // Brent: the one to meet again moves on at powers of two
				}
				w.links[1] = append(w.links[1], link{at, seen, x.path, x.level})
			}
			return !w.over()
		})
		w.links[0], w.links[1] = w.links[1], w.links[0]
	}
	w.links[0] = w.links[0][:0]
}
