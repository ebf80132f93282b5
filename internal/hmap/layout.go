package hmap

import (
	"fmt"
	"reflect"
)

// Generation is the design of a map: Classic or Swiss.
type Generation uint8

const (
	Classic Generation = iota + 1
	Swiss
)

func (g Generation) String() string {
	switch g {
	case Classic:
		return "classic"
	case Swiss:
		return "swiss"
	}
	return "unknown"
}

// Variant is how keys and elems lie in a block.
type Variant uint8

const (
	Bucket      Variant = iota + 1 // Classic: tophashes, keys, elems, overflow pointer
	Interleaved                    // Swiss: control word, then key elem key elem
	SplitGroup                     // Swiss with GOEXPERIMENT=mapsplitgroup (Go 1.27): control word, keys, elems
)

func (v Variant) String() string {
	switch v {
	case Bucket:
		return "bucket"
	case Interleaved:
		return "interleaved"
	case SplitGroup:
		return "splitgroup"
	}
	return "unknown"
}

// LayoutError says what the target's description of a map type lacks.
type LayoutError struct {
	Type  string // the map type
	Lacks string // the field, constant or type
}

func (e *LayoutError) Error() string {
	return fmt.Sprintf("layout of %s: the target's debug information lacks %s", e.Type, e.Lacks)
}

// Record is the layout of a struct of the runtime: every field that it has in
// this target, under its own name.
type Record struct {
	Name   string
	Size   int // bytes
	Fields []RecordField
}

// RecordField is a field of at most one word.
type RecordField struct {
	Name      string
	Off, Size int // bytes
	Pointer   bool
	Bool      bool
}

// Uint reads the field from the bytes of the record; it is 0 when the record
// lacks the field (Size 0).
func (f RecordField) Uint(rec []byte) uint64 { return word(rec[f.Off : f.Off+f.Size]) }

// Int reads the field with its sign.
func (f RecordField) Int(rec []byte) int64 {
	shift := 64 - 8*f.Size
	return int64(f.Uint(rec)<<shift) >> shift
}

// Field looks a field up; a missing one has Size 0.
func (r *Record) Field(name string) RecordField {
	for _, f := range r.Fields {
		if f.Name == name {
			return f
		}
	}
	return RecordField{Name: name}
}

// maxRecordFields bounds a record: no header has had more than 10 fields.
const maxRecordFields = 64

// RecordOf flattens a struct type; nested structs become "groups.data".
func RecordOf(t *Type) Record {
	r := Record{Name: t.Name, Size: int(t.Size)}
	r.add("", 0, t, 0)
	return r
}

func (r *Record) add(prefix string, base int64, t *Type, depth int) {
	for _, f := range t.Fields() {
		off, name := base+f.Off, prefix+f.Name
		if f.Type.Kind == reflect.Struct && depth < 4 {
			r.add(name+".", off, f.Type, depth+1)
			continue
		}
		if f.Type.Size < 1 || f.Type.Size > 8 || off < 0 || off > int64(r.Size)-f.Type.Size || len(r.Fields) >= maxRecordFields {
			continue
		}
		r.Fields = append(r.Fields, RecordField{
			Name: name, Off: int(off), Size: int(f.Type.Size),
			Pointer: f.Type.Kind == reflect.Pointer || f.Type.Kind == reflect.UnsafePointer,
			Bool:    f.Type.Kind == reflect.Bool,
		})
	}
}

// Block is the layout of a bucket or a group: Slots slots, each with a byte of
// tophash or control at Meta+i, a key at Keys+i*KeyStride and an elem at
// Elems+i*ElemStride. All offsets and sizes are in bytes. The one description
// fits the three variants.
type Block struct {
	Size, Slots, Meta           int
	Keys, KeyStride, KeySize    int // KeySize: of what lies in the slot, a pointer if IndirectKey
	Elems, ElemStride, ElemSize int
	IndirectKey, IndirectElem   bool // the slot holds a pointer to the key, the elem (over 128 bytes)
	Overflow                    int  // Classic: offset of the pointer to the next bucket of the chain
	Pointers                    bool // the garbage collector scans it
}

// Consts are the runtime's constants that decoding relies on, with their names
// there. Those of the other generation are zero.
type Consts struct {
	// Classic, runtime/map.go.
	EmptyRest, EmptyOne                    uint8 // tophash of an empty slot
	EvacuatedX, EvacuatedY, EvacuatedEmpty uint8 // tophash of an evacuated slot
	MinTopHash                             uint8 // smallest tophash of a full slot
	Iterator, OldIterator                  uint8 // bits of hmap.flags
	HashWriting, SameSizeGrow              uint8
	LoadFactorNum, LoadFactorDen           uint64 // entries per bucket that a map may have on average
	// Swiss, internal/runtime/maps.
	CtrlEmpty, CtrlDeleted uint8
	MaxTableCapacity       uint64 // slots of the largest table
	MaxAvgGroupLoad        uint64 // full slots that a group may have on average
}

// Layout is how the maps of one type lie in memory.
type Layout struct {
	Generation Generation
	Variant    Variant
	PtrSize    int
	Key, Elem  *Type
	Header     Record
	Table      Record // Swiss
	Extra      Record // Classic: runtime.mapextra
	Block      Block
	Consts     *Consts
	Alloc      *SizeClasses

	hdr     headerFields
	tab     tableFields
	classes [256]slotClass
	meta    metaWord
}

// headerFields are the fields of Header, looked up once.
type headerFields struct {
	// Classic
	count, flags, b, noverflow, hash0, buckets, oldbuckets, nevacuate, extra RecordField
	// Swiss
	used, seed, dirPtr, dirLen, globalDepth, globalShift, writing, tombstonePossible RecordField
	// both, since 1.24
	clearSeq RecordField
}

type tableFields struct {
	used, capacity, growthLeft, localDepth, index, data, lengthMask RecordField
}

const (
	// maxHeaderBytes bounds the header, the table record and mapextra: 56 bytes
	// is the most that any of them has had.
	maxHeaderBytes = 64
	// maxBlockBytes bounds a block: 8 slots of a key and an elem of up to 128
	// bytes each, and 16 bytes more. A Classic map type has 16 bits for it.
	maxBlockBytes = 1 << 16
)

// finish completes a layout whose exported fields are set, and refuses one that
// would make decoding leave a record or a block.
func (l *Layout) finish(typeName string) error {
	lacks := func(what string) error { return &LayoutError{typeName, what} }
	need := func(r *Record, name string, into *RecordField) error {
		*into = r.Field(name)
		if into.Size == 0 {
			return lacks("field " + r.Name + "." + name)
		}
		return nil
	}
	type want struct {
		r    *Record
		name string
		into *RecordField
	}
	h, tb := &l.hdr, &l.tab
	var wants []want
	switch l.Generation {
	case Classic:
		wants = []want{
			{&l.Header, "count", &h.count}, {&l.Header, "flags", &h.flags}, {&l.Header, "B", &h.b},
			{&l.Header, "noverflow", &h.noverflow}, {&l.Header, "hash0", &h.hash0},
			{&l.Header, "buckets", &h.buckets}, {&l.Header, "oldbuckets", &h.oldbuckets},
			{&l.Header, "nevacuate", &h.nevacuate}, {&l.Header, "extra", &h.extra},
		}
	case Swiss:
		wants = []want{
			{&l.Header, "used", &h.used}, {&l.Header, "seed", &h.seed}, {&l.Header, "dirPtr", &h.dirPtr},
			{&l.Header, "dirLen", &h.dirLen}, {&l.Header, "globalDepth", &h.globalDepth},
			{&l.Header, "globalShift", &h.globalShift}, {&l.Header, "writing", &h.writing},
			{&l.Table, "used", &tb.used}, {&l.Table, "capacity", &tb.capacity},
			{&l.Table, "growthLeft", &tb.growthLeft}, {&l.Table, "localDepth", &tb.localDepth},
			{&l.Table, "index", &tb.index}, {&l.Table, "groups.data", &tb.data},
			{&l.Table, "groups.lengthMask", &tb.lengthMask},
		}
		h.tombstonePossible = l.Header.Field("tombstonePossible")
	default:
		return lacks("the fields of a map header that this tool knows")
	}
	for _, w := range wants {
		if err := need(w.r, w.name, w.into); err != nil {
			return err
		}
	}
	h.clearSeq = l.Header.Field("clearSeq")
	for _, r := range []*Record{&l.Header, &l.Table, &l.Extra} {
		if r.Size < 0 || r.Size > maxHeaderBytes {
			return lacks(fmt.Sprintf("a %s of at most %d bytes (it has %d)", r.Name, maxHeaderBytes, r.Size))
		}
	}
	b := &l.Block
	if l.PtrSize != 4 && l.PtrSize != 8 {
		return lacks(fmt.Sprintf("pointers of 4 or 8 bytes (they have %d)", l.PtrSize))
	}
	if l.Key == nil || l.Elem == nil || l.Consts == nil || l.Alloc == nil {
		return lacks("the key and elem type, the constants and the size classes")
	}
	if b.Slots != 8 {
		return lacks(fmt.Sprintf("eight slots in a %s (it has %d)", l.blockWord(), b.Slots))
	}
	inside := func(off, stride, size int) bool {
		return off >= 0 && size >= 0 && stride >= size && stride <= b.Size && off <= b.Size &&
			off+(b.Slots-1)*stride+size <= b.Size
	}
	if b.Size <= 0 || b.Size > maxBlockBytes || !inside(b.Meta, 1, 1) || !inside(b.Keys, b.KeyStride, b.KeySize) ||
		!inside(b.Elems, b.ElemStride, b.ElemSize) || b.Overflow < 0 || b.Overflow > b.Size-l.PtrSize ||
		b.IndirectKey && b.KeySize != l.PtrSize || b.IndirectElem && b.ElemSize != l.PtrSize {
		return lacks("a consistent " + l.blockWord())
	}
	l.classify()
	l.meta = newMetaWord(l)
	return nil
}

// blockWord is the runtime's word for a block.
func (l *Layout) blockWord() string {
	if l.Generation == Classic {
		return "bucket"
	}
	return "group"
}

// A slotClass is what a byte of tophash or control says of its slot.
type slotClass uint8

const (
	slotFull      slotClass = iota
	slotEmpty               // Classic: emptyOne; Swiss: ctrlEmpty
	slotEmptyRest           // Classic: empty, and so are all behind it
	slotDeleted             // Swiss: tombstone
	slotMoved               // Classic: evacuatedX, evacuatedY, evacuatedEmpty
	slotInvalid             // no value that the runtime writes
	slotClasses
)

func (l *Layout) classify() {
	c := l.Consts
	for i := range l.classes {
		m := uint8(i)
		cl := slotFull
		if l.Generation == Classic {
			switch {
			case m == c.EmptyRest:
				cl = slotEmptyRest
			case m == c.EmptyOne:
				cl = slotEmpty
			case m == c.EvacuatedX, m == c.EvacuatedY, m == c.EvacuatedEmpty:
				cl = slotMoved
			case m < c.MinTopHash:
				cl = slotInvalid
			}
		} else {
			// A full slot's control byte is its H2, seven bits.
			switch {
			case m == c.CtrlEmpty:
				cl = slotEmpty
			case m == c.CtrlDeleted:
				cl = slotDeleted
			case m&c.CtrlEmpty != 0:
				cl = slotInvalid
			}
		}
		l.classes[i] = cl
	}
}

// tally counts the slots of one block by class.
func (l *Layout) tally(meta []byte, n *[slotClasses]int) {
	for _, m := range meta {
		n[l.classes[m]]++
	}
}
