//go:build !go1.23

package main

func (w *world) clear() {
	for k := range w.want {
		w.del(k)
	}
}

func uniques() {}
