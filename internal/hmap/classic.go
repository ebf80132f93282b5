package hmap

import "errors"

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
	m.GrowIn = max(0, l.maxCount(h.B)-h.Count)
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
	oldN := int64(0)
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
		m.Growth.Old, m.Growth.OldBuckets = h.OldBuckets, oldN
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
	preallocEnd := h.Buckets + Addr(array.buckets*int64(l.Block.Size))
	c := chains{in: in, first: h.Buckets, end: preallocEnd}
	in.blocks("bucket array", h.Buckets, n, func(at Addr, first int64, data []byte) {
		b := &l.Block
		for k := int64(0); int(k)*b.Size < len(data); k++ {
			bucket := data[int(k)*b.Size:][:b.Size]
			rest := in.bucket(at+Addr(int(k)*b.Size), bucket, false)
			next := Addr(word(bucket[b.Overflow : b.Overflow+l.PtrSize]))
			if oldN > 0 {
				if o := (first + k) & (oldN - 1); evacuated != nil && evacuated[o/64]&(1<<(o%64)) == 0 && !rest.allRest {
					in.broken("evacuation", at+Addr(int(k)*b.Size),
						"bucket %d is in use, but its old bucket %d has not been evacuated", first+k, o)
				}
			}
			if in.opts.Hash != nil {
				in.bucketHashes(at+Addr(int(k)*b.Size), bucket, uint64(first+k), uint64(n-1))
			}
			if next != 0 {
				c.add(link{next, first + k, rest.seenRest})
			}
		}
		if len(c.links) >= batchOverflow {
			c.follow(uint64(n - 1))
		}
	})
	c.follow(uint64(n - 1))
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
}

// bucket counts one bucket of the new array and checks its tophashes; rest says
// that emptyRest stood in an earlier bucket of the chain.
func (in *inspector) bucket(at Addr, data []byte, rest bool) bucketState {
	b := &in.l.Block
	meta := data[b.Meta : b.Meta+b.Slots]
	st := bucketState{seenRest: rest, allRest: true}
	if word(meta) == 0 && in.l.Consts.EmptyRest == 0 {
		st.seenRest = true
		return st
	}
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
	return st
}

// oldBuckets reads the old array of an evacuation: what has not been evacuated
// counts. It returns the bitmap of evacuated buckets, nil if the array could
// not be read. end is the end of the array with its preallocated overflow.
func (in *inspector) oldBuckets(n int64, end Addr) []uint64 {
	h, m, l := &in.m.Header, in.m, in.l
	done := []uint64{}
	c := chains{in: in, first: h.OldBuckets, end: end}
	ok := in.blocks("old buckets", h.OldBuckets, n, func(at Addr, first int64, data []byte) {
		b := &l.Block
		for k := int64(0); int(k)*b.Size < len(data); k++ {
			i := first + k
			if int(i/64) >= len(done) {
				done = append(done, 0)
			}
			bucket := data[int(k)*b.Size:][:b.Size]
			meta := bucket[b.Meta : b.Meta+b.Slots]
			var cl [slotClasses]int
			l.tally(meta, &cl)
			// evacuated of runtime/map.go looks at the first tophash alone.
			if l.classes[meta[0]] == slotMoved {
				m.Growth.Evacuated++
				done[i/64] |= 1 << (i % 64)
				if cl[slotMoved] != b.Slots {
					in.broken("evacuation", at+Addr(int(k)*b.Size), "old bucket %d is evacuated in part: % x", i, meta)
				}
				continue
			}
			if i < int64(h.NEvacuate) {
				in.broken("nevacuate", at+Addr(int(k)*b.Size), "nevacuate is %d, but old bucket %d has not been evacuated", h.NEvacuate, i)
			}
			rest := in.bucket(at+Addr(int(k)*b.Size), bucket, false)
			if next := Addr(word(bucket[b.Overflow : b.Overflow+l.PtrSize])); next != 0 {
				c.add(link{next, i, rest.seenRest})
			}
			if in.opts.Hash != nil {
				in.bucketHashes(at+Addr(int(k)*b.Size), bucket, uint64(i), uint64(n-1))
			}
		}
		if len(c.links) >= batchOverflow {
			c.follow(uint64(n - 1))
		}
	})
	c.follow(uint64(n - 1))
	if !ok {
		return nil
	}
	return done
}

// link is a pointer to an overflow bucket.
type link struct {
	addr   Addr
	bucket int64 // of the array, at the head of the chain
	rest   bool  // emptyRest was seen before
}

// chains follows the overflow chains of an array, many at a time: the buckets
// of one generation are read in the order of their addresses.
type chains struct {
	in         *inspector
	first, end Addr // the array with its preallocated overflow buckets
	links      []link
	buf        []byte
}

func (c *chains) add(l link) { c.links = append(c.links, l) }

func (c *chains) follow(mask uint64) {
	in, b := c.in, &c.in.l.Block
	var pieces []piece
	for depth := int64(1); len(c.links) > 0; depth++ {
		if depth > maxChain {
			in.broken("overflow", c.links[0].addr, "the chain of bucket %d has more than %d overflow buckets, or is a cycle", c.links[0].bucket, maxChain)
			in.fail(&ReadError{"overflow bucket", c.links[0].addr, b.Size, errLimit})
			break
		}
		in.m.Overflow.LongestChain = max(in.m.Overflow.LongestChain, depth)
		pieces = pieces[:0]
		for i, l := range c.links {
			pieces = append(pieces, piece{l.addr, b.Size, i})
		}
		var next []link
		c.buf = gather(in.mem, "overflow bucket", pieces, c.buf, func(p piece, data []byte, err error) {
			if err != nil {
				in.fail(err)
				return
			}
			l := c.links[p.ref]
			in.m.Overflow.Buckets++
			if p.addr < c.first || p.addr >= c.end {
				in.m.Bytes += int64(in.l.Alloc.RoundUp(uint64(b.Size), in.l.Block.Pointers))
			}
			st := in.bucket(p.addr, data, l.rest)
			if in.opts.Hash != nil {
				in.bucketHashes(p.addr, data, uint64(l.bucket), mask)
			}
			if a := Addr(word(data[b.Overflow : b.Overflow+in.l.PtrSize])); a != 0 {
				next = append(next, link{a, l.bucket, st.seenRest})
			}
		})
		c.links = next
	}
	c.links = c.links[:0]
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
		f := l.Extra.field(name)
		if f.Size == 0 || f.uint(rec) == 0 {
			continue
		}
		slice := make([]byte, 3*l.PtrSize) // *[]*bmap
		if err := read(in.mem, "mapextra."+name, slice, Addr(f.uint(rec))); err != nil {
			in.fail(err)
			continue
		}
		in.m.Bytes += int64(l.Alloc.RoundUp(uint64(len(slice)), true))
		if n := word(slice[2*l.PtrSize:]); n <= 1<<maxB {
			in.m.Bytes += int64(l.Alloc.RoundUp(n*uint64(l.PtrSize), true))
		}
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
