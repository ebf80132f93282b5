//go:build go1.21

package main

var newer121 = []any{Clear, ClearFloat, ClearLocal, ClearGen[float64], MinLen}

func Clear(m map[string]int)                  { clear(m) }
func ClearFloat(m map[float64]int)            { clear(m) }
func ClearGen[K comparable](m map[K]struct{}) { clear(m) }
func MinLen(m, n map[string]int) int          { return min(len(m), len(n)) }

func ClearLocal(k string) int {
	m := map[string]int{k: 1}
	clear(m)
	return len(m)
}
