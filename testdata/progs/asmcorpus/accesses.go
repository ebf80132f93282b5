package main

var accesses = []any{
	Get, GetInt, GetInt32, GetFloat, GetAny, GetBytes, GetConst, GetStruct, GetV129, GetFat, GetPtr, GetSlice, GetField,
	Get2, Get2Int, Get2Int32, Get2Float, Get2Fat, Get2Blank, GetBlank, Has, HasInt, GetNested, GetTwice, GetIf, GetCall, GetIface,
	GetSwitch, GetNil,
}

func Get(m map[string]int, k string) int                 { return m[k] }
func GetInt(m map[int]string, k int) string              { return m[k] }
func GetInt32(m map[int32]bool, k int32) bool            { return m[k] }
func GetFloat(m map[float64]int, k float64) int          { return m[k] }
func GetAny(m map[any]int, k any) int                    { return m[k] }
func GetBytes(m map[string]int, b []byte) int            { return m[string(b)] }
func GetConst(m map[string]int) int                      { return m["key"] }
func GetStruct(m map[KMixed]int, k KMixed) int           { return m[k] }
func GetV129(m map[int]V129, k int) V129                 { return m[k] }
func GetFat(m map[int]V1600, k int) byte                 { return m[k][7] }
func GetPtr(m map[*int]*int, k *int) *int                { return m[k] }
func GetSlice(m map[string][]int, k string) []int        { return m[k] }
func GetField(m map[string]Holder, k string) int         { return m[k].N }
func Get2(m map[string]int, k string) (int, bool)        { v, ok := m[k]; return v, ok }
func Get2Int(m map[int]int, k int) (int, bool)           { v, ok := m[k]; return v, ok }
func Get2Int32(m map[int32]int, k int32) (int, bool)     { v, ok := m[k]; return v, ok }
func Get2Float(m map[float32]int, k float32) (int, bool) { v, ok := m[k]; return v, ok }
func Get2Fat(m map[int]V1600, k int) (V1600, bool)       { v, ok := m[k]; return v, ok }
func Get2Blank(m map[string]int, k string) int           { v, _ := m[k]; return v }
func GetBlank(m map[string]int, k string)                { _ = m[k] }
func Has(m map[string]int, k string) bool                { _, ok := m[k]; return ok }
func HasInt(m map[int]struct{}, k int) bool              { _, ok := m[k]; return ok }
func GetNested(m map[int]map[string]int, a int) int      { return m[a]["b"] }
func GetTwice(m map[string]int, k string) int            { return m[k] + m[k] }
func GetNil() int                                        { var m map[string]int; return m["a"] }

func GetIf(m map[string]int, k string) int {
	if v, ok := m[k]; ok {
		return v
	}
	return -1
}

func GetCall(m map[string]func(int) int, k string) int { return m[k](3) }

func GetIface(m map[string]error, k string) string {
	if err := m[k]; err != nil {
		return err.Error()
	}
	return ""
}

func GetSwitch(m map[string]int, k string) int {
	switch m[k] {
	case 1:
		return m["one"]
	case 2:
		return m["two"]
	}
	return 0
}
