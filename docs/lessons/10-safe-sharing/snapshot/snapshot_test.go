package snapshot_test

import (
	"testing"

	"hmaptools/docs/lessons/10-safe-sharing/maptest"
	"hmaptools/docs/lessons/10-safe-sharing/snapshot"
)

func TestMap(t *testing.T) {
	if err := maptest.Check(func() maptest.Map[string, int] { return new(snapshot.Map[string, int]) }); err != nil {
		t.Error(err)
	}
}

// TestModify: readers see all of a change or none, and what they hold does not change.
func TestModify(t *testing.T) {
	var m snapshot.Map[string, int]
	done := make(chan bool)
	go func() {
		defer close(done)
		for i := range 1000 {
			m.Modify(func(next map[string]int) { next["a"], next["b"] = i, i })
		}
	}()
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		seen := map[string]int{}
		m.Range(func(k string, v int) bool {
			seen[k] = v
			return true
		})
		if seen["a"] != seen["b"] {
			t.Fatalf("half of a change is seen: %v", seen)
		}
	}
	if v, ok := m.Load("b"); v != 999 || !ok {
		t.Errorf("b is %d, %v", v, ok)
	}
}

// TestLoadWaitsForNobody: a reader gets what it wants while a writer is at work.
func TestLoadWaitsForNobody(t *testing.T) {
	var m snapshot.Map[string, int]
	m.Store("a", 1)
	m.Modify(func(next map[string]int) {
		next["a"] = 2
		if v, ok := m.Load("a"); v != 1 || !ok {
			t.Errorf("a is %d, %v during the write", v, ok)
		}
	})
}
