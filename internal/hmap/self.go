package hmap

import (
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"unsafe"
)

// UnknownRuntimeError says that this process's runtime keeps its maps in a way
// that the unsafe reader does not know.
type UnknownRuntimeError struct {
	Go  string // runtime.Version()
	Why string
}

func (e *UnknownRuntimeError) Error() string {
	return fmt.Sprintf("read maps of this process: %s has an unknown map layout: %s", e.Go, e.Why)
}

// Of returns the header of a map of this process. It does not allocate. The
// header of a nil map has Addr 0.
//
// The header is a copy without any lock: a goroutine that writes to m at the
// same time races with Of. A map that the compiler keeps on the stack moves with
// the stack, and with it the address.
//
// The first call verifies, on maps that it makes, that this runtime is one that
// the reader knows; if not, every call returns an *UnknownRuntimeError.
func Of[M ~map[K]V, K comparable, V any](m M) (h Header, err error) {
	// A map variable is one word: the header's address. This much is inlined,
	// so that the header is not copied once more on its way.
	err = fill(Generation(verified.Load()), &h, *(*unsafe.Pointer)(unsafe.Pointer(&m)))
	return h, err
}

// fill sets the fields of h, which is zero, from the header at p. Generation 0
// asks for the check at first use.
func fill(g Generation, h *Header, p unsafe.Pointer) error {
	if p == nil || g == 0 {
		return fillSlow(h, p)
	}
	h.Addr, h.Generation = Addr(uintptr(p)), g
	if g == Swiss {
		(*swissHeader)(p).fill(h)
	} else {
		(*classicHeader)(p).fill(h)
	}
	return nil
}

func fillSlow(h *Header, p unsafe.Pointer) error {
	s := self()
	if s.err != nil {
		return s.err
	}
	verified.Store(uint32(s.generation))
	if p == nil {
		h.Generation = s.generation
		return nil
	}
	return fill(s.generation, h, p)
}

// selfRuntime is what is known of this process's runtime.
type selfRuntime struct {
	err        error
	generation Generation
	alloc      *SizeClasses
}

// verified is the Generation that self found, once it is known to be right: a
// load of it is all that Of pays for the check.
var verified atomic.Uint32

// self finds out, once, what runtime this is and verifies it.
var self = sync.OnceValue(func() *selfRuntime {
	s := findSelf()
	if s.err == nil {
		s.err = s.verify()
	}
	return s
})

func (s *selfRuntime) unknown(format string, args ...any) error {
	return &UnknownRuntimeError{runtime.Version(), fmt.Sprintf(format, args...)}
}

// findSelf tells the generation by the names of the fields of a group.
func findSelf() *selfRuntime {
	s := &selfRuntime{alloc: selfSizeClasses()}
	rt := reflect.TypeOf(map[string]int(nil))
	block, err := s.blockType(rt)
	if err != nil {
		s.err = err
		return s
	}
	first := ""
	if block.Kind() == reflect.Struct && block.NumField() > 0 {
		first = block.Field(0).Name
	}
	switch first {
	case "topbits":
		s.generation = Classic
	case "ctrl":
		s.generation = Swiss
	default:
		s.err = s.unknown("a group of %s starts with %q", rt, first)
	}
	return s
}

// typeOf and reflectType convert between reflect.Type, an interface around a
// pointer to abi.Type, and that pointer.
func typeOf(rt reflect.Type) unsafe.Pointer { return (*[2]unsafe.Pointer)(unsafe.Pointer(&rt))[1] }

func reflectType(p unsafe.Pointer) reflect.Type {
	rt := reflect.TypeOf(0)
	(*[2]unsafe.Pointer)(unsafe.Pointer(&rt))[1] = p
	return rt
}

// blockType is the runtime's own type of the groups or buckets of maps of type
// rt. It checks first that the descriptor is laid out as expected.
func (s *selfRuntime) blockType(rt reflect.Type) (reflect.Type, error) {
	if rt.Kind() != reflect.Map {
		return nil, &LayoutError{Type: rt.String(), Lacks: "a map type"}
	}
	mt := (*mapType)(typeOf(rt))
	if mt.key != typeOf(rt.Key()) || mt.elem != typeOf(rt.Elem()) || mt.block == nil {
		return nil, s.unknown("the type descriptor of %s does not hold its key, elem and group type where they should be", rt)
	}
	return reflectType(mt.block), nil
}

// wordIs64 says that the mirrors have the sizes of the fields of Header. Their
// words are then copied in blocks of bytes: twice as fast as field by field, and
// unlike a copy of the typed struct without the write barrier that its pointers
// ask for.
const wordIs64 = unsafe.Sizeof(uintptr(0)) == 8

func (m *swissHeader) fill(h *Header) {
	if wordIs64 {
		type block = [unsafe.Sizeof(*m)]byte
		*(*block)(unsafe.Pointer(&h.Used)) = *(*block)(unsafe.Pointer(m))
		return
	}
	h.Used, h.Seed = m.used, uint64(m.seed)
	h.DirPtr, h.DirLen = Addr(uintptr(m.dirPtr)), int64(m.dirLen)
	h.GlobalDepth, h.GlobalShift, h.Writing = m.globalDepth, m.globalShift, m.writing
	h.TombstonePossible, h.ClearSeq = m.tombstonePossible, m.clearSeq
}

func (c *classicHeader) fill(h *Header) {
	if wordIs64 {
		type block = [unsafe.Offsetof(c.nevacuate)]byte
		*(*block)(unsafe.Pointer(&h.Count)) = *(*block)(unsafe.Pointer(c))
	} else {
		h.Count, h.Flags, h.B, h.NOverflow, h.Hash0 = int64(c.count), c.flags, c.B, c.noverflow, c.hash0
		h.Buckets, h.OldBuckets = Addr(uintptr(c.buckets)), Addr(uintptr(c.oldbuckets))
	}
	h.NEvacuate, h.ClearSeq, h.Extra = uint64(c.nevacuate), c.clearSeq, Addr(uintptr(c.extra))
}

// layout is the layout of maps of type rt of this process.
func (s *selfRuntime) layout(rt reflect.Type) (*Layout, error) {
	if s.err != nil {
		return nil, s.err
	}
	block, err := s.blockType(rt)
	if err != nil {
		return nil, err
	}
	ts := newReflectTypes(s)
	l := &Layout{
		Generation: s.generation, PtrSize: int(unsafe.Sizeof(uintptr(0))),
		Key: ts.of(rt.Key()), Elem: ts.of(rt.Elem()), Alloc: s.alloc,
	}
	lacks := func(what string) error { return s.unknown("%s: no %s", rt, what) }
	if s.generation == Classic {
		l.Variant = Bucket
		l.Header = RecordOf(ts.of(reflect.TypeFor[classicHeader]()))
		l.Extra = RecordOf(ts.of(reflect.TypeFor[mapExtra]()))
		// runtime/map_noswiss.go and internal/abi/map_noswiss.go.
		l.Consts = &Consts{
			EmptyRest: 0, EmptyOne: 1, EvacuatedX: 2, EvacuatedY: 3, EvacuatedEmpty: 4, MinTopHash: 5,
			Iterator: 1, OldIterator: 2, HashWriting: 4, SameSizeGrow: 8,
			LoadFactorNum: 13, LoadFactorDen: 2,
		}
		// reflect.MapOf makes bucket types without fields: use the sizes.
		mt := (*mapType)(typeOf(rt))
		k, e, size := int(mt.keySize), int(mt.elemSize), int(mt.bucketSize)
		l.Block = Block{
			Size: size, Slots: 8, Keys: 8, KeyStride: k, KeySize: k, Elems: 8 + 8*k, ElemStride: e, ElemSize: e,
			IndirectKey: mt.flags&classicIndirectKey != 0, IndirectElem: mt.flags&classicIndirectElem != 0,
			Overflow: size - l.PtrSize,
		}
	} else {
		l.Header = RecordOf(ts.of(reflect.TypeFor[swissHeader]()))
		l.Table = RecordOf(ts.of(reflect.TypeFor[swissTable]()))
		// internal/runtime/maps/group.go and table.go.
		l.Consts = &Consts{CtrlEmpty: 0x80, CtrlDeleted: 0xfe, MaxTableCapacity: 1024, MaxAvgGroupLoad: 7}
		if err := l.setGroup(ts.of(block), lacks); err != nil {
			return nil, err
		}
		l.Block.IndirectKey = l.Block.KeySize == l.PtrSize && l.Key.Size != int64(l.PtrSize)
		l.Block.IndirectElem = l.Block.ElemSize == l.PtrSize && l.Elem.Size != int64(l.PtrSize)
	}
	l.Block.Pointers = l.Block.IndirectKey || l.Block.IndirectElem || l.Key.Pointers() || l.Elem.Pointers()
	return l, l.finish(rt.String())
}

// selfSizeClasses takes the size classes from the histogram of allocations,
// whose borders are one byte above them (runtime/metrics).
func selfSizeClasses() *SizeClasses {
	// runtime/mheap.go; internal/runtime/gc/malloc.go.
	s := &SizeClasses{PageSize: 8 << 10, Header: 8, MinForHeader: 64 * uint64(unsafe.Sizeof(uintptr(0)))}
	sample := []metrics.Sample{{Name: "/gc/heap/allocs-by-size:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return s
	}
	for _, b := range sample[0].Value.Float64Histogram().Buckets {
		if b > 1 && b < 1<<20 {
			s.Sizes = append(s.Sizes, uint64(b)-1)
		}
	}
	if n := len(s.Sizes); n > 0 {
		s.MaxSmall = s.Sizes[n-1]
	}
	return s
}

// SelfHash returns the function that the runtime itself hashes keys of maps of
// type rt with, for [Options]; rt must be a map type of this process. It has no
// hash for a key that differs from itself (NaN), and none for one that cannot be
// hashed. It is meant for one goroutine at a time.
func SelfHash(rt reflect.Type) (func(key []byte, seed uint64) (uint64, bool), error) {
	s := self()
	if s.err != nil {
		return nil, s.err
	}
	if _, err := s.blockType(rt); err != nil {
		return nil, err
	}
	return s.hash(rt), nil
}

func (s *selfRuntime) hash(rt reflect.Type) func(key []byte, seed uint64) (uint64, bool) {
	hasher := (*mapType)(typeOf(rt)).hasher
	size := int(rt.Key().Size())
	// The key is copied to where the runtime may look at it: aligned for any
	// type, and not scanned, for its pointers may be torn. What they point at is
	// kept alive by the map, which the caller holds.
	buf := make([]uint64, size/8+1)
	key := reflect.NewAt(rt.Key(), unsafe.Pointer(&buf[0]))
	return func(data []byte, seed uint64) (hash uint64, ok bool) {
		if len(data) < size {
			return 0, false
		}
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if recover() != nil {
				hash, ok = 0, false // an interface or a string that points nowhere
			}
		}()
		copy(unsafe.Slice((*byte)(key.UnsafePointer()), size), data)
		if k := key.Elem(); !k.Comparable() || !k.Equal(k) {
			return 0, false // NaN: its hash is random
		}
		return uint64(hasher(key.UnsafePointer(), uintptr(seed))), true
	}
}

// SelfMemory reads the memory of this process. An address that is not mapped is
// an error, not a crash.
type SelfMemory struct{}

// ReadMemory implements [Memory].
//
//go:nocheckptr
func (SelfMemory) ReadMemory(buf []byte, addr uint64) (n int, err error) {
	if len(buf) == 0 {
		return 0, nil
	}
	p := uintptr(addr)
	if uint64(p) != addr || p+uintptr(len(buf)) < p {
		return 0, fmt.Errorf("no such address: %#x", addr)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			n, err = 0, fmt.Errorf("not mapped: %#x, or the %d bytes behind it", addr, len(buf))
		}
	}()
	return copy(buf, unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), len(buf))), nil
}
