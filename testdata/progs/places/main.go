// Places puts maps everywhere that a program can put one, by the thousand, and
// prints where: "place KIND HEADER WORD" for every word that holds a header (WORD 0
// where the program cannot tell its address), "garbage HEADER" for a header that
// nothing holds any more. The addresses are what the program reads of itself.
package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

const n = 100 // maps of each kind

type Map = map[string]int

type Node struct {
	Next *Node
	M    Map
}

type Tree struct {
	Left, Right *Tree
	M           Map
}

type Embedded struct{ Inner Map }

type Record struct {
	Name string
	Embedded
	Arr  [3]Map
	Ptr  *Map
	Deep ****Map
}

type Box[T any] struct{ V T }

type Holder interface{ Get() Map }

type byValue struct{ m Map }

func (b byValue) Get() Map { return b.m }

type byPointer struct {
	pad int
	m   Map
}

func (b *byPointer) Get() Map { return b.m }

type key struct{ p any }

// Where maps are held.
var (
	global    Map
	array     [n]Map
	slice     []Map
	slack     []Map // length 1, the rest behind it
	records   []Record
	pointers  []*Record
	list      *Node
	ring      *Node
	tree      *Tree
	anyMap    []any
	anyStruct []any
	anyPtr    []any
	ifaces    []Holder
	ofMaps    map[int]Map
	ofStructs map[string]Record
	ofPtrs    map[int]*Node
	ofKeys    map[key]bool
	channel   chan Map
	structs   chan Embedded
	blocked   chan Map
	boxes     []Box[Map]
	closures  []func() int
	byRef     []func() int
	methods   []func() Map
	inMap     map[int]func() int
	pool      sync.Pool
	table     sync.Map
	value     atomic.Value
	timers    []*time.Timer
	onceDone  sync.Once
	hidden    []unsafe.Pointer // no type leads to these maps' holders
	finalised []*Node
)

var lines []byte

// addr is the header's address.
func addr(m Map) uintptr { return *(*uintptr)(unsafe.Pointer(&m)) }

func hex(x uintptr) string { return "0x" + strconv.FormatUint(uint64(x), 16) }

// place notes that the word at w, or one that is not known, holds m.
func place(kind string, m Map, w unsafe.Pointer) {
	lines = append(lines, "place "+kind+" "+hex(addr(m))+" "+hex(uintptr(w))+"\n"...)
}

var made int

func mk() Map {
	made++
	m := make(Map)
	for i := 0; i < made%12; i++ {
		m[strconv.Itoa(i)] = made
	}
	return m
}

// inClosure notes that the closure f holds m: the word is found in the closure.
func inClosure(f unsafe.Pointer, m Map) {
	obj := *(*unsafe.Pointer)(f)
	for i := uintptr(1); i < 5; i++ {
		w := unsafe.Add(obj, i*unsafe.Sizeof(i))
		if *(*uintptr)(w) == addr(m) {
			place("closure", m, w)
			return
		}
	}
	panic("the closure does not hold the map")
}

//go:noinline
func capture(m Map, s string, x int) func() int { return func() int { return len(m) + len(s) + x } }

//go:noinline
func captureRef(m Map) (func() int, *Map) {
	v := m
	f := func() int {
		if v == nil {
			v = Map{}
		}
		return len(v)
	}
	v = m
	return f, &v
}

func plain() {
	global = mk()
	place("global", global, unsafe.Pointer(&global))
	slice = make([]Map, n)
	slack = make([]Map, n)
	for i := 0; i < n; i++ {
		array[i], slice[i], slack[i] = mk(), mk(), mk()
		place("element", array[i], unsafe.Pointer(&array[i]))
		place("element", slice[i], unsafe.Pointer(&slice[i]))
		place("element", slack[i], unsafe.Pointer(&slack[i]))
	}
	slack = slack[:1]
	records = make([]Record, n)
	for i := range records {
		fill(&records[i])
		pointers = append(pointers, new(Record))
		fill(pointers[i])
	}
	for i := 0; i < 3000; i++ {
		list = &Node{list, mk()}
		place("field", list.M, unsafe.Pointer(&list.M))
	}
	ring = &Node{nil, mk()}
	ring.Next = &Node{ring, mk()}
	place("field", ring.M, unsafe.Pointer(&ring.M))
	place("field", ring.Next.M, unsafe.Pointer(&ring.Next.M))
	tree = grow(9)
	for i := 0; i < n; i++ {
		boxes = append(boxes, Box[Map]{mk()})
	}
	for i := range boxes {
		place("field", boxes[i].V, unsafe.Pointer(&boxes[i].V))
	}
}

func fill(r *Record) {
	r.Name = "record"
	r.Inner = mk()
	place("field", r.Inner, unsafe.Pointer(&r.Inner))
	for i := range r.Arr {
		r.Arr[i] = mk()
		place("element", r.Arr[i], unsafe.Pointer(&r.Arr[i]))
	}
	r.Ptr = new(Map)
	*r.Ptr = mk()
	place("element", *r.Ptr, unsafe.Pointer(r.Ptr))
	p1 := new(Map)
	*p1 = mk()
	p2 := &p1
	p3 := &p2
	r.Deep = &p3
	place("element", *p1, unsafe.Pointer(p1))
}

func grow(depth int) *Tree {
	if depth == 0 {
		return nil
	}
	t := &Tree{grow(depth - 1), grow(depth - 1), mk()}
	place("field", t.M, unsafe.Pointer(&t.M))
	return t
}

// word2 is the address of an interface's second word.
func word2(p *any) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(uintptr(0))) }

func interfaces() {
	anyMap, anyStruct, anyPtr = make([]any, n, 8*n), make([]any, n), make([]any, n)
	for i := 0; i < n; i++ {
		m := mk()
		anyMap[i] = m
		place("interface", m, word2(&anyMap[i]))
		m = mk()
		anyStruct[i] = Record{Embedded: Embedded{m}}
		place("field", m, nil)
		m = mk()
		anyPtr[i] = &m
		place("element", m, unsafe.Pointer(&m))
		b := &byPointer{m: mk()}
		ifaces = append(ifaces, b, byValue{mk()})
		place("field", b.m, unsafe.Pointer(&b.m))
		place("field", ifaces[len(ifaces)-1].Get(), nil)
	}
}

// Types that nothing but an interface holds.
type (
	onlyMap    map[uint16]int
	onlyStruct struct {
		pad [2]int
		m   map[uint8]onlyMap
	}
)

// header is the address of the header of the map that the word at w holds.
func header(w unsafe.Pointer) Map { return *(*Map)(w) }

func onlyInterfaces() {
	for i := 0; i < n; i++ {
		anyMap = append(anyMap, onlyMap{uint16(i): i}, onlyStruct{m: map[uint8]onlyMap{1: {2: 3}}}, &onlyStruct{m: map[uint8]onlyMap{1: {2: 3}}})
		k := len(anyMap) - 3
		place("interface", header(word2(&anyMap[k])), word2(&anyMap[k]))
		p := (*onlyStruct)(*(*unsafe.Pointer)(word2(&anyMap[k+1])))
		place("field", header(unsafe.Pointer(&p.m)), unsafe.Pointer(&p.m))
		inner := p.m[1]
		place("mapvalue", header(unsafe.Pointer(&inner)), nil)
		p = anyMap[k+2].(*onlyStruct)
		place("field", header(unsafe.Pointer(&p.m)), unsafe.Pointer(&p.m))
		s := []map[int8]int{{1: 1}, {2: 2}}
		anyMap = append(anyMap, s, [2]map[int16]int{{1: 1}, {2: 2}}, struct{ q map[uint32]int }{map[uint32]int{1: 1}})
		place("element", header(unsafe.Pointer(&s[1])), unsafe.Pointer(&s[1]))
		a := (*[2]map[int16]int)(*(*unsafe.Pointer)(word2(&anyMap[k+4])))
		place("element", header(unsafe.Pointer(&a[1])), unsafe.Pointer(&a[1]))
		q := word2(&anyMap[k+5]) // a struct of one pointer lies in the interface itself
		place("field", header(q), nil)
		c := make(chan map[float64]int, 2)
		m := map[float64]int{1: 1}
		c <- m
		anyMap = append(anyMap, c)
		place("channel", header(unsafe.Pointer(&m)), nil)
	}
}

func inMaps() {
	ofMaps, ofStructs, ofPtrs, ofKeys = map[int]Map{}, map[string]Record{}, map[int]*Node{}, map[key]bool{}
	for i := 0; i < n; i++ {
		ofMaps[i] = mk()
		place("mapvalue", ofMaps[i], nil)
		var r Record
		r.Arr[2] = mk()
		ofStructs[strconv.Itoa(i)] = r
		place("element", r.Arr[2], nil)
		ofPtrs[i] = &Node{M: mk()}
		place("field", ofPtrs[i].M, unsafe.Pointer(&ofPtrs[i].M))
		k := &Node{M: mk()}
		ofKeys[key{k}] = true
		place("field", k.M, unsafe.Pointer(&k.M))
	}
}

// buffer is where a channel keeps its elements: hchan.buf.
func buffer(c unsafe.Pointer) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Add(c, 16)) }

func channels() {
	channel, structs, blocked = make(chan Map, n), make(chan Embedded, n), make(chan Map)
	for i := 0; i < n/2; i++ { // so that the ring wraps
		channel <- nil
		<-channel
	}
	for i := 0; i < n; i++ {
		m := mk()
		channel <- m
		at := buffer(*(*unsafe.Pointer)(unsafe.Pointer(&channel)))
		place("channel", m, unsafe.Add(at, uintptr((i+n/2)%n)*unsafe.Sizeof(m)))
		e := Embedded{mk()}
		structs <- e
		at = buffer(*(*unsafe.Pointer)(unsafe.Pointer(&structs)))
		place("field", e.Inner, unsafe.Add(at, uintptr(i)*unsafe.Sizeof(m)))
	}
	for i := 0; i < 20; i++ {
		m := mk()
		place("any", m, nil) // the sender may have a name for it
		go send(m)
	}
}

//go:noinline
func send(m Map) { blocked <- m }

func functions() {
	inMap = map[int]func() int{}
	for i := 0; i < n; i++ {
		m := mk()
		closures = append(closures, capture(m, "s", i))
		inClosure(unsafe.Pointer(&closures[i]), m)
		m = mk()
		f, v := captureRef(m)
		byRef = append(byRef, f)
		place("closure", m, unsafe.Pointer(v))
		b := &byPointer{m: mk()}
		methods = append(methods, b.Get)
		place("field", b.m, unsafe.Pointer(&b.m))
		v2 := byValue{mk()}
		methods = append(methods, v2.Get)
		inClosureAny(unsafe.Pointer(&methods[len(methods)-1]), v2.m)
		m = mk()
		inMap[i] = capture(m, "", 0)
		place("closure", m, nil)
		m = mk()
		// Held by the runtime alone.
		time.AfterFunc(time.Hour, timed(m))
		place("closure", m, nil)
	}
	for i := 0; i < 3; i++ {
		timers = append(timers, time.NewTimer(time.Hour))
	}
}

// inClosureAny notes a map in a closure of any kind of place.
func inClosureAny(f unsafe.Pointer, m Map) {
	obj := *(*unsafe.Pointer)(f)
	w := unsafe.Add(obj, unsafe.Sizeof(uintptr(0)))
	if *(*uintptr)(w) != addr(m) {
		panic("the method value does not hold the map")
	}
	place("any", m, w)
}

//go:noinline
func timed(m Map) func() { return func() { runtime.KeepAlive(m) } }

func synced() {
	for i := 0; i < n; i++ {
		m := mk()
		table.Store(i, m)
		place("any", m, nil)
		m = mk()
		k := &Node{M: m}
		table.Store(k, i)
		place("field", m, unsafe.Pointer(&k.M))
	}
	v := &Node{M: mk()}
	value.Store(v)
	place("field", v.M, unsafe.Pointer(&v.M))
	newer()
}

// pooled is called twice, before and after a garbage collection, which moves what is
// in a pool aside.
func pooled() {
	for i := 0; i < n && !race; i++ {
		m := mk()
		pool.Put(&Node{M: m})
		place("field", m, nil)
	}
}

func finalizers() {
	for i := 0; i < n; i++ {
		m := mk()
		x := &Node{M: mk()}
		runtime.SetFinalizer(x, final(m))
		place("closure", m, nil)
		place("field", x.M, unsafe.Pointer(&x.M))
		finalised = append(finalised, x)
	}
}

//go:noinline
func final(m Map) func(*Node) { return func(*Node) { runtime.KeepAlive(m) } }

// hide makes holders that have no type: words of an object that only an
// unsafe.Pointer leads to. The maps have a typed holder too.
func hide() {
	for i := 0; i < 20; i++ {
		m := slice[i]
		words := new([4]unsafe.Pointer)
		words[2] = *(*unsafe.Pointer)(unsafe.Pointer(&m))
		hidden = append(hidden, unsafe.Pointer(words))
		place("unknown", m, unsafe.Pointer(&words[2]))
	}
}

var (
	parked sync.WaitGroup
	never  = make(chan int)
)

//go:noinline
func park(m Map, depth int) int {
	if depth > 0 {
		return park(m, depth-1) + 1
	}
	local := mk()
	defer func() { recover(); runtime.KeepAlive(m) }()
	lock.Lock()
	place("any", m, nil)
	place("any", local, nil)
	lock.Unlock()
	parked.Done()
	x := <-never
	return x + len(local) + len(m)
}

var lock sync.Mutex

func goroutines() {
	for i := 0; i < n; i++ {
		parked.Add(1)
		lock.Lock()
		m := mk()
		lock.Unlock()
		go park(m, i%5)
	}
	parked.Wait()
}

// loop waits in a loop over a map that nothing else holds.
//
//go:noinline
func loop(i int) {
	for k := range looped(i) {
		parked.Done()
		<-never
		if k == "" {
			return
		}
	}
}

//go:noinline
func looped(i int) Map {
	m := Map{"a": i}
	lock.Lock()
	place("any", m, nil)
	lock.Unlock()
	return m
}

// deferred waits with a deferred call that holds a map.
func deferred(i int) {
	lock.Lock()
	m := mk()
	place("any", m, nil)
	lock.Unlock()
	if i%2 == 0 {
		for k := 0; k < 2; k++ { // in a loop: not open-coded
			defer func() { runtime.KeepAlive(m) }()
		}
	} else {
		defer runtime.KeepAlive(m)
	}
	parked.Done()
	<-never
}

//go:noinline
func garbage() {
	for i := 0; i < 1000; i++ {
		m := mk()
		lines = append(lines, "garbage "+hex(addr(m))+"\n"...)
	}
}

func main() {
	debug.SetGCPercent(-1)
	lines = make([]byte, 0, 4<<20)
	garbage()
	plain()
	interfaces()
	onlyInterfaces()
	inMaps()
	channels()
	functions()
	synced()
	finalizers()
	hide()
	goroutines()
	for i := 0; i < 20; i++ {
		parked.Add(2)
		go deferred(i)
		go loop(i)
	}
	parked.Wait()
	pooled()
	runtime.GC()
	pooled()
	garbage()
	time.Sleep(50 * time.Millisecond) // the senders block
	os.Stderr.Write(lines)
}
