// Program webserver serves HTTP from maps, for whoever attaches to it under load. It
// prints ready and its address, and ends when standard input is closed.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

var (
	mu    sync.Mutex
	hits  = map[string]int{}
	byNum = map[int]string{}
)

func handle(w http.ResponseWriter, r *http.Request) {
	mu.Lock()
	hits[r.URL.Path]++
	n := hits[r.URL.Path]
	byNum[n%5000] = r.URL.Path
	if n%3 == 0 {
		delete(byNum, (n*7)%5000)
	}
	size := len(byNum)
	mu.Unlock()
	local := map[int]int{}
	for i := 0; i < 50; i++ {
		local[i] = n
	}
	fmt.Fprintf(w, "%s %d %d", r.URL.Path, len(local), min1(size))
}

func min1(n int) int {
	if n > 1 {
		return 1
	}
	return n
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go http.Serve(l, http.HandlerFunc(handle))
	fmt.Println("ready", l.Addr())
	io.Copy(io.Discard, os.Stdin)
}
