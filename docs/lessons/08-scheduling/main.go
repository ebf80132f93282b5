// Program 08-scheduling has two goroutines that share a map, by two names and under a
// lock, and one with a map of its own.
package main

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"time"
)

var (
	a  = map[int]int{}
	b  = a // one header, two names
	mu sync.Mutex

	own = map[int]int{}
)

func main() {
	length := flag.Duration("for", time.Second, "work for this long")
	flag.Parse()
	start := time.Now()
	// What follows is laid beside a recording, by the clock on the wall.
	fmt.Fprintln(os.Stderr, "began", start.UTC().Format(time.RFC3339Nano))
	end := start.Add(*length)
	var wg sync.WaitGroup
	wg.Go(func() { hold(end, inA) })
	wg.Go(func() { hold(end, inB) })
	wg.Go(func() {
		for time.Now().Before(end) {
			work(own)
		}
	})
	wg.Wait()
}

func inA() { work(a) }
func inB() { work(b) }

// hold takes the lock again and again, for 30 milliseconds at most each time.
func hold(end time.Time, f func()) {
	for time.Now().Before(end) {
		mu.Lock()
		until := time.Now().Add(30 * time.Millisecond)
		for now := time.Now(); now.Before(until) && now.Before(end); now = time.Now() {
			f()
		}
		mu.Unlock()
		time.Sleep(time.Millisecond) // so that the other gets it
	}
}

func work(m map[int]int) {
	for i := range 10 {
		m[i]++
	}
	// Some time in which nothing happens to a map, for a recording that is
	// not too large.
	for until := time.Now().Add(50 * time.Microsecond); time.Now().Before(until); {
	}
}
