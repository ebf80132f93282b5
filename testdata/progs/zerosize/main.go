// Program zerosize holds maps whose keys or elems take no memory.
package main

import "hmaptools/testdata/progs/truth"

type nothing struct{}

var (
	unit   = map[struct{}]int{{}: 42}
	set    = map[int]struct{}{}
	bigSet = map[int64]struct{}{}
	strSet = map[string]struct{}{"a": {}, "b c": {}}
	arrays = map[[0]int]struct{}{{}: {}}
	named  = map[nothing]nothing{{}: {}}
	bools  = map[bool]struct{}{true: {}, false: {}}
	elems  = map[uint8][0]string{}
	empty  = map[struct{}]struct{}{}
)

func main() {
	for i := 0; i < 20; i++ {
		set[i] = struct{}{}
		elems[uint8(i)] = [0]string{}
	}
	for i := int64(0); i < 5000; i++ {
		bigSet[i] = struct{}{}
	}

	truth.Generation()
	truth.Map("main.unit", "map[struct {}]int", unit, truth.Empty[struct{}], truth.Int[int])
	truth.Map("main.set", "map[int]struct {}", set, truth.Int[int], truth.Empty[struct{}])
	truth.Sums("main.bigSet", "map[int64]struct {}", bigSet, truth.SumInt[int64], func(struct{}) uint64 { return 0 })
	truth.Map("main.strSet", "map[string]struct {}", strSet, truth.Str[string], truth.Empty[struct{}])
	truth.Map("main.arrays", "map[[0]int]struct {}", arrays, truth.Empty[[0]int], truth.Empty[struct{}])
	truth.Map("main.named", "map[main.nothing]main.nothing", named, truth.Empty[nothing], truth.Empty[nothing])
	truth.Map("main.bools", "map[bool]struct {}", bools, truth.Bool[bool], truth.Empty[struct{}])
	truth.Map("main.elems", "map[uint8][0]string", elems, truth.Uint[uint8], truth.Empty[[0]string])
	truth.Map("main.empty", "map[struct {}]struct {}", empty, truth.Empty[struct{}], truth.Empty[struct{}])
}
