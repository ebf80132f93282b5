// Program 12-escape has maps that live on the stack and maps that escape to the
// heap, and counts what each allocates. With -dirty it does what a widely read
// text does with the inner map of a sync.Map.
package main

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sync"
	"testing"
)

var kept map[int]int

//go:noinline
func stays() int {
	m := map[int]int{1: 1}
	m[2] = 2
	return len(m)
}

//go:noinline
func grows() int {
	m := map[int]int{}
	for i := range 9 { // one more than a group or bucket has slots
		m[i] = i
	}
	return len(m)
}

//go:noinline
func returned() map[int]int {
	m := map[int]int{1: 1}
	m[2] = 2
	return m
}

//go:noinline
func stored() {
	m := map[int]int{1: 1}
	kept = m
}

//go:noinline
func captured() func() int {
	m := map[int]int{1: 1}
	return func() int { return len(m) }
}

//go:noinline
func boxed() any {
	m := map[int]int{1: 1}
	return m
}

//go:noinline
func passed() int {
	m := map[int]int{1: 1}
	return read(m)
}

//go:noinline
func read(m map[int]int) int { return m[1] }

var byName = map[string]int{"name": 1}

//go:noinline
func overwrite(name string) { byName[name] = 2 }

func dirty() {
	var m sync.Map
	m.Store("k", 1)
	f := reflect.ValueOf(&m).Elem().FieldByName("dirty")
	fmt.Println("a field dirty:", f.IsValid())
	defer func() { fmt.Println("panic:", recover()) }()
	fmt.Println(f.Interface().(map[any]any))
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-dirty" {
		dirty()
		return
	}
	for _, f := range []struct {
		name string
		run  func()
	}{
		{"stays", func() { _ = stays() }},
		{"passed", func() { _ = passed() }},
		{"grows", func() { _ = grows() }},
		{"returned", func() { _ = returned() }},
		{"stored", stored},
		{"captured", func() { _ = captured() }},
		{"boxed", func() { _ = boxed() }},
		{"overwrite", func() { overwrite("name") }},
	} {
		fmt.Printf("%-10s %v allocations\n", f.name, testing.AllocsPerRun(1000, f.run))
	}
	runtime.KeepAlive(kept)
}
