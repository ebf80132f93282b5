// Program generic holds maps whose types come from type parameters.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

type Set[T comparable] map[T]struct{}

type Cache[K comparable, V any] struct {
	data  map[K]V
	dirty Set[K]
}

type Pair[A, B any] struct {
	First  A
	Second B
}

type point struct{ X, Y int }

var (
	ints   = Set[int]{1: {}, 2: {}}
	points = Set[point]{{1, 2}: {}, {3, 4}: {}}
	cache  = NewCache[string, Pair[int, string]]()
	ptrs   = NewCache[*point, []int]()
	block  = make(chan struct{})
	ready  = make(chan struct{})
)

func NewCache[K comparable, V any]() *Cache[K, V] {
	return &Cache[K, V]{data: map[K]V{}, dirty: Set[K]{}}
}

func (c *Cache[K, V]) Put(k K, v V) {
	c.data[k] = v
	c.dirty[k] = struct{}{}
}

// hold keeps a map of its type parameters in an argument and in a local.
//
//go:noinline
func hold[K comparable, V any](given map[K]V, name, typ string, key func(K) string, elem func(V) string) {
	made := map[K]V{}
	for k, v := range given {
		made[k] = v
	}
	truth.Map(name, typ, made, key, elem)
	ready <- struct{}{}
	<-block
	for k, v := range made {
		given[k] = v
	}
	runtime.KeepAlive(made)
}

func main() {
	for i := 0; i < 20; i++ {
		cache.Put(truth.Key(i), Pair[int, string]{i, truth.Key(i * i)})
	}
	p := &point{1, 2}
	ptrs.Put(p, []int{1, 2, 3})
	byInt := map[int]string{1: "one", 2: "two"}
	byPoint := map[point]int{{5, 6}: 56}

	truth.Generation()
	go hold(byInt, "made", "map[int]string", truth.Int[int], truth.Str[string])
	<-ready
	go hold(byPoint, "made", "map[main.point]int", pointText, truth.Int[int])
	<-ready
	for i := 0; i < 1000; i++ {
		runtime.Gosched()
	}
	truth.Map("main.ints", "main.Set[int]", ints, truth.Int[int], truth.Empty[struct{}])
	truth.Map("main.points", "main.Set[main.point]", points, pointText, truth.Empty[struct{}])
	truth.Map("main.cache.data", "map[string]main.Pair[int,string]", cache.data, truth.Str[string], pairText)
	truth.Map("main.cache.dirty", "main.Set[string]", cache.dirty, truth.Str[string], truth.Empty[struct{}])
	truth.Map("main.ptrs.data", "map[*main.point][]int", ptrs.data, truth.Word[*point], truth.Slice[int])
	truth.Map("main.ptrs.dirty", "main.Set[*main.point]", ptrs.dirty, truth.Word[*point], truth.Empty[struct{}])
	truth.Map("byInt", "map[int]string", byInt, truth.Int[int], truth.Str[string])
	truth.Alias("byInt", byInt, "given", byInt)
	truth.Map("byPoint", "map[main.point]int", byPoint, pointText, truth.Int[int])
	truth.Alias("byPoint", byPoint, "given", byPoint)
	runtime.KeepAlive(byInt)
	runtime.KeepAlive(byPoint)
}

func pointText(p point) string { return "{" + truth.Int(p.X) + "," + truth.Int(p.Y) + "}" }

func pairText(p Pair[int, string]) string {
	return "{" + truth.Int(p.First) + "," + truth.Str(p.Second) + "}"
}
