// Program bigmap holds one map with as many entries as its first argument says,
// 1,000,000 without. With wait as the second argument it prints ready on
// standard output and blocks until standard input is closed.
package main

import (
	"os"

	"hmaptools/testdata/progs/truth"
)

var big = map[int64]int64{}

func main() {
	n := 1000000
	if len(os.Args) > 1 {
		n = truth.Atoi(os.Args[1], n)
	}
	for i := int64(0); i < int64(n); i++ {
		big[i] = i * 3
	}

	truth.Generation()
	truth.Sums("main.big", "map[int64]int64", big, truth.SumInt[int64], truth.SumInt[int64])
	if len(os.Args) > 2 && os.Args[2] == "wait" {
		os.Stdout.WriteString("ready\n")
		var buf [64]byte
		for {
			if n, err := os.Stdin.Read(buf[:]); n == 0 || err != nil {
				break
			}
		}
	}
}
