// Program 04-growth-swiss has Swiss maps of every shape: no table, one, and
// several behind a directory, and one from which entries were deleted.
package main

import (
	"fmt"
	"reflect"

	"hmaptools/internal/hmap"
)

var (
	small  = fill(8)
	table  = fill(9)
	split  = fill(897)
	large  = fill(20000)
	thin   = fill(7)   // of 8 slots; then entries go
	deeper = fill(440) // of 512 slots, nearly all that it takes; then half go
)

//go:noinline
func fill(n int) map[int]int {
	m := map[int]int{}
	for i := range n {
		m[i] = i
	}
	return m
}

func inspect(m map[int]int) *hmap.Map {
	h, err := hmap.Of(m)
	if err != nil {
		panic(err)
	}
	all, err := hmap.Inspect(hmap.SelfMemory{}, hmap.FromReflect(reflect.TypeOf(m)), h.Addr, hmap.Options{})
	if err != nil {
		panic(err)
	}
	return all
}

func show(name string, m map[int]int) {
	s := inspect(m)
	h := &s.Header
	fmt.Printf("%-7s len %5d slots %5d directory %d", name, h.Len(), s.Slots, h.DirLen)
	if h.DirLen > 0 {
		fmt.Printf(" tables %d globalDepth %d", len(s.Tables), h.GlobalDepth)
	}
	fmt.Println()
}

func main() {
	show("small", small)
	show("table", table)
	show("split", split)
	show("large", large)

	for i := range 5 {
		delete(thin, i)
	}
	fmt.Println("a group with an empty slot: 5 deletes, tombstones", inspect(thin).Tombstones)
	for i := range 220 {
		delete(deeper, i)
	}
	s := inspect(deeper)
	fmt.Println("full groups: 220 deletes, tombstones:", s.Tombstones > 0, "fewer than 220:", s.Tombstones < 220)
	left, slots := s.Tables[0].GrowthLeft, s.Slots
	for i := 220; i < 440; i++ {
		deeper[i] = -i // there already: needs no slot
	}
	s = inspect(deeper)
	fmt.Println("220 updates took growthLeft:", left-s.Tables[0].GrowthLeft)
	for i := range 220 {
		deeper[1000+i] = i
	}
	s = inspect(deeper)
	fmt.Println("220 new keys: len", s.Len, "slots", slots, "->", s.Slots)
}
