// Program registers passes maps through functions that keep them in registers.
// Stop at main.hold, main.deep, main.spill or main.results: at their entry the
// maps stand in registers under the register ABI and in no package variable. The
// truth is told before these functions are called, and nothing changes later.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

type pair struct{ left, right map[int]int }

// hold has two maps and one scalar in registers at its entry.
//
//go:noinline
func hold(first map[string]int, second map[int]string, n int) int {
	return len(first)*1000 + len(second)*10 + n
}

// deep has maps inside a struct argument, which is spread over registers.
//
//go:noinline
func deep(p pair, n int) int {
	return len(p.left) + len(p.right) + n
}

// spill has more arguments than there are registers: late goes by the stack.
//
//go:noinline
func spill(a, b, c, d, e, f, g, h, i, j int, late map[string]int) int {
	return a + b + c + d + e + f + g + h + i + j + len(late)
}

// results returns a map; the named result is live at its end.
//
//go:noinline
func results(n int) (out map[int]int, ok bool) {
	out = make(map[int]int, n)
	for i := 0; i < n; i++ {
		out[i] = i
	}
	return out, true
}

// caller keeps used alive across the call and nowhere but in its frame.
//
//go:noinline
func caller(used map[string]int, other map[int]string) int {
	n := hold(used, other, 1)
	return n + len(used)
}

func main() {
	first := map[string]int{"first": 1, "second": 2}
	second := map[int]string{1: "one", 2: "two", 3: "three"}
	made, ok := results(12)
	p := pair{map[int]int{1: 1}, map[int]int{2: 2, 3: 3}}

	truth.Generation()
	truth.Map("first", "map[string]int", first, truth.Str[string], truth.Int[int])
	truth.Alias("first", first, "used", first)
	truth.Alias("first", first, "late", first)
	truth.Map("second", "map[int]string", second, truth.Int[int], truth.Str[string])
	truth.Alias("second", second, "other", second)
	truth.Map("made", "map[int]int", made, truth.Int[int], truth.Int[int])
	truth.Map("p.left", "map[int]int", p.left, truth.Int[int], truth.Int[int])
	truth.Map("p.right", "map[int]int", p.right, truth.Int[int], truth.Int[int])
	n := caller(first, second)
	n += deep(p, n)
	n += spill(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, first)
	if !ok || n == 0 {
		panic("unreachable")
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(second)
	runtime.KeepAlive(made)
	runtime.KeepAlive(p)
}
