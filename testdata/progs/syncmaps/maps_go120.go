//go:build go1.20 && (!go1.24 || (!go1.26 && !goexperiment.synchashtriemap))

package main

type mapView struct {
	mu     [2]int32
	read   *readOnlyView
	dirty  map[any]*entryView
	misses int
}

func (m *mapView) readOnly() readOnlyView {
	if m.read == nil {
		return readOnlyView{}
	}
	return *m.read
}
