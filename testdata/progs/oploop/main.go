// Program oploop does one map operation over and over, to measure what observing it
// costs: oploop int|str N [GOROUTINES [PACE]]. It prints the nanoseconds that the
// loops took. With PACE it does so many operations a second, in all.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

func number(i, standard int) int {
	if len(os.Args) <= i {
		return standard
	}
	n, err := strconv.Atoi(os.Args[i])
	if err != nil || n < 1 {
		fmt.Println("usage: oploop int|str N [GOROUTINES [PACE]]")
		os.Exit(2)
	}
	return n
}

//go:noinline
func ints(m map[int]int, n int, pace time.Duration) {
	start := time.Now()
	for i := 0; i < n; i++ {
		m[i&1023] = i
		if pace > 0 && i%1000 == 999 {
			time.Sleep(time.Until(start.Add(pace * time.Duration(i))))
		}
	}
}

//go:noinline
func strs(m map[string]int, keys []string, n int, pace time.Duration) {
	start := time.Now()
	for i, j := 0, 0; i < n; i++ {
		m[keys[j]] = i
		if j++; j == len(keys) {
			j = 0
		}
		if pace > 0 && i%1000 == 999 {
			time.Sleep(time.Until(start.Add(pace * time.Duration(i))))
		}
	}
}

func main() {
	n, g := number(2, 0), number(3, 1)
	var pace time.Duration
	if len(os.Args) > 4 {
		pace = time.Second * time.Duration(g) / time.Duration(number(4, 1))
	}
	keys := make([]string, 50000)
	for i := range keys {
		keys[i] = fmt.Sprint("key number ", i)
	}
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < g; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if os.Args[1] == "int" {
				ints(make(map[int]int), n/g, pace)
			} else {
				strs(make(map[string]int), keys, n/g, pace)
			}
		}()
	}
	wg.Wait()
	fmt.Println(time.Since(start).Nanoseconds())
}
