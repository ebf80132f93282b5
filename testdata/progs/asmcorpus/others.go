package main

import "unsafe"

var (
	deletes = []any{Del, DelInt, DelInt32, DelFloat, DelPtr, DelV129, DelConst, DelDefer, DelGo, DelAll, DelAllFloat, DelIf}
	ranges  = []any{RangeKV, RangeK, RangeV, RangeNone, RangeFill, RangeNested, RangeBreak, RangeDefined, RangeNil, RangePtr}
	inlined = []any{Len, LenZero, LenNil, IsNil, NotNil, LenInline, CapHint}
	copies  = []any{
		CopyReturn, CopyLocal, CopyGlobal, LoadGlobal, CopyField, CopyPtr, CopySwap, CopyNil, CopyStruct, CopyElem, CopyArray, SharedAfter,
		StoreClosure, NewHolder, CompareWords,
	}
	dynamic = []any{ToAny, FromAny, FromAny2, TypeSwitch, ToInterface, MapOfAny, Send, Recv, Select, SendStruct}
)

func Del(m map[string]int, k string)        { delete(m, k) }
func DelInt(m map[int]int, k int)           { delete(m, k) }
func DelInt32(m map[uint32]int, k uint32)   { delete(m, k) }
func DelFloat(m map[float64]int, k float64) { delete(m, k) }
func DelPtr(m map[*int]int, k *int)         { delete(m, k) }
func DelV129(m map[int]V129, k int)         { delete(m, k) }
func DelConst(m map[string]int)             { delete(m, "a") }
func DelDefer(m map[string]int, k string)   { defer delete(m, k); any0 = k }
func DelGo(m map[string]int, k string)      { go delete(m, k) }

func DelAll(m map[string]int) {
	for k := range m {
		delete(m, k)
	}
}

func DelAllFloat(m map[float64]int) {
	for k := range m {
		delete(m, k)
	}
}

func DelIf(m map[int]int) {
	for k, v := range m {
		if v == 0 {
			delete(m, k)
		}
	}
}

func RangeKV(m map[string]int) (n int) {
	for k, v := range m {
		n += len(k) + v
	}
	return n
}

func RangeK(m map[int]int) (n int) {
	for k := range m {
		n += k
	}
	return n
}

func RangeV(m map[int]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

func RangeNone(m map[int]int) (n int) {
	for range m {
		n++
	}
	return n
}

func RangeFill(m map[string]int, keys []string) {
	for i, k := range keys {
		m[k] = i
	}
}

func RangeNested(m map[int]map[int]int) (n int) {
	for _, inner := range m {
		for _, v := range inner {
			n += v
		}
	}
	return n
}

func RangeBreak(m map[string]*int) *int {
	for _, p := range m {
		if p != nil {
			return p
		}
	}
	return nil
}

func RangeDefined(m Named) (n int) {
	for k := range m {
		n += len(k)
	}
	return n
}

func RangeNil() (n int) {
	var m map[int]int
	for range m {
		n++
	}
	return n
}

func RangePtr(m *map[string]int) (n int) {
	for _, v := range *m {
		n += v
	}
	return n
}

func Len(m map[string]int) int              { return len(m) }
func LenZero(m map[string]int) bool         { return len(m) == 0 }
func LenNil() int                           { var m map[string]int; return len(m) }
func IsNil(m map[string]int) bool           { return m == nil }
func NotNil(m map[string]int) bool          { return m != nil }
func LenInline(m map[int]int) int           { return lenOf(m) * 2 }
func lenOf(m map[int]int) int               { return len(m) }
func CapHint(m map[string]int) map[int]bool { return make(map[int]bool, len(m)) }

func CopyReturn(b map[string]int) map[string]int { a := b; return a }
func CopyGlobal(b map[string]int)                { G = b }
func LoadGlobal() map[string]int                 { return G }
func CopyField(h *Holder, b map[string]int)      { h.M = b }
func CopyPtr(p, q *map[string]int)               { *p = *q }
func CopySwap()                                  { G, H = H, G }
func CopyNil(h *Holder)                          { h.M = nil }
func CopyStruct(p, q *Holder)                    { *p = *q }
func CopyElem(s []map[string]int, i int)         { s[i] = G }
func CopyArray(a, b *[4]map[string]int)          { *a = *b }
func NewHolder(b map[string]int) *Holder         { return &Holder{1, b} }

func CopyLocal(b map[string]int, k string) int {
	a := b
	a[k] = 1
	return b[k]
}

func SharedAfter() (map[string]int, map[string]int) {
	a := make(map[string]int)
	b := a
	b["x"] = 1
	return a, b
}

func StoreClosure(b map[string]int) func() map[string]int { return func() map[string]int { return b } }

func CompareWords(a, b map[string]int) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
}

func ToAny(m map[string]int) any                         { return m }
func FromAny(i any) map[string]int                       { return i.(map[string]int) }
func FromAny2(i any) (map[string]int, bool)              { m, ok := i.(map[string]int); return m, ok }
func ToInterface(m Meths) interface{ Put(string) }       { return m }
func MapOfAny(m map[string]any, k string) map[string]any { v, _ := m[k].(map[string]any); return v }
func Send(c chan map[string]int, m map[string]int)       { c <- m }
func Recv(c chan map[string]int) map[string]int          { return <-c }
func SendStruct(c chan Holder, m map[string]int)         { c <- Holder{M: m} }

func TypeSwitch(i any) int {
	switch m := i.(type) {
	case map[string]int:
		return len(m)
	case map[int]int:
		return m[1]
	case Named:
		return m["x"]
	}
	return 0
}

func Select(c, d chan map[string]int) int {
	select {
	case m := <-c:
		return m["c"]
	case m := <-d:
		return m["d"]
	default:
		return 0
	}
}
