// Program 15-blind-spot writes a map in one goroutine and reads it in another, by
// maps.Clone or by a range loop. Nothing orders the two: it races on purpose.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"
)

var (
	how   = flag.String("read", "clone", "how it is read: clone, range, len or locked")
	storm = flag.Duration("storm", 0, "read and write for this long, and not just once")

	m  = map[int]int{}
	mu sync.Mutex
)

func main() {
	flag.Parse()
	for i := range 1000 {
		m[i] = i
	}
	deadline := time.Now().Add(*storm)
	var reads, writes int
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; reads == 0 || time.Now().Before(deadline); reads++ {
			read()
		}
	})
	wg.Go(func() {
		time.Sleep(10 * time.Millisecond)
		for ; writes == 0 || time.Now().Before(deadline); writes++ {
			write(writes)
		}
	})
	wg.Wait()
	fmt.Println("it survived")
	if *storm > 0 {
		fmt.Fprintln(os.Stderr, reads, "reads,", writes, "writes")
	}
}

func read() (c map[int]int) {
	switch *how {
	case "clone":
		c = maps.Clone(m)
	case "range":
		c = map[int]int{}
		for k, v := range m {
			c[k] = v
		}
	case "len":
		if len(m) > 0 {
			c = maps.Clone(m)
		}
	case "locked":
		mu.Lock()
		defer mu.Unlock()
		c = maps.Clone(m)
	}
	return c
}

func write(n int) {
	if *how == "locked" {
		mu.Lock()
		defer mu.Unlock()
	}
	m[n%1000] = n
}
