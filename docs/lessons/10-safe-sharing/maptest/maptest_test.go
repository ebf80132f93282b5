package maptest_test

import (
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"hmaptools/docs/lessons/10-safe-sharing/maptest"
	"hmaptools/docs/lessons/10-safe-sharing/mutex"
)

// twoSteps takes and gives back the lock between reading and writing.
type twoSteps struct{ mutex.Map[string, int] }

func (m *twoSteps) Update(key string, change func(old int, ok bool) int) {
	old, ok := m.Load(key)
	m.Store(key, change(old, ok))
}

// forgetful drops every hundredth store.
type forgetful struct {
	mutex.Map[string, int]
	n mutex.Map[string, int]
}

func (m *forgetful) Store(key string, value int) {
	n := 0
	m.n.Update("", func(old int, _ bool) int { n = old + 1; return n })
	if n%100 != 0 {
		m.Map.Store(key, value)
	}
}

// hasty shows some entries twice.
type hasty struct{ mutex.Map[string, int] }

func (m *hasty) Range(f func(string, int) bool) {
	n := 0
	m.Map.Range(func(k string, v int) bool { n++; return f(k, v) && (n%20 != 0 || f(k, v)) })
}

// unlocked is a snapshot whose writers do not wait for each other. The race detector
// is content with it: each access to the pointer is atomic.
type unlocked struct {
	p atomic.Pointer[map[string]int]
}

func (m *unlocked) Update(key string, change func(old int, ok bool) int) {
	next := map[string]int{}
	if p := m.p.Load(); p != nil {
		maps.Copy(next, *p)
	}
	old, ok := next[key]
	next[key] = change(old, ok)
	m.p.Store(&next)
}

func (m *unlocked) Store(key string, value int) {
	m.Update(key, func(int, bool) int { return value })
}

func (m *unlocked) Delete(key string) {
	if p := m.p.Load(); p != nil {
		next := maps.Clone(*p)
		delete(next, key)
		m.p.Store(&next)
	}
}

func (m *unlocked) Load(key string) (int, bool) {
	p := m.p.Load()
	if p == nil {
		return 0, false
	}
	v, ok := (*p)[key]
	return v, ok
}

func (m *unlocked) Range(f func(string, int) bool) {
	for k, v := range *m.p.Load() {
		if !f(k, v) {
			return
		}
	}
}

// TestWrong: what is wrong is found.
func TestWrong(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func() maptest.Map[string, int]
		want string
	}{
		{"two steps", func() maptest.Map[string, int] { return new(twoSteps) }, "increments arrived"},
		{"writers that do not wait", func() maptest.Map[string, int] { return new(unlocked) }, "increments arrived"},
		{"forgetful", func() maptest.Map[string, int] { return new(forgetful) }, "after Store"},
		{"hasty", func() maptest.Map[string, int] { return new(hasty) }, "entries that stay"},
	} {
		if err := maptest.Check(tt.make); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", tt.name, err, tt.want)
		}
	}
}
