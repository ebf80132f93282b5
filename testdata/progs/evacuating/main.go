// Program evacuating inserts one key at a time and ends, where maps are
// Classic, with every map in the middle of an evacuation to twice the size. On
// Swiss maps, which do not evacuate, it ends with ordinary maps.
//
// To stop inside the growth of main.m, stop at main.fill's assignment, at
// runtime.growWork_fast64 or at runtime.evacuate_fast64.
package main

import "hmaptools/testdata/progs/truth"

var (
	m     = map[int64]int64{}  // about a quarter of the old buckets evacuated
	start = map[int64]int64{}  // growth has just begun
	strs  = map[string]int{}   // evacuate_faststr
	ptrs  = map[int64]*int64{} // buckets with pointers
	wide  = map[[2]int64]int64{}
	live  = map[int64]int64{} // in growth while an iterator is open
)

// fill inserts ever more keys until there are at least min of them and the map
// is in growth, then writes to that many entries again. Each such write
// evacuates one or two old buckets. It gives up at four times min.
//
//go:noinline
func fill(m map[int64]int64, min, again int64) {
	for i := int64(0); i < min*4 && (i < min || truth.Classic() && !truth.Growing(m)); i++ {
		m[i] = i * 10
	}
	for i := int64(0); i < again; i++ {
		m[i] = i * 10
	}
}

func main() {
	fill(m, 3000, 60)
	fill(start, 200, 0)
	for i := 0; i < 20000 && (i < 1000 || truth.Classic() && !truth.Growing(strs)); i++ {
		strs[truth.Key(i)] = i
	}
	for i := 0; i < 10; i++ {
		strs[truth.Key(i)] = i
	}
	n := int64(5)
	for i := int64(0); i < 20000 && (i < 500 || truth.Classic() && !truth.Growing(ptrs)); i++ {
		ptrs[i] = &n
	}
	for i := int64(0); i < 20000 && (i < 500 || truth.Classic() && !truth.Growing(wide)); i++ {
		wide[[2]int64{i, -i}] = i
	}
	// An iterator that began before the growth holds on to the old buckets:
	// evacuation keeps their keys and elems instead of clearing them.
	for i := int64(0); i < 500; i++ {
		live[i] = i
	}
	for range live {
		for i := int64(500); i < 20000 && truth.Classic() && !truth.Growing(live); i++ {
			live[i] = i
		}
		for i := int64(0); i < 20; i++ {
			live[i] = i
		}
		break
	}

	truth.Generation()
	truth.Sums("main.m", "map[int64]int64", m, truth.SumInt[int64], truth.SumInt[int64])
	truth.Sums("main.start", "map[int64]int64", start, truth.SumInt[int64], truth.SumInt[int64])
	truth.Sums("main.strs", "map[string]int", strs, truth.SumStr[string], truth.SumInt[int])
	truth.Sums("main.ptrs", "map[int64]*int64", ptrs, truth.SumInt[int64], truth.SumWord[*int64])
	truth.Sums("main.wide", "map[[2]int64]int64", wide, sumPair, truth.SumInt[int64])
	truth.Sums("main.live", "map[int64]int64", live, truth.SumInt[int64], truth.SumInt[int64])
	truth.Shape("main.m", m)
	truth.Shape("main.start", start)
	truth.Shape("main.strs", strs)
	truth.Shape("main.ptrs", ptrs)
	truth.Shape("main.wide", wide)
	truth.Shape("main.live", live)
}

// sumPair adds the first word of the array.
func sumPair(p [2]int64) uint64 { return uint64(p[0]) }
