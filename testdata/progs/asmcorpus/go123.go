//go:build go1.23

package main

import "maps"

var newer123 = []any{
	Clone, MapsKeys, MapsAll, MapsCopy, MapsEqual, MapsDeleteFunc, MapsCollect, MapsInsert, RangeFunc, RangeFuncDefer,
}

func Clone(m map[string]int) map[string]int { return maps.Clone(m) }
func MapsCopy(m, n map[string]int)          { maps.Copy(m, n) }
func MapsEqual(m, n map[string]int) bool    { return maps.Equal(m, n) }
func MapsDeleteFunc(m map[string]int) {
	maps.DeleteFunc(m, func(k string, v int) bool { return v == 0 })
}
func MapsCollect(m map[string]int) Named { return maps.Collect(maps.All(m)) }
func MapsInsert(m, n map[string]int)     { maps.Insert(m, maps.All(n)) }

func MapsKeys(m map[string]int) (n int) {
	for k := range maps.Keys(m) {
		n += len(k)
	}
	return n
}

func MapsAll(m map[string]int) (n int) {
	for k, v := range maps.All(m) {
		n += len(k) + v
	}
	return n
}

func each(m map[int]int) func(func(int, int) bool) {
	return func(yield func(int, int) bool) {
		for k, v := range m {
			if !yield(k, v) {
				return
			}
		}
	}
}

func RangeFunc(m, n map[int]int) int {
	for k, v := range each(m) {
		if v == 0 {
			return k
		}
		n[v] = k
	}
	return 0
}

//go:noinline
func opaque(m map[int]int) func(func(int, int) bool) { return each(m) }

func RangeFuncDefer(m, n map[int]int) {
	for k, v := range opaque(m) {
		defer delete(n, k)
		n[v]++
	}
}
