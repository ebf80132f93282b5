package hmap

import (
	"errors"
	"slices"
)

// An Entry is one slot of a map, full or not, as [Slots] meets it.
type Entry struct {
	Table int64 // Swiss: index of the table's first directory entry; -1 in a small map
	Block int64 // number of the group in its table, or of the bucket in its array
	Chain int   // Classic: 0 in the array, n in the n-th overflow bucket behind it
	Old   bool  // Classic: in the old array, not evacuated yet
	Slot  int   // 0 to 7
	Meta  uint8 // control byte or tophash
	At    Addr  // of the block
	Full  bool  // holds a key and an elem
	// Key and Elem are nil unless Full, and where an indirect one could not be
	// read; at most the first MiB; valid during the call.
	Key, Elem []byte
	// KeyAt and ElemAt are where key and elem lie: in the block, or behind it
	// when they are indirect.
	KeyAt, ElemAt Addr
}

// ErrStop makes Slots return early without an error.
var ErrStop = errors.New("stop")

// Slots calls visit for every slot of the map behind m, which Inspect returned:
// table by table and group by group, or bucket by bucket, each with its chain,
// then the old buckets that have not been evacuated. With full it skips the
// slots that hold no entry. It reads in chunks and ends with the first error of
// visit, which it returns unless it is ErrStop; memory that cannot be read is
// left out and told of at the end. The memory held is that of a chunk and of its
// overflow buckets and indirect keys and elems.
func Slots(mem Memory, m *Map, full bool, visit func(e *Entry) error) error {
	w := &walker{inspector: inspector{mem: mem, l: m.Layout, m: m}, full: full, visit: visit}
	h, b := &m.Header, &m.Layout.Block
	if b.IndirectKey {
		w.behind += b.Slots * indirectSize(m.Layout.Key)
	}
	if b.IndirectElem {
		w.behind += b.Slots * indirectSize(m.Layout.Elem)
	}
	var err error
	switch {
	case h.Addr == 0:
	case m.Layout.Generation == Classic:
		err = w.classicSlots()
	case h.DirLen == 0 && h.DirPtr != 0:
		err = w.run("group", h.DirPtr, 1, Entry{Table: -1})
	default:
		for i := range m.Tables {
			t := &m.Tables[i]
			if err = w.run("groups", t.Groups, t.groups, Entry{Table: t.Index}); err != nil {
				break
			}
		}
	}
	if err == ErrStop {
		err = nil
	}
	return errors.Join(err, errors.Join(w.errs...))
}

// walker is one run of Slots.
type walker struct {
	inspector
	full  bool
	visit func(e *Entry) error

	pieces    []piece
	gatherBuf []byte
	// block and chained hold the indirect keys and elems of the blocks of a
	// chunk, and of one overflow bucket.
	block, chained sides
	chain          chainBuf
}

// sides are the indirect keys and elems of some blocks.
type sides struct{ keys, elems side }

// side holds indirect values, slot after slot; those with have could be read.
type side struct {
	data []byte
	have []bool
}

// at is the value of a slot, nil if it could not be read.
func (s *side) at(slot, size int) []byte {
	if !s.have[slot] {
		return nil
	}
	return s.data[slot*size:][:size]
}

// chainBuf holds the overflow buckets behind the buckets of a chunk.
type chainBuf struct {
	first []int32 // by bucket: its first node, -1 for none
	nodes []chainNode
	data  []byte // of the nodes, one after the other
}

type chainNode struct {
	addr Addr
	next int32 // the node behind it, -1 for none
}

func (w *walker) classicSlots() error {
	h := &w.m.Header
	if h.Buckets == 0 || h.B > maxB {
		return nil
	}
	if err := w.run("bucket array", h.Buckets, 1<<h.B, Entry{}); err != nil {
		return err
	}
	if g := w.m.Growth; g != nil && g.Old != 0 {
		return w.run("old buckets", g.Old, g.OldBuckets, Entry{Old: true})
	}
	return nil
}

// run visits n blocks from addr; e says where they belong.
func (w *walker) run(what string, addr Addr, n int64, e Entry) error {
	var stop error
	w.blocks(what, addr, n, func(at Addr, first int64, data []byte) {
		if stop != nil {
			return
		}
		stop = w.visitBlocks(at, first, data, e)
	})
	return stop
}

// visitBlocks visits the blocks of one chunk; those of Classic with the chains
// behind them.
func (w *walker) visitBlocks(at Addr, first int64, data []byte, e Entry) error {
	l, b := w.l, &w.l.Block
	n := len(data) / b.Size
	w.deref(data, n, &w.block)
	if l.Generation == Classic {
		w.readChains(data, n, e.Old)
	}
	for k := range n {
		block := data[k*b.Size:][:b.Size]
		if e.Old && l.classes[block[b.Meta]] == slotMoved {
			continue // evacuated: its entries stand in the new array
		}
		e.Block, e.At = first+int64(k), at+Addr(k*b.Size)
		if err := w.visitBlock(block, &w.block, k, e); err != nil {
			return err
		}
		if l.Generation == Classic {
			if err := w.visitChain(w.chain.first[k], e); err != nil {
				return err
			}
		}
	}
	return nil
}

// readChains reads the overflow buckets behind the n buckets in data, all first
// ones together, then all second ones.
func (w *walker) readChains(data []byte, n int, old bool) {
	l, b, c := w.l, &w.l.Block, &w.chain
	c.first, c.nodes, c.data = slices.Grow(c.first[:0], n)[:n], c.nodes[:0], c.data[:0]
	// A piece's ref is the bucket of the chunk, or -1 less the node, that it
	// hangs behind.
	w.pieces = w.pieces[:0]
	for k := range n {
		c.first[k] = -1
		bucket := data[k*b.Size:][:b.Size]
		if next := l.link(bucket); next != 0 && !(old && l.classes[bucket[b.Meta]] == slotMoved) {
			w.pieces = append(w.pieces, piece{next, b.Size, k})
		}
	}
	for depth := 1; len(w.pieces) > 0; depth++ {
		if depth > maxChain || int64(len(c.nodes)+len(w.pieces)) > maxOverflow(int64(n)) {
			w.fail(&ReadError{"overflow bucket", w.pieces[0].addr, b.Size, errLimit})
			return
		}
		var next []piece
		w.gatherBuf = gather(w.mem, "overflow bucket", w.pieces, w.gatherBuf, func(p piece, got []byte, err error) {
			if err != nil {
				w.fail(err)
				return
			}
			i := len(c.nodes)
			c.nodes = append(c.nodes, chainNode{p.addr, -1})
			c.data = append(c.data, got...)
			if p.ref >= 0 {
				c.first[p.ref] = int32(i)
			} else {
				c.nodes[-1-p.ref].next = int32(i)
			}
			if a := l.link(got); a != 0 {
				next = append(next, piece{a, b.Size, -1 - i})
			}
		})
		w.pieces = next
	}
}

// visitChain visits the overflow buckets from node i on; e is of the bucket
// before them.
func (w *walker) visitChain(i int32, e Entry) error {
	b := &w.l.Block
	for e.Chain = 1; i >= 0; e.Chain++ {
		node := w.chain.nodes[i]
		bucket := w.chain.data[int(i)*b.Size:][:b.Size]
		e.At = node.addr
		w.deref(bucket, 1, &w.chained)
		if err := w.visitBlock(bucket, &w.chained, 0, e); err != nil {
			return err
		}
		i = node.next
	}
	return nil
}

// visitBlock visits the slots of a block, which is number k of those whose
// indirect keys and elems are behind.
func (w *walker) visitBlock(block []byte, behind *sides, k int, e Entry) error {
	l, b := w.l, &w.l.Block
	for i := range b.Slots {
		e.Slot, e.Meta = i, block[b.Meta+i]
		e.Full = l.classes[e.Meta] == slotFull
		e.Key, e.Elem, e.KeyAt, e.ElemAt = nil, nil, 0, 0
		if !e.Full && w.full {
			continue
		}
		if e.Full {
			koff, eoff := b.Keys+i*b.KeyStride, b.Elems+i*b.ElemStride
			e.Key, e.KeyAt = block[koff:koff+b.KeySize], e.At+Addr(koff)
			e.Elem, e.ElemAt = block[eoff:eoff+b.ElemSize], e.At+Addr(eoff)
			if b.IndirectKey {
				e.KeyAt = Addr(word(e.Key))
				e.Key = behind.keys.at(k*b.Slots+i, indirectSize(l.Key))
			}
			if b.IndirectElem {
				e.ElemAt = Addr(word(e.Elem))
				e.Elem = behind.elems.at(k*b.Slots+i, indirectSize(l.Elem))
			}
		}
		if err := w.visit(&e); err != nil {
			return err
		}
	}
	return nil
}

// maxIndirect bounds how much is read of one indirect key or elem.
const maxIndirect = 1 << 20

func indirectSize(t *Type) int { return int(min(t.Size, maxIndirect)) }

// deref reads the indirect keys and elems of n blocks, neighbours together.
func (w *walker) deref(data []byte, n int, into *sides) {
	l, b := w.l, &w.l.Block
	if b.IndirectKey {
		w.derefSide("indirect key", data, n, b.Keys, b.KeyStride, indirectSize(l.Key), &into.keys)
	}
	if b.IndirectElem {
		w.derefSide("indirect elem", data, n, b.Elems, b.ElemStride, indirectSize(l.Elem), &into.elems)
	}
}

func (w *walker) derefSide(what string, data []byte, n, off, stride, size int, into *side) {
	l, b := w.l, &w.l.Block
	slots := n * b.Slots
	into.data = slices.Grow(into.data[:0], slots*size)[:slots*size]
	into.have = slices.Grow(into.have[:0], slots)[:slots]
	clear(into.have)
	pieces := w.pieces[:0]
	for k := range n {
		for i := range b.Slots {
			block := data[k*b.Size:]
			if l.classes[block[b.Meta+i]] != slotFull {
				continue
			}
			p := Addr(word(block[off+i*stride:][:l.PtrSize]))
			if p == 0 {
				w.fail(&ReadError{what, 0, size, errNil})
				continue
			}
			pieces = append(pieces, piece{p, size, k*b.Slots + i})
		}
	}
	w.gatherBuf = gather(w.mem, what, pieces, w.gatherBuf, func(p piece, got []byte, err error) {
		if err != nil {
			w.fail(err)
			return
		}
		copy(into.data[p.ref*size:], got)
		into.have[p.ref] = true
	})
	w.pieces = pieces[:0]
}
