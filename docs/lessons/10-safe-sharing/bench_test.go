// Package safesharing measures the four designs against each other.
package safesharing

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"hmaptools/docs/lessons/10-safe-sharing/maptest"
	"hmaptools/docs/lessons/10-safe-sharing/mutex"
	"hmaptools/docs/lessons/10-safe-sharing/rwmutex"
	"hmaptools/docs/lessons/10-safe-sharing/snapshot"
	"hmaptools/docs/lessons/10-safe-sharing/syncmap"
)

var designs = []struct {
	name string
	make func() maptest.Map[string, int]
}{
	{"mutex", func() maptest.Map[string, int] { return new(mutex.Map[string, int]) }},
	{"rwmutex", func() maptest.Map[string, int] { return new(rwmutex.Map[string, int]) }},
	{"syncmap", func() maptest.Map[string, int] { return new(syncmap.Map[string, int]) }},
	{"snapshot", func() maptest.Map[string, int] { return new(snapshot.Map[string, int]) }},
}

const goroutines = 8

// fill stores size entries, a snapshot's all at once.
func fill(m maptest.Map[string, int], size int) []string {
	keys := make([]string, size)
	for i := range keys {
		keys[i] = fmt.Sprint("key ", i)
	}
	if s, ok := m.(*snapshot.Map[string, int]); ok {
		s.Modify(func(next map[string]int) {
			for i, k := range keys {
				next[k] = i
			}
		})
		return keys
	}
	for i, k := range keys {
		m.Store(k, i)
	}
	return keys
}

// BenchmarkMix: eight goroutines share b.N operations, of which so many in a hundred
// are loads and the others stores of keys that are there. All store (writers=8), or one
// of them does all of the stores and no load (writers=1).
func BenchmarkMix(b *testing.B) {
	for _, size := range []int{16, 1000, 100_000} {
		for _, reads := range []int{100, 99, 90, 50} {
			for _, writers := range []int{1, goroutines} {
				if reads == 100 && writers > 1 {
					continue // nobody writes
				}
				for _, d := range designs {
					b.Run(fmt.Sprintf("design=%s/size=%d/reads=%d/writers=%d", d.name, size, reads, writers), func(b *testing.B) {
						m := d.make()
						mix(b, m, fill(m, size), reads, writers)
					})
				}
			}
		}
	}
}

func mix(b *testing.B, m maptest.Map[string, int], keys []string, reads, writers int) {
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for g := range goroutines {
		n, share := b.N/goroutines, reads
		if writers == 1 && reads < 100 {
			if g == 0 {
				n, share = b.N*(100-reads)/100, 0
			} else {
				n, share = b.N*reads/100/(goroutines-1), 100
			}
		}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			sum := 0
			for i := range n {
				x := r.Uint32()
				key := keys[int(x>>8)%len(keys)]
				if int(x&0xff)*100/256 < share {
					v, _ := m.Load(key)
					sum += v
				} else {
					m.Store(key, i)
				}
			}
			if sum == 1 {
				b.Log(sum) // so that the loads are not taken for useless
			}
		})
	}
	wg.Wait()
}

// BenchmarkStore is what one store costs, by size.
func BenchmarkStore(b *testing.B) {
	for _, size := range []int{10, 100, 1000, 10_000, 100_000, 1_000_000} {
		for _, d := range designs {
			if d.name != "snapshot" && d.name != "mutex" {
				continue
			}
			b.Run(fmt.Sprintf("design=%s/size=%d", d.name, size), func(b *testing.B) {
				m := d.make()
				keys := fill(m, size)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					m.Store(keys[i%len(keys)], i)
				}
			})
		}
	}
}

// BenchmarkModify is a hundred stores in one go.
func BenchmarkModify(b *testing.B) {
	for _, size := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("design=snapshot/size=%d", size), func(b *testing.B) {
			m := new(snapshot.Map[string, int])
			keys := fill(m, size)
			b.ReportAllocs()
			for i := 0; b.Loop(); i += 100 {
				m.Modify(func(next map[string]int) {
					for j := range 100 {
						next[keys[(i+j)%len(keys)]] = j
					}
				})
			}
		})
	}
}
