// Package rwmutex shares a map behind a sync.RWMutex: readers at the same time, or one
// writer.
package rwmutex

import "sync"

// Map is a map that goroutines may share. The zero Map is empty and ready to use; it
// must not be copied once it is used.
type Map[K comparable, V any] struct {
	mu sync.RWMutex
	m  map[K]V
}

// Load returns the value of a key.
func (m *Map[K, V]) Load(key K) (value V, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	value, ok = m.m[key]
	return value, ok
}

// Store sets the value of a key.
func (m *Map[K, V]) Store(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[K]V{}
	}
	m.m[key] = value
}

// Delete takes a key out.
func (m *Map[K, V]) Delete(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.m, key)
}

// Update replaces the value of a key by what change makes of it, in one step. Change
// must not use m: the lock is held.
func (m *Map[K, V]) Update(key K, change func(old V, ok bool) V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[K]V{}
	}
	old, ok := m.m[key]
	m.m[key] = change(old, ok)
}

// Range calls f for each entry, as they are at one moment, until it returns false. F
// must not write m: it would wait for itself. It should not read it either, for a
// writer that waits keeps new readers out.
func (m *Map[K, V]) Range(f func(key K, value V) bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for k, v := range m.m {
		if !f(k, v) {
			return
		}
	}
}
