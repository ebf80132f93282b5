// Program concurrent dies of "fatal error: concurrent map writes": eight
// goroutines write to one map without a lock. They overwrite entries that are
// there already, so that nothing moves and the runtime's check is the only
// thing that can go wrong.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

var (
	shared = map[string]int{}
	alone  = map[int]int{1: 1}
)

//go:noinline
func worker(m map[string]int, id int) {
	for i := 0; ; i++ {
		m[truth.Key(i&63)] = id
	}
}

func main() {
	for i := 0; i < 64; i++ {
		shared[truth.Key(i)] = i
	}
	truth.Generation()
	truth.Addr("main.shared", "map[string]int", shared)
	truth.Alias("main.shared", shared, "m", shared)
	truth.Map("main.alone", "map[int]int", alone, truth.Int[int], truth.Int[int])
	// On one processor a writer would hardly ever be preempted inside the
	// runtime; threads of the kernel are.
	runtime.GOMAXPROCS(4)
	for id := 1; id < 8; id++ {
		go worker(shared, id)
	}
	worker(shared, 8)
}
