// Program opcgo counts its own map operations, as opcount does, on threads that C
// code has been called on.
package main

/*
static int twice(int n) { return 2 * n; }
*/
import "C"

import (
	"fmt"
	"unsafe"
)

func main() {
	const n = 5000
	done := make(chan uint64)
	for g := 0; g < 4; g++ {
		go func() {
			m := make(map[int]int, 16)
			var sum uint64
			for i := 0; i < n; i++ {
				m[i%100] = int(C.twice(C.int(i)))
				sum += uint64(m[i%50])
			}
			fmt.Printf("count %p map[int]int make=1 assign=%d access=%d delete=0 iter=0 clear=0 len=%d\n", *(*unsafe.Pointer)(unsafe.Pointer(&m)), n, n, len(m))
			kept2 <- m
			done <- sum
		}()
	}
	var sum uint64
	for g := 0; g < 4; g++ {
		sum += <-done
	}
	fmt.Println("result", sum)
}

var kept2 = make(chan map[int]int, 4)
