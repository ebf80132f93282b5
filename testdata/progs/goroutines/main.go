// Goroutines parks goroutines, 10,000 unless the argument says otherwise, each of which
// has a map that nothing but its stack holds: in a variable, in an argument, behind a
// pointer to a struct, in the iterator of a range loop, or in a closure. It prints
// "map HEADER KIND" for each.
package main

import (
	"os"
	"strconv"
	"sync"
	"unsafe"
)

type Map = map[string]int

type session struct {
	id    int
	attrs Map
}

var (
	lines  []byte
	lock   sync.Mutex
	parked sync.WaitGroup
	never  = make(chan int)
)

//go:noinline
func mk(i int, kind string) Map {
	m := Map{"a": i}
	lock.Lock()
	lines = append(lines, "map 0x"+strconv.FormatUint(uint64(*(*uintptr)(unsafe.Pointer(&m))), 16)+" "+kind+"\n"...)
	lock.Unlock()
	return m
}

//go:noinline
func wait() int {
	parked.Done()
	return <-never
}

//go:noinline
func local(i int) int {
	m := mk(i, "local")
	n := wait()
	return n + len(m)
}

//go:noinline
func arg(m Map) int { return wait() + len(m) }

//go:noinline
func behind(s *session) int { return wait() + len(s.attrs) }

//go:noinline
func loop(i int) (n int) {
	for k := range mk(i, "iterator") {
		n += wait() + len(k)
	}
	return n
}

//go:noinline
func closure(i int) int {
	m := mk(i, "closure")
	f := func() int { return wait() + len(m) }
	return call(f)
}

//go:noinline
func call(f func() int) int { return f() + f() }

func main() {
	n := 10000
	if len(os.Args) > 1 {
		n, _ = strconv.Atoi(os.Args[1])
	}
	parked.Add(n)
	for i := 0; i < n; i++ {
		switch i % 5 {
		case 0:
			go local(i)
		case 1:
			go arg(mk(i, "arg"))
		case 2:
			go behind(&session{i, mk(i, "behind")})
		case 3:
			go loop(i)
		case 4:
			go closure(i)
		}
	}
	parked.Wait()
	os.Stderr.Write(lines)
}
