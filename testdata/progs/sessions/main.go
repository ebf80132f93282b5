// Sessions is the program of the census's measurements: one map[int64]int64 of 10
// million entries, and 267,000 small maps in structs that are linked both by a list
// and by a map. The argument scales the number of small maps in percent; a second
// one the large map.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

type session struct {
	id    int
	name  string
	attrs map[string]int
	next  *session
}

var (
	big  = map[int64]int64{}
	byID = map[int]*session{}
	list *session
)

func percent(i int) int {
	if len(os.Args) <= i {
		return 100
	}
	p, err := strconv.Atoi(os.Args[i])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return p
}

func main() {
	small, large := 2670*percent(1), 100000*percent(2)
	for i := int64(0); i < int64(large); i++ {
		big[i*7919] = i
	}
	for i := 0; i < small; i++ {
		s := &session{id: i, name: "s" + strconv.Itoa(i), attrs: map[string]int{}, next: list}
		for k := 0; k < i%8; k++ {
			s.attrs[strconv.Itoa(k)] = i
		}
		list = s
		byID[i] = s
	}
	if len(os.Args) > 3 { // stay
		fmt.Println("ready")
		time.Sleep(time.Hour)
	}
}
