// Program large holds maps beyond one group or bucket: one Swiss table, and
// many tables.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

var (
	nine    = fill(9)
	table   = fill(800)   // one table of 1024 slots
	split   = fill(900)   // just split: two tables
	many    = fill(20000) // about 32 tables
	hundred = fill(100000)
	hinted  = make(map[int64]int64, 5000)
	names   = map[string]int{}
	floats  = map[float64]int32{}
)

func fill(n int64) map[int64]int64 {
	m := map[int64]int64{}
	for i := int64(0); i < n; i++ {
		m[i] = i * 3
	}
	return m
}

func main() {
	for i := 0; i < 100000; i++ {
		names[truth.Key(i)] = i
	}
	for i := 0; i < 3000; i++ {
		floats[float64(i)/8] = int32(-i)
	}
	hinted[1] = 1
	local := map[uint32]uint32{}
	for i := uint32(0); i < 1000; i++ {
		local[i*7919] = i
	}

	truth.Generation()
	truth.Map("main.nine", "map[int64]int64", nine, truth.Int[int64], truth.Int[int64])
	truth.Sums("main.table", "map[int64]int64", table, truth.SumInt[int64], truth.SumInt[int64])
	truth.Sums("main.split", "map[int64]int64", split, truth.SumInt[int64], truth.SumInt[int64])
	truth.Sums("main.many", "map[int64]int64", many, truth.SumInt[int64], truth.SumInt[int64])
	truth.Sums("main.hundred", "map[int64]int64", hundred, truth.SumInt[int64], truth.SumInt[int64])
	truth.Map("main.hinted", "map[int64]int64", hinted, truth.Int[int64], truth.Int[int64])
	truth.Sums("main.names", "map[string]int", names, truth.SumStr[string], truth.SumInt[int])
	truth.Sums("main.floats", "map[float64]int32", floats, sumFloat, truth.SumInt[int32])
	truth.Sums("local", "map[uint32]uint32", local, truth.SumUint[uint32], truth.SumUint[uint32])
	truth.Shape("main.nine", nine)
	truth.Shape("main.table", table)
	truth.Shape("main.split", split)
	truth.Shape("main.many", many)
	truth.Shape("main.hundred", hundred)
	truth.Shape("main.hinted", hinted)
	truth.Shape("main.names", names)
	runtime.KeepAlive(local)
}

// sumFloat adds the bits of the key, as they stand in memory.
func sumFloat(f float64) uint64 { return truth.SumWord(f) }
