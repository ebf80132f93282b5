package hmap

import (
	"errors"
	"fmt"
)

// An Entry is one slot of a map, full or not, as [Slots] meets it.
type Entry struct {
	Table int64  // Swiss: index of the table's first directory entry; -1 in a small map
	Block int64  // number of the group in its table, or of the bucket in its array
	Chain int    // Classic: 0 in the array, n in the n-th overflow bucket behind it
	Old   bool   // Classic: in the old array, not evacuated yet
	Slot  int    // 0 to 7
	Meta  uint8  // control byte or tophash
	At    Addr   // of the block
	Full  bool   // holds a key and an elem
	Key   []byte // nil unless Full; at most the first MiB; valid during the call
	Elem  []byte
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
// left out and told of at the end.
func Slots(mem Memory, m *Map, full bool, visit func(e *Entry) error) error {
	w := &walker{inspector: inspector{mem: mem, l: m.Layout, m: m}, full: full, visit: visit}
	h := &m.Header
	if b := &m.Layout.Block; b.IndirectKey {
		w.behind += b.Slots * indirectSize(m.Layout.Key)
	}
	if b := &m.Layout.Block; b.IndirectElem {
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
			if t.Groups == 0 {
				continue
			}
			n := int64(t.Capacity) / int64(m.Layout.Block.Slots)
			if err = w.run("groups", t.Groups, n, Entry{Table: t.Index}); err != nil {
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
	full      bool
	visit     func(e *Entry) error
	keys      []byte // indirect keys of a chunk
	elems     []byte
	chain     []byte
	gatherBuf []byte
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
	w.deref(data, n)
	for k := range n {
		block := data[k*b.Size:][:b.Size]
		if e.Old && l.classes[block[b.Meta]] == slotMoved {
			continue // evacuated: its entries stand in the new array
		}
		e.Block, e.At = first+int64(k), at+Addr(k*b.Size)
		if err := w.visitBlock(block, k, e); err != nil {
			return err
		}
		if l.Generation != Classic || e.Chain > 0 {
			continue
		}
		next := Addr(word(block[b.Overflow : b.Overflow+l.PtrSize]))
		if next == 0 {
			continue
		}
		if err := w.visitChain(next, e); err != nil {
			return err
		}
		w.deref(data, n) // the chain used the buffers of indirect keys and elems
	}
	return nil
}

func (w *walker) visitChain(next Addr, e Entry) error {
	l, b := w.l, &w.l.Block
	if w.chain == nil {
		w.chain = make([]byte, b.Size)
	}
	for e.Chain = 1; next != 0; e.Chain++ {
		if e.Chain > maxChain {
			w.fail(&ReadError{"overflow bucket", next, b.Size, errLimit})
			return nil
		}
		if err := read(w.mem, "overflow bucket", w.chain, next); err != nil {
			w.fail(err)
			return nil
		}
		e.At = next
		w.deref(w.chain, 1)
		if err := w.visitBlock(w.chain, 0, e); err != nil {
			return err
		}
		next = Addr(word(w.chain[b.Overflow : b.Overflow+l.PtrSize]))
	}
	return nil
}

func (w *walker) visitBlock(block []byte, k int, e Entry) error {
	l, b := w.l, &w.l.Block
	for i := range b.Slots {
		e.Slot, e.Meta = i, block[b.Meta+i]
		e.Full = l.classes[e.Meta] == slotFull
		e.Key, e.Elem = nil, nil
		if !e.Full && w.full {
			continue
		}
		if e.Full {
			koff, eoff := b.Keys+i*b.KeyStride, b.Elems+i*b.ElemStride
			e.Key, e.KeyAt = block[koff:koff+b.KeySize], e.At+Addr(koff)
			e.Elem, e.ElemAt = block[eoff:eoff+b.ElemSize], e.At+Addr(eoff)
			if b.IndirectKey {
				size := indirectSize(l.Key)
				e.KeyAt = Addr(word(e.Key))
				e.Key = w.keys[(k*b.Slots+i)*size:][:size]
			}
			if b.IndirectElem {
				size := indirectSize(l.Elem)
				e.ElemAt = Addr(word(e.Elem))
				e.Elem = w.elems[(k*b.Slots+i)*size:][:size]
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
func (w *walker) deref(data []byte, n int) {
	l, b := w.l, &w.l.Block
	if b.IndirectKey {
		w.keys = w.derefSide("indirect key", data, n, b.Keys, b.KeyStride, indirectSize(l.Key), w.keys)
	}
	if b.IndirectElem {
		w.elems = w.derefSide("indirect elem", data, n, b.Elems, b.ElemStride, indirectSize(l.Elem), w.elems)
	}
}

func (w *walker) derefSide(what string, data []byte, n, off, stride, size int, into []byte) []byte {
	l, b := w.l, &w.l.Block
	need := n * b.Slots * size
	if cap(into) < need {
		into = make([]byte, need)
	}
	into = into[:need]
	clear(into)
	var pieces []piece
	for k := range n {
		for i := range b.Slots {
			block := data[k*b.Size:]
			if l.classes[block[b.Meta+i]] != slotFull {
				continue
			}
			p := Addr(word(block[off+i*stride:][:l.PtrSize]))
			if p == 0 {
				w.fail(fmt.Errorf("read %s: slot %d holds a nil pointer", what, i))
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
		copy(into[p.ref*size:], got)
	})
	return into
}
