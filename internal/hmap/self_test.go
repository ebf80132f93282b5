package hmap

import (
	"errors"
	"math"
	"reflect"
	"runtime"
	"testing"
	"unsafe"
)

// TestOf holds the header that Of copies against the one that is read field by
// field.
func TestOf(t *testing.T) {
	for _, n := range []int{0, 1, 8, 9, 300, 3000} {
		m := map[int]string{}
		for i := range n {
			m[i] = "x"
		}
		for i := range n {
			delete(m, 3*i)
		}
		if n == 300 {
			clear(m)
			m[1] = "y"
		}
		h, err := Of(m)
		if err != nil {
			t.Fatal(err)
		}
		got := inspectSelf(t, reflect.ValueOf(m))
		if h != got.Header || h.Len() != int64(len(m)) || h.Addr != headerOf(reflect.ValueOf(m)) {
			t.Errorf("of %d entries:\n%+v\nread\n%+v", len(m), h, got.Header)
		}
		if n := testing.AllocsPerRun(100, func() { h, _ = Of(m) }); n != 0 {
			t.Errorf("Of allocates %v times", n)
		}
		runtime.KeepAlive(m)
	}
	type named map[struct{}]*named
	h, err := Of(named(nil))
	if want := (Header{Generation: self().generation}); h != want || err != nil {
		t.Errorf("of a nil map: %+v, error %v", h, err)
	}
}

// TestHeaderLayout holds the order of Header's fields, which fill relies on.
func TestHeaderLayout(t *testing.T) {
	if !wordIs64 {
		t.Skip("fields are copied one by one")
	}
	var h Header
	var s swissHeader
	var c classicHeader
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"Seed", unsafe.Offsetof(h.Seed) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.seed)},
		{"DirPtr", unsafe.Offsetof(h.DirPtr) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.dirPtr)},
		{"DirLen", unsafe.Offsetof(h.DirLen) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.dirLen)},
		{"GlobalDepth", unsafe.Offsetof(h.GlobalDepth) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.globalDepth)},
		{"GlobalShift", unsafe.Offsetof(h.GlobalShift) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.globalShift)},
		{"Writing", unsafe.Offsetof(h.Writing) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.writing)},
		{"TombstonePossible", unsafe.Offsetof(h.TombstonePossible) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.tombstonePossible)},
		{"ClearSeq", unsafe.Offsetof(h.ClearSeq) - unsafe.Offsetof(h.Used), unsafe.Offsetof(s.clearSeq)},
		{"Flags", unsafe.Offsetof(h.Flags) - unsafe.Offsetof(h.Count), unsafe.Offsetof(c.flags)},
		{"B", unsafe.Offsetof(h.B) - unsafe.Offsetof(h.Count), unsafe.Offsetof(c.B)},
		{"NOverflow", unsafe.Offsetof(h.NOverflow) - unsafe.Offsetof(h.Count), unsafe.Offsetof(c.noverflow)},
		{"Hash0", unsafe.Offsetof(h.Hash0) - unsafe.Offsetof(h.Count), unsafe.Offsetof(c.hash0)},
		{"Buckets", unsafe.Offsetof(h.Buckets) - unsafe.Offsetof(h.Count), unsafe.Offsetof(c.buckets)},
		{"OldBuckets", unsafe.Offsetof(h.OldBuckets) - unsafe.Offsetof(h.Count), unsafe.Offsetof(c.oldbuckets)},
	} {
		if f.got != f.want {
			t.Errorf("%s is at %d behind its generation's first field, want %d", f.name, f.got, f.want)
		}
	}
}

// TestSelfHash asks for hashes of keys that have none between keys that have one.
func TestSelfHash(t *testing.T) {
	floats, err := SelfHash(reflect.TypeFor[map[float64]int]())
	if err != nil {
		t.Fatal(err)
	}
	bytes := func(f float64) []byte { return wordBytes(math.Float64bits(f)) }
	one, ok := floats(bytes(1), 7)
	if again, ok2 := floats(bytes(1), 7); !ok || !ok2 || again != one {
		t.Errorf("1 has hash %#x (%t), then %#x (%t)", one, ok, again, ok2)
	}
	if _, ok := floats(bytes(math.NaN()), 7); ok {
		t.Error("a NaN has a hash")
	}
	if again, ok := floats(bytes(1), 7); !ok || again != one {
		t.Errorf("behind a NaN 1 has hash %#x (%t), before it %#x", again, ok, one)
	}
	zero, _ := floats(bytes(0), 7)
	if minus, ok := floats(bytes(math.Copysign(0, -1)), 7); !ok || minus != zero {
		t.Errorf("-0 has hash %#x (%t), 0 has %#x", minus, ok, zero)
	}
	if _, ok := floats(nil, 7); ok {
		t.Error("no bytes have a hash")
	}
	// Torn keys point nowhere.
	torn := append(wordBytes(0x10), wordBytes(100)...)
	for _, rt := range []reflect.Type{reflect.TypeFor[map[string]int](), reflect.TypeFor[map[any]int]()} {
		hash, err := SelfHash(rt)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := hash(torn, 7); ok {
			t.Errorf("a torn key of %v has a hash", rt)
		}
	}
	// A key that cannot be hashed never gets into a map, but torn memory may show one.
	hash, err := SelfHash(reflect.TypeFor[map[any]int]())
	if err != nil {
		t.Fatal(err)
	}
	var key any = []int{1}
	if _, ok := hash(unsafe.Slice((*byte)(unsafe.Pointer(&key)), unsafe.Sizeof(key)), 7); ok {
		t.Error("a slice has a hash")
	}
	runtime.KeepAlive(key)
}

// TestNotAMap asks for layouts of what is none.
func TestNotAMap(t *testing.T) {
	var e *LayoutError
	if _, err := SelfHash(reflect.TypeFor[int]()); !errors.As(err, &e) {
		t.Errorf("hash: error %v", err)
	}
	if m, err := Inspect(SelfMemory{}, FromReflect(reflect.TypeFor[[]int]()), 8, Options{}); m != nil || !errors.As(err, &e) {
		t.Errorf("inspect: %v, error %v", m, err)
	}
}
