// Program kinds holds maps with keys and elems of every kind that Go has.
package main

import (
	"unsafe"

	"hmaptools/testdata/progs/truth"
)

type (
	celsius float64
	label   string
	weekday uint8

	point struct{ X, Y int32 }
	inner struct {
		A uint8
		B uint64
		C uint16
	}
	outer struct {
		inner        // embedded
		_     int16  // blank
		Name  string // behind padding
		P     point
		Tags  [2]label
	}
	mixed struct {
		F func() int
		C chan int
		S []byte
		M map[string]int
		I interface{}
		E speaker
		P *point
		U unsafe.Pointer
	}

	speaker interface{ Speak() string }
	dog     struct{ Name string }
	cat     uint16
)

func (d dog) Speak() string  { return d.Name }
func (c *cat) Speak() string { return "cat" }

var (
	one   = 1
	kitty = cat(9)
	here  = &point{3, 4}
	pipe  = make(chan int, 4)
	nan   = zero() / zero()

	ints    = map[int]int{-1: 1, 0: 0, 1<<63 - 1: -1 << 63}
	int8s   = map[int8]int8{-128: 127, -1: 1, 0: 0}
	int16s  = map[int16]int16{-32768: 32767, 5: 6}
	int32s  = map[int32]int32{-2147483648: 2147483647, 5: 6}
	int64s  = map[int64]int64{-9223372036854775808: 9223372036854775807, 5: 6}
	uints   = map[uint]uint{0: 1<<64 - 1}
	uint8s  = map[uint8]uint8{0: 255, 255: 0}
	uint16s = map[uint16]uint16{65535: 1}
	uint32s = map[uint32]uint32{4294967295: 1}
	uint64s = map[uint64]uint64{18446744073709551615: 1}
	words   = map[uintptr]uintptr{0xdeadbeef: 1}
	bools   = map[bool]bool{true: false, false: true}

	float32s   = map[float32]float32{1.5: -0.25}
	float64s   = map[float64]float64{0.1: 1e300, -1: 0}
	nans       = map[float64]int{}
	complex64s = map[complex64]complex64{1 + 2i: -1i}
	complexes  = map[complex128]complex128{1 + 2i: 3 - 4i}

	strs   = map[string]string{"": "empty", `"quoted" \back`: "tab\there", "new\nline": "", "grüße, 世界": "\x00\xff", "a b": "c  d"}
	byStr  = map[string]int{}
	arrays = map[[3]uint16][2]string{{1, 2, 3}: {"x", "y z"}}
	points = map[point]point{{1, 2}: {3, 4}, {-1, -2}: {}}
	outers = map[outer]outer{}
	anon   = map[struct {
		A int
		B string
	}]struct{ C bool }{{1, "b"}: {true}}

	pointers = map[*point]*point{here: here, nil: nil}
	chans    = map[chan int]chan int{pipe: nil}
	unsafes  = map[unsafe.Pointer]unsafe.Pointer{nil: unsafe.Pointer(&one)}
	funcs    = map[string]func() int{"nil": nil, "one": func() int { return one }}
	slices   = map[string][]int{"nil": nil, "empty": {}, "some": {1, 2, 3}}
	maps     = map[string]map[string]int{"nil": nil, "some": {"x": 1}}
	mixeds   = map[string]mixed{}

	anyKeys    = map[interface{}]interface{}{}
	speakers   = map[speaker]speaker{}
	named      = map[label]celsius{"freezing": 0, "boiling": 100}
	days       = map[weekday]label{0: "sun", 6: "sat"}
	ifaceInKey = map[struct{ I interface{} }]int{{I: 1}: 1, {I: "one"}: 2}
)

func zero() float64 { return 0 }

func pointText(p point) string { return "{" + truth.Int(p.X) + "," + truth.Int(p.Y) + "}" }

func outerText(o outer) string {
	return "{{" + truth.Uint(o.A) + "," + truth.Uint(o.B) + "," + truth.Uint(o.C) + "},_," + truth.Str(o.Name) + "," +
		pointText(o.P) + ",[" + truth.Str(o.Tags[0]) + "," + truth.Str(o.Tags[1]) + "]}"
}

func mixedText(m mixed) string {
	return "{" + truth.Word(m.F) + "," + truth.Word(m.C) + "," + truth.Slice(m.S) + "," + truth.Word(m.M) + "," +
		anyText(m.I) + "," + speakerText(m.E) + "," + truth.Word(m.P) + "," + truth.Word(m.U) + "}"
}

func arrayKey(a [3]uint16) string {
	return "[" + truth.Uint(a[0]) + "," + truth.Uint(a[1]) + "," + truth.Uint(a[2]) + "]"
}

func arrayElem(a [2]string) string { return "[" + truth.Str(a[0]) + "," + truth.Str(a[1]) + "]" }

func anyText(v interface{}) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case bool:
		return "iface(bool," + truth.Bool(v) + ")"
	case int:
		return "iface(int," + truth.Int(v) + ")"
	case int8:
		return "iface(int8," + truth.Int(v) + ")"
	case float64:
		return "iface(float64," + truth.Float64(v) + ")"
	case string:
		return "iface(string," + truth.Str(v) + ")"
	case label:
		return "iface(main.label," + truth.Str(v) + ")"
	case point:
		return "iface(main.point," + pointText(v) + ")"
	case *point:
		return "iface(*main.point," + truth.Word(v) + ")"
	case struct{}:
		return "iface(struct{},{})"
	case []int:
		return "iface([]int," + truth.Slice(v) + ")"
	case map[string]int:
		return "iface(map[string]int," + truth.Word(v) + ")"
	case chan int:
		return "iface(chan(int)," + truth.Word(v) + ")"
	case speaker:
		return speakerText(v)
	}
	panic("kinds: no text for this type")
}

func speakerText(v speaker) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case dog:
		return "iface(main.dog,{" + truth.Str(v.Name) + "})"
	case *cat:
		return "iface(*main.cat," + truth.Word(v) + ")"
	}
	panic("kinds: no text for this type")
}

func main() {
	negativeZero := -zero()
	float64s[negativeZero] = negativeZero
	delete(float64s, 7)
	float32s[float32(nan)] = float32(nan)
	for i := 0; i < 12; i++ {
		nans[nan] = i // each is an entry of its own, that no key finds
		byStr["k"+truth.Int(i)] = i
	}
	complexes[complex(nan, negativeZero)] = 1
	for i := 0; i < 10; i++ {
		o := outer{inner: inner{uint8(i), uint64(i) << 40, uint16(i)}, Name: truth.Key(i), P: point{int32(i), int32(-i)}}
		o.Tags[1] = label("tag " + truth.Int(i))
		outers[o] = o
	}
	mixeds["zero"] = mixed{}
	mixeds["full"] = mixed{
		F: func() int { return 1 }, C: pipe, S: make([]byte, 3, 8), M: byStr,
		I: 5, E: dog{"rex"}, P: here, U: unsafe.Pointer(here),
	}
	for _, k := range []interface{}{nil, true, 1, int8(1), 1.5, "text with space", label("named"), point{1, 2}, here, struct{}{}, pipe, dog{"rex"}, &kitty} {
		anyKeys[k] = k
	}
	anyKeys["slice"] = []int{1, 2}
	anyKeys["map"] = byStr
	speakers[dog{"fido"}] = &kitty
	speakers[&kitty] = dog{"rex"}
	speakers[nil] = nil

	truth.Generation()
	truth.Map("main.ints", "map[int]int", ints, truth.Int[int], truth.Int[int])
	truth.Map("main.int8s", "map[int8]int8", int8s, truth.Int[int8], truth.Int[int8])
	truth.Map("main.int16s", "map[int16]int16", int16s, truth.Int[int16], truth.Int[int16])
	truth.Map("main.int32s", "map[int32]int32", int32s, truth.Int[int32], truth.Int[int32])
	truth.Map("main.int64s", "map[int64]int64", int64s, truth.Int[int64], truth.Int[int64])
	truth.Map("main.uints", "map[uint]uint", uints, truth.Uint[uint], truth.Uint[uint])
	truth.Map("main.uint8s", "map[uint8]uint8", uint8s, truth.Uint[uint8], truth.Uint[uint8])
	truth.Map("main.uint16s", "map[uint16]uint16", uint16s, truth.Uint[uint16], truth.Uint[uint16])
	truth.Map("main.uint32s", "map[uint32]uint32", uint32s, truth.Uint[uint32], truth.Uint[uint32])
	truth.Map("main.uint64s", "map[uint64]uint64", uint64s, truth.Uint[uint64], truth.Uint[uint64])
	truth.Map("main.words", "map[uintptr]uintptr", words, truth.Uint[uintptr], truth.Uint[uintptr])
	truth.Map("main.bools", "map[bool]bool", bools, truth.Bool[bool], truth.Bool[bool])
	truth.Map("main.float32s", "map[float32]float32", float32s, truth.Float32[float32], truth.Float32[float32])
	truth.Map("main.float64s", "map[float64]float64", float64s, truth.Float64[float64], truth.Float64[float64])
	truth.Map("main.nans", "map[float64]int", nans, truth.Float64[float64], truth.Int[int])
	truth.Map("main.complex64s", "map[complex64]complex64", complex64s, truth.Complex64, truth.Complex64)
	truth.Map("main.complexes", "map[complex128]complex128", complexes, truth.Complex128, truth.Complex128)
	truth.Map("main.strs", "map[string]string", strs, truth.Str[string], truth.Str[string])
	truth.Map("main.byStr", "map[string]int", byStr, truth.Str[string], truth.Int[int])
	truth.Alias("main.byStr", byStr, `main.mixeds["full"].M`, mixeds["full"].M)
	truth.Map("main.arrays", "map[[3]uint16][2]string", arrays, arrayKey, arrayElem)
	truth.Map("main.points", "map[main.point]main.point", points, pointText, pointText)
	truth.Map("main.outers", "map[main.outer]main.outer", outers, outerText, outerText)
	truth.Begin("main.anon", "map[struct { A int; B string }]struct { C bool }", truth.Ptr(anon), len(anon))
	for k, v := range anon {
		truth.Entry("main.anon", "{"+truth.Int(k.A)+","+truth.Str(k.B)+"}", "{"+truth.Bool(v.C)+"}")
	}
	truth.End("main.anon", truth.Ptr(anon))
	truth.Map("main.pointers", "map[*main.point]*main.point", pointers, truth.Word[*point], truth.Word[*point])
	truth.Map("main.chans", "map[chan int]chan int", chans, truth.Word[chan int], truth.Word[chan int])
	truth.Map("main.unsafes", "map[unsafe.Pointer]unsafe.Pointer", unsafes, truth.Word[unsafe.Pointer], truth.Word[unsafe.Pointer])
	truth.Map("main.funcs", "map[string]func() int", funcs, truth.Str[string], truth.Word[func() int])
	truth.Map("main.slices", "map[string][]int", slices, truth.Str[string], truth.Slice[int])
	truth.Map("main.maps", "map[string]map[string]int", maps, truth.Str[string], truth.Word[map[string]int])
	truth.Map(`main.maps["some"]`, "map[string]int", maps["some"], truth.Str[string], truth.Int[int])
	truth.Map("main.mixeds", "map[string]main.mixed", mixeds, truth.Str[string], mixedText)
	truth.Begin("main.anyKeys", "map[interface {}]interface {}", truth.Ptr(anyKeys), len(anyKeys))
	for k, v := range anyKeys {
		truth.Entry("main.anyKeys", anyText(k), anyText(v))
	}
	truth.End("main.anyKeys", truth.Ptr(anyKeys))
	truth.Begin("main.speakers", "map[main.speaker]main.speaker", truth.Ptr(speakers), len(speakers))
	for k, v := range speakers {
		truth.Entry("main.speakers", speakerText(k), speakerText(v))
	}
	truth.End("main.speakers", truth.Ptr(speakers))
	truth.Map("main.named", "map[main.label]main.celsius", named, truth.Str[label], truth.Float64[celsius])
	truth.Map("main.days", "map[main.weekday]main.label", days, truth.Uint[weekday], truth.Str[label])
	truth.Begin("main.ifaceInKey", "map[struct { I interface {} }]int", truth.Ptr(ifaceInKey), len(ifaceInKey))
	for k, v := range ifaceInKey {
		truth.Entry("main.ifaceInKey", "{"+anyText(k.I)+"}", truth.Int(v))
	}
	truth.End("main.ifaceInKey", truth.Ptr(ifaceInKey))
}
