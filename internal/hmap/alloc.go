package hmap

import (
	"fmt"
	"reflect"
	"sort"
)

// SizeClasses are the sizes to which the target's allocator rounds
// (runtime.class_to_size up to Go 1.25, internal/runtime/gc.SizeClassToSize
// since), read from the target.
type SizeClasses struct {
	Sizes    []uint64 // ascending, without the 0 of large objects
	PageSize uint64   // larger objects are rounded to it
	MaxSmall uint64   // the largest size class
	// Header is the size of the malloc header that precedes an object with
	// pointers of more than MinForHeader bytes: since Go 1.22, 0 before.
	Header, MinForHeader uint64
}

// RoundUp is how much memory an object of size bytes takes, its malloc header
// included. It mirrors roundupsize of runtime/msize.go. The tiny allocator,
// which packs objects under 16 bytes, does not matter for the parts of a map.
func (s *SizeClasses) RoundUp(size uint64, pointers bool) uint64 {
	if size == 0 {
		return 0
	}
	if size <= s.MaxSmall-s.Header {
		if pointers && size > s.MinForHeader {
			size += s.Header
		}
		i := sort.Search(len(s.Sizes), func(i int) bool { return s.Sizes[i] >= size })
		if i < len(s.Sizes) {
			return s.Sizes[i]
		}
	}
	if size+s.PageSize < size {
		return size
	}
	return (size + s.PageSize - 1) / s.PageSize * s.PageSize
}

// Usable is the part of RoundUp that an object can use: without the header.
func (s *SizeClasses) Usable(size uint64, pointers bool) uint64 {
	up := s.RoundUp(size, pointers)
	if pointers && size > s.MinForHeader && size <= s.MaxSmall-s.Header {
		up -= s.Header
	}
	return up
}

// maxSizeClasses bounds the table: Go has had 68 classes since 1.16.
const maxSizeClasses = 1 << 10

func (ts *Types) sizeClasses() (*SizeClasses, error) {
	if ts.alloc != nil {
		return ts.alloc, nil
	}
	lacks := func(what string) error { return &LayoutError{"the allocator", what} }
	var addr uint64
	var t *Type
	for _, name := range []string{"internal/runtime/gc.SizeClassToSize", "runtime.class_to_size"} {
		a, off, ok := ts.info.Var(name)
		if !ok {
			continue
		}
		tt, err := ts.At(off)
		if err == nil && tt.Kind == reflect.Array && tt.Elem() != nil && tt.Elem().Size == 2 && tt.Len <= maxSizeClasses {
			addr, t = a, tt
			break
		}
	}
	if t == nil {
		return nil, lacks("runtime.class_to_size")
	}
	buf := make([]byte, t.Size)
	if err := read(ts.mem, "size classes", buf, Addr(addr)); err != nil {
		return nil, err
	}
	s := &SizeClasses{}
	for i := 0; i+2 <= len(buf); i += 2 {
		v := word(buf[i : i+2])
		if n := len(s.Sizes); n > 0 && v <= s.Sizes[n-1] {
			return nil, fmt.Errorf("read size classes at %#x: class %d is %d bytes, not above %d", addr, i/2, v, s.Sizes[n-1])
		}
		if v != 0 {
			s.Sizes = append(s.Sizes, v)
		}
	}
	if len(s.Sizes) == 0 {
		return nil, fmt.Errorf("read size classes at %#x: all are 0", addr)
	}
	s.MaxSmall = s.Sizes[len(s.Sizes)-1]
	page, ok := ts.Const("runtime.pageSize", "runtime._PageSize", "internal/runtime/gc.PageSize")
	if !ok || page <= 0 {
		return nil, lacks("constant runtime.pageSize")
	}
	s.PageSize = uint64(page)
	// The two constants came together with malloc headers in Go 1.22.
	head, ok1 := ts.Const("runtime.mallocHeaderSize", "internal/runtime/gc.MallocHeaderSize")
	from, ok2 := ts.Const("runtime.minSizeForMallocHeader", "internal/runtime/gc.MinSizeForMallocHeader")
	if ok1 && ok2 && head >= 0 && from >= 0 && uint64(head) < s.MaxSmall {
		s.Header, s.MinForHeader = uint64(head), uint64(from)
	}
	ts.alloc = s
	return s, nil
}
