//go:build go1.26 || (go1.24 && goexperiment.synchashtriemap)

package main

import "unsafe"

// The program's own view of internal/sync/hashtriemap.go.

type trieView struct {
	inited            uint32
	initMu            [2]int32
	root              *indirectView
	keyHash, valEqual unsafe.Pointer
	seed              uintptr
}

type nodeView struct{ isEntry bool }

type indirectView struct {
	nodeView
	dead     uint32
	mu       [2]int32
	parent   *indirectView
	children [16]*nodeView
}

type entryView struct {
	nodeView
	overflow   *entryView
	key, value any
}

func (w *world) lock() { (*trieView)(unsafe.Pointer(w.m)).root.mu[0] = 1 }

// shape is what a trie is made of.
type shape struct{ indirects, entries, overflow, longest, depth int }

func (s *shape) add(i *indirectView, depth int) {
	s.indirects++
	if depth > s.depth {
		s.depth = depth
	}
	for _, c := range i.children {
		if c == nil {
			continue
		}
		if !c.isEntry {
			s.add((*indirectView)(unsafe.Pointer(c)), depth+1)
			continue
		}
		s.entries++
		n := 0
		for e := (*entryView)(unsafe.Pointer(c)).overflow; e != nil; e = e.overflow {
			n++
		}
		s.overflow += n
		if n > s.longest {
			s.longest = n
		}
	}
}

func (w *world) look() {
	var s shape
	m := (*trieView)(unsafe.Pointer(w.m))
	if m.root != nil {
		s.add(m.root, 1)
	}
	println("trie", w.name, uintptr(unsafe.Pointer(m.root)), s.indirects, s.entries, s.overflow, s.longest, s.depth)
}
