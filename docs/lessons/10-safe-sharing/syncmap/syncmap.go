// Package syncmap shares a map by way of a sync.Map, with types. Readers take no lock;
// writers of different keys mostly do not meet.
package syncmap

import "sync"

// Map is a map that goroutines may share. The zero Map is empty and ready to use; it
// must not be copied once it is used.
type Map[K comparable, V any] struct {
	m sync.Map // of K to *V: pointers can be compared, whatever V is
}

// Load returns the value of a key.
func (m *Map[K, V]) Load(key K) (value V, ok bool) {
	p, ok := m.m.Load(key)
	if !ok {
		return value, false
	}
	return *p.(*V), true
}

// Store sets the value of a key.
func (m *Map[K, V]) Store(key K, value V) { m.m.Store(key, &value) }

// Delete takes a key out.
func (m *Map[K, V]) Delete(key K) { m.m.Delete(key) }

// Update replaces the value of a key by what change makes of it, in one step. Change
// is called again when another goroutine was faster.
func (m *Map[K, V]) Update(key K, change func(old V, ok bool) V) {
	for {
		old, ok := m.m.Load(key)
		if !ok {
			var none V
			value := change(none, false)
			if _, loaded := m.m.LoadOrStore(key, &value); !loaded {
				return
			}
			continue
		}
		value := change(*old.(*V), true)
		if m.m.CompareAndSwap(key, old, &value) {
			return
		}
	}
}

// Range calls f for each entry until it returns false. It is not one moment that f
// sees: what is stored or deleted meanwhile may be seen or not. F may use m.
func (m *Map[K, V]) Range(f func(key K, value V) bool) {
	m.m.Range(func(k, p any) bool { return f(k.(K), *p.(*V)) })
}
