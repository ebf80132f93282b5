// Syncmaps brings sync.Maps into every state, and prints what it knows of them to
// standard error:
//
//	syncmap NAME ADDR LEN BUSY TYPE     opens the map; LEN is what Range has visited
//	entry NAME KT KD VT VD              the words of a key and of its value
//	sum NAME SUM                        of all words, where there are many entries
//	maps NAME READ DIRTY READLEN DIRTYLEN AMENDED MISSES DELETED EXPUNGED
//	trie NAME ROOT INDIRECTS ENTRIES OVERFLOW LONGEST DEPTH
//	bytes NAME N                        how much the heap has grown for it
//	unique LEN MAPS                     handles of type main.tag, types with handles
//
// Numbers are decimal. LEN comes from a twin that has gone through the same
// operations, since Range changes a map of the older design; maps and trie come from
// the program's own reading of its memory. An argument N makes one map of N entries
// instead.
package main

import (
	"math"
	"os"
	"runtime"
	"strconv"
	"sync"
	"unsafe"
)

// Where maps are held.
var (
	zero, loaded, one, few, big, deleted, emptied, cleared, refilled, promoted, amended sync.Map
	missed, expunging, restored, gone, swapped, or, mixed, collide, nan, maps, nils     sync.Map
	compared, locked, settled, split                                                    sync.Map

	inStruct struct {
		before int
		m      sync.Map
		after  string
	}
	pointer = new(sync.Map)
	array   [3]sync.Map
	slice   = make([]sync.Map, 2)
	ofMaps  = map[string]*sync.Map{"x": {}}
	named   mine
)

type mine sync.Map

type pair struct{ k, v any }

// world is a map, a twin that goes through the same, and what must be in them.
type world struct {
	name, typ string
	m, twin   *sync.Map
	want      map[any]any
	busy      bool
}

var worlds []*world

func of(name string, m *sync.Map) *world {
	w := &world{name: name, typ: "sync.Map", m: m, twin: &sync.Map{}, want: map[any]any{}}
	worlds = append(worlds, w)
	return w
}

func (w *world) both(f func(m *sync.Map)) {
	f(w.m)
	f(w.twin)
}

func (w *world) store(k, v any) {
	w.both(func(m *sync.Map) { m.Store(k, v) })
	w.want[k] = v
}

func (w *world) del(k any) {
	w.both(func(m *sync.Map) { m.Delete(k) })
	delete(w.want, k)
}

// miss looks n times for a key that is not there.
func (w *world) miss(n int) {
	for i := 0; i < n; i++ {
		w.both(func(m *sync.Map) { m.Load("nowhere") })
	}
}

// fill stores numbers from keys from up to to.
func (w *world) fill(from, to int) *world {
	for i := from; i < to; i++ {
		v := i
		w.store(number(i), &v)
	}
	return w
}

// settle makes dirty read.
func (w *world) settle() *world {
	w.both(func(m *sync.Map) { m.Range(func(_, _ any) bool { return true }) })
	return w
}

// numbers are keys: the same words each time.
var numbers []any

func number(i int) any {
	for len(numbers) <= i {
		numbers = append(numbers, len(numbers)*7919)
	}
	return numbers[i]
}

type (
	id     int
	key    struct{ a, b int32 }
	texts  struct{ s, t string }
	padded struct {
		a int8
		_ int32
		f float64
		i any
	}
	nothing struct{}
)

// keysOfKinds are keys that are hashed in all ways.
func keysOfKinds() []any {
	n, c := 5, make(chan int)
	keys := []any{
		nil, true, int8(-1), uint16(7), int32(9), 1.5, float32(2.5), 0.0, complex(1, 0), complex64(complex(0, 2)),
		"", "text", "a text of more than sixteen bytes", [0]int{}, nothing{}, key{1, 2}, texts{"a", "b"}, padded{1, 0, 2, "in"},
		padded{2, 0, 0, padded{3, 0, 1, nil}}, [3]string{"x", "y", "z"}, [2]any{1, "one"}, [5]byte{1, 2, 3, 4, 5}, [1]*int{&n}, &n, c,
		unsafe.Pointer(&n), [40]int{39: 1}, struct{ p *int }{&n}, id(3), struct{ e error }{},
	}
	return keys
}

func build() {
	of("main.zero", &zero)
	w := of("main.loaded", &loaded)
	w.miss(1)
	w.del("nothing")
	of("main.one", &one).store("key", 1)
	of("main.few", &few).fill(0, 5).settle()
	of("main.big", &big).fill(0, 10000)

	w = of("main.deleted", &deleted).fill(0, 10000).settle()
	for i := 0; i < 9900; i++ {
		w.del(number(i))
	}
	w = of("main.emptied", &emptied).fill(0, 200)
	for i := 0; i < 200; i++ {
		w.del(number(i))
	}
	w = of("main.cleared", &cleared).fill(0, 50).settle().fill(50, 60)
	w.clear()
	w = of("main.refilled", &refilled).fill(0, 50).settle().fill(50, 60)
	w.clear()
	w.fill(20, 30)

	// 100 misses make dirty read.
	of("main.promoted", &promoted).fill(0, 100).miss(100)
	w = of("main.amended", &amended).fill(0, 100)
	w.miss(100)
	w.fill(100, 110)
	w.fill(0, 3)
	w = of("main.missed", &missed).fill(0, 100).settle().fill(100, 120)
	w.miss(77)

	// What was deleted in read is expunged when dirty is made.
	w = of("main.expunging", &expunging).fill(0, 100).settle()
	for i := 0; i < 40; i++ {
		w.del(number(i))
	}
	w.fill(200, 201)
	for i := 40; i < 50; i++ {
		w.del(number(i)) // and these are deleted in both
	}
	w = of("main.restored", &restored).fill(0, 100).settle()
	for i := 0; i < 40; i++ {
		w.del(number(i))
	}
	w.fill(200, 210)
	w.fill(0, 15)
	w = of("main.gone", &gone).fill(0, 100).settle()
	for i := 0; i < 30; i++ {
		w.del(number(i))
	}
	w = of("main.swapped", &swapped).fill(0, 20)
	w.swap(20)

	w = of("main.or", &or).fill(0, 10).settle()
	w.del(number(3))
	for i := 0; i < 20; i++ {
		k, v := number(i), any(i)
		w.both(func(m *sync.Map) { m.LoadOrStore(k, v) })
		if _, ok := w.want[k]; !ok {
			w.want[k] = v
		}
	}
	w = of("main.mixed", &mixed)
	for _, k := range keysOfKinds() {
		w.store(k, new(int))
	}
	// Equal numbers of types of one size have one hash.
	w = of("main.collide", &collide)
	for i := 0; i < 300; i++ {
		for j, k := range []any{i, int64(i), uint(i), uint64(i), uintptr(i), id(i)} {
			if i%6 >= j {
				w.store(k, k)
			}
		}
	}
	w = of("main.nan", &nan)
	for i := 0; i < 20; i++ {
		k, v := any(math.NaN()), any(i)
		w.store(k, v)
	}
	w = of("main.maps", &maps)
	for i := 0; i < 20; i++ {
		w.store(strconv.Itoa(i), map[string]int{"i": i})
	}
	w = of("main.nils", &nils).fill(0, 10).settle()
	for i := 0; i < 10; i++ {
		w.store(number(i), nil)
	}
	w = of("main.compared", &compared).fill(0, 30).settle().fill(30, 40)
	w.compare(5)

	of("main.inStruct.m", &inStruct.m).fill(0, 7)
	of("*main.pointer", pointer).fill(0, 8)
	for i := range array {
		of("main.array["+strconv.Itoa(i)+"]", &array[i]).fill(0, i)
	}
	of("main.slice[1]", &slice[1]).fill(0, 11)
	of(`*main.ofMaps["x"]`, ofMaps["x"]).fill(0, 12)
	w = of("main.named", (*sync.Map)(&named)).fill(0, 13)
	w.typ = "main.mine"
}

// measure builds maps of n entries whose keys and values are there before, and
// prints how much the heap has grown.
func measure() {
	const n = 30000
	keys, values := make([]any, n), make([]any, n)
	for i := range keys {
		keys[i], values[i] = number(i), number(i)
	}
	for _, c := range []struct {
		name string
		m    *sync.Map
		read int // how many are in read
	}{{"main.settled", &settled, n}, {"main.split", &split, n - 1000}} {
		before := heap()
		for i := range keys {
			if c.m.Store(keys[i], values[i]); i == c.read-1 {
				c.m.Range(func(_, _ any) bool { return true })
			}
		}
		after := heap()
		println("bytes", c.name, after-before)
		w := of(c.name, c.m)
		for i := range keys {
			w.twin.Store(keys[i], values[i])
			w.want[keys[i]] = values[i]
		}
	}
	runtime.KeepAlive(values)
}

func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// words are an interface's.
func words(x any) (typ, data uintptr) {
	w := *(*[2]uintptr)(unsafe.Pointer(&x))
	return w[0], w[1]
}

func mix(k, v any) uintptr {
	kt, kd := words(k)
	vt, vd := words(v)
	return kt*3 + kd*5 + vt*7 + vd*11
}

// tell prints the truth of a map.
func (w *world) tell() {
	n, sum := 0, uintptr(0)
	w.twin.Range(func(k, v any) bool {
		n++
		sum += mix(k, v)
		return true
	})
	var want uintptr
	for k, v := range w.want {
		want += mix(k, v)
	}
	if n != len(w.want) || sum != want {
		panic(w.name + ": Range visits something else")
	}
	println("syncmap", w.name, uintptr(unsafe.Pointer(w.m)), n, w.busy, w.typ)
	if n > 500 {
		println("sum", w.name, sum)
	} else {
		for k, v := range w.want {
			kt, kd := words(k)
			vt, vd := words(v)
			println("entry", w.name, kt, kd, vt, vd)
		}
	}
	w.look()
}

func main() {
	if len(os.Args) > 1 {
		n, err := strconv.Atoi(os.Args[1])
		if err != nil {
			panic(err)
		}
		for i := 0; i < n; i++ {
			v := i
			big.Store(i, &v)
		}
		println("syncmap", "main.big", uintptr(unsafe.Pointer(&big)), n, false, "sync.Map")
		return
	}
	measure()
	build()
	var local sync.Map
	of("local", &local).fill(0, 9)
	w := of("main.locked", &locked).fill(0, 20).settle().fill(20, 22)
	w.lock()
	w.busy = true
	for _, w := range worlds {
		w.tell()
	}
	uniques()
	runtime.KeepAlive(worlds)
	runtime.KeepAlive(&local)
}
