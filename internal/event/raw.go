package event

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"hmaptools/internal/hmap"
)

// Raw is an event as a probe stores it: 128 bytes, little endian, two cache lines.
// internal/probe generates code that writes this very layout.
type Raw struct {
	Seq       uint64 // its number plus one; written last
	Clock     uint64 // the time stamp counter
	Func      uint32 // index of Meta.Funcs
	Thread    uint32
	Goroutine uint64
	Type      uint64
	Map       uint64
	Caller    uint64 // return address
	Arg       uint64 // see Event.Arg; for Text and InMem the pointer to the key
	Arg2      uint64 // Text: the length; of a table the first eight bytes
	Header    [HeaderBytes]byte
}

// HeaderBytes is how much of a header is recorded: all of it, as it is in every
// version (48 bytes, 56 in Classic maps of Go 1.24 and 1.25).
const HeaderBytes = 56

// RawBytes is the size of a Raw.
const RawBytes = 128

// like reports whether two events have the same function, thread, goroutine, type, map
// and caller, and the same header but for its first word. The bytes of a header that no
// version has are zero, or whatever was in the slot before.
func (r *Raw) like(s *Raw) bool {
	x, y := (*[RawBytes / 8]uint64)(unsafe.Pointer(r)), (*[RawBytes / 8]uint64)(unsafe.Pointer(s))
	return x[2]^y[2]|x[3]^y[3]|x[4]^y[4]|x[5]^y[5]|x[6]^y[6]|
		x[10]^y[10]|x[11]^y[11]|x[12]^y[12]|x[13]^y[13]|x[14]^y[14]|x[15]^y[15] == 0
}

// header0 is the first word of the header, the number of entries.
func header0(r *Raw) uint64 { return binary.LittleEndian.Uint64(r.Header[:]) }

// recentCombos is how many places there are for what came up lately, by recentAt.
const recentCombos = 1 << 8

func recentAt(r *Raw) uint8 {
	return uint8((r.Map>>4 ^ r.Caller ^ r.Goroutine<<8 ^ uint64(r.Func)<<16) * 0x9e3779b97f4a7c15 >> 56)
}

// Layout says where the fields of a header lie in Raw.Header.
type Layout struct {
	Generation hmap.Generation `json:"generation"`
	// Size is how many bytes of the header were recorded: at most HeaderBytes.
	Size   int                `json:"size"`
	Fields []hmap.RecordField `json:"fields"`
	// From says where the layout is from: "dwarf", or "symbols" where a stripped
	// binary's functions say which generation its maps are, and no more.
	From string `json:"from"`
}

// DefaultLayout is where the fields lie that all versions of a generation have in
// the same place: Go 1.18 to 1.27 on 64-bit systems.
func DefaultLayout(gen hmap.Generation) Layout {
	l := Layout{Generation: gen, Size: 48, From: "symbols"}
	field := func(name string, off, size int) {
		l.Fields = append(l.Fields, hmap.RecordField{Name: name, Off: off, Size: size})
	}
	if gen == hmap.Classic {
		field("count", 0, 8)
		field("flags", 8, 1)
		field("B", 9, 1)
		field("noverflow", 10, 2)
		field("hash0", 12, 4)
		field("buckets", 16, 8)
		field("oldbuckets", 24, 8)
		field("nevacuate", 32, 8)
		return l
	}
	field("used", 0, 8)
	field("seed", 8, 8)
	field("dirPtr", 16, 8)
	field("dirLen", 24, 8)
	field("globalDepth", 32, 1)
	field("globalShift", 33, 1)
	field("writing", 34, 1)
	field("clearSeq", 40, 8)
	return l
}

// Check fails if the layout reaches beyond what is recorded or lacks a field that
// is relied on.
func (l *Layout) Check() error {
	if l.Size < 0 || l.Size > HeaderBytes {
		return fmt.Errorf("header layout: %d bytes, at most %d are recorded", l.Size, HeaderBytes)
	}
	need := []string{"used", "seed", "dirLen", "writing"}
	switch l.Generation {
	case hmap.Classic:
		need = []string{"count", "flags", "B", "hash0", "oldbuckets", "nevacuate"}
	case hmap.Swiss:
	default:
		return fmt.Errorf("header layout: unknown generation %d", l.Generation)
	}
	for _, f := range l.Fields {
		if f.Off < 0 || f.Size < 1 || f.Size > 8 || f.Off+f.Size > HeaderBytes {
			return fmt.Errorf("header layout: field %s at %d of %d bytes is not recorded", f.Name, f.Off, f.Size)
		}
	}
	if first := l.field(need[0]); first.Off != 0 || first.Size != 8 {
		return fmt.Errorf("header layout: field %s is not the first word", need[0])
	}
	for _, name := range need {
		if l.field(name).Size == 0 {
			return fmt.Errorf("header layout: no field %s", name)
		}
	}
	return nil
}

func (l *Layout) field(name string) hmap.RecordField {
	for _, f := range l.Fields {
		if f.Name == name && f.Off+f.Size <= HeaderBytes {
			return f
		}
	}
	return hmap.RecordField{Name: name}
}

// Assembler makes Events of Raws as they come from a probe, for an Analysis that
// needs no file.
type Assembler struct {
	*Interner
	meta    *Meta
	headers *headerDecoder
	cache   []assembled
	recent  [64]recentHeader
	usual   [recentCombos]usual
	ev      Event
}

// recentHeader is the header of a map as it was last: mostly it is still so.
type recentHeader struct {
	raw     [HeaderBytes]byte
	decoded hmap.Header
}

// assembled is what many events share; see Assembler.Event.
type assembled struct {
	typ, pc uint64
	depth   int
	t       *Type
	site    *Site
	pcs     [stackMax]uint64
}

// NewAssembler returns an Assembler of events with the functions and the header
// of meta.
func NewAssembler(meta *Meta) *Assembler {
	return &Assembler{Interner: NewInterner(), meta: meta, headers: newHeaderDecoder(&meta.Layout), cache: make([]assembled, 256)}
}

// Event returns the event that r describes, at t nanoseconds. It is valid until
// the next call; key is kept in it.
func (a *Assembler) Event(r *Raw, stack []uint64, key []byte, t int64) *Event {
	e := &a.ev
	e.T, e.Func, e.Map = t, a.meta.Funcs[r.Func], hmap.Addr(r.Map)
	e.Goroutine, e.Thread = int64(r.Goroutine), int(r.Thread)
	c := &a.cache[(r.Caller^r.Caller>>8^r.Type>>5)&255]
	if c.pc != r.Caller || c.typ != r.Type || c.site == nil || c.depth != len(stack) || !slices.Equal(c.pcs[:c.depth], stack) {
		c.pc, c.typ, c.t = r.Caller, r.Type, a.Type(r.Type)
		c.depth = copy(c.pcs[:], stack)
		c.site = a.Site(append([]uint64{r.Caller}, c.pcs[:c.depth]...)...)
	}
	e.Type, e.Site = c.t, c.site
	if r.Map == 0 {
		e.Header = hmap.Header{}
	} else {
		h := &a.recent[(r.Map>>4^r.Map>>10)&63]
		if h.decoded.Addr != e.Map || !sameRest(&h.raw, &r.Header) {
			h.raw = r.Header
			a.headers.decode(&h.decoded, e.Map, r.Header[:])
		}
		e.Header = h.decoded
		// The number of entries, which Layout.Check wants first.
		n := binary.LittleEndian.Uint64(r.Header[:])
		if e.Header.Generation == hmap.Classic {
			e.Header.Count = int64(n)
		} else {
			e.Header.Used = n
		}
	}
	e.Arg, e.KeyBytes, e.Table = r.Arg, key, Table{}
	switch {
	case e.Func.Key == Text:
		e.Arg = r.Arg2
	case e.Func.Key == InMem:
		e.Arg = 0
	case e.Func.Op == Grow, e.Func.Op == Split, e.Func.Op == Rehash:
		e.Table = UnpackTable(r.Arg2)
	}
	return e
}

// sameRest reports whether two headers are the same but for their first word. The
// bytes behind Layout.Size are zero, or whatever was in the slot before.
func sameRest(a, b *[HeaderBytes]byte) bool {
	// By words: a comparison of arrays is a call.
	x, y := (*[HeaderBytes / 8]uint64)(unsafe.Pointer(a)), (*[HeaderBytes / 8]uint64)(unsafe.Pointer(b))
	return x[1]^y[1]|x[2]^y[2]|x[3]^y[3]|x[4]^y[4]|x[5]^y[5]|x[6]^y[6] == 0
}

// Header decodes the Size bytes of the header at addr.
func (l *Layout) Header(addr hmap.Addr, raw []byte) (h hmap.Header) {
	var all [HeaderBytes]byte
	copy(all[:], raw)
	newHeaderDecoder(l).decode(&h, addr, all[:])
	return h
}

// headerDecoder decodes headers of one layout.
type headerDecoder struct {
	gen  hmap.Generation
	used hmap.RecordField
	f    [8]hmap.RecordField
}

func newHeaderDecoder(l *Layout) *headerDecoder {
	d := &headerDecoder{gen: l.Generation}
	names := []string{"seed", "dirPtr", "dirLen", "globalDepth", "globalShift", "writing", "clearSeq", "tombstonePossible"}
	d.used = l.field("used")
	if l.Generation == hmap.Classic {
		d.used = l.field("count")
		names = []string{"hash0", "buckets", "oldbuckets", "nevacuate", "flags", "B", "noverflow", "clearSeq"}
	}
	for i, name := range names {
		d.f[i] = l.field(name)
	}
	return d
}

func (d *headerDecoder) decode(h *hmap.Header, addr hmap.Addr, raw []byte) {
	*h = hmap.Header{Addr: addr, Generation: d.gen}
	u := func(i int) uint64 { return d.f[i].Uint(raw) }
	if d.gen == hmap.Classic {
		h.Count = int64(d.used.Uint(raw))
		h.Hash0, h.Buckets, h.OldBuckets, h.NEvacuate = uint32(u(0)), hmap.Addr(u(1)), hmap.Addr(u(2)), u(3)
		h.Flags, h.B, h.NOverflow, h.ClearSeq = uint8(u(4)), uint8(u(5)), uint16(u(6)), u(7)
		return
	}
	h.Used = d.used.Uint(raw)
	h.Seed, h.DirPtr, h.DirLen = u(0), hmap.Addr(u(1)), int64(u(2))
	h.GlobalDepth, h.GlobalShift, h.Writing, h.ClearSeq = uint8(u(3)), uint8(u(4)), uint8(u(5)), u(6)
	h.TombstonePossible = u(7) != 0
}
