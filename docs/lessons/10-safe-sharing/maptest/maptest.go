// Package maptest checks maps that goroutines share. It reports errors and fails no
// test, so that it can be tested itself with maps that are wrong.
package maptest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
)

// Map is what all designs have in common.
type Map[K comparable, V any] interface {
	Load(key K) (value V, ok bool)
	Store(key K, value V)
	Delete(key K)
	Update(key K, change func(old V, ok bool) V)
	Range(f func(key K, value V) bool)
}

// Check does all checks on maps that are empty; make makes one.
func Check(make func() Map[string, int]) error {
	return errors.Join(alone(make()), updates(make()), own(make()), whole(make()))
}

// alone compares it with an ordinary map.
func alone(m Map[string, int]) error {
	want := map[string]int{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		k := fmt.Sprint(r.IntN(100))
		switch r.IntN(4) {
		case 0:
			m.Store(k, i)
			want[k] = i
		case 1:
			m.Delete(k)
			delete(want, k)
		case 2:
			m.Update(k, func(old int, ok bool) int {
				if v, there := want[k]; v != old || there != ok {
					i = -1 // shows below
				}
				return old + i
			})
			want[k] += i
		case 3:
			v, ok := m.Load(k)
			if w, there := want[k]; v != w || there != ok {
				return fmt.Errorf("load of %q: %d, %v; want %d, %v", k, v, ok, w, there)
			}
		}
		if i < 0 {
			return fmt.Errorf("update of %q was given another value than the map has", k)
		}
	}
	got := map[string]int{}
	m.Range(func(k string, v int) bool { got[k] = v; return true })
	if !maps.Equal(got, want) {
		return fmt.Errorf("range shows %v, want %v", got, want)
	}
	n := 0
	m.Range(func(string, int) bool { n++; return n < 3 })
	if n != 3 {
		return fmt.Errorf("range went on to the entry %d after the third", n)
	}
	return nil
}

const (
	goroutines = 8
	each       = 500
)

func together(f func(g int)) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { f(g) })
	}
	wg.Wait()
}

// updates: no increment is lost.
func updates(m Map[string, int]) error {
	together(func(int) {
		for i := range each {
			m.Update(fmt.Sprint(i%3), func(old int, _ bool) int {
				runtime.Gosched()
				return old + 1
			})
		}
	})
	sum := 0
	m.Range(func(_ string, v int) bool { sum += v; return true })
	if sum != goroutines*each {
		return fmt.Errorf("%d increments arrived of %d", sum, goroutines*each)
	}
	return nil
}

// own: a goroutine finds in its own keys what it left there, whatever the others do.
func own(m Map[string, int]) error {
	errs := make([]error, goroutines)
	together(func(g int) {
		for i := range each {
			k := fmt.Sprint(g, "/", i%10)
			m.Store(k, i)
			runtime.Gosched()
			if v, ok := m.Load(k); v != i || !ok {
				errs[g] = fmt.Errorf("%q is %d, %v after Store of %d", k, v, ok, i)
			}
			if i%3 == 0 {
				m.Delete(k)
				if v, ok := m.Load(k); ok {
					errs[g] = fmt.Errorf("%q is %d after Delete", k, v)
				}
			}
		}
	})
	return errors.Join(errs...)
}

// whole: Range shows an entry that is there all the time once, whatever the others do.
func whole(m Map[string, int]) error {
	for i := range 100 {
		m.Store(fmt.Sprint("stays ", i), i)
	}
	errs := make([]error, goroutines)
	together(func(g int) {
		for i := range each / 10 {
			if g > 0 {
				m.Store(fmt.Sprint("comes ", g, i), i)
				m.Delete(fmt.Sprint("comes ", g, i-5))
				continue
			}
			seen := map[string]int{}
			m.Range(func(k string, _ int) bool { seen[k[:4]]++; return true })
			if seen["stay"] != 100 {
				errs[g] = fmt.Errorf("range showed %d of 100 entries that stay", seen["stay"])
			}
		}
	})
	return errors.Join(errs...)
}
