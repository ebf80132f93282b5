package syncmap

import (
	"encoding/binary"
	"errors"
	"slices"

	"hmaptools/internal/hmap"
)

var (
	errShort = errors.New("short read")
	errLimit = errors.New("there are more than any map has")
)

const (
	// chunkBytes is how much is read at a time.
	chunkBytes = 256 << 10
	// gatherGap is the largest hole between two items that are still read in one
	// go: reading 4 KiB too much is cheaper than one more system call.
	gatherGap = 4 << 10
)

// read fills buf from addr or fails with an [hmap.ReadError].
func read(mem hmap.Memory, what string, buf []byte, addr hmap.Addr) error {
	n, err := mem.ReadMemory(buf, uint64(addr))
	if n >= len(buf) {
		return nil
	}
	if err == nil {
		err = errShort
	}
	return &hmap.ReadError{What: what, Addr: addr, Size: len(buf), Err: err}
}

// gather reads size bytes at the address of each item, in the order of the
// addresses and neighbours in one read, and calls got with them. What could be read
// of an item may be less, at the end of a mapping; err says why. The bytes are
// valid during the call. It sorts the items in place, uses buf, and ends early, with
// false, when got returns false.
func gather[T any](mem hmap.Memory, what string, items []T, addr func(*T) hmap.Addr, size int, buf *[]byte, got func(item *T, data []byte, err error) bool) bool {
	hmap.SortByAddr(items, addr)
	for i := 0; i < len(items); {
		first := addr(&items[i])
		last := first
		j := i + 1
		for ; j < len(items); j++ {
			a := addr(&items[j])
			if a-last > hmap.Addr(size)+gatherGap || a-first > hmap.Addr(max(0, chunkBytes-size)) {
				break
			}
			last = a
		}
		data := slices.Grow((*buf)[:0], int(last-first)+size)[:int(last-first)+size]
		*buf = data
		n, _ := mem.ReadMemory(data, uint64(first))
		n = min(max(n, 0), len(data))
		for ; i < j; i++ {
			a := addr(&items[i])
			if off := int(a - first); off+size <= n {
				if !got(&items[i], data[off:off+size], nil) {
					return false
				}
				continue
			}
			// The hole between two items need not be mapped: each is read alone. What
			// lies behind the first of these is not needed any more.
			k, err := mem.ReadMemory(data[:size], uint64(a))
			k = min(max(k, 0), size)
			if k < size {
				if err == nil {
					err = errShort
				}
				err = &hmap.ReadError{What: what, Addr: a, Size: size, Err: err}
			} else {
				err = nil
			}
			if !got(&items[i], data[:k], err) {
				return false
			}
		}
	}
	return true
}

// word reads a pointer of 4 or 8 bytes, little-endian as on all systems that are
// supported.
func word(b []byte) uint64 {
	if len(b) == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}
