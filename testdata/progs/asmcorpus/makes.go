package main

var makes = []any{
	MakeEsc, MakeHint8, MakeHint9, MakeHint100, MakeN, MakeN64, MakeU64, MakeStack, MakeStack8, MakeStack100, MakeStackN,
	MakeNamed, LitEmpty, Lit3, Lit25, Lit26, LitNested, LitStack, LitStruct,
}

func MakeEsc() map[string]int         { return make(map[string]int) }
func MakeHint8() map[string]int       { return make(map[string]int, 8) }
func MakeHint9() map[string]int       { return make(map[string]int, 9) }
func MakeHint100() map[string]int     { return make(map[string]int, 100) }
func MakeN(n int) map[string]int      { return make(map[string]int, n) }
func MakeN64(n int64) map[string]int  { return make(map[string]int, n) }
func MakeU64(n uint64) map[string]int { return make(map[string]int, n) }
func MakeNamed() Named                { return make(Named, 20) }
func LitEmpty() map[int]string        { return map[int]string{} }
func Lit3(v int) map[string]int       { return map[string]int{"a": v, "b": 2, "c": 3} }
func LitStruct() map[KMixed]*int      { return map[KMixed]*int{{1, "x"}: nil, {2, "y"}: new(int)} }
func LitNested() map[string]map[int]bool {
	return map[string]map[int]bool{"a": {1: true}, "b": {2: false}}
}

func MakeStack(k string) int {
	m := make(map[string]int)
	m[k] = 1
	return m["x"]
}

func MakeStack8(k int) int {
	m := make(map[int]int, 8)
	m[k] = 1
	return m[7]
}

func MakeStack100(k string) int {
	m := make(map[string]int, 100)
	m[k] = 1
	return m["x"]
}

func MakeStackN(k string, n int) int {
	m := make(map[string]int, n)
	m[k] = 1
	return m["x"]
}

func LitStack(k string) int {
	m := map[string]int{"a": 1, "b": 2}
	return m[k]
}

func Lit25() map[int]int {
	return map[int]int{
		1: 1, 2: 4, 3: 9, 4: 16, 5: 25, 6: 36, 7: 49, 8: 64, 9: 81, 10: 100, 11: 121, 12: 144, 13: 169,
		14: 196, 15: 225, 16: 256, 17: 289, 18: 324, 19: 361, 20: 400, 21: 441, 22: 484, 23: 529, 24: 576, 25: 625,
	}
}

func Lit26() map[string]int {
	return map[string]int{
		"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8, "i": 9, "j": 10, "k": 11, "l": 12, "m": 13,
		"n": 14, "o": 15, "p": 16, "q": 17, "r": 18, "s": 19, "t": 20, "u": 21, "v": 22, "w": 23, "x": 24, "y": 25, "z": 26,
	}
}
