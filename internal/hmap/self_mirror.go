package hmap

import "unsafe"

//lint:file-ignore U1000 the fields are read as a block, or through reflection.

// classicHeader mirrors runtime.hmap of Go 1.25 with GOEXPERIMENT=noswissmap
// (runtime/map_noswiss.go), the only Classic runtime that can build this module.
type classicHeader struct {
	count      int
	flags      uint8
	B          uint8
	noverflow  uint16
	hash0      uint32
	buckets    unsafe.Pointer
	oldbuckets unsafe.Pointer
	nevacuate  uintptr
	clearSeq   uint64
	extra      unsafe.Pointer
}

// swissHeader mirrors internal/runtime/maps.Map of Go 1.25 to 1.27.
type swissHeader struct {
	used              uint64
	seed              uintptr
	dirPtr            unsafe.Pointer
	dirLen            int
	globalDepth       uint8
	globalShift       uint8
	writing           uint8
	tombstonePossible bool
	clearSeq          uint64
}

// swissTable mirrors internal/runtime/maps.table, its groupsReference spread out.
type swissTable struct {
	used       uint16
	capacity   uint16
	growthLeft uint16
	localDepth uint8
	index      int
	groups     struct {
		data       unsafe.Pointer
		lengthMask uint64
	}
}

// mapExtra mirrors runtime.mapextra.
type mapExtra struct {
	overflow     unsafe.Pointer
	oldoverflow  unsafe.Pointer
	nextOverflow unsafe.Pointer
}

// mapType mirrors the start of abi.MapType of both generations: abi.Type, whose
// size has been the same since Go 1.18, then these. The members behind hasher
// differ.
type mapType struct {
	_      [4*unsafe.Sizeof(uintptr(0)) + 16]byte
	key    unsafe.Pointer
	elem   unsafe.Pointer
	block  unsafe.Pointer // the type of a bucket or of a group
	hasher func(unsafe.Pointer, uintptr) uintptr
	// Classic only: abi.OldMapType.
	keySize, elemSize uint8
	bucketSize        uint16
	flags             uint32
}

// Bits of mapType.flags, internal/abi/map_noswiss.go.
const (
	classicIndirectKey  = 1 << 0
	classicIndirectElem = 1 << 1
)
