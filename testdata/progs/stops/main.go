// Program stops is looked at from a debugger. It fills maps of every kind, calls
// stop, does three operations on main.few, and lets main.young grow. Where maps are
// Classic, main.growing or main.growing6 is in the middle of an evacuation at the stop.
package main

type service struct {
	index map[int64]int64
	names []map[string]int
}

var (
	table    = map[int64]int64{} // 1000 entries
	growing  = map[int64]int64{}
	growing6 = map[int64]int64{}
	few      = map[string]int{"a": 1, "b": 2, "c": 3}
	wide     = map[int64][200]byte{} // elems stored behind pointers
	holed    = map[int64]int64{}     // with tombstones
	young    = map[int32]bool{}
	empty    = map[string]bool{}
	null     map[string]int
	alias    map[int64]int64
	srv      *service
	pointer  = &few
	boxed    interface{}
	number   = 42

	ready = make(chan bool)
	block = make(chan bool)
	seen  int
)

//go:noinline
func hold(m map[int64]int64) {
	ready <- true
	<-block
	seen += len(m)
}

func fill(m map[int64]int64, n int64) {
	for i := int64(0); i < n; i++ {
		m[i] = -i
	}
	for i := int64(0); i < 10; i++ {
		m[i] = i
	}
}

//go:noinline
func stop() { seen++ }

// once has no use for lost when it calls stop.
//
//go:noinline
func once(lost map[string]int) {
	seen += len(lost)
	lost = same(lost)
	seen += len(lost)
	stop()
}

//go:noinline
func same(m map[string]int) map[string]int { return m }

//go:noinline
func operate(m map[string]int, key string) {
	m[key] = 9
	seen += m["a"]
	delete(m, key)
}

//go:noinline
func grow(m map[int32]bool) {
	for i := int32(0); i < 20; i++ {
		m[i] = true
	}
}

func main() {
	for i := int64(0); i < 1000; i++ {
		table[i] = i * i
	}
	// A Classic map of 64 buckets grows at the insert behind 6.5 entries a bucket; in Go
	// 1.21 behind 6.
	fill(growing, 417)
	fill(growing6, 385)
	for i := int64(0); i < 30; i++ {
		wide[i] = [200]byte{byte(i)}
	}
	for i := int64(0); i < 400; i++ {
		holed[i] = i
	}
	for i := int64(0); i < 400; i += 3 {
		delete(holed, i)
	}
	alias = table
	srv = &service{table, []map[string]int{few}}
	boxed = few
	for i := 0; i < 2; i++ {
		go hold(table)
		<-ready
	}
	stop()
	once(few)
	operate(few, "k")
	grow(young)
	println("number", number, "seen", seen, "len", len(null)+len(*pointer))
}
