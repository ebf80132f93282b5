package history

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestPlanted: violations that were put there are found, and what differs from them
// in one time is no violation.
func TestPlanted(t *testing.T) {
	for _, tt := range []struct {
		name string
		ops  []Op
		bad  int // operations until the violation; 0: there is none
	}{
		{"empty", nil, 0},
		{"two take one value", []Op{
			{Kind: Store, New: 7, Call: 1, Return: 2},
			{Kind: LoadAndDelete, Value: 7, OK: true, Call: 3, Return: 9},
			{Kind: LoadAndDelete, Value: 7, OK: true, Call: 4, Return: 8},
			{Kind: Load, Call: 20, Return: 21},
		}, 3},
		{"one of two takes it", []Op{
			{Kind: Store, New: 7, Call: 1, Return: 2},
			{Kind: LoadAndDelete, Value: 7, OK: true, Call: 3, Return: 9},
			{Kind: LoadAndDelete, Call: 4, Return: 8},
			{Kind: Load, Call: 20, Return: 21},
		}, 0},
		{"it says loaded and has lost the value", []Op{
			{Kind: Store, New: 7, Call: 1, Return: 2},
			{Kind: LoadAndDelete, OK: true, Call: 3, Return: 9},
		}, 2},
		{"stale", []Op{
			{Kind: Store, New: 1, Call: 1, Return: 2},
			{Kind: Store, New: 2, Call: 3, Return: 5},
			{Kind: Load, Value: 1, OK: true, Call: 6, Return: 7},
		}, 3},
		{"not stale: the store had not returned", []Op{
			{Kind: Store, New: 1, Call: 1, Return: 2},
			{Kind: Store, New: 2, Call: 3, Return: 6},
			{Kind: Load, Value: 1, OK: true, Call: 6, Return: 7},
		}, 0},
		{"back in time", []Op{
			{Kind: Store, New: 1, Call: 1, Return: 2},
			{Kind: Store, New: 2, Call: 3, Return: 20},
			{Kind: Load, Value: 2, OK: true, Call: 4, Return: 5},
			{Kind: Load, Value: 1, OK: true, Call: 6, Return: 7},
		}, 4},
		{"never stored", []Op{{Kind: Load, Value: 3, OK: true, Call: 1, Return: 2}}, 1},
		{"two store at first", []Op{
			{Kind: LoadOrStore, New: 1, Value: 1, Call: 1, Return: 5},
			{Kind: LoadOrStore, New: 2, Value: 2, Call: 2, Return: 6},
		}, 2},
		{"two swap the same", []Op{
			{Kind: Store, New: 1, Call: 1, Return: 2},
			{Kind: CompareAndSwap, Old: 1, New: 2, OK: true, Call: 3, Return: 9},
			{Kind: CompareAndSwap, Old: 1, New: 3, OK: true, Call: 4, Return: 9},
		}, 3},
		{"two keys", []Op{
			{Kind: Store, New: 1, Call: 1, Return: 2},
			{Kind: Load, Key: 1, Call: 3, Return: 4},
			{Kind: Swap, New: 2, Value: 1, OK: true, Call: 5, Return: 6},
			{Kind: CompareAndDelete, Old: 2, OK: true, Call: 7, Return: 8},
			{Kind: Delete, Call: 9, Return: 10},
		}, 0},
	} {
		bad, err := Check(tt.ops)
		if err != nil || len(bad) != tt.bad {
			t.Errorf("%s: found %v, %v; want the first %d", tt.name, bad, err, tt.bad)
		}
	}
	if _, err := Check(make([]Op, MaxOps+1)); err == nil {
		t.Error("too many operations: no error")
	}
}

// TestOracle holds the search against all permutations of short histories, most of
// them with results that were chosen at random.
func TestOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var yes, no int
	for range 20_000 {
		ops := make([]Op, 1+r.IntN(6))
		for i := range ops {
			o := &ops[i]
			*o = Op{Kind: Kind(r.IntN(int(Kinds))), Old: 1 + r.IntN(2), New: 1 + r.IntN(2), OK: r.IntN(2) == 0, Call: r.Int64N(10)}
			o.Return = o.Call + r.Int64N(6)
			if o.OK {
				o.Value = 1 + r.IntN(2)
			}
			switch o.Kind {
			case LoadOrStore:
				o.Value = 1 + r.IntN(2)
			case Store, Delete, CompareAndSwap, CompareAndDelete:
				o.Value = 0
			}
		}
		bad, err := Check(slices.Clone(ops))
		if err != nil {
			t.Fatal(err)
		}
		want := permuted(ops, 0)
		if (bad == nil) != want {
			t.Fatalf("explained is %v, want %v: %v", bad == nil, want, ops)
		}
		if want {
			yes++
		} else {
			no++
		}
	}
	if yes < 1000 || no < 1000 {
		t.Errorf("%d histories with an explanation, %d without: too one-sided a test", yes, no)
	}
}

// permuted tries every order of ops[n:] on an ordinary map.
func permuted(ops []Op, n int) bool {
	if n == len(ops) {
		m := map[int]int{}
		for i, o := range ops {
			for _, later := range ops[i+1:] {
				if later.Return < o.Call {
					return false
				}
			}
			v, ok := m[0]
			var value int
			var result bool
			switch o.Kind {
			case Load:
				value, result = v, ok
			case Store:
				m[0] = o.New
				result = o.OK
			case Delete:
				delete(m, 0)
				result = o.OK
			case LoadAndDelete:
				value, result = v, ok
				delete(m, 0)
			case Swap:
				value, result = v, ok
				m[0] = o.New
			case LoadOrStore:
				if !ok {
					m[0] = o.New
				}
				value, result = m[0], ok
			case CompareAndSwap:
				if result = ok && v == o.Old; result {
					m[0] = o.New
				}
			case CompareAndDelete:
				if result = ok && v == o.Old; result {
					delete(m, 0)
				}
			}
			if value != o.Value || result != o.OK {
				return false
			}
		}
		return true
	}
	for i := n; i < len(ops); i++ {
		ops[n], ops[i] = ops[i], ops[n]
		ok := permuted(ops, n+1)
		ops[n], ops[i] = ops[i], ops[n]
		if ok {
			return true
		}
	}
	return false
}

// TestRun: a sync.Map is explained, round after round; one whose LoadAndDelete is a
// Load and then a Delete is not, sooner or later.
func TestRun(t *testing.T) {
	for range 50 {
		if bad, err := Check(Run(new(sync.Map))); err != nil || bad != nil {
			t.Fatalf("sync.Map: %v, %v", bad, err)
		}
	}
	for start := time.Now(); ; {
		bad, err := Check(Run(new(TwoSteps)))
		if err != nil {
			t.Fatal(err)
		}
		if bad != nil {
			return
		}
		if time.Since(start) > time.Minute {
			t.Fatal("two steps were taken for one in a minute of trials")
		}
	}
}
