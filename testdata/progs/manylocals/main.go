// Program manylocals keeps maps in the frames of a deep call: arguments, locals,
// shadowed locals, variables that closures capture by value and by reference,
// deferred calls and named results. No package variable leads to any of them.
//
// At a stop in main.stop, the innermost function, the truth of all frames below
// it has been told. When main.main returns, only its own locals are left.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

func ints(n int) map[int]int {
	m := make(map[int]int)
	for i := 0; i < n; i++ {
		m[i] = i
	}
	return m
}

func tell(name string, m map[int]int) {
	truth.Map(name, "map[int]int", m, truth.Int[int], truth.Int[int])
}

//go:noinline
func named(n int) (result map[int]int, err error) {
	defer func() { result[-1] = -1 }()
	result = ints(n)
	return result, nil
}

// stop is the place to stop at: all has been told, all is alive.
//
//go:noinline
func stop(bottom map[int]int) int { return len(bottom) }

//go:noinline
func deepest(top map[int]int) {
	bottom := ints(9)
	tell("bottom", bottom)
	truth.Only("bottom", "main.deepest")
	n := stop(bottom)
	runtime.KeepAlive(n)
	runtime.KeepAlive(bottom)
	runtime.KeepAlive(top)
}

//go:noinline
func descend(depth int, carried map[int]int) int {
	frame := ints(depth)
	tell("frame", frame)
	truth.Only("frame", "main.descend")
	if depth == 0 {
		deepest(carried)
	} else {
		descend(depth-1, carried)
	}
	n := len(frame) + len(carried)
	runtime.KeepAlive(frame)
	runtime.KeepAlive(carried)
	return n
}

func main() {
	truth.Generation()
	first := ints(3)
	shadowed := ints(1)
	byValue := ints(4)
	byReference := ints(5)
	deferred := ints(6)
	result, _ := named(2)

	closure := func() int { return len(byValue) }
	change := func() { byReference = ints(7) }
	change()
	defer func(arg map[int]int) {
		if len(arg) == 0 {
			println("never")
		}
	}(deferred)

	tell("first", first)
	truth.Alias("first", first, "carried", first)
	truth.Alias("first", first, "top", first)
	tell("shadowed", shadowed)
	tell("byValue", byValue)
	tell("byReference", byReference)
	tell("deferred", deferred)
	tell("result", result)
	{
		shadowed := ints(2)
		if shadowed := ints(12); len(shadowed) > 0 {
			shadowed[200] = closure()
		}
		tell("shadowed", shadowed)
		truth.Only("shadowed", "main.stop")
		n := descend(4, first)
		runtime.KeepAlive(n)
		runtime.KeepAlive(shadowed)
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(shadowed)
	runtime.KeepAlive(closure)
	runtime.KeepAlive(byReference)
	runtime.KeepAlive(deferred)
	runtime.KeepAlive(result)
}
