// Package snapshot shares a map that is never written: a writer copies it, changes the
// copy and puts that in its place. Readers take no lock and wait for nobody; a write
// costs a copy of the whole map, and writers wait for each other.
package snapshot

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Map is a map that goroutines may share. The zero Map is empty and ready to use; it
// must not be copied once it is used.
type Map[K comparable, V any] struct {
	p atomic.Pointer[map[K]V] // what it points at is not written any more

	// One writer at a time: without it, two copy the same map, and what one of them
	// wrote is lost, though no detector would call that a race.
	writer sync.Mutex
}

// Load returns the value of a key.
func (m *Map[K, V]) Load(key K) (value V, ok bool) {
	value, ok = m.current()[key]
	return value, ok
}

func (m *Map[K, V]) current() map[K]V {
	if p := m.p.Load(); p != nil {
		return *p
	}
	return nil
}

// Modify lets change write a copy of the map, as often as it wants, and puts the copy
// in the map's place: readers see all of the changes or none. Change must not keep
// the map, nor use m for writing.
func (m *Map[K, V]) Modify(change func(map[K]V)) {
	m.writer.Lock()
	defer m.writer.Unlock()
	next := maps.Clone(m.current())
	if next == nil {
		next = map[K]V{}
	}
	change(next)
	m.p.Store(&next)
}

// Store sets the value of a key.
func (m *Map[K, V]) Store(key K, value V) { m.Modify(func(next map[K]V) { next[key] = value }) }

// Delete takes a key out. If it is not there, nothing is copied.
func (m *Map[K, V]) Delete(key K) {
	if _, ok := m.Load(key); ok {
		m.Modify(func(next map[K]V) { delete(next, key) })
	}
}

// Update replaces the value of a key by what change makes of it, in one step.
func (m *Map[K, V]) Update(key K, change func(old V, ok bool) V) {
	m.Modify(func(next map[K]V) {
		old, ok := next[key]
		next[key] = change(old, ok)
	})
}

// Range calls f for each entry, as they are at one moment, until it returns false. F
// may use m: it will not see what it writes.
func (m *Map[K, V]) Range(f func(key K, value V) bool) {
	for k, v := range m.current() {
		if !f(k, v) {
			return
		}
	}
}
