// Program opvars does a known number of operations on maps that package variables lead
// to, some of which get their map late, or another one. It prints a line for each:
//
//	EXPRESSION make=N assign=N access=N
//
// with the operations that were done while the variable held the map, and the makes of
// those maps.
package main

import "fmt"

type server struct {
	name string
	in   struct {
		pad   [3]int
		attrs map[int]int
	}
	next *server
}

var (
	cache map[string]int
	srv   *server
	table [3]map[int]int
	names = make(map[string]string, 10)
	sink  int
)

//go:noinline
func use(m map[int]int, n int) {
	for i := 0; i < n; i++ {
		m[i%100] = i
		sink += m[i%50]
	}
}

func main() {
	other := make(map[int]int, 8)
	use(other, 1000)
	cache = make(map[string]int, 20)
	for i := 0; i < 500; i++ {
		cache[fmt.Sprint("k", i%30)] = i
	}
	cache = make(map[string]int, 50) // another one
	for i := 0; i < 300; i++ {
		cache[fmt.Sprint("k", i%30)] = i
	}
	srv = &server{name: "a", next: &server{name: "b"}}
	srv.in.attrs = make(map[int]int, 10)
	use(srv.in.attrs, 700)
	srv.next.in.attrs = make(map[int]int, 10)
	use(srv.next.in.attrs, 40)
	for i := range table {
		table[i] = make(map[int]int, 10)
		use(table[i], 100*(i+1))
	}
	for i := 0; i < 70; i++ {
		names[fmt.Sprint(i%7)] = "x"
	}
	srv = nil
	use(other, 1000)
	fmt.Println("main.cache make=2 assign=800 access=0")
	fmt.Println("main.srv.in.attrs make=1 assign=700 access=700")
	fmt.Println("main.srv.next.in.attrs make=1 assign=40 access=40")
	fmt.Println("(*main.srv).in.attrs make=1 assign=700 access=700")
	fmt.Println("main.table[2] make=1 assign=300 access=300")
	fmt.Println("main.names make=1 assign=70 access=0")
}
