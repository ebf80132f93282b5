// Program 09-syncmap looks for what a sync.Map is said to do and does not: values of
// two keys in the wrong order, one value taken twice, results that no order explains.
// Beside each stands a control in which it does happen; the plain ints of -order race
// on purpose.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"hmaptools/docs/lessons/09-syncmap/history"
)

// m is there to be looked at from outside: of a thousand keys, three are deleted.
var m sync.Map

func main() {
	order := flag.Bool("order", false, "what is seen of two keys")
	winners := flag.Bool("winners", false, "how many take one value with LoadAndDelete")
	histories := flag.Bool("histories", false, "whether an order explains all results")
	limit := flag.Duration("for", 30*time.Second, "give up after this time if a control does not show what it should")
	rounds := flag.Int("rounds", 300, "at least so many `rounds` of each")
	flag.Parse()
	for i := range 1000 {
		m.Store(i, i*i)
	}
	m.Range(func(key, _ any) bool { return key != nil })
	m.Delete(1)
	m.LoadAndDelete(2)
	m.CompareAndDelete(3, 9)

	// Both go on until the control has shown it.
	trial := func(control, subject func() (tries, seen int), names ...string) {
		deadline := time.Now().Add(*limit)
		var a, b [2]int
		for n := 0; n < *rounds || a[1] == 0 && time.Now().Before(deadline); n++ {
			x, y := control()
			a[0], a[1] = a[0]+x, a[1]+y
			x, y = subject()
			b[0], b[1] = b[0]+x, b[1]+y
		}
		for i, r := range [][2]int{a, b} {
			fmt.Printf("%-28s %9d tries, %6d times\n", names[i], r[0], r[1])
		}
		if a[1] == 0 {
			log.Fatal("the control shows nothing: this run proves nothing")
		}
		if b[1] > 0 {
			log.Fatal("it does happen: what this lesson says is wrong")
		}
	}
	if *order {
		fmt.Println("neither goroutine sees what the other stored before:")
		trial(ints, syncMaps, "two ints", "two keys of a sync.Map")
		fmt.Println("the second key is seen, and the first is not:")
		trial(sloppy, passing, "flag stored before the data", "two keys of a sync.Map")
	}
	if *winners {
		fmt.Println("two goroutines take the same value:")
		trial(func() (int, int) { return race(new(history.TwoSteps)) }, func() (int, int) { return race(new(sync.Map)) }, "Load, then Delete", "LoadAndDelete")
	}
	if *histories {
		var shown []history.Op
		check := func(m history.Map) (int, int) {
			ops := history.Run(m)
			bad, err := history.Check(ops)
			if err != nil {
				log.Fatal(err)
			}
			if bad == nil {
				return len(ops), 0
			}
			if len(shown) == 0 || len(bad) < len(shown) {
				shown = bad
			}
			return len(ops), 1
		}
		fmt.Println("a history that no order explains (tries are operations):")
		trial(func() (int, int) { return check(new(history.TwoSteps)) }, func() (int, int) { return check(new(sync.Map)) }, "LoadAndDelete in two steps", "sync.Map")
		fmt.Fprintln(os.Stderr, "the shortest, its last operations:")
		for _, o := range shown[max(0, len(shown)-6):] {
			fmt.Fprintln(os.Stderr, " ", o)
		}
	}
}
