// Program plain has a sync.Map and no reflection.
package main

import "sync"

func main() {
	var m sync.Map
	m.Store("k", 1)
}
