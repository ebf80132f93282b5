// Program onstack holds maps that do not escape: their headers and first groups
// or buckets lie on the stack of the main goroutine.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

func main() {
	truth.Generation()
	m := map[int]int{1: 10, 2: 20}
	empty := map[string]bool{}
	grown := map[int]int{} // header on the stack, tables or buckets in the heap
	for i := 0; i < 100; i++ {
		grown[i] = i
	}
	truth.Local("m", "map[int]int", m, truth.Int[int], truth.Int[int])
	truth.Local("empty", "map[string]bool", empty, truth.Str[string], truth.Bool[bool])
	truth.Local("grown", "map[int]int", grown, truth.Int[int], truth.Int[int])
	runtime.KeepAlive(m)
	runtime.KeepAlive(empty)
	runtime.KeepAlive(grown)
}
