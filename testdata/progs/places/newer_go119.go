//go:build go1.19

package main

import (
	"sync/atomic"
	"unsafe"
)

type pointers2 struct {
	p atomic.Pointer[Map]
	q atomic.Pointer[Node]
}

var snapshots []*pointers2

// newer uses what Go 1.18 does not have.
func newer() {
	for i := 0; i < n; i++ {
		s := &pointers2{}
		m := mk()
		s.p.Store(&m)
		place("element", m, unsafe.Pointer(&m))
		s.q.Store(&Node{M: mk()})
		place("field", s.q.Load().M, unsafe.Pointer(&s.q.Load().M))
		snapshots = append(snapshots, s)
	}
}
