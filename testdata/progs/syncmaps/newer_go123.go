//go:build go1.23

package main

import (
	"runtime"
	"strconv"
	"sync"
	"unique"
)

func (w *world) clear() {
	w.both(func(m *sync.Map) { m.Clear() })
	w.want = map[any]any{}
}

type tag string

var (
	handles []unique.Handle[tag]
	others  []any
)

// uniques makes handles: package unique keeps them in tries.
func uniques() {
	for i := 0; i < 1000; i++ {
		handles = append(handles, unique.Make(tag("t"+strconv.Itoa(i))))
	}
	others = append(others, unique.Make(1), unique.Make(key{1, 2}), unique.Make([2]int8{}))
	println("unique", len(handles), 4)
	runtime.KeepAlive(others)
}
