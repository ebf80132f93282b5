package hmap

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
)

// arena is what keys with pointers point into.
var arena [1 << 15]byte

// live is how many bytes the allocator has given to objects that are in use, as
// it rounds them.
func live() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // sweeps what the first found
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// liveBytes makes n maps and returns what each takes of the heap.
func liveBytes(n int, mk func() reflect.Value) (maps []reflect.Value, each float64) {
	mk() // types and tables that are made once
	maps = make([]reflect.Value, n)
	before := live()
	for i := range maps {
		maps[i] = mk()
	}
	return maps, float64(live()-before) / float64(n)
}

// agreeLive makes 24 maps at a time until what bytes says of them is what each
// takes of the heap, but for a share of it and a few bytes. What the process
// allocates beside the test disturbs a try, not three.
func agreeLive(t *testing.T, share float64, mk func() reflect.Value, bytes func(m reflect.Value) int64) {
	t.Helper()
	for try := range 3 {
		maps, each := liveBytes(24, mk)
		sum := int64(0)
		for _, m := range maps {
			sum += bytes(m)
		}
		got := float64(sum) / float64(len(maps))
		if diff := got - each; diff < 64+each*share && diff > -64-each*share {
			return
		}
		if try == 2 {
			t.Errorf("%.0f bytes, the allocator gave %.0f", got, each)
		}
	}
}

// bytesKinds are map types of all that matters to the allocator: pointers or
// none, indirect keys and elems or none, none of them pointing out of the map.
func bytesKinds() []mapKind {
	all := []mapKind{
		kind(func(i int) int64 { return int64(i) }, func(i int) int64 { return 0 }),
		kind(func(i int) uint16 { return uint16(i) }, func(i int) struct{} { return struct{}{} }),
		kind(func(i int) int { return i }, func(i int) *int { return nil }),
		kind(func(i int) [2]*byte { return [2]*byte{&arena[i%len(arena)]} }, func(i int) bool { return true }),
		kind(func(i int) int32 { return int32(i) }, func(i int) [15]int64 { return [15]int64{} }),
		kind(func(i int) int32 { return int32(i) }, func(i int) [15]*int { return [15]*int{} }),
		kind(func(i int) [17]int64 { return [17]int64{int64(i)} }, func(i int) [129]byte { return [129]byte{} }),
		kind(func(i int) [16]int64 { return [16]int64{int64(i)} }, func(i int) [80]*int { return [80]*int{} }),
	}
	if testing.Short() {
		return all[len(all)-3:]
	}
	return all
}

// TestBytes holds Bytes against the allocator.
func TestBytes(t *testing.T) {
	for _, k := range bytesKinds() {
		shapes := map[string]func() reflect.Value{
			"empty": func() reflect.Value { return reflect.MakeMap(k.typ) },
			"hint":  func() reflect.Value { return reflect.MakeMapWithSize(k.typ, 200) },
		}
		for _, n := range []int{1, 8, 9, 60, 300, 1000} {
			shapes[fmt.Sprint(n)] = func() reflect.Value {
				m := reflect.MakeMap(k.typ)
				k.fill(m, 0, n)
				return m
			}
			shapes[fmt.Sprint(n, " deleted")] = func() reflect.Value {
				m := reflect.MakeMap(k.typ)
				k.fill(m, 0, n)
				k.delete(m, 0, n, 3)
				return m
			}
			// On Classic, ranged over maps keep more; every one of these is in
			// another state of evacuation.
			steps := 0
			shapes[fmt.Sprint(n, " growing")] = func() reflect.Value {
				m := reflect.MakeMap(k.typ)
				k.fill(m, 0, 13*n/2+1)
				steps++
				k.delete(m, 1<<14, 1<<14+steps%n, 1)
				return m
			}
		}
		for name, mk := range shapes {
			t.Run(k.typ.String()+"/"+name, func(t *testing.T) {
				agreeLive(t, 0.01, mk, func(m reflect.Value) int64 {
					got := inspectSelf(t, m)
					if got.Wasted > got.Bytes {
						t.Errorf("%d of %d bytes are said to be wasted", got.Wasted, got.Bytes)
					}
					return got.Bytes
				})
			})
		}
	}
}

// TestFreshBytes holds FreshBytes against maps that are really made with
// make(map, n) and filled. What follows from hash seeds enters it as expected
// values: a few percent remain.
func TestFreshBytes(t *testing.T) {
	for _, k := range bytesKinds() {
		l, err := FromReflect(k.typ).Layout()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, 8, 9, 14, 15, 100, 448, 700, 896, 897, 1792, 3000, 3584} {
			t.Run(fmt.Sprint(k.typ, "/", n), func(t *testing.T) {
				agreeLive(t, 0.06, func() reflect.Value {
					m := reflect.MakeMapWithSize(k.typ, n)
					k.fill(m, 0, n)
					return m
				}, func(reflect.Value) int64 { return l.FreshBytes(int64(n)) })
			})
		}
	}
}
