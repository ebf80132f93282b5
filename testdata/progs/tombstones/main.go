// Program tombstones holds maps that have lost entries: Swiss tombstones, and
// the empty cells of Classic buckets.
package main

import "hmaptools/testdata/progs/truth"

var (
	some    = fill(800)   // one Swiss table, full enough that groups are full
	most    = fill(20000) // many tables
	all     = fill(800)   // every entry deleted, one by one
	cleared = fill(800)   // every entry deleted by the loop that the compiler turns into mapclear
	reused  = fill(800)   // tombstones, of which some were taken again
	strs    = map[string]*int{}
)

func fill(n int64) map[int64]int64 {
	m := map[int64]int64{}
	for i := int64(0); i < n; i++ {
		m[i] = i
	}
	return m
}

func main() {
	for i := int64(0); i < 400; i++ {
		delete(some, i*2)
	}
	for i := int64(0); i < 19900; i++ {
		delete(most, i)
	}
	for i := int64(0); i < 800; i++ {
		delete(all, i)
	}
	for k := range cleared {
		delete(cleared, k)
	}
	for i := int64(0); i < 400; i++ {
		delete(reused, i*2)
	}
	for i := int64(0); i < 50; i++ {
		reused[10000+i] = i
	}
	n := 0
	for i := 0; i < 700; i++ {
		strs[truth.Key(i)] = &n
	}
	for i := 0; i < 600; i++ {
		delete(strs, truth.Key(i))
	}

	truth.Generation()
	truth.Map("main.some", "map[int64]int64", some, truth.Int[int64], truth.Int[int64])
	truth.Map("main.most", "map[int64]int64", most, truth.Int[int64], truth.Int[int64])
	truth.Map("main.all", "map[int64]int64", all, truth.Int[int64], truth.Int[int64])
	truth.Map("main.cleared", "map[int64]int64", cleared, truth.Int[int64], truth.Int[int64])
	truth.Map("main.reused", "map[int64]int64", reused, truth.Int[int64], truth.Int[int64])
	truth.Map("main.strs", "map[string]*int", strs, truth.Str[string], truth.Word[*int])
	truth.Shape("main.some", some)
	truth.Shape("main.most", most)
	truth.Shape("main.all", all)
	truth.Shape("main.cleared", cleared)
	truth.Shape("main.reused", reused)
	truth.Shape("main.strs", strs)
}
