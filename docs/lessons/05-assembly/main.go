// Program 05-assembly assigns maps, slices and interfaces, for asmtrace to show
// what becomes of it; with -tear N it looks N times for assignments that were half done.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"
)

var (
	src, dst   map[string]int
	srcs, dsts []int
	boxed      any
)

//go:noinline
func assign() { dst = src }

//go:noinline
func local(a map[string]int) map[string]int { b := a; return b }

//go:noinline
func slice() { dsts = srcs }

//go:noinline
func twice(a, b map[string]int) {
	dst = a
	dst = b
}

//go:noinline
func set(m map[string]int, k string) { m[k] = 1 }

//go:noinline
func get(m map[string]int) int { return m["k"] }

// The pairs: every value is of one or of the other, unless it is torn.
var (
	mapA, mapB   = map[string]int{"a": 1}, map[string]int{"b": 1, "c": 2}
	sliceA       = make([]int, 1)
	sliceB       = make([]int, 2, 4)
	faceA, faceB = any(new(int)), any(new(string))
)

//go:noinline
func setMap(m map[string]int) { dst = m }

//go:noinline
func setSlice(s []int) { dsts = s }

//go:noinline
func setFace(v any) { boxed = v }

// words is what an interface holds: a type and an address.
type words [2]unsafe.Pointer

// tear assigns one of two values in turn while another goroutine reads. It races on
// purpose; the race detector would say so.
func tear(samples int) {
	var stop atomic.Bool
	done := make(chan bool)
	round := func() {
		setMap(mapA)
		setSlice(sliceA)
		setFace(faceA)
		setMap(mapB)
		setSlice(sliceB)
		setFace(faceB)
	}
	round()
	go func() {
		for round(); !stop.Load(); { // at least once, whenever it begins
			round()
		}
		close(done)
	}()
	mapWords := [2]unsafe.Pointer{word(&mapA), word(&mapB)}
	faceWords := [2]words{*(*words)(unsafe.Pointer(&faceA)), *(*words)(unsafe.Pointer(&faceB))}
	maps, slices, faces := 0, 0, 0
	// The controls must have been seen: without them "none" would say nothing.
	for i := 0; i < samples || (slices == 0 || faces == 0) && i < 200*samples; i++ {
		if w := word(&dst); w != mapWords[0] && w != mapWords[1] {
			maps++
		}
		if s := dsts; (unsafe.SliceData(s) == unsafe.SliceData(sliceA)) != (len(s) == 1) {
			slices++
		}
		if w := *(*words)(unsafe.Pointer(&boxed)); w != faceWords[0] && w != faceWords[1] {
			faces++
		}
	}
	stop.Store(true)
	<-done
	fmt.Println("torn maps:", some(maps), "torn slices:", some(slices), "torn interfaces:", some(faces))
}

func word(m *map[string]int) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(m)) }

func some(n int) string {
	if n == 0 {
		return "none"
	}
	return "some"
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "-tear" {
		n, _ := strconv.Atoi(os.Args[2])
		tear(n)
		return
	}
	src = map[string]int{"k": 1}
	assign()
	set(dst, "k2")
	fmt.Println(get(src), len(local(src)), len(dst))
	twice(src, dst)
	slice()
	fmt.Println(answer())
}
