//go:build !go1.20

package main

import "unsafe"

type mapView struct {
	mu     [2]int32
	typ    unsafe.Pointer // the two words of an atomic.Value
	read   *readOnlyView
	dirty  map[any]*entryView
	misses int
}

func (m *mapView) readOnly() readOnlyView {
	if m.typ == nil {
		return readOnlyView{}
	}
	return *m.read
}
