package hmap

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestShapes reads maps that are large, sparse, churned, and made with a hint.
func TestShapes(t *testing.T) {
	sizes := []int{5000, 100_000}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		m, hinted, pointers := map[int64]int64{}, make(map[int64]int64, n), map[string]*int64{}
		for i := range int64(n) {
			m[i], hinted[i], pointers[string(rune(i))+"x"] = -i, i, &i
		}
		agree(t, reflect.ValueOf(hinted))
		agree(t, reflect.ValueOf(pointers))
		got := agree(t, reflect.ValueOf(m))
		if l := got.Load(); l < 0.2 || l > 1 {
			t.Errorf("load of %d entries is %v", n, l)
		}
		agree(t, reflect.ValueOf(maps.Clone(m)))
		for i := range int64(n) {
			if i%8 != 0 {
				delete(m, i)
			}
		}
		sparse := agree(t, reflect.ValueOf(m))
		if sparse.Slots < got.Slots || sparse.Wasted < sparse.Bytes/2 {
			t.Errorf("of %d slots, after deletes %d; of %d bytes %d are said to be wasted", got.Slots, sparse.Slots, sparse.Bytes, sparse.Wasted)
		}
		if sparse.Layout.Generation == Swiss && sparse.Tombstones == 0 {
			t.Errorf("no tombstones after %d deletes", n*7/8)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for range 3 {
			for range n {
				k := r.Int64N(int64(2 * n))
				if _, ok := m[k]; ok {
					delete(m, k)
				} else {
					m[k] = k
				}
			}
			agree(t, reflect.ValueOf(m))
		}
		clear(m)
		if cleared := agree(t, reflect.ValueOf(m)); cleared.Tombstones != 0 || cleared.Header.ClearSeq != 1 || cleared.Bytes < sparse.Bytes/2 {
			t.Errorf("after clear: tombstones %d, clearSeq %d, bytes %d of %d", cleared.Tombstones, cleared.Header.ClearSeq, cleared.Bytes, sparse.Bytes)
		}
	}
}

// TestEveryLen reads a map after each insert, and after each delete.
func TestEveryLen(t *testing.T) {
	n := 2100 // beyond the second split of a table
	m := map[int32]string{}
	for i := range n {
		m[int32(i)] = "x"
		if i < 300 || i%7 == 0 {
			agree(t, reflect.ValueOf(m))
		}
	}
	for i := range n {
		delete(m, int32(i))
		if i < 20 || i > n-20 || i%31 == 0 {
			agree(t, reflect.ValueOf(m))
		}
	}
}

// onlyClassic skips a test of what only Classic maps do. The same tests are run
// with GOTOOLCHAIN=go1.25.9 GOEXPERIMENT=noswissmap.
func onlyClassic(t *testing.T) {
	t.Helper()
	if s := self(); s.err != nil {
		t.Fatal(s.err)
	} else if s.generation != Classic {
		t.Skip("the maps of this process are Swiss")
	}
}

// TestEvacuation reads a Classic map at every step of its growth to twice the
// buckets. Deletes of keys that it lacks drive the evacuation.
func TestEvacuation(t *testing.T) {
	onlyClassic(t)
	for name, k := range map[string]mapKind{
		"pointers": kind(func(i int) string { return string(rune(i)) + "y" }, func(i int) *int { return &i }),
		"plain":    kind(func(i int) int32 { return int32(i) }, func(i int) int64 { return int64(i) }),
		"indirect": kind(func(i int) [20]int { return [20]int{i} }, func(i int) [50]string { return [50]string{} }),
	} {
		t.Run(name, func(t *testing.T) {
			m := reflect.MakeMap(k.typ)
			i := 0
			for ; ; i++ {
				k.fill(m, i, i+1)
				if got := inspectSelf(t, m); got.Growth.State == Double && got.Growth.OldBuckets == 64 {
					break
				}
			}
			states, evacuated := 0, int64(-1)
			for absent := 1 << 19; ; absent++ {
				got := agree(t, m)
				if !got.Growing() {
					break
				}
				if states++; got.Growth.Evacuated < evacuated || got.Growth.State != Double || got.Growth.OldBuckets != 64 {
					t.Fatalf("step %d: %+v, evacuated %d before", states, *got.Growth, evacuated)
				}
				if nevacuate := int64(got.Header.NEvacuate); got.Growth.Evacuated < nevacuate || nevacuate > 64 {
					t.Errorf("step %d: evacuated %d, nevacuate %d", states, got.Growth.Evacuated, nevacuate)
				}
				evacuated = got.Growth.Evacuated
				m.SetMapIndex(k.key(absent), reflect.Value{})
			}
			if states < 20 || evacuated < 62 {
				t.Errorf("only %d states of an evacuation were seen, up to %d", states, evacuated)
			}
		})
	}
}

// sameSize returns a Classic map that has begun to grow to the same size.
func sameSize(t testing.TB, width int) map[int64]int64 {
	t.Helper()
	m := map[int64]int64{}
	for i := range int64(10_000_000) { // a few thousand do as a rule
		m[i] = -i
		if h, err := Of(m); err != nil {
			t.Fatal(err)
		} else if h.OldBuckets != 0 && h.Flags&8 != 0 {
			return m
		}
		delete(m, i-int64(width))
	}
	t.Fatal("no growth to the same size")
	return nil
}

// TestSameSizeGrowth reads a Classic map at every step of a growth to the same
// size.
func TestSameSizeGrowth(t *testing.T) {
	onlyClassic(t)
	m := sameSize(t, 370)
	steps := 0
	for absent := int64(-1); ; absent-- {
		got := agree(t, reflect.ValueOf(m))
		if !got.Growing() {
			break
		}
		if steps++; got.Growth.State != SameSize || got.Growth.OldBuckets != 1<<got.Header.B {
			t.Fatalf("step %d: %+v with B %d", steps, *got.Growth, got.Header.B)
		}
		delete(m, absent)
	}
	if steps < 20 {
		t.Errorf("only %d states were seen", steps)
	}
}
