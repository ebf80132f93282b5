// Program liveness holds maps in frames and nowhere else, and lets go of some while
// their addresses still lie there. Which of them are live, the garbage collector
// says: every header has a finalizer, and the program collects garbage until no more
// of them run.
//
// It then prints "probe NAME ADDRESS live|dead WHERE" for every map, with the address
// in decimal, and calls main.done, where it is to be stopped. WHERE is where a word
// with the address lies if the map is live: "frame" (of the function of that name),
// "heap" (in an object that a frame leads to) or "loop" (a goroutine that runs).
// Dead maps have "stale" if their address is certain to be left in the frame by an
// optimising compiler, else "gone".
package main

import (
	"os"
	"reflect"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

type Map = map[string]int

// probe is a map that is watched. It does not hold it.
type probe struct {
	name, where string
	addr        uintptr
	dead        int32
}

var (
	probes [64]probe
	n      int32

	parked = make(chan int)
	block  = make(chan int)
	stop   int32
	loops  int32
)

// watched makes a map, on the heap because it returns it.
//
//go:noinline
func watched(name, where string) Map {
	m := Map{"a": 1, "b": 2}
	i := atomic.AddInt32(&n, 1) - 1
	p := &probes[i]
	header := *(*unsafe.Pointer)(unsafe.Pointer(&m))
	p.name, p.where, p.addr = name, where, uintptr(header)
	// The header is six words, or begins with six.
	runtime.SetFinalizer((*[6]uintptr)(header), func(*[6]uintptr) { atomic.StoreInt32(&probes[i].dead, 1) })
	return m
}

// touch uses a map, and forces its caller to keep what it needs in its frame.
//
//go:noinline
func touch(m Map) int { return len(m) }

// park stays until the program ends. What it returns can be used, so that what its
// caller needs afterwards is live.
//
//go:noinline
func park() int {
	parked <- 1
	return <-block
}

// scrub overwrites what calls before have left below the frame of its caller.
//
//go:noinline
func scrub() {
	var b [512]uintptr
	fill(&b)
}

//go:noinline
func fill(b *[512]uintptr) {
	for i := range b {
		b[i] = uintptr(i)
	}
}

// temporary has a map in no variable.
//
//go:noinline
func temporary() int { return add(watched("temporary", "frame"), park()) }

//go:noinline
func add(m Map, n int) int { return len(m) + n }

// lastUse has a map that is used for the last time before it parks.
//
//go:noinline
func lastUse() int {
	m := watched("lastUse", "stale")
	a := touch(m)
	a += touch(m)
	a += park()
	return a
}

// several has maps of both kinds, in one frame.
//
//go:noinline
func several() int {
	a := watched("several", "frame")
	b := watched("several", "stale")
	c := watched("several", "frame")
	d := watched("several", "stale")
	s := touch(a) + touch(b) + touch(c) + touch(d)
	s += touch(b) + touch(d)
	s += park()
	return s + touch(a) + touch(c)
}

// ranged is in the middle of a loop over a map that only the iterator holds.
//
//go:noinline
func ranged() int {
	s := 0
	for range watched("ranged", "frame") {
		s += park()
	}
	return s
}

// deferring has a map that a deferred call uses.
//
//go:noinline
func deferring() int {
	m := watched("deferring", "frame")
	defer func() { touch(m) }()
	return park()
}

// manyDeferred has too many deferred calls to have them in its own code: they are
// records on its stack, with closures on its stack.
//
//go:noinline
func manyDeferred() int {
	m := watched("manyDeferred", "frame")
	defer func() { touch(m) }()
	defer func() {}()
	defer func() {}()
	defer func() {}()
	defer func() {}()
	defer func() {}()
	defer func() {}()
	defer func() {}()
	defer func() {}()
	defer func() {}()
	return park()
}

// deferLoop has its deferred calls in records on the heap.
//
//go:noinline
func deferLoop() int {
	for i := 0; i < 2; i++ {
		m := watched("deferLoop", "heap")
		defer func() { touch(m) }()
	}
	return park()
}

// recovering panics, and parks in the call that recovers.
//
//go:noinline
func recovering(p *int) int {
	m := watched("recovering", "frame")
	d := watched("recovering", "stale")
	s := touch(d)
	s += touch(d)
	defer func() {
		recover()
		park()
		touch(m)
	}()
	return s + panics(p)
}

// panics will not go on where it panicked: what it would have used is dead.
//
//go:noinline
func panics(p *int) int {
	m := watched("panics", "stale")
	s := touch(m)
	s += *p
	return s + touch(m)
}

// panicking panics itself: it goes on with its deferred calls.
//
//go:noinline
func panicking(p *int) (s int) {
	m := watched("panicking", "frame")
	d := watched("panicking", "stale")
	defer func() {
		recover()
		s = park() + touch(m)
	}()
	s = touch(d)
	s += *p
	return s + touch(d)
}

// arguments has more arguments than there are registers.
//
//go:noinline
func arguments(a, b, c, d, e, f, g, h, i, j, k int, last Map) int {
	s := park()
	return a + b + c + d + e + f + g + h + i + j + k + s + touch(last)
}

// argument uses its argument for the last time before it parks; its caller does not
// keep it.
//
//go:noinline
func argument(m Map) int {
	s := touch(m)
	s += touch(m)
	return s + park()
}

// large has a frame of far more than 64 words, with a map in the middle. Its index is
// none that the compiler knows.
//
//go:noinline
func large(i int) int {
	var all [300]Map
	all[i] = watched("large", "frame")
	s := park()
	return s + touch(all[i+s])
}

// huge has an object of over 128 KiB, which older compilers keep on the stack.
//
//go:noinline
func huge(i int) int {
	var all [20000]struct {
		p *int
		m Map
	}
	m := watched("huge", "frame")
	if pageAligned(unsafe.Pointer(&all)) { // as large objects are
		probes[atomic.LoadInt32(&n)-1].where = "heap"
	}
	all[i].m = m
	m = nil
	return hugePark(&all, i)
}

//go:noinline
func hugePark(all *[20000]struct {
	p *int
	m Map
}, i int) int {
	s := park()
	return s + touch(all[i].m)
}

//go:noinline
func pageAligned(p unsafe.Pointer) bool { return uintptr(p)%8192 == 0 }

type box struct {
	n    int
	m    Map
	next *box
}

// boxed has a map in a variable whose address another function has.
//
//go:noinline
func boxed() int {
	var b, c box
	b.m = watched("boxed", "frame")
	c.m = watched("boxed", "frame")
	b.next = &c
	return parkWith(&b) + b.n
}

//go:noinline
func parkWith(b *box) int {
	s := park()
	return s + touch(b.m) + touch(b.next.m)
}

// unboxed has one that nobody looks at any more.
//
//go:noinline
func unboxed() int {
	var b box
	store(&b, watched("unboxed", "stale"))
	s := touch(b.m)
	return s + park()
}

//go:noinline
func store(b *box, m Map) { b.m = m }

// inlined is where inner and middle end up.
//
//go:noinline
func inlined() int { return middle(1) }

func middle(x int) int { return inner(x+1) * 2 }

func inner(x int) int {
	m := watched("inlined", "frame")
	d := watched("inlined", "stale")
	s := touch(m) + touch(d)
	s += touch(d) + x
	s += park()
	return s + touch(m)
}

// sending is blocked in a send of the map.
//
//go:noinline
func sending(ch chan Map) {
	parked <- 1
	ch <- watched("sending", "frame")
}

// moved has a stack that has grown, and was copied, since it stored its map.
//
//go:noinline
func moved() int {
	var b box
	b.m = watched("moved", "frame")
	s := deep(200, &b)
	return s + parkWith2(&b)
}

//go:noinline
func deep(n int, b *box) int {
	var pad [64]int
	pad[n%64] = n
	if n == 0 {
		return touch(b.m)
	}
	return deep(n-1, b) + pad[(n+1)%64]
}

//go:noinline
func parkWith2(b *box) int {
	s := park()
	return s + touch(b.m)
}

// reading is blocked in a system call.
//
//go:noinline
func reading(fd int) int {
	m := watched("reading", "frame")
	d := watched("reading", "stale")
	var buf [1]byte
	s := touch(d)
	s += touch(d)
	atomic.AddInt32(&loops, 1)
	k, _ := syscall.Read(fd, buf[:])
	return s + k + touch(m)
}

// looping runs: it is preempted where it stands.
//
//go:noinline
func looping() int {
	m := watched("looping", "loop")
	s := touch(m)
	atomic.AddInt32(&loops, 1)
	for atomic.LoadInt32(&stop) == 0 {
		s++
	}
	return s + touch(m)
}

// reflected is called through code that package reflect made.
func reflected() {
	f := reflect.MakeFunc(reflect.TypeOf(touch), func(args []reflect.Value) []reflect.Value {
		park()
		return []reflect.Value{reflect.ValueOf(args[0].Len())}
	}).Interface().(func(Map) int)
	f(watched("reflected", "frame"))
}

// done is where the program stands still, with all goroutines where they parked.
//
//go:noinline
func done() { atomic.AddInt32(&stop, 1) }

func main() {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	for _, f := range []func(){
		func() { temporary() }, func() { lastUse() }, func() { several() }, func() { ranged() },
		func() { deferring() }, func() { manyDeferred() }, func() { deferLoop() },
		func() { recovering(nil) }, func() { panicking(nil) },
		func() { arguments(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, watched("arguments", "frame")) },
		func() { argument(watched("argument", "gone")) },
		func() { large(150) }, func() { huge(17000) }, func() { boxed() }, func() { unboxed() }, func() { inlined() },
		func() { sending(make(chan Map)) }, func() { moved() }, reflected,
	} {
		go f()
		<-parked
	}
	go reading(fds[0])
	go looping()
	for atomic.LoadInt32(&loops) < 2 {
		time.Sleep(time.Millisecond)
	}
	// Time to get from the counter into the system call.
	time.Sleep(20 * time.Millisecond)

	// A finalizer runs after the collection that found the object, in a goroutine of
	// its own.
	for quiet, before := 0, -1; quiet < 3; {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		dead := 0
		for i := range probes[:n] {
			dead += int(atomic.LoadInt32(&probes[i].dead))
		}
		quiet++
		if dead != before {
			quiet, before = 0, dead
		}
	}
	for i := range probes[:n] {
		p := &probes[i]
		state := "live"
		if atomic.LoadInt32(&p.dead) != 0 {
			state = "dead"
		}
		println("probe", p.name, p.addr, state, p.where)
	}
	scrub()
	done()
	close(block)
}
