// Program aliases holds headers by several names: copies, struct fields,
// elements, interfaces, closures, pointers and the arguments and locals of
// parked goroutines.
package main

import (
	"runtime"

	"hmaptools/testdata/progs/truth"
)

type server struct {
	name  string
	cache map[string]int
	stats *stats
}

type stats struct {
	hits map[string]int
	sub  struct{ misses map[string]int }
}

var (
	a      = map[string]int{"shared": 1}
	b      = a
	srv    = server{name: "srv", cache: a, stats: &stats{}}
	ps     = &server{name: "ps", cache: map[string]int{"own": 1}}
	pm     = &b
	boxed  interface{}
	slice  []map[string]int
	array  [3]map[string]int
	byName = map[string]map[string]int{}
	alone  = map[string]int{"alone": 1}
	hook   func() int
	queue  = make(chan map[string]int, 2)
	block  = make(chan struct{})
	ready  = make(chan struct{})
)

//go:noinline
func byArg(arg map[string]int, n int) {
	ready <- struct{}{}
	<-block
	arg["never"] = n
}

//go:noinline
func byLocal() {
	own := map[string]int{"only in a goroutine": 1}
	same := own
	truth.Map("own", "map[string]int", own, truth.Str[string], truth.Int[int])
	truth.Alias("own", own, "same", same)
	ready <- struct{}{}
	<-block
	own["never"] = len(same)
	runtime.KeepAlive(own)
	runtime.KeepAlive(same)
}

func main() {
	srv.stats.hits = a
	srv.stats.sub.misses = map[string]int{"deep": 1}
	boxed = a
	slice = []map[string]int{nil, a, {"in slice": 1}}
	array[2] = a
	byName["x"] = a
	byName["y"] = map[string]int{"in map": 1}
	queue <- a
	captured := map[string]int{"captured": 1}
	hook = func() int { captured["more"]++; return len(captured) }
	hook()
	local := a
	ptr := &local

	truth.Generation()
	go byArg(a, 1)
	<-ready
	go byArg(alone, 2)
	<-ready
	go byLocal()
	<-ready
	go func() {
		ready <- struct{}{}
		<-block
		captured["never"] = 1
	}()
	<-ready
	// A goroutine that has handed over ready parks on block a moment later.
	for i := 0; i < 1000; i++ {
		runtime.Gosched()
	}

	truth.Map("main.a", "map[string]int", a, truth.Str[string], truth.Int[int])
	truth.Alias("main.a", a, "main.b", b)
	truth.Alias("main.a", a, "main.srv.cache", srv.cache)
	truth.Alias("main.a", a, "main.srv.stats.hits", srv.stats.hits)
	truth.Alias("main.a", a, "*main.pm", *pm)
	truth.Alias("main.a", a, "main.boxed", boxed.(map[string]int))
	truth.Alias("main.a", a, "main.slice[1]", slice[1])
	truth.Alias("main.a", a, "main.array[2]", array[2])
	truth.Alias("main.a", a, `main.byName["x"]`, byName["x"])
	truth.Alias("main.a", a, "local", local)
	truth.Alias("main.a", a, "*ptr", *ptr)
	truth.Alias("main.a", a, "arg", a)
	truth.Map("main.srv.stats.sub.misses", "map[string]int", srv.stats.sub.misses, truth.Str[string], truth.Int[int])
	truth.Map("main.ps.cache", "map[string]int", ps.cache, truth.Str[string], truth.Int[int])
	truth.Map("main.slice[2]", "map[string]int", slice[2], truth.Str[string], truth.Int[int])
	truth.Map("main.byName", "map[string]map[string]int", byName, truth.Str[string], truth.Word[map[string]int])
	truth.Map(`main.byName["y"]`, "map[string]int", byName["y"], truth.Str[string], truth.Int[int])
	truth.Map("main.alone", "map[string]int", alone, truth.Str[string], truth.Int[int])
	truth.Alias("main.alone", alone, "arg", alone)
	truth.Map("captured", "map[string]int", captured, truth.Str[string], truth.Int[int])
	runtime.KeepAlive(captured)
	runtime.KeepAlive(local)
	runtime.KeepAlive(ptr)
}
