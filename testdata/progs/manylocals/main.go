// Program manylocals keeps maps in the frames of a deep call: arguments, locals,
// shadowed locals, variables that closures capture by value and by reference,
// deferred calls and named results. No package variable leads to any of them.
// main.deepest is the innermost function; the maps of all frames above it are
// printed there.
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

func show(name string, m map[int]int) {
	truth.Map(name, "map[int]int", m, truth.Int[int], truth.Int[int])
}

//go:noinline
func named(n int) (result map[int]int, err error) {
	defer func() { result[-1] = -1 }()
	result = ints(n)
	return result, nil
}

//go:noinline
func deepest(top map[int]int) {
	bottom := ints(9)
	show("bottom", bottom)
	truth.Alias("bottom", bottom, "bottom", bottom)
	show("top", top)
	runtime.KeepAlive(bottom)
	runtime.KeepAlive(top)
}

//go:noinline
func descend(depth int, carried map[int]int) int {
	frame := ints(depth)
	if depth == 0 {
		deepest(carried)
	} else {
		descend(depth-1, carried)
	}
	show("frame", frame)
	return len(frame) + len(carried)
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
	n := descend(4, first)

	{
		shadowed := ints(2)
		shadowed[100] = n + closure()
		if shadowed := ints(12); len(shadowed) > 0 {
			shadowed[200] = 200
		}
		show("shadowed", shadowed)
		runtime.KeepAlive(shadowed)
	}
	show("first", first)
	show("shadowed", shadowed)
	show("byValue", byValue)
	show("byReference", byReference)
	show("deferred", deferred)
	show("result", result)
	runtime.KeepAlive(first)
	runtime.KeepAlive(shadowed)
	runtime.KeepAlive(closure)
	runtime.KeepAlive(byReference)
	runtime.KeepAlive(deferred)
	runtime.KeepAlive(result)
}
