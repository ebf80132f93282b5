// Program 02-sharing hands one map on in many ways, all of which share it, and
// copies it in some: deep enough, and not deep enough.
package main

import (
	"fmt"
	"maps"
	"slices"
)

type session struct{ attrs map[string]int }

var (
	cache   = map[string]int{"one": 1}
	current session                   // a field
	history []map[string]int          // an element
	byName  map[string]map[string]int // an elem of another map

	cloned, looped map[string]int
	primes         = map[string][]int{"small": {2, 3, 5}}
	shallow, deep  map[string][]int
)

//go:noinline
func insert(m map[string]int, key string) { m[key] = len(m) + 1 }

//go:noinline
func replace(m map[string]int) {
	if len(m) > 0 {
		m = map[string]int{}
	}
	insert(m, "elsewhere")
}

func main() {
	current.attrs = cache
	history = append(history, cache)
	byName = map[string]map[string]int{"cache": cache}
	m := cache
	visit := func() { m["by closure"] = len(m) + 1 }
	queue := make(chan map[string]int, 1)
	queue <- cache
	ready, never := make(chan bool), make(chan bool)
	go func(mine map[string]int) {
		insert(mine, "by goroutine")
		ready <- true
		<-never
		insert(mine, "too late") // mine is alive until here
	}(cache)
	<-ready // orders its write before ours: no race

	cloned = maps.Clone(cache)
	looped = make(map[string]int, len(cache))
	for k, v := range cache {
		looped[k] = v
	}
	before := len(cache)
	insert(current.attrs, "by field")
	insert(history[0], "by element")
	insert(byName["cache"], "by elem")
	visit()
	replace(cache)
	fmt.Println("cache: len before", before, "after", len(cache), "m:", len(m))
	fmt.Println("cloned: len", len(cloned), "looped:", len(looped))

	shallow = maps.Clone(primes)
	deep = map[string][]int{}
	for k, v := range primes {
		deep[k] = slices.Clone(v)
	}
	primes["small"][0] = 1  // into the array that both slices point at
	primes["big"] = []int{} // into primes alone
	fmt.Println("primes: ", primes)
	fmt.Println("shallow:", shallow)
	fmt.Println("deep:   ", deep)
}
