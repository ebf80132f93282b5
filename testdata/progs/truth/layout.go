package truth

import (
	"runtime"
	"unsafe"
)

// Everything that this package knows about memory, for 64-bit targets. It
// chooses by runtime.Version, where the decoder under test chooses by the
// fields that it finds: the two must not be wrong together.
// Sources: src/runtime/map.go (up to 1.23), map_noswiss.go (1.24, 1.25),
// src/internal/runtime/maps/{map,table,group}.go (1.24 to 1.27).

// Classic reports whether this program has Classic maps.
func Classic() bool { return minor() < 24 || noswissmap() }

// headerWords is 6 everywhere but in hmap with clearSeq (1.24 and later).
func headerWords() int {
	if noswissmap() {
		return 7
	}
	return 6
}

// minor is the 23 of go1.23.12.
func minor() int {
	v, n := runtime.Version(), 0
	for i := 0; i+4 < len(v); i++ {
		if v[i:i+4] == "go1." {
			for i += 4; i < len(v) && '0' <= v[i] && v[i] <= '9'; i++ {
				n = n*10 + int(v[i]-'0')
			}
			return n
		}
	}
	return n
}

func noswissmap() bool {
	v := runtime.Version()
	const x = "noswissmap"
	for i := 0; i+len(x) <= len(v); i++ {
		if v[i:i+len(x)] == x {
			return true
		}
	}
	return false
}

// Generation prints the Go version and the generation of this program's maps.
func Generation() {
	g := "swiss"
	if Classic() {
		g = "classic"
	}
	println("truth go " + Str(runtime.Version()) + " " + g)
}

func word(p unsafe.Pointer, i int) uintptr {
	return *(*uintptr)(unsafe.Pointer(uintptr(p) + uintptr(i)*8))
}

func pointer(p unsafe.Pointer, off uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(uintptr(p) + off))
}

func octet(p unsafe.Pointer, off uintptr) uint8 {
	return *(*uint8)(unsafe.Pointer(uintptr(p) + off))
}

func half(p unsafe.Pointer, off uintptr) uint16 {
	return *(*uint16)(unsafe.Pointer(uintptr(p) + off))
}

const (
	sameSizeGrow = 8 // hmap.flags
	ctrlDeleted  = 0xfe
)

// Growing reports whether m is Classic and in the middle of a growth.
func Growing[K comparable, V any](m map[K]V) bool {
	return Classic() && m != nil && pointer(Header(m), 24) != nil
}

// SameSize reports whether m is Classic and in the middle of a growth to the
// same size.
func SameSize[K comparable, V any](m map[K]V) bool {
	return Growing(m) && octet(Header(m), 8)&sameSizeGrow != 0
}

// Hash returns the hash of key as m itself computes it. The hasher stands in
// the map type, at the same offset in every version from 1.18 to 1.27.
func Hash[K comparable, V any](m map[K]V, key K) uint64 {
	var box interface{} = m
	typ := *(*unsafe.Pointer)(unsafe.Pointer(&box))
	hasher := *(*func(unsafe.Pointer, uintptr) uintptr)(unsafe.Pointer(uintptr(typ) + 72))
	seed := word(Header(m), 1)
	if Classic() {
		seed >>= 32 // hash0, a uint32 at offset 12
	}
	return uint64(hasher(unsafe.Pointer(&key), seed))
}

// Shape prints what stands behind the header of m: growth and overflow of a
// Classic map, the tables of a Swiss one. Key and elem must be stored in place
// and their sizes be multiples of 8, so that nothing is padded and both group
// layouts have the same size.
func Shape[K comparable, V any](name string, m map[K]V) {
	var k K
	var v V
	ks, vs := unsafe.Sizeof(k), unsafe.Sizeof(v)
	if ks%8 != 0 || vs%8 != 0 || vs == 0 || ks > 128 || vs > 128 {
		panic("truth: Shape cannot compute the layout of " + name)
	}
	if m == nil {
		return
	}
	if Classic() {
		classicShape(name, Header(m), 8+8*ks+8*vs+8)
	} else {
		swissShape(name, Header(m), 8+8*ks+8*vs)
	}
}

func classicShape(name string, h unsafe.Pointer, bucketSize uintptr) {
	n := uintptr(1) << octet(h, 9)
	buckets, old := pointer(h, 16), pointer(h, 24)
	if buckets == nil {
		n = 0
	}
	overflow, longest := 0, 0
	for i := uintptr(0); i < n; i++ {
		chain := 0
		b := pointer(unsafe.Pointer(uintptr(buckets)+i*bucketSize), bucketSize-8)
		for ; b != nil; b = pointer(b, bucketSize-8) {
			chain++
		}
		overflow += chain
		if chain > longest {
			longest = chain
		}
	}
	println("truth overflow " + name + " " + itoa(int64(overflow)) + " " + itoa(int64(longest)) + " " + itoa(int64(half(h, 10))))

	state, oldN, evacuated := "idle", uintptr(0), 0
	if old != nil {
		state, oldN = "double", n/2
		if octet(h, 8)&sameSizeGrow != 0 {
			state, oldN = "same-size", n
		}
	}
	for i := uintptr(0); i < oldN; i++ {
		// evacuatedX, evacuatedY, evacuatedEmpty
		if top := octet(old, i*bucketSize); top >= 2 && top <= 4 {
			evacuated++
		}
	}
	println("truth growth " + name + " " + state + " " + itoa(int64(word(h, 4))) + " " + itoa(int64(evacuated)) + " " + itoa(int64(oldN)))
}

func swissShape(name string, h unsafe.Pointer, groupSize uintptr) {
	dir, n := pointer(h, 16), word(h, 3)
	if n == 0 && dir == nil {
		return
	}
	if n == 0 { // the small map: one group, no table
		println("truth group " + name + " " + hex(uint64(uintptr(dir))) + " " + itoa(int64(deleted(dir, 1, groupSize))))
		return
	}
	var last unsafe.Pointer
	for i := uintptr(0); i < n; i++ {
		t := pointer(dir, i*8)
		if t == last {
			continue // several entries of the directory, always adjacent, share a table
		}
		last = t
		dead := deleted(pointer(t, 16), word(t, 3)+1, groupSize)
		println("truth table " + name + " " + itoa(int64(word(t, 1))) + " " + hex(uint64(uintptr(t))) + " " +
			itoa(int64(octet(t, 6))) + " " + itoa(int64(half(t, 0))) + " " + itoa(int64(half(t, 2))) + " " +
			itoa(int64(half(t, 4))) + " " + itoa(int64(dead)))
	}
}

func deleted(groups unsafe.Pointer, n, groupSize uintptr) int {
	dead := 0
	for i := uintptr(0); i < n; i++ {
		for j := uintptr(0); j < 8; j++ {
			if octet(groups, i*groupSize+j) == ctrlDeleted {
				dead++
			}
		}
	}
	return dead
}
