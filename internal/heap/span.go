package heap

import (
	"errors"
	"fmt"
	"math"
	"reflect"

	"hmaptools/internal/hmap"
)

// reader reads spans.
type reader struct {
	mem      hmap.Memory
	rec      hmap.Record // runtime.mspan
	buf      []byte
	list     hmap.Addr // of mheap_.allspans
	ptr      int
	page     uint64
	sweepgen uint64
	inUse    uint64
	manual   uint64
	inline   inlineMarks

	startAddr, npages, nelems, freeindex, allocBits, gcmarkBits hmap.RecordField
	sweep, spanclass, state, elemsize, specials, largeType      hmap.RecordField
}

// inlineMarks says where spans of small objects keep their mark bits since Go 1.26:
// in a record at the end of the span.
type inlineMarks struct {
	size, off, bytes uint64 // of the record, and of the bits in it; size 0: nowhere
}

// maxClassBytes bounds a span of a size class: 10 pages at most, in runtime/sizeclasses.go
// of all versions.
const maxClassBytes = 1 << 20

// The classes of objects whose marks are inline, heapBitsInSpan and
// gcUsesSpanInlineMarkBits of runtime: 16 to 512 bytes.
const (
	minInline = 16
	maxInline = 512
)

func newReader(mem hmap.Memory, types *hmap.Types) (*reader, error) {
	r := &reader{mem: mem, ptr: types.PtrSize()}
	lacks := func(what string) error { return &hmap.LayoutError{Type: "the heap", Lacks: what} }
	t := types.Named("runtime.mspan")
	if t == nil || t.Size <= 0 || t.Size > 1<<12 {
		return nil, lacks("type runtime.mspan")
	}
	r.rec = hmap.RecordOf(t)
	r.buf = make([]byte, t.Size)
	for _, f := range []struct {
		into     *hmap.RecordField
		optional bool
		names    []string
	}{
		{&r.startAddr, false, []string{"startAddr"}},
		{&r.npages, false, []string{"npages"}},
		{&r.nelems, false, []string{"nelems"}},
		{&r.freeindex, false, []string{"freeindex"}},
		{&r.allocBits, false, []string{"allocBits"}},
		{&r.gcmarkBits, false, []string{"gcmarkBits"}},
		{&r.sweep, false, []string{"sweepgen"}},
		{&r.spanclass, false, []string{"spanclass"}},
		// An atomic.Uint8 since Go 1.19.
		{&r.state, false, []string{"state.s.value", "state.s"}},
		{&r.elemsize, false, []string{"elemsize"}},
		{&r.specials, false, []string{"specials"}},
		{&r.largeType, true, []string{"largeType"}},
	} {
		for _, name := range f.names {
			if *f.into = r.rec.Field(name); f.into.Size > 0 {
				break
			}
		}
		if f.into.Size == 0 && !f.optional {
			return nil, lacks("field runtime.mspan." + f.names[0])
		}
	}
	for _, c := range []struct {
		into  *uint64
		names []string
	}{
		{&r.page, []string{"runtime.pageSize", "runtime._PageSize", "internal/runtime/gc.PageSize"}},
		{&r.inUse, []string{"runtime.mSpanInUse"}},
		{&r.manual, []string{"runtime.mSpanManual"}},
	} {
		v, ok := types.Const(c.names...)
		if !ok || v <= 0 {
			return nil, lacks("constant " + c.names[0])
		}
		*c.into = uint64(v)
	}
	if r.page&(r.page-1) != 0 || r.page > chunkBytes {
		return nil, fmt.Errorf("a page of %d bytes", r.page)
	}
	at, heap, ok := types.Var("runtime.mheap_")
	if !ok {
		return nil, lacks("variable runtime.mheap_")
	}
	list, ok1 := field(heap, "allspans")
	gen, ok2 := field(heap, "sweepgen")
	if !ok1 || !ok2 || list.Type.Kind != reflect.Slice || gen.Type.Size > 8 {
		return nil, lacks("field runtime.mheap.allspans")
	}
	r.list = at + hmap.Addr(list.Off)
	var err error
	if r.sweepgen, err = r.uint(at+hmap.Addr(gen.Off), int(gen.Type.Size)); err != nil {
		return nil, err
	}
	if in := types.Named("runtime.spanInlineMarkBits"); in != nil {
		if marks, ok := field(in, "marks"); ok && marks.Off >= 0 && marks.Off+marks.Type.Size <= in.Size && in.Size < int64(r.page) {
			r.inline = inlineMarks{uint64(in.Size), uint64(marks.Off), uint64(marks.Type.Size)}
		}
	}
	return r, nil
}

func field(t *hmap.Type, name string) (hmap.Field, bool) {
	for _, f := range t.Fields() {
		if f.Name == name {
			return f, true
		}
	}
	return hmap.Field{}, false
}

// uint reads an integer of at most 8 bytes.
func (r *reader) uint(at hmap.Addr, size int) (uint64, error) {
	var b [8]byte
	if err := r.read(b[:size], at); err != nil {
		return 0, err
	}
	return hmap.RecordField{Size: size}.Uint(b[:size]), nil
}

func (r *reader) read(buf []byte, at hmap.Addr) error {
	n, err := r.mem.ReadMemory(buf, uint64(at))
	if n == len(buf) {
		return nil
	}
	if err == nil {
		err = errors.New("short read")
	}
	return fmt.Errorf("%d bytes at %s: %w", len(buf), at, err)
}

// allspans reads mheap_.allspans.
func (r *reader) allspans() ([]hmap.Addr, error) {
	array, err := r.uint(r.list, r.ptr)
	if err != nil {
		return nil, err
	}
	n, err := r.uint(r.list+hmap.Addr(r.ptr), r.ptr)
	if err != nil {
		return nil, err
	}
	if n > maxSpans {
		return nil, fmt.Errorf("mheap_.allspans has %d spans: more than %d", n, maxSpans)
	}
	list := make([]hmap.Addr, 0, n)
	buf := make([]byte, 64<<10)
	for at := hmap.Addr(array); uint64(len(list)) < n; {
		k := min(len(buf), (int(n)-len(list))*r.ptr)
		if err := r.read(buf[:k], at); err != nil {
			return nil, fmt.Errorf("mheap_.allspans: %w", err)
		}
		for i := 0; i < k; i += r.ptr {
			list = append(list, hmap.Addr(hmap.RecordField{Off: i, Size: r.ptr}.Uint(buf)))
		}
		at += hmap.Addr(k)
	}
	return list, nil
}

// span reads the mspan at an address; ok is false if it is not in use. Its extent
// is told all the same.
func (r *reader) span(at hmap.Addr) (s Span, ok bool, err error) {
	if at == 0 {
		return s, false, nil
	}
	if err := r.read(r.buf, at); err != nil {
		return s, false, err
	}
	pages := r.npages.Uint(r.buf)
	s.Start = hmap.Addr(r.startAddr.Uint(r.buf))
	if pages > maxSpanBytes/r.page || uint64(s.Start)%r.page != 0 || uint64(s.Start)+pages*r.page < uint64(s.Start) {
		return Span{}, false, fmt.Errorf("%d pages at %s", pages, s.Start)
	}
	s.Bytes = pages * r.page
	state := r.state.Uint(r.buf)
	if s.Manual = state == r.manual; s.Manual {
		s.ElemSize, s.N, s.from = s.Bytes, 1, 1
		return s, s.Bytes > 0, nil
	}
	if state != r.inUse || pages == 0 {
		return s, false, nil
	}
	s.ElemSize, s.N = r.elemsize.Uint(r.buf), r.nelems.Uint(r.buf)
	if s.ElemSize == 0 || s.N == 0 || s.N > max(1, maxSpanSlots) || s.N > s.Bytes/min(s.ElemSize, s.Bytes) {
		return Span{}, false, fmt.Errorf("%d objects of %d bytes in %d pages", s.N, s.ElemSize, pages)
	}
	if s.N > 1 && s.ElemSize > math.MaxUint32 || s.N > 1 && s.Bytes > maxClassBytes {
		return Span{}, false, fmt.Errorf("%d objects of %d bytes in %d pages", s.N, s.ElemSize, pages)
	}
	s.magic = math.MaxUint32/uint32(min(s.ElemSize, math.MaxUint32)) + 1
	s.NoScan = r.spanclass.Uint(r.buf)&1 != 0
	s.Specials = hmap.Addr(r.specials.Uint(r.buf))
	if r.largeType.Size > 0 {
		s.LargeType = hmap.Addr(r.largeType.Uint(r.buf))
	}
	return s, true, r.bits(&s)
}

// bits reads which slots of a span are allocated. runtime/mheap.go on mspan.sweepgen:
// two below the heap's means that the span is to be swept, which turns its mark bits
// into its allocation bits, one below that this is being done.
func (r *reader) bits(s *Span) error {
	n := (s.N + 7) / 8
	gen := uint32(r.sweep.Uint(r.buf))
	unswept := gen == uint32(r.sweepgen)-2
	if !unswept {
		s.from = min(r.freeindex.Uint(r.buf), s.N)
		if s.from == s.N {
			return nil // all are
		}
	}
	s.bits = make([]byte, n)
	alloc, marks := hmap.Addr(r.allocBits.Uint(r.buf)), hmap.Addr(r.gcmarkBits.Uint(r.buf))
	if unswept {
		alloc = marks
	}
	if alloc != 0 {
		if err := r.read(s.bits, alloc); err != nil {
			return fmt.Errorf("allocation bits: %w", err)
		}
	}
	sweeping := gen == uint32(r.sweepgen)-1
	if sweeping && marks != 0 {
		if err := r.or(s.bits, marks); err != nil {
			return fmt.Errorf("mark bits: %w", err)
		}
	}
	if in := r.inline; (unswept || sweeping) && in.size > 0 && s.ElemSize >= minInline && s.ElemSize <= maxInline && s.Bytes == r.page {
		at := s.Start + hmap.Addr(s.Bytes-in.size+in.off)
		if err := r.or(s.bits[:min(n, in.bytes)], at); err != nil {
			return fmt.Errorf("inline mark bits: %w", err)
		}
	}
	return nil
}

// or adds the bits at an address.
func (r *reader) or(bits []byte, at hmap.Addr) error {
	more := make([]byte, len(bits))
	if err := r.read(more, at); err != nil {
		return err
	}
	for i, b := range more {
		bits[i] |= b
	}
	return nil
}
