//go:build go1.21

// Program clones clones a map, uses both, and prints where the headers are:
//
//	clones ORIGINAL CLONE
package main

import (
	"fmt"
	"maps"
	"unsafe"
)

var a, b = map[string]int{}, map[string]int(nil)

func main() {
	for i := 0; i < 100; i++ {
		a[fmt.Sprint(i)] = i
	}
	b = maps.Clone(a)
	for i := 0; i < 10; i++ {
		b[fmt.Sprint(-i)] = i
		delete(a, fmt.Sprint(i))
	}
	b = maps.Clone(a)
	for i := 0; i < 7; i++ {
		b[fmt.Sprint(-i)] = i
	}
	fmt.Printf("clones %#x %#x\n", *(*uintptr)(unsafe.Pointer(&a)), *(*uintptr)(unsafe.Pointer(&b)))
}
