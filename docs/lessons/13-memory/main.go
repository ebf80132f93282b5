// Program 13-memory fills maps with 100000 entries, takes nearly all of them away in
// different ways, and says how much of the memory came back.
package main

import (
	"fmt"
	"maps"
	"runtime"
)

var deleted, cleared, cloned, copied, dropped map[int]int

func fill() map[int]int {
	m := map[int]int{}
	for i := range 100000 {
		m[i] = i
	}
	return m
}

// shrink deletes all entries but ten.
func shrink(m map[int]int) {
	for i := 10; i < 100000; i++ {
		delete(m, i)
	}
}

// full and thin are where hmapdump stops.
//
//go:noinline
func full() {}

//go:noinline
func thin() {}

func heap() string {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return fmt.Sprintf("%.1f MiB", float64(s.HeapAlloc)/(1<<20))
}

func main() {
	one := func(how string, m *map[int]int, take func()) {
		*m = fill()
		before := heap()
		take()
		fmt.Printf("%-8s %6d entries, heap %8s, then %8s\n", how, len(*m), before, heap())
		*m = nil
	}
	one("deleted", &deleted, func() { shrink(deleted) })
	one("cleared", &cleared, func() { clear(cleared) })
	one("cloned", &cloned, func() { shrink(cloned); cloned = maps.Clone(cloned) })
	one("copied", &copied, func() { shrink(copied); copied = again(copied) })
	one("dropped", &dropped, func() { dropped = nil })

	deleted, cleared, cloned, copied, dropped = fill(), fill(), fill(), fill(), fill()
	full()
	shrink(deleted)
	clear(cleared)
	shrink(cloned)
	cloned = maps.Clone(cloned)
	shrink(copied)
	copied = again(copied)
	dropped = nil
	thin()
}

// again returns a map of the same entries that has room for them and no more.
func again(m map[int]int) map[int]int {
	fresh := make(map[int]int, len(m))
	for k, v := range m {
		fresh[k] = v
	}
	return fresh
}
