package main

import "hmaptools/docs/lessons/09-syncmap/history"

// race lets two goroutines take each of many values, and counts the values that both
// say they have got. A value that neither got is a failure of the test's own.
func race(m history.Map) (tries, seen int) {
	for i := range pairs {
		m.Store(i, i)
	}
	first, second := make([]bool, pairs), make([]bool, pairs)
	together(pairs,
		func(i int) { _, first[i] = m.LoadAndDelete(i) },
		func(i int) { _, second[i] = m.LoadAndDelete(i) })
	for i := range pairs {
		switch {
		case first[i] && second[i]:
			seen++
		case !first[i] && !second[i]:
			panic("a value was lost")
		}
	}
	return pairs, seen
}
