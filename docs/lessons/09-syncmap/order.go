package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const pairs = 4096

// together runs two functions at the same time, n times, each with the number of
// the time.
func together(n int, a, b func(i int)) {
	var at [2]atomic.Int32
	var wg sync.WaitGroup
	for g, f := range []func(int){a, b} {
		wg.Go(func() {
			for i := range n {
				// Wait for the other every few times, so that they stay close.
				if i%16 == 0 {
					at[g].Store(int32(i + 1))
					for spins := 0; at[1-g].Load() < int32(i+1); spins++ {
						switch {
						case spins > 20_000: // its thread has no processor
							time.Sleep(20 * time.Microsecond)
						case spins > 1000:
							runtime.Gosched()
						}
					}
				}
				f(i)
			}
		})
	}
	wg.Wait()
}

// word is an int that shares no cache line with another.
type word struct {
	v int
	_ [120]byte
}

// ints: each goroutine sets an int and then reads the other's. Nothing orders them,
// and processors and compilers may let the read come first.
func ints() (tries, seen int) {
	x, y, sawY, sawX := make([]word, pairs), make([]word, pairs), make([]word, pairs), make([]word, pairs)
	together(pairs,
		func(i int) { set(&x[i]); sawY[i].v = get(&y[i]) },
		func(i int) { set(&y[i]); sawX[i].v = get(&x[i]) })
	for i := range pairs {
		if sawX[i].v == 0 && sawY[i].v == 0 {
			seen++
		}
	}
	return pairs, seen
}

//go:noinline
func set(w *word) { w.v = 1 }

//go:noinline
func get(w *word) int { return w.v }

// syncMaps is the same with two keys of a sync.Map.
func syncMaps() (tries, seen int) {
	var m sync.Map
	sawY, sawX := make([]bool, pairs), make([]bool, pairs)
	together(pairs,
		func(i int) { m.Store(2*i, 1); _, sawY[i] = m.Load(2*i + 1) },
		func(i int) { m.Store(2*i+1, 1); _, sawX[i] = m.Load(2 * i) })
	for i := range pairs {
		if !sawX[i] && !sawY[i] {
			seen++
		}
	}
	return pairs, seen
}

// passing: one goroutine stores data and then a flag; who sees the flag must see the
// data.
func passing() (tries, seen int) { return pass("data", "flag") }

// sloppy stores the flag first: what passing looks for can be seen.
func sloppy() (tries, seen int) { return pass("flag", "data") }

func pass(first, second string) (tries, seen int) {
	var m sync.Map
	m.Store("data", 0)
	m.Store("flag", 0)
	together(pairs,
		func(i int) { m.Store(first, i); m.Store(second, i) },
		func(int) {
			flag, _ := m.Load("flag")
			if data, _ := m.Load("data"); data.(int) < flag.(int) {
				seen++
			}
		})
	return pairs, seen
}
