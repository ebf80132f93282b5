package main

import "sync"

var (
	generics = []any{
		GenNI[string, int], GenNI[KMixed, *int], Gen2[float64], UseGen, UseSet, UseOwn, NewSet[K64], (*Set[K64]).Add, Set[string].Has, GenLocal,
		GenRange[int, string], GenMake[string, []int],
	}
	calls = []any{
		ClosureRead, ClosureWrite, ClosureNested, MethodValue, MethodExpr, (*Set[K64]).Len, Meths.Put, (*Meths).Reset, Variadic, Recursive,
		InlinedPut, InlinedTwice, SyncLoad, SyncStore, SyncRange, Defers, Recovers, ManyLive, BigFrame, Loop, Line, Spaces,
	}
)

type Set[T comparable] struct{ m map[T]struct{} }

func NewSet[T comparable]() *Set[T]       { return &Set[T]{map[T]struct{}{}} }
func (s *Set[T]) Add(v T)                 { s.m[v] = struct{}{} }
func (s Set[T]) Has(v T) bool             { _, ok := s.m[v]; return ok }
func (s *Set[T]) Len() int                { return len(s.m) }
func GenNI[K comparable, V any](k K, v V) { genPut(map[K]V{}, k, v) }

//go:noinline
func genPut[K comparable, V any](m map[K]V, k K, v V) {
	m[k] = v
	delete(m, k)
}

func Gen2[K comparable](m map[K]int, k K) (int, bool) {
	f := func() { m[k]++ }
	f()
	v, ok := m[k]
	return v, ok
}

//go:noinline
func GenRange[K comparable, V any](m map[K]V, f func(K, V)) {
	for k, v := range m {
		f(k, v)
	}
	for k := range m {
		delete(m, k)
	}
}

//go:noinline
func GenMake[K comparable, V any](n int) map[K]V { return make(map[K]V, n) }

func UseGen(m map[int]int) int {
	n, _ := Gen2(m, 7)
	GenNI("a", 1)
	return n
}

func UseSet(k K64) bool {
	s := NewSet[K64]()
	s.Add(k)
	return s.Has(k)
}

type own struct{ A, B int }

func UseOwn(k own) bool {
	s := NewSet[own]()
	s.Add(k)
	return s.Has(k)
}

func GenLocal(k int) int {
	type loc struct{ X int }
	n, _ := Gen2(map[loc]int{}, loc{k})
	return n
}

func ClosureRead(m map[string]int) func(string) int { return func(k string) int { return m[k] } }

func ClosureWrite(m map[string]int) (func(), func() int) {
	return func() { m = map[string]int{"a": 1} }, func() int { return len(m) }
}

func ClosureNested(m map[string]int) func() func() {
	return func() func() { return func() { m["x"]++ } }
}

type Meths map[string]int

func (m Meths) Put(k string) { m[k] = 1 }
func (m *Meths) Reset()      { *m = Meths{} }

func MethodValue(m Meths) func(string)        { return m.Put }
func MethodExpr() func(*Meths)                { return (*Meths).Reset }
func Variadic(ms ...map[string]int) int       { return ms[0]["a"] + len(ms) }
func InlinedPut(m Meths, k string)            { m.Put(k) }
func InlinedTwice(m Meths)                    { m.Put("a"); m.Put("b") }
func SyncLoad(m *sync.Map, k string) bool     { _, ok := m.Load(k); return ok }
func SyncStore(m *sync.Map, k string)         { m.Store(k, 1) }
func SyncRange(m *sync.Map, f func(any) bool) { m.Range(func(k, v any) bool { return f(k) }) }

func Recursive(m map[string]map[string]int, k string, n int) int {
	if n == 0 {
		return m[k][k]
	}
	return Recursive(m, k, n-1) + len(m)
}

func Defers(m map[string]int) {
	defer func() { m["done"] = 1 }()
	defer func(k string) { delete(m, k) }("x")
	m["started"]++
}

func Recovers(m map[string]int) (err any) {
	defer func() { err = recover(); G = m }()
	m["x"] = 1
	return nil
}

// ManyLive keeps more values than there are registers: arguments come from the stack.
func ManyLive(m map[int]int, a, b, c, d, e, f, g, h, i, j int) int {
	x := m[a] * m[b] * m[c] * m[d] * m[e] * m[f] * m[g] * m[h] * m[i] * m[j]
	m[a], m[b], m[c] = x+d, x+e, x+f
	return x + a + b + c + d + e + f + g + h + i + j
}

func BigFrame(m map[string][600]int, k string) (s int) {
	v := m[k]
	v[3]++
	m[k] = v
	for _, x := range v {
		s += x
	}
	return s
}

func Loop(words []string) (map[string]int, int) {
	m := make(map[string]int)
	longest := 0
	for _, w := range words {
		m[w]++
		if len(w) > longest {
			longest = len(w)
		}
	}
	return m, longest
}

func Line(m map[string]int) {
//line C:\Users\me\x.go:5
	m["windows"] = 1
	/*line :7:3*/ m["same"] = 2
}

func Spaces(m map[string]int) {
//line we ird(1):2.go:77
	m["spaces"] = 1
//line ü/日本.go:9
	m["unicode"] = 2
}
