package hmap

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"
	"unsafe"
)

// headerOf is the word of a map variable.
func headerOf(m reflect.Value) Addr { return Addr(m.Pointer()) }

// inspectSelf inspects a map of this process with the runtime's own hash.
func inspectSelf(t testing.TB, m reflect.Value) *Map {
	t.Helper()
	hash, err := SelfHash(m.Type())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Inspect(SelfMemory{}, FromReflect(m.Type()), headerOf(m), Options{Hash: hash})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// exact shows a value in full as far as a test's maps go.
func exact(mem Memory) *Formatter {
	return &Formatter{Mem: mem, MaxString: 64, MaxElems: 256, MaxDepth: 8}
}

// agree holds what the reader says of m against what the language says: len and
// range, and texts of keys and elems that render makes with reflect.
func agree(t testing.TB, m reflect.Value) *Map {
	t.Helper()
	defer runtime.KeepAlive(m.Interface())
	got := inspectSelf(t, m)
	if !got.Complete || got.Busy || len(got.Broken) > 0 {
		t.Errorf("%v of %d: complete %t, busy %t, broken %v", m.Type(), m.Len(), got.Complete, got.Busy, got.Broken)
	}
	if got.Len != int64(m.Len()) || got.Header.Len() != int64(m.Len()) {
		t.Errorf("%v: Len is %d, in the header %d; len is %d", m.Type(), got.Len, got.Header.Len(), m.Len())
	}
	var want []string
	for it := m.MapRange(); it.Next(); {
		want = append(want, render(it.Key())+": "+render(it.Value()))
	}
	found := entries(t, SelfMemory{}, got)
	sort.Strings(want)
	sort.Strings(found)
	if !slices.Equal(want, found) {
		t.Errorf("%v of %d entries: range and Slots differ: %s", m.Type(), m.Len(), firstDiff(want, found))
	}
	if slots := allSlots(t, SelfMemory{}, got); slots != got.Slots+overflowSlots(got) {
		t.Errorf("%v of %d entries: %d slots, want %d and %d in overflow buckets", m.Type(), m.Len(), slots, got.Slots, overflowSlots(got))
	}
	return got
}

// entries are the texts of all entries.
func entries(t testing.TB, mem Memory, m *Map) []string {
	t.Helper()
	f := exact(mem)
	var all []string
	err := Slots(mem, m, true, func(e *Entry) error {
		all = append(all, f.Format(m.Layout.Key, e.Key)+": "+f.Format(m.Layout.Elem, e.Elem))
		return nil
	})
	if err != nil {
		t.Errorf("slots of %v: %v", m.Type, err)
	}
	return all
}

// allSlots counts the slots, those of old buckets that were evacuated left out.
func allSlots(t testing.TB, mem Memory, m *Map) int64 {
	t.Helper()
	n := int64(0)
	err := Slots(mem, m, false, func(e *Entry) error {
		if e.Full != (e.Key != nil) || e.Full != (e.Elem != nil) {
			t.Errorf("slots of %v: full %t with key %v and elem %v", m.Type, e.Full, e.Key, e.Elem)
		}
		n++
		return nil
	})
	if err != nil {
		t.Errorf("slots of %v: %v", m.Type, err)
	}
	return n
}

// overflowSlots are the slots that Map.Slots leaves out.
func overflowSlots(m *Map) int64 {
	if m.Growth == nil {
		return 0
	}
	return int64(m.Layout.Block.Slots) * (m.Overflow.Buckets + m.Growth.OldBuckets - m.Growth.Evacuated)
}

func firstDiff(want, got []string) string {
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			pick := func(s []string) string {
				if i < len(s) {
					return s[i][:min(len(s[i]), 200)]
				}
				return "nothing"
			}
			return fmt.Sprintf("number %d is %s, want %s (%d and %d in all)", i, pick(got), pick(want), len(got), len(want))
		}
	}
	return "not at all"
}

// render writes what Formatter should, from a reflect.Value. Dynamic types of
// interfaces cannot be had without debug information: they are words.
func render(v reflect.Value) string {
	t := v.Type()
	list := func(n int, item func(i int) string) string {
		parts := make([]string, 0, n)
		for i := range n {
			parts = append(parts, item(i))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	word := func(p uintptr) string {
		if p == 0 {
			return "nil"
		}
		if strings.ContainsAny(t.String(), "* ") {
			return fmt.Sprintf("(%v)(%#x)", t, p)
		}
		return fmt.Sprintf("%v(%#x)", t, p)
	}
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); len(s) > 64 {
			return fmt.Sprintf("%q...+%d", s[:64], len(s)-64)
		}
		return fmt.Sprintf("%q", v.String())
	case reflect.Array:
		return t.String() + list(v.Len(), func(i int) string { return render(v.Index(i)) })
	case reflect.Slice:
		if v.IsNil() {
			return "nil"
		}
		return t.String() + list(v.Len(), func(i int) string { return render(v.Index(i)) })
	case reflect.Struct:
		return t.String() + list(v.NumField(), func(i int) string { return t.Field(i).Name + ": " + render(v.Field(i)) })
	case reflect.Map:
		if v.IsNil() {
			return "nil"
		}
		return fmt.Sprintf("%v(%#x len %d)", t, v.Pointer(), v.Len())
	case reflect.Pointer:
		if !v.IsNil() && t.Elem().Kind() == reflect.Struct {
			return "&" + render(v.Elem())
		}
		return word(v.Pointer())
	case reflect.Chan, reflect.UnsafePointer:
		return word(v.Pointer())
	case reflect.Func:
		// The word is not the code that v.Pointer tells.
		p := reflect.New(t)
		p.Elem().Set(v)
		return word(*(*uintptr)(p.UnsafePointer()))
	case reflect.Interface:
		if v.IsNil() {
			return "nil"
		}
		p := reflect.New(t)
		p.Elem().Set(v)
		w := *(*[2]uintptr)(p.UnsafePointer())
		return fmt.Sprintf("%v{%#x, %#x}", t, w[0], w[1])
	case reflect.Float32:
		return fmt.Sprint(float32(v.Float()))
	case reflect.Complex64:
		return fmt.Sprint(complex64(v.Complex()))
	case reflect.Float64, reflect.Complex128, reflect.Bool:
		return fmt.Sprint(v)
	}
	if v.CanInt() {
		return fmt.Sprint(v.Int())
	}
	return fmt.Sprint(v.Uint())
}

type (
	padded struct {
		a int8
		b int64
		c int8
	}
	tiny  struct{ a, b uint8 }
	pair  struct{ s, t string }
	holed struct {
		a int16
		_ int32
		b bool
	}
	named   string
	generic [1]padded
	node    struct {
		n    int
		next *node
	}
	stringer struct{ n int }
)

func (s stringer) String() string { return fmt.Sprint(s.n) }

// kinds returns a function that fills maps of many types, by name.
func kinds() map[string]mapKind {
	all := map[string]mapKind{}
	add := func(k mapKind) {
		name := k.typ.String()
		if k.made {
			name = "reflect.MapOf " + name
		}
		all[name] = k
	}
	nodes := make([]node, 3000)
	for i := range nodes {
		nodes[i].n = i
	}
	odd := func(f float64, i int) float64 { // zeros of both signs, NaNs and infinities among the rest
		switch i % 97 {
		case 1:
			return math.NaN()
		case 2:
			return math.Inf(1)
		case 3:
			return math.Copysign(0, -1)
		}
		return f
	}
	num := func(i int) int { return i }
	str := func(i int) string { return fmt.Sprint("key ", i) }
	// Keys.
	add(kind(num, str))
	add(kind(str, num))
	add(kind(func(i int) int8 { return int8(i) }, func(i int) int64 { return int64(-i) }))
	add(kind(func(i int) int16 { return int16(i) }, func(i int) int8 { return int8(i) }))
	add(kind(func(i int) int32 { return int32(-i) }, func(i int) uint16 { return uint16(i) }))
	add(kind(func(i int) int64 { return int64(i) << 40 }, func(i int) int64 { return int64(i) }))
	add(kind(func(i int) uint8 { return uint8(i) }, func(i int) float32 { return float32(i) / 3 }))
	add(kind(func(i int) uint16 { return uint16(i) }, func(i int) float64 { return odd(float64(i)*1e7, i) }))
	add(kind(func(i int) uint32 { return uint32(i) }, func(i int) complex64 { return complex(float32(i), -float32(i)) }))
	add(kind(func(i int) uint64 { return math.MaxUint64 - uint64(i) }, func(i int) complex128 { return complex(odd(1, i), odd(2, i+1)) }))
	add(kind(func(i int) uintptr { return uintptr(i) }, func(i int) bool { return i%3 == 0 }))
	add(kind(func(i int) bool { return i%2 == 0 }, num))
	add(kind(func(i int) float32 { return float32(odd(float64(i), i)) }, num))
	add(kind(func(i int) float64 { return odd(float64(i), i) }, num))
	add(kind(func(i int) complex64 { return complex64(complex(odd(0, i), float64(i))) }, num))
	add(kind(func(i int) complex128 { return complex(float64(i), odd(1, i)) }, num))
	add(kind(func(i int) *node { return &nodes[i%len(nodes)] }, func(i int) *int { return nil }))
	add(kind(func(i int) unsafe.Pointer { return unsafe.Pointer(&nodes[i%len(nodes)]) }, num))
	add(kind(func(i int) chan int { return make(chan int, i%2) }, num))
	add(kind(func(i int) any {
		return [...]any{i, str(i), float64(i), math.NaN(), &nodes[i%len(nodes)], padded{b: int64(i)}, [2]string{str(i), "x"}}[i%7]
	}, func(i int) any { return i }))
	add(kind(func(i int) fmt.Stringer { return stringer{i} }, func(i int) error { return nil }))
	add(kind(func(i int) named { return named(str(i)) }, func(i int) named { return named(strings.Repeat("é", i%70)) }))
	add(kind(func(i int) tiny { return tiny{uint8(i), uint8(i >> 8)} }, func(i int) tiny { return tiny{uint8(i), 1} }))
	add(kind(func(i int) padded { return padded{int8(i), int64(i), 1} }, func(i int) padded { return padded{1, int64(i), int8(i)} }))
	add(kind(func(i int) pair { return pair{str(i), "x"} }, func(i int) pair { return pair{"", str(i)} }))
	add(kind(func(i int) holed { return holed{a: int16(i)} }, func(i int) holed { return holed{b: true} }))
	add(kind(func(i int) generic { return generic{{b: int64(i)}} }, func(i int) [3]int16 { return [3]int16{int16(i), 2, 3} }))
	add(kind(func(i int) [3]byte { return [3]byte{byte(i), byte(i >> 8), 7} }, func(i int) [0]int { return [0]int{} }))
	// Of size zero.
	add(kind(func(i int) struct{} { return struct{}{} }, num))
	add(kind(num, func(i int) struct{} { return struct{}{} }))
	add(kind(func(i int) [0]string { return [0]string{} }, func(i int) struct{} { return struct{}{} }))
	add(kind(func(i int) uint8 { return uint8(i) }, func(i int) struct{} { return struct{}{} }))
	// Of exactly 128 bytes, and one more: indirect.
	add(kind(func(i int) [16]int64 { return [16]int64{3: int64(i)} }, func(i int) [128]byte { return [128]byte{byte(i)} }))
	add(kind(func(i int) [17]int64 { return [17]int64{16: int64(i)} }, num))
	add(kind(num, func(i int) [129]byte { return [129]byte{128: byte(i)} }))
	add(kind(func(i int) [129]byte { return [129]byte{byte(i), byte(i >> 8)} }, func(i int) [20]string { return [20]string{7: str(i)} }))
	add(kind(func(i int) [9]string { return [9]string{str(i)} }, func(i int) [40]*node { return [40]*node{1: &nodes[i%len(nodes)]} }))
	add(kind(func(i int) [9]any { return [9]any{i, math.NaN()} }, func(i int) struct{} { return struct{}{} }))
	// Elems.
	add(kind(num, func(i int) []int { return [][]int{nil, {}, {i}, {1, 2, i}}[i%4] }))
	add(kind(num, func(i int) func() { return []func(){nil, func() {}}[i%2] }))
	add(kind(num, func(i int) map[string]int { return []map[string]int{nil, {}, {"a": 1}}[i%3] }))
	add(kind(str, func(i int) map[int]map[int]bool { return map[int]map[int]bool{i: {1: true}} }))
	add(kind(num, func(i int) chan<- string { return nil }))
	add(kind(num, func(i int) struct {
		A *node
		B []named
	} {
		return struct {
			A *node
			B []named
		}{&nodes[i%len(nodes)], []named{"x", named(str(i))}}
	}))
	// The same types as reflect makes them: their groups have fields of other
	// names, their buckets none.
	add(made(kind(func(i int) [2]int32 { return [2]int32{int32(i), 7} }, func(i int) [5]uint8 { return [5]uint8{byte(i)} })))
	add(made(kind(func(i int) [18]int64 { return [18]int64{int64(i)} }, func(i int) [2]string { return [2]string{str(i)} })))
	add(made(kind(func(i int) [2]string { return [2]string{str(i)} }, func(i int) [19]int64 { return [19]int64{int64(i)} })))
	add(made(kind(func(i int) [6]uint16 { return [6]uint16{uint16(i)} }, func(i int) struct{ a, b, c, d struct{} } { return struct{ a, b, c, d struct{} }{} })))
	return all
}

// mapKind is a map type with the i-th entry of a map of it.
type mapKind struct {
	typ  reflect.Type
	made bool
	key  func(i int) reflect.Value
	elem func(i int) reflect.Value
}

func kind[K comparable, V any](key func(i int) K, elem func(i int) V) mapKind {
	box := func(p any) reflect.Value { return reflect.ValueOf(p).Elem() }
	return mapKind{
		typ:  reflect.TypeFor[map[K]V](),
		key:  func(i int) reflect.Value { k := key(i); return box(&k) },
		elem: func(i int) reflect.Value { e := elem(i); return box(&e) },
	}
}

// made has the map type be made by reflect.MapOf. The compiler's own type of the
// same key and elem would be found first: it must not be in the program.
func made(k mapKind) mapKind {
	key, elem := k.typ.Key(), k.typ.Elem()
	wrap := func(t reflect.Type) reflect.Type {
		return reflect.StructOf([]reflect.StructField{{Name: "Wrapped", Type: t}})
	}
	k.typ, k.made = reflect.MapOf(wrap(key), wrap(elem)), true
	inner := func(f func(i int) reflect.Value, t reflect.Type) func(i int) reflect.Value {
		return func(i int) reflect.Value {
			v := reflect.New(t).Elem()
			v.Field(0).Set(f(i))
			return v
		}
	}
	k.key, k.elem = inner(k.key, k.typ.Key()), inner(k.elem, k.typ.Elem())
	return k
}

func (k mapKind) fill(m reflect.Value, from, to int) {
	for i := from; i < to; i++ {
		m.SetMapIndex(k.key(i), k.elem(i))
	}
}

func (k mapKind) delete(m reflect.Value, from, to, step int) {
	for i := from; i < to; i += step {
		m.SetMapIndex(k.key(i), reflect.Value{})
	}
}

// firstGroupField tells groups that reflect made from the compiler's.
func firstGroupField(rt reflect.Type) (string, bool) {
	s := self()
	if s.generation == Classic {
		return "", false
	}
	g, err := s.blockType(rt)
	return g.Field(0).Name, err == nil
}

// TestKinds reads maps of many types in many shapes.
func TestKinds(t *testing.T) {
	all := kinds()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		k := all[name]
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			if name, ok := firstGroupField(k.typ); ok && k.made != (name == "Ctrl") {
				t.Errorf("made by reflect is %t, but a group begins with %s", k.made, name)
			}
			agree(t, reflect.Zero(k.typ))
			for _, n := range []int{0, 1, 7, 8, 9, 16, 100, 700} {
				m := reflect.MakeMap(k.typ)
				k.fill(m, 0, n)
				agree(t, m)
				k.delete(m, 0, n, 2)
				agree(t, m)
				k.fill(m, n, n+n/2)
				agree(t, m)
				m.Clear()
				if got := agree(t, m); got.Len != 0 {
					t.Errorf("%d entries after clear", got.Len)
				}
				k.fill(m, 0, n/2)
				agree(t, m)
				k.delete(m, 0, n, 1)
				agree(t, m)
			}
			for _, hint := range []int{1, 8, 9, 200, 1500} {
				m := reflect.MakeMapWithSize(k.typ, hint)
				agree(t, m)
				k.fill(m, 0, 3)
				agree(t, m)
			}
		})
	}
}
