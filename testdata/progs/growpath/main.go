// Program growpath lets a map grow under a debugger: the 53rd insert is one too many for
// 8 buckets of a Classic map; then a goroutine reads while another one writes. It is not
// to be run by itself: that is a race, and where the reader meets the writer, it dies.
package main

import (
	"runtime"
	"sync/atomic"
)

var (
	m     = map[int]int{}
	sum   int
	reads int32
)

//go:noinline
func write(m map[int]int, key int) { m[key] = key }

//go:noinline
func read(m map[int]int) {
	for {
		sum += m[1]
		atomic.AddInt32(&reads, 1)
	}
}

func main() {
	runtime.GOMAXPROCS(2)
	for i := 0; i < 53; i++ {
		write(m, i)
	}
	go read(m)
	for atomic.LoadInt32(&reads) < 1000 {
		// It has a thread of its own now.
	}
	write(m, 0)
	println("sum", sum)
}
