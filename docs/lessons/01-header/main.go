// Program 01-header grows a map through a copy of its variable and looks at the
// header, from inside, before and after.
package main

import (
	"fmt"
	"unsafe"

	"hmaptools/internal/hmap"
)

var (
	a = map[string]int{"one": 1}
	b = a                        // the copy of a map variable
	c = map[string]int{"one": 1} // equal to a, but made by itself
)

func main() {
	fmt.Println("size of a map variable:", unsafe.Sizeof(a), "bytes")
	fmt.Println("the word in a:", word(&a), "in b:", word(&b), "in c:", word(&c))

	show("before growth:", a)
	for i := range 1000 {
		b[fmt.Sprint("key ", i)] = i
	}
	show("after growth: ", a)
}

// word is all that a map variable holds.
func word(m *map[string]int) hmap.Addr { return *(*hmap.Addr)(unsafe.Pointer(m)) }

// show prints where the header of m is, and where the header says that the
// entries are.
func show(when string, m map[string]int) {
	h, err := hmap.Of(m)
	if err != nil {
		panic(err)
	}
	entries, field := h.DirPtr, "dirPtr"
	if h.Generation == hmap.Classic {
		entries, field = h.Buckets, "buckets"
	}
	fmt.Println(when, "len", h.Len(), "header", h.Addr, field, entries)
}
