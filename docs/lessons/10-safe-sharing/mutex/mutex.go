// Package mutex shares a map behind a sync.Mutex: one goroutine at a time, readers
// included.
package mutex

import "sync"

// Map is a map that goroutines may share. The zero Map is empty and ready to use; it
// must not be copied once it is used.
type Map[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]V
}

// Load returns the value of a key.
func (m *Map[K, V]) Load(key K) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
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
// must not use m: the lock is held.
func (m *Map[K, V]) Range(f func(key K, value V) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range m.m {
		if !f(k, v) {
			return
		}
	}
}
