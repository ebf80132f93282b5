package hmap

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Memory reads the memory of a target: a process, a core file, a frozen copy,
// or this process ([SelfMemory]). ReadMemory fills buf from addr and returns how many
// bytes it read; fewer than len(buf) come with an error. It has the signature
// of Delve's own reader, so no adapter is needed.
type Memory interface {
	ReadMemory(buf []byte, addr uint64) (int, error)
}

// Addr is an address in the target.
type Addr uint64

func (a Addr) String() string { return "0x" + strconv.FormatUint(uint64(a), 16) }

// ReadError says which part of a map could not be read.
type ReadError struct {
	What string // the runtime's name for it: "header", "bucket array", "table"
	Addr Addr
	Size int
	Err  error
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("read %s: %d bytes at %s: %v", e.What, e.Size, e.Addr, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

var errShort = errors.New("short read")

// read fills buf from addr or fails with a ReadError.
func read(mem Memory, what string, buf []byte, addr Addr) error {
	if len(buf) == 0 {
		return nil
	}
	n, err := mem.ReadMemory(buf, uint64(addr))
	if err == nil && n < len(buf) {
		err = errShort
	}
	if err != nil && n < len(buf) {
		return &ReadError{what, addr, len(buf), err}
	}
	return nil
}

// word reads an unsigned little-endian integer of len(b) bytes, at most 8. All
// platforms that Delve can debug are little-endian.
func word(b []byte) uint64 {
	switch len(b) {
	case 8:
		return binary.LittleEndian.Uint64(b)
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 1:
		return uint64(b[0])
	}
	var x uint64
	for i, c := range b[:min(len(b), 8)] {
		x |= uint64(c) << (8 * i)
	}
	return x
}

const (
	// chunkBytes is how much is read at a time: large enough to make the cost
	// of a system call vanish, small enough to stay in the cache while it is
	// looked at.
	chunkBytes = 256 << 10
	// gatherGap is the largest hole between two pieces that are still read in
	// one go: reading 4 KiB too much is cheaper than one more system call.
	gatherGap = 4 << 10
)

// A piece is a range of memory that gather reads; ref is the caller's.
type piece struct {
	addr Addr
	size int
	ref  int
}

// SortByAddr sorts by address, and keeps the order of those at the same address.
func SortByAddr[T any](items []T, addr func(*T) Addr) {
	if len(items) < 1<<10 {
		slices.SortStableFunc(items, func(a, b T) int { return cmp.Compare(addr(&a), addr(&b)) })
		return
	}
	// A radix sort is some ten times as fast where there are many: the overflow
	// buckets of a large map, in the order of hashes.
	low, high, sorted := addr(&items[0]), addr(&items[0]), true
	last := low
	for i := range items {
		a := addr(&items[i])
		low, high, sorted, last = min(low, a), max(high, a), sorted && a >= last, a
	}
	if sorted {
		return
	}
	const digit = 11
	from, to := items, make([]T, len(items))
	for shift := 0; (high-low)>>shift != 0; shift += digit {
		var start [1 << digit]int
		for i := range from {
			start[(addr(&from[i])-low)>>shift%(1<<digit)]++
		}
		sum := 0
		for i, n := range start {
			start[i], sum = sum, sum+n
		}
		for i := range from {
			d := (addr(&from[i]) - low) >> shift % (1 << digit)
			to[start[d]] = from[i]
			start[d]++
		}
		from, to = to, from
	}
	if &from[0] != &items[0] {
		copy(items, from)
	}
}

// gather reads many pieces in the order of their addresses, neighbours in one
// read, and calls got for each with its bytes, which are valid only during the
// call. A piece that cannot be read is reported with a nil slice and the error.
// It sorts pieces in place and returns the buffer for the next call.
func gather(mem Memory, what string, pieces []piece, buf []byte, got func(p piece, data []byte, err error)) []byte {
	SortByAddr(pieces, func(p *piece) Addr { return p.addr })
	for i := 0; i < len(pieces); {
		first := pieces[i]
		end := first.addr + Addr(first.size)
		j := i + 1
		for j < len(pieces) {
			p := pieces[j]
			pend := p.addr + Addr(p.size)
			if pend < p.addr || p.addr > end+gatherGap || max(end, pend)-first.addr > chunkBytes {
				break
			}
			end = max(end, pend)
			j++
		}
		n := first.size
		if j > i+1 {
			n = int(end - first.addr)
		}
		buf = slices.Grow(buf[:0], n)[:n]
		err := read(mem, what, buf, first.addr)
		for k := i; k < j; k++ {
			p := pieces[k]
			if err == nil {
				off := int(p.addr - first.addr)
				got(p, buf[off:off+p.size], nil)
				continue
			}
			// The hole between two pieces need not be mapped: read each alone.
			one := err
			if j > i+1 {
				one = read(mem, what, buf[:p.size], p.addr)
			}
			if one != nil {
				got(p, nil, one)
			} else {
				got(p, buf[:p.size], nil)
			}
		}
		i = j
	}
	return buf
}

// MarshalText makes an Addr a string in JSON: scripts without 64-bit integers
// read it unharmed.
func (a Addr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Addr) UnmarshalText(text []byte) error {
	x, err := strconv.ParseUint(string(text), 0, 64)
	if err != nil {
		return fmt.Errorf("read address %q: %w", text, err)
	}
	*a = Addr(x)
	return nil
}
