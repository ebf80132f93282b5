package event

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/s2"

	"hmaptools/internal/hmap"
)

// Reader reads a recording as a stream.
type Reader struct {
	meta    *Meta
	in      *bufio.Reader
	off     int64 // of the next byte
	packed  []byte
	raw     []byte
	end     *End
	lost    uint64
	missing uint64 // events of damaged blocks
	events  uint64
	last    int64 // time of the last block

	names   Interner
	combos  []readCombo // of the block
	headers *headerDecoder
	ev      Event
}

// Interner makes one Type of each descriptor and one Site of each stack, and names
// them as names come in.
type Interner struct {
	types  map[uint64]*Type
	sites  map[string]*Site
	frames map[uint64][]Frame
	key    []byte
}

// NewInterner returns an empty Interner.
func NewInterner() *Interner {
	return &Interner{types: map[uint64]*Type{}, sites: map[string]*Site{}, frames: map[uint64][]Frame{}}
}

// Type returns the type whose descriptor is at addr; nil for 0.
func (in *Interner) Type(addr uint64) *Type {
	if addr == 0 {
		return nil
	}
	t := in.types[addr]
	if t == nil {
		t = &Type{Addr: hmap.Addr(addr)}
		in.types[addr] = t
	}
	return t
}

// Site returns the site of these return addresses, innermost first.
func (in *Interner) Site(pcs ...uint64) *Site {
	in.key = in.key[:0]
	for _, pc := range pcs {
		in.key = binary.LittleEndian.AppendUint64(in.key, pc)
	}
	s := in.sites[string(in.key)]
	if s == nil {
		s = &Site{PCs: slices.Clone(pcs), frames: in.frames}
		in.sites[string(in.key)] = s
	}
	return s
}

// Add takes names in.
func (in *Interner) Add(s Symbols) {
	for pc, frames := range s.Frames {
		if len(in.frames) < dictionaryMax {
			in.frames[pc] = frames
		}
	}
	for _, t := range s.Types {
		if t != nil && t.Addr != 0 && len(in.types) < dictionaryMax {
			*in.Type(uint64(t.Addr)) = *t
		}
	}
}

// NewReader reads the beginning of a recording, up to its Meta. It fails with a
// *NotRecordingError, or as Read does.
func NewReader(r io.Reader) (*Reader, error) {
	rd := &Reader{in: bufio.NewReaderSize(r, 1<<20), names: *NewInterner()}
	head := make([]byte, len(magic))
	n, err := io.ReadFull(rd.in, head)
	rd.off = int64(n)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, &NotRecordingError{"the file is empty"}
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("read recording: %w", err)
	case string(head[:min(n, len(magic)-1)]) != magic[:min(n, len(magic)-1)]:
		return nil, &NotRecordingError{"it does not begin like one"}
	case n == len(magic) && head[n-1] != magic[n-1]:
		return nil, &NotRecordingError{fmt.Sprintf("format %d, this program reads %d", head[n-1], magic[n-1])}
	case err != nil:
		return nil, &TruncatedError{Offset: rd.off}
	}
	f, err := rd.block()
	if errors.Is(err, io.EOF) {
		err = &TruncatedError{Offset: rd.off}
	}
	if err == nil && f.kind != blockMeta {
		err = rd.damaged(f, "a block of kind %d, want the description of the recording", f.kind)
	}
	if err == nil {
		rd.meta = &Meta{}
		if err = json.Unmarshal(rd.raw, rd.meta); err == nil {
			err = rd.meta.check()
		}
		if err != nil {
			err = rd.damaged(f, "%v", err)
		}
	}
	if err != nil {
		return nil, err
	}
	rd.headers = newHeaderDecoder(&rd.meta.Layout)
	return rd, nil
}

// Meta says what the recording is of.
func (r *Reader) Meta() *Meta { return r.meta }

// End says how the recording ended. Before its end was read, and if it has none,
// it holds what is known so far.
func (r *Reader) End() End {
	if r.end != nil {
		return *r.end
	}
	return End{Events: r.events, Lost: r.lost + r.missing, DurationNS: r.last, Reason: "cut off"}
}

// Missing is how many events damaged blocks had.
func (r *Reader) Missing() uint64 { return r.missing }

// Read calls visit for every event in order; the event is valid during the call
// only. A block that is damaged is left out; the errors of all are returned,
// joined, at the end. A file that ends early is a *TruncatedError, which comes
// after all of its complete blocks. The first error of visit ends Read.
func (r *Reader) Read(visit func(e *Event) error) error {
	var errs []error
	for {
		f, err := r.block()
		var damaged *DamagedError
		switch {
		case errors.Is(err, io.EOF):
			if r.end == nil {
				errs = append(errs, &TruncatedError{r.off, r.events})
			}
			return errors.Join(errs...)
		case errors.As(err, &damaged) && damaged.Events > 0:
			r.missing += damaged.Events
			errs = appendSome(errs, err)
			continue
		case err != nil:
			return errors.Join(append(errs, err)...)
		}
		switch f.kind {
		case blockEvents:
			visited, err := r.decode(f, visit)
			if errors.As(err, &damaged) {
				damaged.Events = uint64(f.events) - visited
				r.missing += damaged.Events
				errs = appendSome(errs, err)
			} else if err != nil {
				return errors.Join(append(errs, err)...)
			}
		case blockSymbols:
			var s Symbols
			if err := json.Unmarshal(r.raw, &s); err != nil {
				errs = appendSome(errs, r.damaged(f, "%v", err))
				continue
			}
			r.names.Add(s)
		case blockEnd:
			end := &End{}
			if err := json.Unmarshal(r.raw, end); err != nil {
				errs = appendSome(errs, r.damaged(f, "%v", err))
				continue
			}
			r.end = end
		default:
			errs = appendSome(errs, r.damaged(f, "unknown kind %d", f.kind))
		}
	}
}

// appendSome keeps a file full of damage from filling memory.
func appendSome(errs []error, err error) []error {
	if len(errs) < 10 {
		errs = append(errs, err)
	}
	return errs
}

func (r *Reader) damaged(f frame, format string, args ...any) error {
	return &DamagedError{r.off - int64(f.packed) - frameBytes, fmt.Sprintf(format, args...), uint64(f.events)}
}

// block reads the next block into r.raw. It fails with io.EOF at the end, with a
// *TruncatedError in the middle of a block, and with a *DamagedError: one whose
// Events are not 0 says that only this block is lost.
func (r *Reader) block() (f frame, err error) {
	var head [frameBytes]byte
	n, err := io.ReadFull(r.in, head[:])
	if errors.Is(err, io.EOF) {
		return f, io.EOF
	}
	at := r.off
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return f, &TruncatedError{at, r.events}
	}
	if err != nil {
		return f, fmt.Errorf("read recording: %w", err)
	}
	r.off += int64(n)
	f, why := parseFrame(head[:])
	if why != "" {
		return f, &DamagedError{Offset: at, Detail: why}
	}
	r.packed = slices.Grow(r.packed[:0], int(f.packed))[:f.packed]
	n, err = io.ReadFull(r.in, r.packed)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f, &TruncatedError{at, r.events}
	}
	if err != nil {
		return f, fmt.Errorf("read recording: %w", err)
	}
	r.off += int64(n)
	if sum := checksum(r.packed); sum != f.sum {
		return f, r.damaged(f, "checksum %#x, want %#x", sum, f.sum)
	}
	if n, err := s2.DecodedLen(r.packed); err != nil || n != int(f.raw) {
		return f, r.damaged(f, "%d bytes uncompressed, want %d", n, f.raw)
	}
	r.raw = slices.Grow(r.raw[:0], int(f.raw))[:f.raw]
	if _, err := s2.Decode(r.raw, r.packed); err != nil {
		return f, r.damaged(f, "%v", err)
	}
	return f, nil
}

// varints reads a payload; bad is set when it ends early.
type varints struct {
	b   []byte
	bad bool
}

func (v *varints) uint() uint64 {
	if len(v.b) > 0 && v.b[0] < 0x80 {
		x := v.b[0]
		v.b = v.b[1:]
		return uint64(x)
	}
	x, n := binary.Uvarint(v.b)
	if n <= 0 {
		v.bad, v.b = true, nil
		return 0
	}
	v.b = v.b[n:]
	return x
}

func (v *varints) int() int64 {
	x := v.uint()
	return int64(x>>1) ^ -int64(x&1)
}

func (v *varints) bytes(n uint64) []byte {
	if n > uint64(len(v.b)) {
		v.bad, v.b = true, nil
		return nil
	}
	b := v.b[:n]
	v.b = v.b[n:]
	return b
}

// readCombo is a combination of a block that is read.
type readCombo struct {
	fn        *Func
	thread    int
	goroutine int64
	typ       *Type
	addr      hmap.Addr
	site      *Site
	known     bool // the two that follow are
	raw       [HeaderBytes]byte
	h         hmap.Header
}

// decode delivers the events of the block in r.raw.
func (r *Reader) decode(f frame, visit func(e *Event) error) (visited uint64, err error) {
	head := &varints{b: r.raw}
	syncClock, syncNS := head.uint(), int64(head.uint())
	r.lost = head.uint()
	var lens [4]uint64
	for i := range lens {
		lens[i] = head.uint()
	}
	var columns [4]varints
	for i, n := range lens {
		columns[i].b = head.bytes(n)
	}
	if head.bad {
		return 0, r.damaged(f, "its columns are longer than it is")
	}
	r.last = syncNS
	combos, why := r.readCombos(&columns[0])
	if why != "" {
		return 0, r.damaged(f, "%s", why)
	}
	ids, clocks, bits, v := columns[1].b, &columns[2], columns[3].b, head
	wide := 1
	if len(combos) > 256 {
		wide = 2
	}
	if uint64(len(ids)) != uint64(wide)*uint64(f.events) || uint64(len(bits)) != uint64(f.events) {
		return 0, r.damaged(f, "its columns are not of %d events", f.events)
	}
	perTick := 0.0
	if syncClock > r.meta.Clock && syncNS > 0 {
		perTick = float64(syncNS) / float64(syncClock-r.meta.Clock)
	}
	clock := uint64(0)
	size := r.meta.Layout.Size
	e := &r.ev
	for i, bits := range bits {
		id := int(ids[i*wide])
		if wide == 2 {
			id |= int(ids[2*i+1]) << 8
		}
		if id >= len(combos) {
			return visited, r.damaged(f, "combination %d of %d", id, len(combos))
		}
		c := &combos[id]
		clock += uint64(clocks.int())
		e.T = syncNS - int64(float64(int64(syncClock-clock<<clockShift))*perTick)
		e.Func, e.Map, e.Type, e.Goroutine, e.Thread, e.Site = c.fn, c.addr, c.typ, c.goroutine, c.thread, c.site
		e.Arg, e.KeyBytes, e.Table = 0, nil, Table{}
		if bits&hasHeader == 0 {
			e.Header = hmap.Header{}
		} else {
			if bits&hasLen != 0 {
				binary.LittleEndian.PutUint64(c.raw[:], binary.LittleEndian.Uint64(c.raw[:])+uint64(v.int()))
				if c.h.Generation == hmap.Swiss {
					c.h.Used = binary.LittleEndian.Uint64(c.raw[:])
				} else {
					c.h.Count = int64(binary.LittleEndian.Uint64(c.raw[:]))
				}
			}
			if bits&hasRest != 0 {
				copy(c.raw[:size], v.bytes(uint64(size)))
				r.headers.decode(&c.h, c.addr, c.raw[:])
				c.known = true
			}
			if !c.known {
				return visited, r.damaged(f, "a header refers to one that is not there")
			}
			e.Header = c.h
		}
		if bits&hasArg != 0 {
			e.Arg = v.uint()
		}
		if bits&hasArg2 != 0 {
			e.Table = UnpackTable(v.uint())
		}
		if bits&hasKey != 0 {
			if b := v.bytes(1); b != nil {
				e.KeyBytes = v.bytes(uint64(b[0]))
			}
		}
		if v.bad || clocks.bad {
			return visited, r.damaged(f, "it ends within an event")
		}
		visited++
		r.events++
		if err := visit(e); err != nil {
			return visited, err
		}
	}
	return visited, nil
}

// readCombos reads the column of combinations.
func (r *Reader) readCombos(v *varints) (combos []readCombo, why string) {
	combos = r.combos[:0]
	for len(v.b) > 0 {
		if len(combos) == combosMax {
			return nil, fmt.Sprintf("more than %d combinations", combosMax)
		}
		c, why := r.readCombo(v)
		if why != "" {
			return nil, why
		}
		combos = append(combos, c)
	}
	if v.bad {
		return nil, "it ends within a combination"
	}
	r.combos = combos
	return combos, ""
}

// UnpackTable unpacks the first words of a Swiss table: used, capacity and growthLeft,
// of 16 bits each, and localDepth. internal/runtime/maps/table.go, Go 1.24 to 1.27.
func UnpackTable(w uint64) Table {
	return Table{int(w & 0xffff), int(w >> 16 & 0xffff), int(w >> 32 & 0xffff), int(w >> 48 & 0xff)}
}

func (r *Reader) readCombo(v *varints) (c readCombo, why string) {
	fn := v.uint()
	if fn >= uint64(len(r.meta.Funcs)) {
		return c, fmt.Sprintf("function %d of %d", fn, len(r.meta.Funcs))
	}
	c.fn = r.meta.Funcs[fn]
	c.thread = int(uint32(v.uint()))
	c.goroutine = int64(v.uint())
	typ := v.uint()
	c.addr = hmap.Addr(v.uint())
	n := v.uint()
	if n < 1 || n > stackMax {
		return c, fmt.Sprintf("%d return addresses, at most %d are allowed", n, stackMax)
	}
	var pcs [stackMax]uint64
	for i := range pcs[:n] {
		pcs[i] = v.uint()
	}
	if len(r.names.types)+len(r.names.sites) > dictionaryMax {
		return c, "too many types and sites"
	}
	c.typ = r.names.Type(typ)
	c.site = r.names.Site(pcs[:n]...)
	return c, ""
}
