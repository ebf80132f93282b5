// Program overflow chooses its keys by their hash, as the map itself computes
// it, so that they collide: one long overflow chain where maps are Classic, one
// deep table in a large directory, and long probe sequences, where they are
// Swiss.
package main

import "hmaptools/testdata/progs/truth"

var (
	chain  = make(map[uint64]uint64, 380) // 64 buckets, all entries in one
	nohint = map[uint64]uint64{}          // the same, grown from nothing
	spread = make(map[uint64]uint64, 380) // filled up to the load factor
	skew   = map[uint64]uint64{}          // Swiss: the top bits of all hashes agree
	ptrs   = make(map[uint64]*int, 380)   // the chain of a bucket with pointers
)

// collide inserts n keys whose hashes agree with bits under mask.
//
//go:noinline
func collide(m map[uint64]uint64, n int, mask uint64) {
	for k := uint64(1); n > 0; k++ {
		if truth.Hash(m, k)&mask == 0 {
			m[k] = k * k
			n--
		}
	}
}

func main() {
	var nothing int
	for _, m := range []map[uint64]uint64{chain, nohint} {
		// A map that is never assigned to has no hash seed in some versions,
		// and one that becomes empty may change it: keep one entry in it.
		m[0] = 0
		if m[0] == 0 && len(m) == 1 {
			collide(m, 300, 63) // 37 overflow buckets: below the 64 that would grow it
		}
	}
	for k := uint64(0); k < 384; k++ {
		spread[k] = k
	}
	skew[0] = 0
	collide(skew, 3000, 15<<60)
	ptrs[0] = &nothing
	for k, n := uint64(1), 0; n < 200; k++ {
		if truth.Hash(ptrs, k)&63 == 0 {
			ptrs[k] = &nothing
			n++
		}
	}

	truth.Generation()
	truth.Map("main.chain", "map[uint64]uint64", chain, truth.Uint[uint64], truth.Uint[uint64])
	truth.Map("main.nohint", "map[uint64]uint64", nohint, truth.Uint[uint64], truth.Uint[uint64])
	truth.Map("main.spread", "map[uint64]uint64", spread, truth.Uint[uint64], truth.Uint[uint64])
	truth.Sums("main.skew", "map[uint64]uint64", skew, truth.SumUint[uint64], truth.SumUint[uint64])
	truth.Map("main.ptrs", "map[uint64]*int", ptrs, truth.Uint[uint64], truth.Word[*int])
	truth.Shape("main.chain", chain)
	truth.Shape("main.nohint", nohint)
	truth.Shape("main.spread", spread)
	truth.Shape("main.skew", skew)
	truth.Shape("main.ptrs", ptrs)
}
