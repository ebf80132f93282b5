package main

var assigns = []any{
	AsgInt, AsgInt32, AsgUint32, AsgInt64, AsgUintptr, AsgInt8, AsgInt16, AsgBool, AsgFloat32, AsgFloat64, AsgComplex, AsgStr,
	AsgStrConst, AsgStrOdd, AsgStrLong, AsgBytes, AsgPtr, AsgChan, AsgArr4, AsgArr8, AsgArr16, AsgK32, AsgK64, AsgKMixed,
	AsgKString, AsgKPtr, AsgKPtr1, AsgAny, AsgError, AsgWide, AsgV128, AsgV129, AsgEmptyElem, AsgPtrElem, AsgSliceElem,
	AsgMapElem, AsgNamed, AsgTwo, AsgFuncElem, AsgAnon, Inc, AddN, Sub, Or, Shl, Div, DivTwo, Append, AppendTwo, Concat, IncField,
	IncNested, Longhand, PtrElemField, NilWrite, Swap, MultiAssign,
}

func AsgInt(m map[int]int, k, v int)                    { m[k] = v }
func AsgInt32(m map[int32]int, k int32, v int)          { m[k] = v }
func AsgUint32(m map[uint32]string, k uint32, v string) { m[k] = v }
func AsgInt64(m map[int64]int, k int64, v int)          { m[k] = v }
func AsgUintptr(m map[uintptr]int, k uintptr, v int)    { m[k] = v }
func AsgInt8(m map[int8]int, k int8, v int)             { m[k] = v }
func AsgInt16(m map[int16]int, k int16, v int)          { m[k] = v }
func AsgBool(m map[bool]int, k bool, v int)             { m[k] = v }
func AsgFloat32(m map[float32]int, k float32, v int)    { m[k] = v }
func AsgFloat64(m map[float64]int, k float64, v int)    { m[k] = v }
func AsgComplex(m map[complex64]int, k complex64)       { m[k] = 1 }
func AsgStr(m map[string]int, k string, v int)          { m[k] = v }
func AsgStrConst(m map[string]int)                      { m["世界"] = 1 }
func AsgStrOdd(m map[string]int)                        { m["tab\tnl\nq\"(SB), AX; \\ `{[(\xff"] = 1 }
func AsgBytes(m map[string]int, b []byte)               { m[string(b)] = 1 }
func AsgPtr(m map[*int]int, k *int, v int)              { m[k] = v }
func AsgChan(m map[chan int]int, k chan int, v int)     { m[k] = v }
func AsgArr4(m map[[4]byte]int, k [4]byte, v int)       { m[k] = v }
func AsgArr8(m map[[8]byte]int, k [8]byte, v int)       { m[k] = v }
func AsgArr16(m map[[16]byte]int, k [16]byte, v int)    { m[k] = v }
func AsgK32(m map[K32]int, k K32, v int)                { m[k] = v }
func AsgK64(m map[K64]int, k K64, v int)                { m[k] = v }
func AsgKMixed(m map[KMixed]int, k KMixed, v int)       { m[k] = v }
func AsgKString(m map[KString]int, k KString, v int)    { m[k] = v }
func AsgKPtr(m map[KPtr]int, k KPtr, v int)             { m[k] = v }
func AsgKPtr1(m map[[1]*int]int, k [1]*int, v int)      { m[k] = v }
func AsgAny(m map[any]int, k any, v int)                { m[k] = v }
func AsgError(m map[error]int, k error, v int)          { m[k] = v }
func AsgWide(m map[KWide]int, k *KWide, v int)          { m[*k] = v }
func AsgV128(m map[string]V128, k string, v *V128)      { m[k] = *v }
func AsgV129(m map[string]V129, k string, v *V129)      { m[k] = *v }
func AsgEmptyElem(m map[string]struct{}, k string)      { m[k] = struct{}{} }
func AsgPtrElem(m map[int]*int, k int, v *int)          { m[k] = v }
func AsgSliceElem(m map[int][]int, k int, v []int)      { m[k] = v }
func AsgMapElem(m map[int]map[int]int, k int)           { m[k] = map[int]int{} }
func AsgNamed(m Named, k string)                        { m[k] = 1 }
func AsgTwo(m, n map[string]int, k string)              { m[k], n[k] = 1, 2 }

func AsgStrLong(m map[string]int) {
	m["0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789+"] = 1
}

// The type's name holds commas, quotes, braces and parentheses.
func AsgFuncElem(m map[struct {
	X int "tag:\"(SB), AX }\""
	Y int `y:"+1"`
}]func(int, ...string) (error, bool), f func(int, ...string) (error, bool)) {
	m[struct {
		X int "tag:\"(SB), AX }\""
		Y int `y:"+1"`
	}{1, 2}] = f
}

func AsgAnon(m map[[2]interface{ Error() string }]chan<- struct{ _ int }) {
	m[[2]interface{ Error() string }{}] = nil
}

func Inc(m map[string]int, k string)               { m[k]++ }
func AddN(m map[int]int, k, n int)                 { m[k] += n }
func Sub(m map[int32]int8, k int32, n int8)        { m[k] -= n }
func Or(m map[uint64]uint64, k, n uint64)          { m[k] |= n }
func Shl(m map[int]int, k int, n uint)             { m[k] <<= n }
func Div(m map[int]int, k, n int)                  { m[k] /= n }
func DivTwo(m map[int]int, k, n int)               { m[k] /= n; m[k+1] /= n }
func Append(m map[string][]int, k string, v int)   { m[k] = append(m[k], v) }
func AppendTwo(m map[int][]*int, k int, v *int)    { m[k] = append(m[k], v, v) }
func Concat(m map[int]string, k int)               { m[k] += "x" }
func IncField(m map[int]*Holder, k int)            { m[k].N++ }
func IncNested(m map[int]map[int]int, a, b int)    { m[a][b]++ }
func Longhand(m map[int]int, k int)                { m[k] = m[k] + 1 }
func PtrElemField(m map[int]*Holder, k int, v int) { m[k].M["n"] = v }
func Swap(m map[int]int, a, b int)                 { m[a], m[b] = m[b], m[a] }

func NilWrite() {
	var m map[string]int
	m["a"] = 1
}

func MultiAssign(m map[string]int, f func() (int, error)) (err error) {
	m["n"], err = f()
	return err
}
