// Program samesize ends, where maps are Classic, with every map in the middle
// of a growth to the same size. A window of keys slides over the map: its
// length stays just below the load that would double it, while one bucket after
// the other overflows for a moment and keeps its overflow bucket. When there
// are about as many of those as buckets, the runtime moves all to a new array
// of the same size. On Swiss maps the same churn leaves or recycles tombstones.
package main

import "hmaptools/testdata/progs/truth"

var (
	m    = map[int64]int64{}
	big  = map[int64]int64{}
	strs = map[string]int{}
)

// churn slides a window of width keys until the map grows to the same size, or
// at most limit times, then writes to some entries of the window again.
//
//go:noinline
func churn(m map[int64]int64, width, limit, again int64) {
	i := int64(0)
	for ; i < limit; i++ {
		m[i] = -i
		if truth.SameSize(m) {
			i++
			break
		}
		if i >= width {
			delete(m, i-width)
		}
	}
	for j := i - again; j < i; j++ {
		m[j] = -j
	}
}

func main() {
	limit := int64(20000)
	if truth.Classic() {
		limit = 10000000 // enough for any hash seed: a few thousand do as a rule
	}
	churn(m, 370, limit, 8)     // 64 buckets double at 417, and at 385 in Go 1.21
	churn(big, 6000, limit, 50) // 1024 buckets double at 6657, and at 6145
	for i := 0; i < int(limit); i++ {
		strs[truth.Key(i)] = i
		if truth.SameSize(strs) {
			break
		}
		if i >= 370 {
			delete(strs, truth.Key(i-370))
		}
	}

	truth.Generation()
	truth.Map("main.m", "map[int64]int64", m, truth.Int[int64], truth.Int[int64])
	truth.Sums("main.big", "map[int64]int64", big, truth.SumInt[int64], truth.SumInt[int64])
	truth.Sums("main.strs", "map[string]int", strs, truth.SumStr[string], truth.SumInt[int])
	truth.Shape("main.m", m)
	truth.Shape("main.big", big)
	truth.Shape("main.strs", strs)
}
