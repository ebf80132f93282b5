//go:build !go1.24 || (!go1.26 && !goexperiment.synchashtriemap)

package main

import (
	"sync"
	"unsafe"
)

// The program's own view of sync/map.go, as it has been since Go 1.9.

type entryView struct{ p unsafe.Pointer }

type readOnlyView struct {
	m       map[any]*entryView
	amended bool
}

// expunged is what the entry of a key points at that was deleted before dirty was
// made.
func expunged() unsafe.Pointer {
	var m sync.Map
	m.Store(1, 1)
	m.Range(func(_, _ any) bool { return true })
	m.Delete(1)
	m.Store(2, 2)
	return view(&m).readOnly().m[1].p
}

func view(m *sync.Map) *mapView { return (*mapView)(unsafe.Pointer(m)) }

func (w *world) lock() { view(w.m).mu[0] = 1 }

func (w *world) look() {
	m, mark := view(w.m), expunged()
	read := m.readOnly()
	entries := map[*entryView]bool{}
	for _, e := range read.m {
		entries[e] = true
	}
	for _, e := range m.dirty {
		entries[e] = true
	}
	deleted, marked := 0, 0
	for e := range entries {
		switch e.p {
		case nil:
			deleted++
		case mark:
			marked++
		}
	}
	println("maps", w.name, header(read.m), header(m.dirty), len(read.m), len(m.dirty), read.amended, m.misses, deleted, marked)
}

func header(m map[any]*entryView) uintptr { return *(*uintptr)(unsafe.Pointer(&m)) }
