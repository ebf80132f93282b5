package event

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/klauspost/compress/s2"
)

// Writer writes a recording. Add and Flush are for one goroutine; compression,
// symbols and writing happen in another one.
type Writer struct {
	src    Source
	meta   *Meta
	size   int // bytes of a header
	cur    *block
	full   chan *block
	free   chan *block
	done   chan struct{}
	table  []uint32             // open addressing: 1 + number of a combination, 0 is free
	recent [recentCombos]*combo // by a cheaper hash; nil is none
	combos []*combo             // of the block, and those that can be used again
	n      int                  // how many of them are of the block

	events  uint64
	failed  atomic.Pointer[error]
	written atomic.Int64 // bytes
}

// Source is what a Writer asks while it writes. Symbolize is called from the
// Writer's own goroutine, the others from that of Add.
type Source interface {
	// Now reads the clock and the nanoseconds since the recording began together.
	Now() (clock uint64, ns int64)
	// Lost is how many events have been lost so far.
	Lost() uint64
	// Symbolize names return addresses and types that have come up.
	Symbolize(pcs, types []uint64) Symbols
}

// block is a block of events, by columns.
type block struct {
	events uint32
	narrow bool   // numbers of combinations fit in a byte
	clock  uint64 // of the last event
	combos []byte
	ids    [blockEventsMax]uint16
	clocks []byte
	bits   [blockEventsMax]byte
	rest   []byte
	pcs    []uint64 // of combinations, to be named
	types  []uint64
	ready  []byte // the whole payload
}

// combo is a combination: what many events share.
type combo struct {
	last  Raw    // the event with it before
	known bool   // last has a header
	id    uint16 // its number
	key   Key
	stack uint64 // hash of the callers
	at    uint64 // of the table
}

func (c *combo) of(r *Raw, stack uint64) bool {
	l := &c.last
	return l.Map == r.Map && l.Caller == r.Caller && l.Goroutine == r.Goroutine && l.Func == r.Func && l.Thread == r.Thread && l.Type == r.Type && c.stack == stack
}

// args are the arguments that are worth recording.
func (c *combo) args(r *Raw) (arg, arg2 uint64) {
	switch c.key {
	case Text:
		return r.Arg2, 0
	case InMem:
		return 0, 0
	case Word32, Word64:
		return r.Arg, 0
	}
	return r.Arg, r.Arg2
}

const (
	tableSize = 1 << 18 // four times combosMax
	// flushBytes leaves room for the largest event: a new combination with a stack.
	flushBytes = 4 << 20
	queue      = 8 // blocks that wait to be compressed
)

// NewWriter begins a recording.
func NewWriter(w io.Writer, meta *Meta, src Source) (*Writer, error) {
	if err := meta.check(); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	wr := &Writer{
		src: src, meta: meta, size: meta.Layout.Size,
		full: make(chan *block, queue), free: make(chan *block, queue+2), done: make(chan struct{}),
		table: make([]uint32, tableSize),
	}
	for range queue + 2 {
		wr.free <- &block{}
	}
	out := &blockWriter{w: w, written: &wr.written}
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	out.written.Add(int64(len(magic)))
	if err := out.write(blockMeta, encodeJSON(meta), 0); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	wr.cur = <-wr.free
	go wr.run(out)
	return wr, nil
}

// Err is why the recording cannot be written any more: nil if it can.
func (w *Writer) Err() error {
	if p := w.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Written is how many bytes are in the file, up to its last complete block.
func (w *Writer) Written() int64 { return w.written.Load() }

// Events is how many events were added.
func (w *Writer) Events() uint64 { return w.events }

// Add adds an event. stack holds the callers of r.Caller, innermost first, at most
// stackMax of which are kept; key the first bytes of the key. Add keeps neither.
// It blocks while the file is slower than the events.
func (w *Writer) Add(r *Raw, stack []uint64, key []byte) {
	b := w.cur
	hash := uint64(0)
	for _, pc := range stack {
		hash = (hash ^ pc) * 0x9e3779b97f4a7c15
	}
	slot := &w.recent[recentAt(r)]
	c := *slot
	if c == nil || !c.of(r, hash) {
		c = w.combo(r, stack, hash)
		*slot = c
	}
	b.ids[b.events] = c.id
	clock := r.Clock >> clockShift
	b.clocks = binary.AppendVarint(b.clocks, int64(clock-b.clock))
	b.clock = clock
	var bits byte
	rest := b.rest
	if r.Map != 0 {
		bits = hasHeader
		if was, is := header0(&c.last), header0(r); !c.known || !c.last.like(r) {
			bits |= hasRest
			rest = append(rest, r.Header[:w.size]...)
		} else if was != is {
			bits |= hasLen
			rest = binary.AppendVarint(rest, int64(is-was))
		}
		c.known = true
		c.last = *r
	}
	arg, arg2 := c.args(r)
	if arg != 0 {
		bits |= hasArg
		rest = binary.AppendUvarint(rest, arg)
	}
	if arg2 != 0 {
		bits |= hasArg2
		rest = binary.AppendUvarint(rest, arg2)
	}
	if len(key) > 0 {
		bits |= hasKey
		key = key[:min(len(key), keyMax)]
		rest = append(append(rest, byte(len(key))), key...)
	}
	b.bits[b.events] = bits
	b.rest = rest
	b.events++
	w.events++
	if b.events == blockEventsMax || len(rest)+len(b.combos) > flushBytes {
		w.Flush()
	}
}

// AddAll adds events that have neither stacks nor keys, as Add does.
func (w *Writer) AddAll(rs []Raw) {
	for len(rs) > 0 {
		if rs = rs[w.addUsual(rs):]; len(rs) > 0 {
			w.Add(&rs[0], nil, nil)
			rs = rs[1:]
		}
	}
}

// mostUsual is how many bytes an event takes up in block.rest at most, in addUsual.
const mostUsual = 3 * binary.MaxVarintLen64

// addUsual adds events for as long as they are like ones before: of a combination that
// came up lately, soon after the event before, on a map with the header that it had but
// for its first word. It returns how many it has added.
func (w *Writer) addUsual(rs []Raw) (n int) {
	b := w.cur
	if cap(b.clocks) == 0 {
		b.clocks = make([]byte, 0, binary.MaxVarintLen64*blockEventsMax)
		b.rest = make([]byte, 0, flushBytes/2)
	}
	ids, bitsOf := b.ids[b.events:], b.bits[b.events:]
	clocks, rest, clock := b.clocks, b.rest, b.clock
	rs = rs[:min(len(rs), len(ids)-1, len(bitsOf)-1, (cap(rest)-len(rest))/mostUsual)]
	for i := range rs {
		r := &rs[i]
		c := w.recent[recentAt(r)]
		d := r.Clock>>clockShift - clock
		if c == nil || !c.known || c.stack != 0 || !c.last.like(r) || d >= 1<<13 {
			break
		}
		bits := byte(hasHeader)
		if was, is := header0(&c.last), header0(r); was != is {
			bits |= hasLen
			rest = binary.AppendVarint(rest, int64(is-was))
			binary.LittleEndian.PutUint64(c.last.Header[:], is)
		}
		arg, arg2 := c.args(r)
		if arg != 0 {
			bits |= hasArg
			if arg < 0x80 {
				rest = append(rest, byte(arg))
			} else {
				rest = binary.AppendUvarint(rest, arg)
			}
		}
		if arg2 != 0 {
			bits |= hasArg2
			rest = binary.AppendUvarint(rest, arg2)
		}
		if d < 1<<6 { // varints of two bytes at most
			clocks = append(clocks, byte(d<<1))
		} else {
			clocks = append(clocks, byte(d<<1)|0x80, byte(d>>6))
		}
		clock += d
		ids[i] = c.id
		bitsOf[i] = bits
		n++
	}
	b.clocks, b.rest, b.clock = clocks, rest, clock
	b.events += uint32(n)
	w.events += uint64(n)
	return n
}

// combo returns the event's combination, which it adds if it is new to the block.
func (w *Writer) combo(r *Raw, stack []uint64, hash uint64) *combo {
	const k = 0x9e3779b97f4a7c15
	h := (r.Map^uint64(r.Func)<<48)*k ^ (r.Goroutine^uint64(r.Thread)<<32)*0xc2b2ae3d27d4eb4f ^ (r.Caller^hash)*0x165667b19e3779f9
	h ^= h >> 29
	h *= k
	i := h >> 46
	for ; w.table[i] != 0; i = (i + 1) & (tableSize - 1) {
		if c := w.combos[w.table[i]-1]; c.of(r, hash) {
			return c
		}
	}
	if w.n == len(w.combos) {
		more := make([]combo, 64)
		for j := range more {
			w.combos = append(w.combos, &more[j])
		}
	}
	c := w.combos[w.n]
	*c = combo{last: *r, id: uint16(w.n), key: w.meta.Funcs[r.Func].Key, stack: hash, at: i}
	w.n++
	w.table[i] = uint32(w.n)
	b := w.cur
	stack = stack[:min(len(stack), stackMax-1)]
	buf := binary.AppendUvarint(b.combos, uint64(r.Func))
	for _, v := range [...]uint64{uint64(r.Thread), r.Goroutine, r.Type, r.Map, uint64(1 + len(stack)), r.Caller} {
		buf = binary.AppendUvarint(buf, v)
	}
	for _, pc := range stack {
		buf = binary.AppendUvarint(buf, pc)
	}
	b.combos = buf
	b.pcs = append(append(b.pcs, r.Caller), stack...)
	b.types = append(b.types, r.Type)
	return c
}

// Flush closes the block of the events so far, so that they are on their way to
// the file.
func (w *Writer) Flush() {
	b := w.cur
	if b.events == 0 {
		return
	}
	clock, ns := w.src.Now()
	head := b.ready[:0]
	wide := uint64(2)
	if b.narrow = w.n <= 256; b.narrow {
		wide = 1
	}
	n := uint64(b.events)
	for _, v := range [...]uint64{clock, uint64(ns), w.src.Lost(), uint64(len(b.combos)), wide * n, uint64(len(b.clocks)), n} {
		head = binary.AppendUvarint(head, v)
	}
	b.ready = head
	w.full <- b
	w.cur = <-w.free
	for _, c := range w.combos[:w.n] {
		w.table[c.at] = 0
	}
	w.n = 0
	clear(w.recent[:])
}

// assemble puts the columns of a block together.
func (b *block) assemble() {
	buf := append(b.ready, b.combos...)
	ids := b.ids[:b.events]
	if b.narrow {
		for _, id := range ids {
			buf = append(buf, byte(id))
		}
	} else {
		for _, id := range ids {
			buf = binary.LittleEndian.AppendUint16(buf, id)
		}
	}
	buf = append(buf, b.clocks...)
	buf = append(buf, b.bits[:b.events]...)
	b.ready = append(buf, b.rest...)
}

// Close writes what is left, and end, of which it fills in the events.
func (w *Writer) Close(end End) error {
	w.Flush()
	end.Events = w.events
	w.full <- &block{ready: encodeJSON(end)}
	close(w.full)
	<-w.done
	return w.Err()
}

func (w *Writer) run(out *blockWriter) {
	defer close(w.done)
	seenPC, seenType := map[uint64]bool{0: true}, map[uint64]bool{0: true}
	for b := range w.full {
		if w.Err() == nil {
			kind := blockEnd
			if b.events > 0 {
				kind = blockEvents
				b.assemble()
			}
			var err error
			if s := w.symbols(b, seenPC, seenType); len(s.Frames)+len(s.Types) > 0 {
				err = out.write(blockSymbols, encodeJSON(s), 0)
			}
			if err == nil {
				err = out.write(kind, b.ready, b.events)
			}
			if err != nil {
				err = fmt.Errorf("record: %w", err)
				w.failed.Store(&err)
			}
		}
		b.combos, b.clocks, b.rest, b.pcs, b.types = b.combos[:0], b.clocks[:0], b.rest[:0], b.pcs[:0], b.types[:0]
		b.events, b.clock = 0, 0
		select {
		case w.free <- b:
		default: // the last one
		}
	}
}

func (w *Writer) symbols(b *block, seenPC, seenType map[uint64]bool) Symbols {
	fresh := func(all []uint64, seen map[uint64]bool) []uint64 {
		var some []uint64
		for _, v := range all {
			if !seen[v] && len(seen) < dictionaryMax {
				seen[v] = true
				some = append(some, v)
			}
		}
		slices.Sort(some)
		return some
	}
	pcs, types := fresh(b.pcs, seenPC), fresh(b.types, seenType)
	if len(pcs)+len(types) == 0 {
		return Symbols{}
	}
	return w.src.Symbolize(pcs, types)
}

type blockWriter struct {
	w       io.Writer
	buf     []byte
	written *atomic.Int64
}

func (o *blockWriter) write(kind uint32, payload []byte, events uint32) error {
	if len(payload) > blockBytesMax {
		return fmt.Errorf("a block of %d bytes: at most %d are allowed", len(payload), blockBytesMax)
	}
	o.buf = slices.Grow(o.buf[:0], frameBytes+s2.MaxEncodedLen(len(payload)))
	packed := s2.Encode(o.buf[frameBytes:cap(o.buf)], payload)
	o.buf = o.buf[:frameBytes+len(packed)]
	f := frame{kind: kind, raw: uint32(len(payload)), packed: uint32(len(packed)), sum: checksum(packed), events: events}
	f.append(o.buf[:0])
	n, err := o.w.Write(o.buf)
	if err == nil && n < len(o.buf) {
		err = io.ErrShortWrite
	}
	if err == nil {
		o.written.Add(int64(n))
	}
	return err
}
