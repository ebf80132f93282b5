package event

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
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
	table  []uint32 // open addressing: 1 + index of combos, 0 is free
	combos []combo
	maps   map[uint64]int32
	states []mapState
	last   uint32 // the combination of the last event

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

type block struct {
	buf    []byte
	events uint32
	clock  uint64
	pcs    []uint64 // of combinations, to be named
	types  []uint64
	ready  []byte // the whole payload
}

// combo is what many events share.
type combo struct {
	fn, thread               uint32
	goroutine, typ, addr, pc uint64
	stack                    uint64 // hash of the callers
	state                    int32
}

type mapState struct {
	known  bool
	header [HeaderBytes]byte
}

const (
	tableSize = 1 << 18 // four times blockEventsMax
	// flushBytes leaves room for the largest event: a new combination with a stack.
	flushBytes = 4 << 20
	queue      = 8 // blocks that wait to be compressed
)

// NewWriter begins a recording.
func NewWriter(w io.Writer, meta *Meta, src Source) (*Writer, error) {
	if err := meta.check(); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	wr := &Writer{
		src: src, meta: meta, size: meta.Layout.Size,
		full: make(chan *block, queue), free: make(chan *block, queue+2), done: make(chan struct{}),
		table: make([]uint32, tableSize), maps: map[uint64]int32{},
	}
	for range queue + 2 {
		wr.free <- &block{}
	}
	out := &blockWriter{w: w, enc: enc, written: &wr.written}
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
	id, fresh := w.combo(r, stack)
	buf := binary.AppendUvarint(b.buf, uint64(id))
	if fresh {
		stack = stack[:min(len(stack), stackMax-1)]
		buf = binary.AppendUvarint(buf, uint64(r.Func))
		buf = binary.AppendUvarint(buf, uint64(r.Thread))
		for _, v := range [...]uint64{r.Goroutine, r.Type, r.Map, uint64(1 + len(stack)), r.Caller} {
			buf = binary.AppendUvarint(buf, v)
		}
		b.pcs = append(b.pcs, r.Caller)
		for _, pc := range stack {
			buf = binary.AppendUvarint(buf, pc)
		}
		b.pcs = append(b.pcs, stack...)
		b.types = append(b.types, r.Type)
	}
	buf = binary.AppendVarint(buf, int64(r.Clock-b.clock))
	b.clock = r.Clock
	at := len(buf)
	buf = append(buf, 0)
	var bits byte
	if r.Map != 0 {
		bits |= hasHeader
		st := &w.states[w.combos[id].state]
		if !st.known || !sameRest(&st.header, &r.Header) {
			bits |= hasRest
			buf = append(buf, r.Header[:w.size]...)
			st.known = true
			st.header = r.Header
		} else if was, is := binary.LittleEndian.Uint64(st.header[:]), binary.LittleEndian.Uint64(r.Header[:]); was != is {
			bits |= hasLen
			buf = binary.AppendVarint(buf, int64(is-was))
			binary.LittleEndian.PutUint64(st.header[:], is)
		}
	}
	arg, arg2 := r.Arg, r.Arg2
	switch w.meta.Funcs[r.Func].Key {
	case Text:
		arg, arg2 = arg2, 0
	case InMem:
		arg, arg2 = 0, 0
	case Word32, Word64:
		arg2 = 0
	}
	if arg != 0 {
		bits |= hasArg
		buf = binary.AppendUvarint(buf, arg)
	}
	if arg2 != 0 {
		bits |= hasArg2
		buf = binary.AppendUvarint(buf, arg2)
	}
	if len(key) > 0 {
		bits |= hasKey
		key = key[:min(len(key), keyMax)]
		buf = append(append(buf, byte(len(key))), key...)
	}
	buf[at] = bits
	b.buf = buf
	b.events++
	w.events++
	if b.events == blockEventsMax || len(buf) > flushBytes {
		w.Flush()
	}
}

// sameRest reports whether two headers are the same but for their first word. The
// bytes behind Layout.Size are zero, or whatever was in the slot before.
func sameRest(a, b *[HeaderBytes]byte) bool {
	return [HeaderBytes - 8]byte(a[8:]) == [HeaderBytes - 8]byte(b[8:])
}

// combo returns the number of the event's combination within the block.
func (w *Writer) combo(r *Raw, stack []uint64) (id uint32, fresh bool) {
	if n := w.last; int(n) < len(w.combos) && len(stack) == 0 {
		if p := &w.combos[n]; p.addr == r.Map && p.pc == r.Caller && p.goroutine == r.Goroutine && p.fn == r.Func && p.thread == r.Thread && p.typ == r.Type && p.stack == 0 {
			return n, false
		}
	}
	c := combo{fn: r.Func, thread: r.Thread, goroutine: r.Goroutine, typ: r.Type, addr: r.Map, pc: r.Caller}
	for _, pc := range stack {
		c.stack = (c.stack ^ pc) * 0x9e3779b97f4a7c15
	}
	const k = 0x9e3779b97f4a7c15
	h := (c.addr^uint64(c.fn)<<48)*k ^ (c.goroutine^uint64(c.thread)<<32)*0xc2b2ae3d27d4eb4f ^ (c.pc^c.stack)*0x165667b19e3779f9
	h ^= h >> 29
	h *= k
	for i := h >> 46; ; i = (i + 1) & (tableSize - 1) {
		n := w.table[i]
		if n == 0 {
			st, ok := w.maps[c.addr]
			if !ok {
				st = int32(len(w.states))
				w.states = append(w.states, mapState{})
				w.maps[c.addr] = st
			}
			c.state = st
			w.combos = append(w.combos, c)
			w.table[i] = uint32(len(w.combos))
			w.last = uint32(len(w.combos) - 1)
			return w.last, true
		}
		if p := &w.combos[n-1]; p.addr == c.addr && p.pc == c.pc && p.goroutine == c.goroutine && p.fn == c.fn && p.thread == c.thread && p.typ == c.typ && p.stack == c.stack {
			w.last = n - 1
			return n - 1, false
		}
	}
}

// Flush closes the block of the events so far, so that they are on their way to
// the file.
func (w *Writer) Flush() {
	b := w.cur
	if b.events == 0 {
		return
	}
	clock, ns := w.src.Now()
	head := binary.AppendUvarint(b.ready[:0], clock)
	head = binary.AppendUvarint(head, uint64(ns))
	head = binary.AppendUvarint(head, w.src.Lost())
	b.ready = append(head, b.buf...)
	w.full <- b
	w.cur = <-w.free
	w.combos = w.combos[:0]
	w.states = w.states[:0]
	clear(w.table)
	clear(w.maps)
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
	defer out.enc.Close()
	seenPC, seenType := map[uint64]bool{0: true}, map[uint64]bool{0: true}
	for b := range w.full {
		if w.Err() == nil {
			kind := blockEvents
			if b.events == 0 {
				kind = blockEnd
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
		b.buf, b.pcs, b.types = b.buf[:0], b.pcs[:0], b.types[:0]
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
	enc     *zstd.Encoder
	buf     []byte
	written *atomic.Int64
}

func (o *blockWriter) write(kind uint32, payload []byte, events uint32) error {
	if len(payload) > blockBytesMax {
		return fmt.Errorf("a block of %d bytes: at most %d are allowed", len(payload), blockBytesMax)
	}
	o.buf = o.enc.EncodeAll(payload, append(o.buf[:0], make([]byte, frameBytes)...))
	packed := o.buf[frameBytes:]
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
