package hmap

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
)

func BenchmarkOf(b *testing.B) {
	m := map[int]string{1: "a", 2: "b"}
	// Not b.Loop: up to Go 1.25 it keeps Of from being inlined.
	for range b.N {
		h, err := Of(m)
		if err != nil || h.Len() != 2 {
			b.Fatal(err)
		}
	}
}

// benchMap is a map of n entries with its header.
func benchMap(b *testing.B, n int64) (map[int64]int64, Header) {
	b.Helper()
	m := map[int64]int64{}
	for i := range n {
		m[i] = i
	}
	h, err := Of(m)
	if err != nil {
		b.Fatal(err)
	}
	return m, h
}

// benchMemory is what the benchmarks that are compared read.
var benchMemory SelfMemory

// BenchmarkInspect and BenchmarkFloor in turn (-count 5) give the ratio of the
// decoder to copying the same bytes once.
func BenchmarkInspect(b *testing.B) {
	for _, n := range []int64{1e6, 1e7} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, h := benchMap(b, n)
			defer runtime.KeepAlive(m)
			t := FromReflect(reflect.TypeOf(m))
			for b.Loop() {
				got, err := Inspect(benchMemory, t, h.Addr, Options{})
				if err != nil || got.Len != n {
					b.Fatal(got.Len, err)
				}
				b.SetBytes(blockBytes(got))
			}
		})
	}
}

// BenchmarkFloor copies the blocks of the same map in chunks.
func BenchmarkFloor(b *testing.B) {
	for _, n := range []int64{1e6, 1e7} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, h := benchMap(b, n)
			defer runtime.KeepAlive(m)
			got, err := Inspect(benchMemory, FromReflect(reflect.TypeOf(m)), h.Addr, Options{})
			if err != nil {
				b.Fatal(err)
			}
			type part struct {
				addr Addr
				size int64
			}
			var parts []part
			for _, t := range got.Tables {
				parts = append(parts, part{t.Groups, t.groups * int64(got.Layout.Block.Size)})
			}
			if got.Growth != nil {
				array := got.Layout.bucketArray(h.B).buckets // with the overflow buckets that were allocated with it
				parts = append(parts, part{h.Buckets, int64(got.Layout.Block.Size) * array})
				parts = append(parts, part{got.Growth.Old, got.Growth.OldBuckets * int64(got.Layout.Block.Size)})
			}
			buf := make([]byte, chunkBytes)
			b.SetBytes(blockBytes(got))
			for b.Loop() {
				for _, p := range parts {
					for at := int64(0); at < p.size; at += chunkBytes {
						k := min(chunkBytes, p.size-at)
						if err := read(benchMemory, "floor", buf[:k], p.addr+Addr(at)); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}

// blockBytes are the bytes of all groups, or of the bucket arrays.
func blockBytes(m *Map) int64 {
	size := int64(m.Layout.Block.Size)
	if m.Growth != nil {
		return size * (m.Layout.bucketArray(m.Header.B).buckets + m.Growth.OldBuckets)
	}
	return size * m.Groups
}
