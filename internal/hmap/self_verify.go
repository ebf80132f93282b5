package hmap

import (
	"fmt"
	"reflect"
	"runtime"
	"unsafe"
)

// verify makes maps of every shape and holds what the reader says of them
// against what the language says: len and range. It is the check at first use
// that refuses a runtime whose layout has changed.
func (s *selfRuntime) verify() error {
	if len(s.alloc.Sizes) < 10 {
		return s.unknown("the allocator's size classes cannot be had")
	}
	for _, n := range []int{0, 1, 8, 9, 200, 3000} {
		if err := s.verifyLen(n); err != nil {
			return err
		}
	}
	return nil
}

// verifyLen uses a map of 2n entries of which n were deleted, and one of n that
// was made for them.
func (s *selfRuntime) verifyLen(n int) error {
	churned, made := map[string]int{}, make(map[string]int, n)
	for i := range 2 * n {
		churned[fmt.Sprint(i)] = i
	}
	for i := range n {
		delete(churned, fmt.Sprint(2*i))
		made[fmt.Sprint(i)] = i
	}
	for _, m := range []map[string]int{churned, made} {
		if err := s.verifyMap(m); err != nil {
			return err
		}
	}
	seq := s.header(churned).ClearSeq
	if len(churned) == 0 {
		return nil
	}
	clear(churned)
	if h := s.header(churned); h.ClearSeq != seq+1 || h.Len() != 0 {
		return s.unknown("clear left clearSeq at %d (it was %d) and %d entries", h.ClearSeq, seq, h.Len())
	}
	return nil
}

// header is Of without the check that is being made.
func (s *selfRuntime) header(m map[string]int) Header {
	p := *(*unsafe.Pointer)(unsafe.Pointer(&m))
	h := Header{Addr: Addr(uintptr(p)), Generation: s.generation}
	if s.generation == Swiss {
		(*swissHeader)(p).fill(&h)
	} else {
		(*classicHeader)(p).fill(&h)
	}
	return h
}

func (s *selfRuntime) verifyMap(m map[string]int) error {
	defer runtime.KeepAlive(m)
	rt := reflect.TypeOf(m)
	h := s.header(m)
	if h.Len() != int64(len(m)) {
		return s.unknown("the header of a map of %d entries says %d", len(m), h.Len())
	}
	l, err := s.layout(rt)
	if err != nil {
		return err
	}
	t := &Type{Name: rt.String(), Kind: reflect.Map, Size: int64(l.PtrSize), layout: l}
	got, err := Inspect(SelfMemory{}, t, h.Addr, Options{Hash: s.hash(rt)})
	if err != nil {
		return s.unknown("a map of %d entries cannot be read: %v", len(m), err)
	}
	if len(got.Broken) > 0 {
		return s.unknown("a map of %d entries breaks an invariant: %v", len(m), got.Broken[0])
	}
	seen := 0
	f := NewFormatter(SelfMemory{}, nil)
	err = Slots(SelfMemory{}, got, true, func(e *Entry) error {
		key, elem := f.Format(l.Key, e.Key), f.Format(l.Elem, e.Elem)
		if v, ok := m[key[1:len(key)-1]]; !ok || fmt.Sprint(v) != elem {
			return s.unknown("a map of %d entries seems to hold %s: %s", len(m), key, elem)
		}
		seen++
		return nil
	})
	if err == nil && seen != len(m) {
		err = s.unknown("of a map of %d entries %d are found", len(m), seen)
	}
	return err
}
