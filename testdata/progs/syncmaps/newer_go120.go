//go:build go1.20

package main

import "sync"

// swap gives n keys another value.
func (w *world) swap(n int) {
	for i := 0; i < n; i++ {
		k, v := number(i), any(-i)
		w.both(func(m *sync.Map) { m.Swap(k, v) })
		w.want[k] = v
	}
}

// compare gives n keys another value, and takes as many out of either half.
func (w *world) compare(n int) {
	for i := 0; i < n; i++ {
		k, v := number(i), any(-i)
		old := w.want[k]
		w.both(func(m *sync.Map) { m.CompareAndSwap(k, old, v) })
		w.want[k] = v
		for _, k := range []any{number(20 + i), number(34 + i)} {
			old := w.want[k]
			w.both(func(m *sync.Map) { m.CompareAndDelete(k, old) })
			delete(w.want, k)
		}
	}
}
