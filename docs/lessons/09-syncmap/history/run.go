package history

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// keys and rounds are chosen so that Check can take what Run records.
const (
	keys   = 4
	rounds = keys * MaxOps / 2
)

// Run lets goroutines do all operations on a few keys of m, at the same time, and
// returns what they did. No two of them store the same value.
func Run(m Map) []Op {
	goroutines := max(2, min(4, runtime.GOMAXPROCS(0)))
	all := make([][]Op, goroutines)
	var ready atomic.Int32
	var wg sync.WaitGroup
	start := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			ops := make([]Op, rounds/goroutines)
			seen := [keys]int{} // the last value of each key, to compare with
			for i := range ops {
				key := i % keys
				ops[i] = Op{Goroutine: g, Key: key, Kind: kinds[r.IntN(len(kinds))], New: i*goroutines + g + 1}
			}
			ready.Add(1)
			for ready.Load() < int32(goroutines) {
				runtime.Gosched()
			}
			for i := range ops {
				o := &ops[i]
				o.Old = seen[o.Key]
				o.Do(m, start)
				if o.OK && o.Value != 0 {
					seen[o.Key] = o.Value
				}
			}
			all[g] = ops
		})
	}
	wg.Wait()
	var ops []Op
	for _, o := range all {
		ops = append(ops, o...)
	}
	return ops
}

// kinds has what the lesson is about more often than the rest.
var kinds = [...]Kind{Load, Store, Store, Store, Delete, LoadAndDelete, LoadAndDelete, LoadAndDelete, LoadOrStore, Swap, CompareAndSwap, CompareAndDelete}

// TwoSteps is a sync.Map whose LoadAndDelete is what some take it for.
type TwoSteps struct{ sync.Map }

func (m *TwoSteps) LoadAndDelete(key any) (value any, loaded bool) {
	value, loaded = m.Load(key)
	m.Delete(key)
	return value, loaded
}
