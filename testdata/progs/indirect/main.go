// Program indirect holds maps whose keys or elems are over 128 bytes, which the
// map then stores by pointer, and maps whose are of exactly 128.
package main

import "hmaptools/testdata/progs/truth"

type (
	key128 [16]uint64
	key136 [17]uint64
	odd129 [129]byte
)

var (
	direct  = map[key128]key128{}
	bigKey  = map[key136]int{}
	bigElem = map[int]key136{}
	both    = map[key136]odd129{}
	large   = map[int]key136{}    // more than one table
	deleted = map[key136]key136{} // with tombstones behind
)

func k128(i uint64) (k key128) {
	for j := range k {
		k[j] = i + uint64(j)
	}
	return k
}

func k136(i uint64) (k key136) {
	for j := range k {
		k[j] = i + uint64(j)
	}
	return k
}

func o129(i byte) (o odd129) {
	for j := range o {
		o[j] = i + byte(j)
	}
	return o
}

func text128(k key128) string { return list(k[:]) }
func text136(k key136) string { return list(k[:]) }
func text129(o odd129) string { return truth.Str(string(o[:])) }
func sum136(k key136) uint64  { return k[0] + k[16] }

func list(words []uint64) string {
	s := "["
	for i, w := range words {
		if i > 0 {
			s += ","
		}
		s += truth.Uint(w)
	}
	return s + "]"
}

func main() {
	for i := uint64(0); i < 20; i++ {
		direct[k128(i)] = k128(i * 100)
		bigKey[k136(i)] = int(i)
		bigElem[int(i)] = k136(i)
		both[k136(i)] = o129(byte(i))
	}
	for i := uint64(0); i < 3000; i++ {
		large[int(i)] = k136(i)
	}
	for i := uint64(0); i < 200; i++ {
		deleted[k136(i)] = k136(i)
	}
	for i := uint64(0); i < 190; i++ {
		delete(deleted, k136(i))
	}

	truth.Generation()
	truth.Map("main.direct", "map[main.key128]main.key128", direct, text128, text128)
	truth.Map("main.bigKey", "map[main.key136]int", bigKey, text136, truth.Int[int])
	truth.Map("main.bigElem", "map[int]main.key136", bigElem, truth.Int[int], text136)
	truth.Map("main.both", "map[main.key136]main.odd129", both, text136, text129)
	truth.Sums("main.large", "map[int]main.key136", large, truth.SumInt[int], sum136)
	truth.Map("main.deleted", "map[main.key136]main.key136", deleted, text136, text136)
}
