// Program 06-breakpoints writes to a map and reads it, first by turns, then at the same
// time. The second part is a race, for the debugger to stop in the middle of: by itself
// the program dies there sooner or later.
package main

import (
	"strconv"
	"sync/atomic"
)

var (
	m     = map[string]int{}
	sum   int
	reads atomic.Int32
)

//go:noinline
func write(i int) { m[strconv.Itoa(i)] = i }

//go:noinline
func read(i int) int { return m[strconv.Itoa(i)] }

//go:noinline
func turns() {
	for i := range 53 { // one more than 6.5 for each of 8 buckets
		write(i)
	}
	for i := range 53 {
		sum += read(i)
	}
}

//go:noinline
func together() {
	go func() {
		for ; ; reads.Add(1) {
			sum += read(1)
		}
	}()
	for reads.Load() < 1000 {
		// It runs, on a thread of its own.
	}
	write(0)
}

func main() {
	turns()
	together()
	println("sum", sum)
}
