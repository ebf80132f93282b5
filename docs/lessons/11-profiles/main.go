// Program 11-profiles handles requests, each with a map or several: as one writes it
// at first, and as a profile suggests.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

type point struct{ user, day int }

var (
	requests = flag.Int("requests", 3000, "how many")
	profile  = flag.String("profile", "", "write a CPU profile to this `file`")
	names    = make([]string, 500)
)

func main() {
	flag.Parse()
	for i := range names {
		names[i] = fmt.Sprint("user ", i)
	}
	handle, ok := map[string]func() int{
		"grow": grow, "sized": sized, "pooled": pooled, "nested": nested, "flat": flat,
	}[flag.Arg(0)]
	if !ok {
		log.Fatal("want one of grow, sized, pooled, nested, flat")
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			log.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			log.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, sum := time.Now(), 0
	for range *requests {
		sum += handle()
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	n := uint64(*requests)
	fmt.Printf("%-8s %6d ns %7d bytes %4d allocations a request, %d entries\n", flag.Arg(0), took.Nanoseconds()/int64(n),
		(after.TotalAlloc-before.TotalAlloc)/n, (after.Mallocs-before.Mallocs)/n, sum/int(n))
}

// answer is where a request leaves its map, so that it is not on a stack.
var answer map[string]int

// count is what all three do with the map that they come by in different ways.
func count(m map[string]int) int {
	for i, name := range names {
		m[name] += i
	}
	return len(m)
}

func grow() int {
	answer = map[string]int{}
	return count(answer)
}

func sized() int {
	answer = make(map[string]int, len(names))
	return count(answer)
}

// pool holds maps that are empty: clear keeps the memory.
var pool = sync.Pool{New: func() any { return make(map[string]int, len(names)) }}

func pooled() int {
	m := pool.Get().(map[string]int)
	n := count(m)
	clear(m)
	pool.Put(m)
	return n
}

// nested has a map for each user.
func nested() (n int) {
	days := map[int]map[int]int{}
	for i := range 1000 {
		user, day := i%50, i/50
		if days[user] == nil {
			days[user] = map[int]int{}
		}
		days[user][day] = i
	}
	for _, m := range days {
		n += len(m)
	}
	return n
}

// flat has one map, with both in the key.
func flat() int {
	days := make(map[point]int, 1000)
	for i := range 1000 {
		days[point{i % 50, i / 50}] = i
	}
	return len(days)
}
