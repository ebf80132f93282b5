// Program 03-growth-classic grows maps entry by entry and prints when they grow.
// Lesson 4 runs the same program on Swiss maps.
package main

import (
	"fmt"
	"reflect"

	"hmaptools/internal/hmap"
)

var (
	m     = map[string]int{}
	alias = m
	churn = map[string]int{}
)

func key(i int) string { return fmt.Sprint("key ", i) }

// header is that of m, and slots the entries that it has room for.
func header(m map[string]int) (h hmap.Header, slots int64) {
	h, err := hmap.Of(m)
	if err != nil {
		panic(err)
	}
	all, err := hmap.Inspect(hmap.SelfMemory{}, hmap.FromReflect(reflect.TypeOf(m)), h.Addr, hmap.Options{})
	if err != nil {
		panic(err)
	}
	return h, all.Slots
}

//go:noinline
func grow(had int64) {
	for i := 1; i <= 1665; i++ {
		m[key(i)] = i
		if h, has := header(m); has != had {
			fmt.Printf("insert %4d: %4d -> %4d slots", i, had, has)
			if h.Generation == hmap.Classic && had > 0 {
				fmt.Printf(", B %d, was %.2f entries a bucket", h.B, float64(i-1)/float64(had/8))
			}
			fmt.Println()
			had = has
		}
	}
}

// evacuate looks at a growth from both names while it goes on.
//
//go:noinline
func evacuate() {
	h, _ := header(m)
	if h.OldBuckets == 0 {
		fmt.Println("no growth is under way: there is nothing to evacuate")
		return
	}
	missing := 0
	for range 100 {
		for i := 1; i <= 1665; i++ {
			if v, ok := alias[key(i)]; !ok || v != i {
				missing++
			}
		}
	}
	a, _ := header(alias)
	fmt.Println("in growth: same header", a.Addr == h.Addr, "same oldbuckets", a.OldBuckets == h.OldBuckets)
	fmt.Println("166500 reads: missing", missing, "moved nevacuate", a.NEvacuate != h.NEvacuate)

	alias[key(1)] = 1 // no new key
	after, _ := header(m)
	delete(alias, "no such key")
	h, _ = header(m)
	fmt.Println("a write moved nevacuate", after.NEvacuate > a.NEvacuate, "a delete", h.NEvacuate > after.NEvacuate)
	writes := 2
	for ; h.OldBuckets != 0; writes++ {
		m[key(1)] = 1
		h, _ = header(m)
	}
	fmt.Println("done: nevacuate", h.NEvacuate, "more than 128 writes", writes > 128, "more than 256", writes > 256)
}

// sameSize slides a window of 370 keys over a map until its array is replaced by
// one of the same size.
//
//go:noinline
func sameSize() {
	for i := range 370 {
		churn[key(i)] = i
	}
	was, _ := header(churn)
	for i := 370; i < 100000; i++ {
		delete(churn, key(i-370))
		churn[key(i)] = i
		if h, err := hmap.Of(churn); err != nil || h.Buckets != was.Buckets {
			fmt.Println("same-size growth: B", was.B, "->", h.B, "len", h.Len(), "sameSizeGrow", h.Flags&8 != 0)
			return
		} else {
			was = h
		}
	}
	fmt.Println("100000 times a key went and another came: no growth")
}

func main() {
	_, slots := header(m)
	grow(slots)
	evacuate()
	sameSize()
}
