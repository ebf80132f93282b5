// Program small holds maps that fit into one group or bucket, empty ones and
// nil ones, in package variables and in locals.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

var (
	none  map[string]int
	empty = map[string]int{}
	one   = map[string]int{"one": 1}
	small = map[string]int{"a": 1, "b": 2, "c": 3}
	full  = map[int]int{}
	hint8 = make(map[int]int, 8)
	hole  = map[int]int{}
	gone  = map[int32]bool{}
	bytes = map[uint8]uint16{0: 0, 1: 1, 255: 65535}
)

func main() {
	var localNone map[int]string
	local := make(map[int]string)
	local[7] = "seven"
	localEmpty := make(map[int]string)
	for i := 0; i < 8; i++ {
		full[i] = i * i
		hole[i] = i
	}
	for i := 2; i < 6; i++ {
		delete(hole, i)
	}
	gone[1] = true
	delete(gone, 1)

	truth.Generation()
	truth.Map("main.none", "map[string]int", none, truth.Str[string], truth.Int[int])
	truth.Map("main.empty", "map[string]int", empty, truth.Str[string], truth.Int[int])
	truth.Map("main.one", "map[string]int", one, truth.Str[string], truth.Int[int])
	truth.Map("main.small", "map[string]int", small, truth.Str[string], truth.Int[int])
	truth.Map("main.full", "map[int]int", full, truth.Int[int], truth.Int[int])
	truth.Map("main.hint8", "map[int]int", hint8, truth.Int[int], truth.Int[int])
	truth.Map("main.hole", "map[int]int", hole, truth.Int[int], truth.Int[int])
	truth.Map("main.gone", "map[int32]bool", gone, truth.Int[int32], truth.Bool[bool])
	truth.Map("main.bytes", "map[uint8]uint16", bytes, truth.Uint[uint8], truth.Uint[uint16])
	truth.Shape("main.full", full)
	truth.Shape("main.hole", hole)
	truth.Map("localNone", "map[int]string", localNone, truth.Int[int], truth.Str[string])
	truth.Map("local", "map[int]string", local, truth.Int[int], truth.Str[string])
	truth.Map("localEmpty", "map[int]string", localEmpty, truth.Int[int], truth.Str[string])
	runtime.KeepAlive(localNone)
	runtime.KeepAlive(local)
	runtime.KeepAlive(localEmpty)
}
