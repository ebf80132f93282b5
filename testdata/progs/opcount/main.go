// Program opcount counts its own map operations, for whoever records them.
//
//	opcount [-g GOROUTINES] [-n OPERATIONS] [-clear] [-gc] [-prof] [-fork] [-exit STATUS]
//
// Each goroutine has a map of every kind of key, and all share one under a lock. In
// the end it prints a line for each map:
//
//	count ADDR TYPE make=N assign=N access=N delete=N iter=N clear=N len=N
//
// and then result and a sum over all that was read, which depends on nothing but
// the arguments.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
	"unsafe"
)

type counts struct{ mk, assign, access, del, iter, clear int }

type key struct{ a, b int32 }

type big struct{ pad [40]int }

var clears = flag.Bool("clear", false, "clear maps too: where the compiler optimises, that is one operation")

var (
	mu     sync.Mutex
	lines  []string
	total  uint64
	shared = map[int]int{}
	shares = counts{mk: 1}
)

func report(p unsafe.Pointer, typ string, c counts, n int) {
	mu.Lock()
	defer mu.Unlock()
	lines = append(lines, fmt.Sprintf("count %p %s make=%d assign=%d access=%d delete=%d iter=%d clear=%d len=%d", p, typ, c.mk, c.assign, c.access, c.del, c.iter, c.clear, n))
}

// deep makes the stack grow before the map is used.
//
//go:noinline
func deep(n int, m map[int64]int64, k int64) int64 {
	var pad [64]int64
	if n > 0 {
		pad[n%64] = deep(n-1, m, k)
		return pad[n%64] + pad[(n+1)%64]
	}
	m[k] = k
	return m[k]
}

//go:noinline
func ints(n int) uint64 {
	m := make(map[int64]int64, n/100)
	c := counts{mk: 1}
	var sum uint64
	for i := int64(0); i < int64(n); i++ {
		m[i%977] = i
		c.assign++
		if v, ok := m[i%1013]; ok {
			sum += uint64(v)
		}
		c.access++
		if i%7 == 0 {
			delete(m, i%977)
			c.del++
		}
		if i%997 == 0 {
			sum += uint64(deep(int(i%60), m, i))
			c.assign++
			c.access++
		}
		if i%1999 == 0 {
			for _, v := range m {
				sum += uint64(v)
			}
			c.iter++
		}
	}
	report(*(*unsafe.Pointer)(unsafe.Pointer(&m)), "map[int64]int64", c, len(m))
	keep(m)
	return sum
}

//go:noinline
func strs(n int, keys []string) uint64 {
	m := make(map[string]int)
	c := counts{mk: 1}
	var sum uint64
	for i := 0; i < n; i++ {
		k := keys[i%len(keys)]
		m[k] = i
		c.assign++
		sum += uint64(m[keys[(i*7)%len(keys)]])
		c.access++
		if i%5 == 0 {
			delete(m, keys[(i*3)%len(keys)])
			c.del++
		}
		if *clears && i%503 == 502 {
			for k := range m {
				delete(m, k) // the compiler makes it a clear
			}
			c.clear++
		}
	}
	report(*(*unsafe.Pointer)(unsafe.Pointer(&m)), "map[string]int", c, len(m))
	keep(m)
	return sum
}

//go:noinline
func others(n int) uint64 {
	m32 := make(map[uint32]uint32, 100)
	ms := make(map[key]int, 200)
	mp := make(map[*int]int, 300)
	mb := make(map[key]big, 20)
	c32, cs, cp, cb := counts{mk: 1}, counts{mk: 1}, counts{mk: 1}, counts{mk: 1}
	ptrs := make([]*int, 300)
	for i := range ptrs {
		ptrs[i] = new(int)
	}
	var sum uint64
	for i := 0; i < n; i++ {
		m32[uint32(i)%500] = uint32(i)
		c32.assign++
		sum += uint64(m32[uint32(i)%700])
		c32.access++
		k := key{int32(i % 100), int32(i % 3)}
		ms[k] = i
		cs.assign++
		if _, ok := ms[key{1, int32(i)}]; ok {
			sum++
		}
		cs.access++
		mp[ptrs[i%300]] = i
		cp.assign++
		if i%3 == 0 {
			delete(mp, ptrs[i*7%300])
			cp.del++
			delete(ms, k)
			cs.del++
			delete(m32, uint32(i)%500)
			c32.del++
		}
		if i%50 == 0 {
			mb[k] = big{}
			cb.assign++
			b, ok := mb[k]
			cb.access++
			if ok {
				sum += uint64(b.pad[0])
			}
			b = mb[key{7, 7}]
			cb.access++
			sum += uint64(b.pad[1])
		}
	}
	report(*(*unsafe.Pointer)(unsafe.Pointer(&m32)), "map[uint32]uint32", c32, len(m32))
	report(*(*unsafe.Pointer)(unsafe.Pointer(&ms)), "map[main.key]int", cs, len(ms))
	report(*(*unsafe.Pointer)(unsafe.Pointer(&mp)), "map[*int]int", cp, len(mp))
	report(*(*unsafe.Pointer)(unsafe.Pointer(&mb)), "map[main.key]main.big", cb, len(mb))
	// All of them are alive to the end, so that no two have the same address.
	keep(m32, ms, mp, mb)
	return sum
}

var kept []interface{}

func keep(ms ...interface{}) {
	mu.Lock()
	kept = append(kept, ms...)
	mu.Unlock()
}

func share(n int) {
	for i := 0; i < n; i++ {
		mu.Lock()
		shared[i%300] = shared[(i+1)%300] + 1
		shares.assign++
		shares.access++
		mu.Unlock()
	}
}

func main() {
	g := flag.Int("g", 4, "goroutines")
	n := flag.Int("n", 20000, "operations")
	gc := flag.Bool("gc", false, "collect garbage all the time")
	prof := flag.Bool("prof", false, "take a CPU profile")
	fork := flag.Bool("fork", false, "execute other programs")
	exit := flag.Int("exit", 0, "exit status")
	flag.Parse()
	if *gc {
		go func() {
			for {
				runtime.GC()
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
	if *prof {
		var profile bytes.Buffer
		if err := pprof.StartCPUProfile(&profile); err != nil {
			fmt.Println(err)
		}
		defer pprof.StopCPUProfile()
	}
	stop := make(chan bool)
	if *fork {
		go func() {
			for i := 0; i < 10; i++ {
				if err := exec.Command("/bin/true").Run(); err != nil {
					fmt.Println("fork:", err)
				}
			}
			close(stop)
		}()
	} else {
		close(stop)
	}
	keys := make([]string, 800)
	for i := range keys {
		keys[i] = fmt.Sprintf("key number %d", i*i)
	}
	var wg sync.WaitGroup
	for i := 0; i < *g; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			sum := ints(*n) + strs(*n, keys) + others(*n)
			share(*n / 10)
			mu.Lock()
			total += sum
			mu.Unlock()
		}()
	}
	wg.Wait()
	<-stop
	report(*(*unsafe.Pointer)(unsafe.Pointer(&shared)), "map[int]int", shares, len(shared))
	for _, l := range lines {
		fmt.Println(l)
	}
	fmt.Println("result", total)
	runtime.KeepAlive(kept)
	if *exit != 0 {
		os.Exit(*exit)
	}
}
