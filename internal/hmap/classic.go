package hmap

import (
	"errors"
	"math"
	"slices"
)

var (
	errNil   = errors.New("a nil pointer")
	errLimit = errors.New("beyond what any map can have")
)

// Limits that no real map reaches; what exceeds them is corrupt.
const (
	// maxB: 2^40 buckets of the smallest size would take 16 TiB.
	maxB = 40
	// batchOverflow is how many overflow buckets are followed together.
	batchOverflow = 1 << 18
	// maxChain: the runtime starts a same-size growth long before.
	maxChain = 1 << 16
)

// maxOverflow is how many overflow buckets n buckets can have. With as many as
// buckets the runtime starts a growth to the same size, and full ones are one to
// a bucket at the load that makes it double: eight times that is corrupt.
func maxOverflow(n int64) int64 { return 8*n + 1024 }

func (in *inspector) classic() {
	h, m, l := &in.m.Header, in.m, in.l
	m.Growth, m.Overflow = &Growth{}, &Overflow{}
	if h.Count < 0 {
		in.broken("count", h.Addr, "count is %d", h.Count)
	}
	if h.B > maxB {
		in.broken("B", h.Addr, "B is %d, above %d", h.B, maxB)
		in.fail(&ReadError{"bucket array", h.Buckets, 0, errLimit})
		return
	}
	n := int64(1) << h.B
	m.GrowIn = max(0, l.maxCount(h.B)-max(0, h.Count))
	if known := l.Consts.Iterator | l.Consts.OldIterator | l.Consts.HashWriting | l.Consts.SameSizeGrow; h.Flags&^known != 0 {
		in.broken("flags", h.Addr, "flags is %#x, the runtime has only %#x", h.Flags, known)
	}
	in.extra()
	if h.Buckets == 0 {
		// makemap leaves a map of B 0 without buckets until the first insert.
		if h.B > 0 || h.Count != 0 || h.OldBuckets != 0 {
			in.broken("buckets", h.Addr, "buckets is nil with B %d and count %d", h.B, h.Count)
			in.fail(&ReadError{"bucket array", 0, 0, errNil})
		}
		return
	}
	m.Slots = n * int64(l.Block.Slots)
	array := l.bucketArray(h.B)
	m.Overflow.Prealloc = array.buckets - n
	m.Bytes += array.bytes

	var evacuated []uint64 // bitmap of old buckets
	oldN, old := int64(0), int64(0)
	if h.OldBuckets != 0 {
		oldB := h.B
		m.Growth.State = SameSize
		if h.Flags&l.Consts.SameSizeGrow == 0 {
			m.Growth.State = Double
			if h.B == 0 {
				in.broken("B", h.Addr, "oldbuckets is set with B 0")
				in.fail(&ReadError{"old buckets", h.OldBuckets, 0, errLimit})
				return
			}
			oldB--
		}
		oldN = 1 << oldB
		m.Growth.Old, m.Growth.OldBuckets, m.Growth.Next = h.OldBuckets, oldN, int64(h.NEvacuate)
		if int64(h.NEvacuate) < 0 || int64(h.NEvacuate) > oldN {
			in.broken("nevacuate", h.Addr, "nevacuate is %d of %d old buckets", h.NEvacuate, oldN)
		}
		oldArray := l.bucketArray(oldB)
		m.Bytes += oldArray.bytes
		evacuated = in.oldBuckets(oldN, h.OldBuckets+Addr(oldArray.buckets*int64(l.Block.Size)))
	} else if h.Flags&l.Consts.SameSizeGrow != 0 {
		in.broken("flags", h.Addr, "sameSizeGrow is set without oldbuckets")
	}

	was := m.Overflow.Buckets
	old = was
	plain := oldN == 0 && in.opts.Hash == nil
	preallocEnd := h.Buckets + Addr(array.buckets*int64(l.Block.Size))
	c := chains{in: in, array: h.Buckets, n: n, end: preallocEnd}
	if m.Growth.State == Double {
		c.half = oldN
	}
	in.blocks("bucket array", h.Buckets, n, func(at Addr, first int64, data []byte) {
		b, entries := l.Block, 0
		for k := int64(0); int(k)*b.Size < len(data); k++ {
			bucket := data[int(k)*b.Size:][:b.Size]
			if plain {
				// in.bucket in short, for what nearly all buckets are.
				if full, ok := l.meta.classic(loadMeta(bucket, b.Meta)); ok && l.link(bucket) == 0 {
					entries += full
					c.free[8-full]++
					continue
				}
			}
			before := m.Len
			rest := in.bucket(at+Addr(int(k)*b.Size), bucket, false)
			c.split(first+k, m.Len-before)
			next := l.link(bucket)
			if oldN > 0 {
				if o := (first + k) & (oldN - 1); evacuated != nil && evacuated[o/64]&(1<<(o%64)) == 0 && !rest.allRest {
					in.broken("evacuation", at+Addr(int(k)*b.Size),
						"bucket %d is in use, but its old bucket %d has not been evacuated", first+k, o)
				}
			}
			if in.opts.Hash != nil {
				in.bucketHashes(at+Addr(int(k)*b.Size), bucket, uint64(first+k), uint64(n-1))
			}
			c.add(link{next, first + k, int32(rest.free), rest.seenRest, false})
		}
		m.Len += int64(entries)
		if len(c.links) >= batchOverflow {
			c.follow()
		}
	})
	c.follow()
	m.GrowIn = in.growInBuckets(&c, old)
	// incrnoverflow counts exactly below 2^16 buckets.
	if linked := m.Overflow.Buckets - was; h.B < 16 && linked != int64(h.NOverflow) && len(in.errs) == 0 {
		in.broken("noverflow", h.Addr, "noverflow is %d, %d overflow buckets are linked", h.NOverflow, linked)
	}
}

// maxCount is how many entries 2^b buckets hold before an insert makes them
// grow: overLoadFactor of runtime/map.go.
func (l *Layout) maxCount(b uint8) int64 {
	n := int64(uint64(1) << b * l.Consts.LoadFactorNum / l.Consts.LoadFactorDen)
	return max(n, int64(l.Block.Slots))
}

// array is a bucket array as makeBucketArray allocates it.
type array struct {
	buckets int64 // overflow buckets behind the 2^B included
	bytes   int64 // as the allocator rounds them
}

func (l *Layout) bucketArray(b uint8) array {
	n := uint64(1) << b
	size := uint64(l.Block.Size)
	if b >= 4 {
		// makeBucketArray adds the overflow buckets that a map of this many
		// entries needs on the median, and then what the size class has room for.
		n += 1 << (b - 4)
		if up := l.Alloc.Usable(n*size, l.Block.Pointers); up != n*size {
			n = up / size
		}
	}
	return array{int64(n), int64(l.Alloc.RoundUp(n*size, l.Block.Pointers))}
}

// bucketState is what the tophashes of a bucket say of the ones behind it.
type bucketState struct {
	seenRest bool // emptyRest was seen: all further slots must be emptyRest
	allRest  bool // every slot is emptyRest
	free     int  // slots that are not full
}

// bucket counts one bucket of the new array and checks its tophashes; rest says
// that emptyRest stood in an earlier bucket of the chain.
func (in *inspector) bucket(at Addr, data []byte, rest bool) bucketState {
	b := &in.l.Block
	meta := data[b.Meta : b.Meta+b.Slots]
	if x := loadMeta(meta, 0); !rest || x == 0 {
		if full, ok := in.l.meta.classic(x); ok {
			in.m.Len += int64(full)
			return bucketState{seenRest: x>>56 == 0, allRest: x == 0, free: b.Slots - full}
		}
	}
	st := bucketState{seenRest: rest, allRest: true, free: b.Slots}
	var n [slotClasses]int
	order := true
	for _, t := range meta {
		c := in.l.classes[t]
		n[c]++
		if c == slotEmptyRest {
			st.seenRest = true
		} else {
			st.allRest = false
			order = order && !st.seenRest
		}
	}
	if !order {
		in.broken("tophash-order", at, "a slot behind emptyRest is not emptyRest: % x", meta)
	}
	if n[slotMoved]+n[slotInvalid] > 0 {
		in.broken("tophash", at, "an evacuated or unknown tophash in a bucket that is in use: % x", meta)
	}
	in.m.Len += int64(n[slotFull])
	st.free -= n[slotFull]
	return st
}

// oldBuckets reads the old array of an evacuation: what has not been evacuated
// counts. It returns the bitmap of evacuated buckets, nil if the array could
// not be read. end is the end of the array with its preallocated overflow.
func (in *inspector) oldBuckets(n int64, end Addr) []uint64 {
	h, m, l := &in.m.Header, in.m, in.l
	done := []uint64{}
	c := chains{in: in, array: h.OldBuckets, n: n, end: end}
	ok := in.blocks("old buckets", h.OldBuckets, n, func(at Addr, first int64, data []byte) {
		b := &l.Block
		for k := int64(0); int(k)*b.Size < len(data); k++ {
			i := first + k
			if int(i/64) >= len(done) {
				done = append(done, 0)
			}
			bucket := data[int(k)*b.Size:][:b.Size]
			next := l.link(bucket)
			// evacuated of runtime/map.go looks at the first tophash alone.
			if l.classes[bucket[b.Meta]] == slotMoved {
				m.Growth.Evacuated++
				done[i/64] |= 1 << (i % 64)
				in.moved(at+Addr(int(k)*b.Size), bucket, i)
				c.add(link{next, i, 0, false, true})
				continue
			}
			if i < int64(h.NEvacuate) {
				in.broken("nevacuate", at+Addr(int(k)*b.Size), "nevacuate is %d, but old bucket %d has not been evacuated", h.NEvacuate, i)
			}
			rest := in.bucket(at+Addr(int(k)*b.Size), bucket, false)
			c.add(link{next, i, int32(rest.free), rest.seenRest, false})
			if in.opts.Hash != nil {
				in.bucketHashes(at+Addr(int(k)*b.Size), bucket, uint64(i), uint64(n-1))
			}
		}
		if len(c.links) >= batchOverflow {
			c.follow()
		}
	})
	c.follow()
	if !ok {
		return nil
	}
	return done
}

// moved checks that all of an evacuated bucket has moved.
func (in *inspector) moved(at Addr, bucket []byte, i int64) {
	b := &in.l.Block
	meta := bucket[b.Meta : b.Meta+b.Slots]
	var n [slotClasses]int
	in.l.tally(meta, &n)
	if n[slotMoved] != b.Slots {
		in.broken("evacuation", at, "old bucket %d is evacuated in part: % x", i, meta)
	}
}

// link is a pointer to an overflow bucket.
type link struct {
	addr   Addr
	bucket int64 // of the array, at the head of the chain
	free   int32 // slots of the chain so far that are not full
	rest   bool  // emptyRest was seen before
	moved  bool  // the chain has been evacuated: its buckets are memory, no more
}

// link is the pointer to the overflow bucket behind a bucket.
func (l *Layout) link(bucket []byte) Addr {
	return Addr(word(bucket[l.Block.Overflow:][:l.PtrSize]))
}

// chains follows the overflow chains of an array, many at a time: the buckets
// of one generation are read in the order of their addresses.
type chains struct {
	in    *inspector
	array Addr   // of n buckets
	n     int64  // buckets
	end   Addr   // of the overflow buckets that were allocated with the array
	links []link // to be followed
	spare []link // their memory before
	total int64  // overflow buckets met
	buf   []byte
	// free counts the chains with 0 to 8 slots that are not full.
	free [9]int64
	// half is where the upper half of an array begins that is twice as long as the
	// one before; 0: it is not.
	half int64
}

// split counts entries of a bucket as moved to the lower or to the upper half.
func (c *chains) split(bucket, entries int64) {
	switch {
	case c.half == 0:
	case bucket < c.half:
		c.in.m.Growth.X += entries
	default:
		c.in.m.Growth.Y += entries
	}
}

// add takes the link that a bucket ends with; nil is the end of its chain.
func (c *chains) add(l link) {
	if l.addr == 0 {
		if !l.moved && int(l.free) < len(c.free) {
			c.free[l.free]++
		}
		return
	}
	if end := c.array + Addr(c.n*int64(c.in.l.Block.Size)); l.addr >= c.array && l.addr < end {
		c.in.broken("overflow", l.addr, "the chain of bucket %d leads into the bucket array", l.bucket)
		return
	}
	if c.links == nil && c.spare == nil {
		// A random hash overflows about one bucket in twenty.
		c.links = make([]link, 0, min(c.n/16, batchOverflow)+16)
	}
	c.links = append(c.links, l)
}

func (c *chains) follow() {
	in, b := c.in, &c.in.l.Block
	var pieces []piece
	for depth := int64(1); len(c.links) > 0; depth++ {
		if c.total += int64(len(c.links)); depth > maxChain || c.total > maxOverflow(c.n) {
			in.broken("overflow", c.links[0].addr, "the chain of bucket %d is a cycle, or there are more overflow buckets (%d behind %d buckets, %d behind one) than any map has",
				c.links[0].bucket, c.total, c.n, depth)
			in.fail(&ReadError{"overflow bucket", c.links[0].addr, b.Size, errLimit})
			break
		}
		pieces = slices.Grow(pieces[:0], len(c.links))
		// gather would sort the pieces, but look up the links in a random order.
		SortByAddr(c.links, func(l *link) Addr { return l.addr })
		for i, l := range c.links {
			pieces = append(pieces, piece{l.addr, b.Size, i})
		}
		now := c.links
		c.links, c.spare = c.spare[:0], now
		c.buf = gather(in.mem, "overflow bucket", pieces, c.buf, func(p piece, data []byte, err error) {
			if err != nil {
				in.fail(err)
				return
			}
			c.bucket(now[p.ref], data, depth)
		})
		if in.hopeless() {
			break
		}
	}
	c.links = c.links[:0]
}

// bucket looks at one overflow bucket, at depth in its chain.
func (c *chains) bucket(l link, data []byte, depth int64) {
	in, b := c.in, &c.in.l.Block
	if l.addr < c.array || l.addr >= c.end {
		in.m.Bytes += int64(in.l.Alloc.RoundUp(uint64(b.Size), b.Pointers))
	}
	next := in.l.link(data)
	if l.moved {
		in.moved(l.addr, data, l.bucket)
		c.add(link{next, l.bucket, 0, false, true})
		return
	}
	in.m.Overflow.Buckets++
	in.m.Overflow.LongestChain = max(in.m.Overflow.LongestChain, depth)
	before := in.m.Len
	st := in.bucket(l.addr, data, l.rest)
	c.split(l.bucket, in.m.Len-before)
	if in.opts.Hash != nil {
		in.bucketHashes(l.addr, data, uint64(l.bucket), uint64(c.n-1))
	}
	c.add(link{next, l.bucket, min(l.free, 1<<20) + int32(st.free), st.seenRest, false})
}

// growInBuckets is GrowIn of a map whose chains are c; old is the number of
// overflow buckets behind old buckets that have not been evacuated. mapassign of
// runtime/map.go grows a map that is not growing already for one of two reasons,
// and looks at both before it inserts.
func (in *inspector) growInBuckets(c *chains, old int64) int64 {
	h, l, g := &in.m.Header, in.l, in.m.Growth
	byLoad := max(0, l.maxCount(h.B)-max(0, h.Count))
	// tooManyOverflowBuckets. An insert adds an overflow bucket where a chain is
	// full: the keys that do it soonest fill first the chains that nearly are,
	// and eight more each time.
	left := int64(1)<<min(h.B, 15) - int64(h.NOverflow)
	byOverflow := int64(0)
	if g.State == Idle {
		for free, n := range c.free[:l.Block.Slots] {
			k := max(0, min(left, n))
			byOverflow += k * int64(free+1)
			left -= k
		}
		byOverflow += max(0, left) * int64(l.Block.Slots)
		return min(byLoad, byOverflow)
	}
	// Evacuation moves a chain into chains that together have no more overflow
	// buckets. An insert evacuates two old buckets at most, and while one is left
	// the map does not begin to grow again.
	byOverflow = max(0, left-old)
	certain := max(0, g.OldBuckets-g.Evacuated-1) / 2
	return max(certain, min(byLoad, byOverflow))
}

// extra adds the memory of mapextra and of the slices that keep overflow
// buckets without pointers alive.
func (in *inspector) extra() {
	h, l := &in.m.Header, in.l
	if h.Extra == 0 {
		return
	}
	rec := make([]byte, l.Extra.Size)
	if err := read(in.mem, "mapextra", rec, h.Extra); err != nil {
		in.fail(err)
		return
	}
	in.m.Bytes += int64(l.Alloc.RoundUp(uint64(l.Extra.Size), true))
	for _, name := range []string{"overflow", "oldoverflow"} {
		f := l.Extra.Field(name)
		if f.Size == 0 || f.Uint(rec) == 0 {
			continue
		}
		slice := make([]byte, 3*l.PtrSize) // *[]*bmap
		if err := read(in.mem, "mapextra."+name, slice, Addr(f.Uint(rec))); err != nil {
			in.fail(err)
			continue
		}
		in.m.Bytes += int64(l.Alloc.RoundUp(uint64(len(slice)), true))
		n := word(slice[2*l.PtrSize:])
		if limit := uint64(maxOverflow(1 << h.B)); n > 2*limit {
			in.fail(&ReadError{"mapextra." + name, Addr(f.Uint(rec)), int(min(n, math.MaxInt32)), errLimit})
			continue
		}
		in.m.Bytes += int64(l.Alloc.RoundUp(n*uint64(l.PtrSize), true))
	}
}

// bucketHashes checks the tophash of every key of a bucket where the hash can
// be had, and that it belongs there.
func (in *inspector) bucketHashes(at Addr, data []byte, bucket, mask uint64) {
	b := &in.l.Block
	for i := range b.Slots {
		top := data[b.Meta+i]
		if in.l.classes[top] != slotFull {
			continue
		}
		hash, ok := in.hash(data[b.Keys+i*b.KeyStride:][:b.KeySize], uint64(in.m.Header.Hash0))
		if !ok {
			continue
		}
		slot := at + Addr(b.Keys+i*b.KeyStride)
		if want := in.l.tophash(hash); top != want {
			in.broken("hash", slot, "the tophash is %#02x, the key's is %#02x", top, want)
		} else if hash&mask != bucket {
			in.broken("place", slot, "the key belongs into bucket %d, not %d", hash&mask, bucket)
		}
	}
}

// tophash of runtime/map.go.
func (l *Layout) tophash(hash uint64) uint8 {
	top := uint8(hash >> (8*l.PtrSize - 8))
	if top < l.Consts.MinTopHash {
		top += l.Consts.MinTopHash
	}
	return top
}
