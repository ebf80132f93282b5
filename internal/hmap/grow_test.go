package hmap

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"
)

// storage tells what the entries of a map lie in. It changes when the map, or
// one of its tables, grows.
func storage(m *Map) string {
	if m.Layout.Generation == Classic {
		return m.Header.Buckets.String()
	}
	s := fmt.Sprint(m.Header.DirPtr)
	for _, t := range m.Tables {
		s += fmt.Sprint(" ", t.Addr, t.Groups)
	}
	return s
}

// soonest returns a key not below from, new to m, that brings the growth of m
// closest: for the table with the fewest empty slots, or for the chain of
// buckets with the fewest.
func soonest(t testing.TB, m map[int64]int64, got *Map, from int64) int64 {
	t.Helper()
	hash, err := SelfHash(reflect.TypeOf(m))
	if err != nil {
		t.Fatal(err)
	}
	h := &got.Header
	fits := func(uint64) bool { return true }
	if got.Layout.Generation == Swiss {
		for _, table := range got.Tables {
			if int64(table.GrowthLeft) == got.GrowIn && h.GlobalDepth > 0 {
				fits = func(hash uint64) bool {
					i := int64(hash >> h.GlobalShift)
					return i >= table.Index && i < table.Index+table.Entries
				}
			}
		}
	} else if !got.Growing() && h.Buckets != 0 {
		free := make([]int, 1<<h.B)
		err := Slots(SelfMemory{}, got, false, func(e *Entry) error {
			if !e.Full {
				free[e.Block]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		best := 0
		for i, f := range free {
			if f < free[best] {
				best = i
			}
		}
		fits = func(hash uint64) bool { return int(hash)&(len(free)-1) == best }
	}
	seed := max(h.Seed, uint64(h.Hash0))
	for k := from; ; k++ {
		key := binary.LittleEndian.AppendUint64(nil, uint64(k))
		if x, ok := hash(key, seed); !ok {
			t.Fatalf("no hash of %d", k)
		} else if _, old := m[k]; !old && fits(x) {
			return k
		}
	}
}

// growthShapes makes maps on the way to their next growth. A second call gives
// another map of the same kind.
func growthShapes(t testing.TB) map[string]func() map[int64]int64 {
	filled := func(n int) func() map[int64]int64 {
		return func() map[int64]int64 {
			m := map[int64]int64{}
			for i := range int64(n) {
				m[i] = i
			}
			return m
		}
	}
	shapes := map[string]func() map[int64]int64{}
	for _, n := range []int{0, 1, 7, 8, 9, 13, 14, 15, 27, 100, 208, 209, 400, 416, 417, 896, 897, 1500, 2000} {
		shapes[fmt.Sprint(n)] = filled(n)
	}
	shapes["hint"] = func() map[int64]int64 { return make(map[int64]int64, 500) }
	shapes["hint of several tables"] = func() map[int64]int64 { return make(map[int64]int64, 2000) }
	shapes["deleted"] = func() map[int64]int64 {
		m := filled(400)()
		for i := range int64(390) {
			delete(m, i)
		}
		return m
	}
	shapes["cleared"] = func() map[int64]int64 {
		m := filled(400)()
		clear(m)
		return m
	}
	if s := self(); s.generation != Classic {
		return shapes
	}
	// Many overflow buckets, down to the last before a growth to the same size.
	for _, left := range []uint16{9, 2, 1, 0} {
		shapes[fmt.Sprint("overflow ", left)] = func() map[int64]int64 {
			m := map[int64]int64{}
			for i := int64(0); ; i++ {
				m[i] = i
				if h, err := Of(m); err != nil {
					t.Fatal(err)
				} else if h.B == 6 && h.OldBuckets == 0 && h.NOverflow == 64-left {
					for k := i - 300; k < i; k += 2 {
						delete(m, k)
					}
					return m
				}
				delete(m, i-370)
			}
		}
	}
	for steps := range 20 {
		shapes[fmt.Sprint("growing ", steps)] = func() map[int64]int64 {
			m := filled(209)()
			for i := range steps {
				delete(m, int64(-1-i))
			}
			return m
		}
		shapes[fmt.Sprint("growing to the same size ", steps)] = func() map[int64]int64 {
			m := sameSize(t, 370)
			for i := range steps {
				delete(m, int64(-1-i))
			}
			return m
		}
	}
	return shapes
}

// TestGrowIn inserts as many keys as GrowIn says are safe, those first that use
// up the room soonest: nothing may grow. Where no doubt remains, the next must
// make the map grow.
func TestGrowIn(t *testing.T) {
	for name, shape := range growthShapes(t) {
		t.Run(name, func(t *testing.T) {
			m := shape()
			rv := reflect.ValueOf(m)
			first := inspectSelf(t, rv)
			last := first
			next := int64(1 << 40)
			insert := func() bool {
				next = soonest(t, m, last, next) + 1
				m[next-1] = 0
				was := last
				last = inspectSelf(t, rv)
				return was.Header.DirPtr|was.Header.Buckets != 0 && storage(was) != storage(last)
			}
			for i := range first.GrowIn {
				if insert() {
					t.Fatalf("GrowIn is %d, but insert %d made the map grow\nfrom %+v\nto %+v", first.GrowIn, i+1, first, last)
				}
				if left := first.GrowIn - i - 1; last.GrowIn < left {
					t.Errorf("GrowIn is %d, and %d after %d inserts", first.GrowIn, last.GrowIn, i+1)
				}
			}
			if first.Tombstones > 0 || first.Growing() {
				return // the insert may prune tombstones, or meet the evacuation's end
			}
			if !insert() {
				t.Errorf("GrowIn is %d, but one insert more did not make the map grow", first.GrowIn)
			}
		})
	}
}
