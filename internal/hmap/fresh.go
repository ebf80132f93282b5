package hmap

import (
	"math"
	"math/bits"
)

// FreshBytes is the memory that make(map[K]V, n) takes once it is filled with n
// entries, as the allocator rounds it, keys and elems that the map allocates
// itself included. It mirrors makemap (runtime/map.go) and NewMap
// (internal/runtime/maps/map.go).
//
// How entries spread depends on the hash seed. What follows from it alone, the
// overflow buckets beyond the preallocated ones and the tables that grow in
// spite of the size hint, enters with its expected value.
func (l *Layout) FreshBytes(n int64) int64 {
	total := int64(l.Alloc.RoundUp(uint64(l.Header.Size), true))
	if n <= 0 {
		return total
	}
	if l.Block.IndirectKey {
		total += n * int64(l.Alloc.RoundUp(uint64(l.Key.Size), l.Key.Pointers()))
	}
	if l.Block.IndirectElem {
		total += n * int64(l.Alloc.RoundUp(uint64(l.Elem.Size), l.Elem.Pointers()))
	}
	if l.Generation == Classic {
		return total + l.freshBuckets(n)
	}
	return total + l.freshTables(n)
}

func (l *Layout) freshBuckets(n int64) int64 {
	b := uint8(0)
	for b < maxB && n > l.maxCount(b) {
		b++
	}
	a := l.bucketArray(b)
	total := a.bytes
	buckets := int64(1) << b
	prealloc := a.buckets - buckets
	over := math.Round(float64(buckets) * overflowPerBucket(float64(n)/float64(buckets), l.Block.Slots))
	if prealloc > 0 || over > 0 && !l.Block.Pointers {
		total += int64(l.Alloc.RoundUp(uint64(l.Extra.Size), true))
	}
	if over > 0 && !l.Block.Pointers {
		// createOverflow: a slice of pointers keeps these buckets alive.
		total += int64(l.Alloc.RoundUp(uint64(3*l.PtrSize), true) + l.Alloc.RoundUp(uint64(over)*uint64(l.PtrSize), true))
	}
	if more := int64(over) - prealloc; more > 0 {
		total += more * int64(l.Alloc.RoundUp(uint64(l.Block.Size), l.Block.Pointers))
	}
	return total
}

// overflowPerBucket is the expected number of overflow buckets behind a bucket
// into which a random hash puts load entries on average: the sum over j >= 1 of
// P(N > slots*j) for a Poisson distributed N.
func overflowPerBucket(load float64, slots int) float64 {
	expected, below := 0.0, 0.0
	p := math.Exp(-load)
	for k := 0; k < 40*slots; k++ {
		below += p
		p *= load / float64(k+1)
		if k > 0 && k%slots == 0 {
			expected += math.Max(0, 1-below)
		}
	}
	return expected
}

func (l *Layout) freshTables(n int64) int64 {
	slots := uint64(l.Block.Slots)
	groups := func(capacity uint64) float64 {
		return float64(l.Alloc.RoundUp(capacity/slots*uint64(l.Block.Size), l.Block.Pointers))
	}
	if uint64(n) <= slots {
		return int64(groups(slots))
	}
	c := l.Consts
	target := uint64(n) * slots / c.MaxAvgGroupLoad
	dirLen := pow2((target + c.MaxTableCapacity - 1) / c.MaxTableCapacity)
	capacity := pow2(max(target/dirLen, slots))
	table := float64(l.Alloc.RoundUp(uint64(l.Table.Size), true))
	full := binomialTail(n, dirLen, l.maxGrowthLeft(capacity))
	grown := groups(2 * capacity)
	dir := float64(l.Alloc.RoundUp(dirLen*uint64(l.PtrSize), true))
	if 2*capacity > c.MaxTableCapacity {
		// The largest table splits, and the directory doubles with the first split.
		grown = 2*groups(capacity) + table
		any := 1 - math.Pow(1-full, float64(dirLen))
		dir += any * (float64(l.Alloc.RoundUp(2*dirLen*uint64(l.PtrSize), true)) - dir)
	}
	return int64(dir + float64(dirLen)*(table+(1-full)*groups(capacity)+full*grown))
}

// pow2 is the smallest power of two that is at least x.
func pow2(x uint64) uint64 {
	if x <= 1 {
		return 1
	}
	return 1 << bits.Len64(x-1)
}

// binomialTail is the probability that one of parts equal parts gets more than
// limit of n entries.
func binomialTail(n int64, parts uint64, limit int64) float64 {
	if parts == 1 {
		if n > limit {
			return 1
		}
		return 0
	}
	p := 1 / float64(parts)
	lgamma := func(x int64) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	tail := 0.0
	for k := limit + 1; k <= n; k++ {
		term := math.Exp(lgamma(n) - lgamma(k) - lgamma(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
		tail += term
		if float64(k) > float64(n)*p && term < 1e-12 {
			break
		}
	}
	return math.Min(1, tail)
}
