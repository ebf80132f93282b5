// Program fresh is the yardstick of wasted bytes. For every map X that grew and
// was deleted from, there is a map XFresh made with make(map, len(X)) and filled
// with the same entries.
package main

import "hmaptools/testdata/progs/truth"

type record struct {
	id   int
	name string
	next *record
	pad  [4]uint64
}

var (
	sparse      = map[int64]int64{}
	sparseFresh map[int64]int64

	small      = map[int64]int64{} // comes down to a small map
	smallFresh map[int64]int64

	gone      = map[int64]int64{} // comes down to nothing
	goneFresh map[int64]int64

	wide      = map[int64]int64{} // still many tables
	wideFresh map[int64]int64

	strs      = map[string]string{}
	strsFresh map[string]string

	ptrs      = map[int64]*record{}
	ptrsFresh map[int64]*record

	records      = map[int32]record{}
	recordsFresh map[int32]record

	indirect      = map[int][20]uint64{}
	indirectFresh map[int][20]uint64

	set      = map[uint16]struct{}{}
	setFresh map[uint16]struct{}

	dense      = map[int64]int64{} // nothing deleted: whatever is wasted comes from growth
	denseFresh map[int64]int64
)

func remake[K comparable, V any](m map[K]V) map[K]V {
	f := make(map[K]V, len(m))
	for k, v := range m {
		f[k] = v
	}
	return f
}

func shrink(m map[int64]int64, from, to int64) {
	for i := int64(0); i < from; i++ {
		m[i] = i
	}
	for i := to; i < from; i++ {
		delete(m, i)
	}
}

func main() {
	shrink(sparse, 10000, 100)
	shrink(small, 1000, 5)
	shrink(gone, 1000, 0)
	shrink(wide, 100000, 5000)
	shrink(dense, 3000, 3000)
	r := &record{}
	for i := 0; i < 2000; i++ {
		strs[truth.Key(i)] = truth.Key(i)
		ptrs[int64(i)] = r
		records[int32(i)] = record{id: i}
		indirect[i] = [20]uint64{uint64(i)}
		set[uint16(i)] = struct{}{}
	}
	for i := 50; i < 2000; i++ {
		delete(strs, truth.Key(i))
		delete(ptrs, int64(i))
		delete(records, int32(i))
		delete(indirect, i)
		delete(set, uint16(i))
	}
	sparseFresh, smallFresh, goneFresh, wideFresh = remake(sparse), remake(small), remake(gone), remake(wide)
	strsFresh, ptrsFresh, recordsFresh = remake(strs), remake(ptrs), remake(records)
	indirectFresh, setFresh, denseFresh = remake(indirect), remake(set), remake(dense)

	truth.Generation()
	for _, p := range []struct {
		name    string
		m, made map[int64]int64
	}{
		{"main.sparse", sparse, sparseFresh},
		{"main.small", small, smallFresh},
		{"main.gone", gone, goneFresh},
		{"main.wide", wide, wideFresh},
		{"main.dense", dense, denseFresh},
	} {
		truth.Sums(p.name, "map[int64]int64", p.m, truth.SumInt[int64], truth.SumInt[int64])
		truth.Sums(p.name+"Fresh", "map[int64]int64", p.made, truth.SumInt[int64], truth.SumInt[int64])
		truth.Shape(p.name, p.m)
		truth.Shape(p.name+"Fresh", p.made)
		truth.Fresh(p.name, p.name+"Fresh")
	}
	truth.Map("main.strs", "map[string]string", strs, truth.Str[string], truth.Str[string])
	truth.Map("main.strsFresh", "map[string]string", strsFresh, truth.Str[string], truth.Str[string])
	truth.Fresh("main.strs", "main.strsFresh")
	truth.Map("main.ptrs", "map[int64]*main.record", ptrs, truth.Int[int64], truth.Word[*record])
	truth.Map("main.ptrsFresh", "map[int64]*main.record", ptrsFresh, truth.Int[int64], truth.Word[*record])
	truth.Fresh("main.ptrs", "main.ptrsFresh")
	truth.Sums("main.records", "map[int32]main.record", records, truth.SumInt[int32], sumRecord)
	truth.Sums("main.recordsFresh", "map[int32]main.record", recordsFresh, truth.SumInt[int32], sumRecord)
	truth.Fresh("main.records", "main.recordsFresh")
	truth.Sums("main.indirect", "map[int][20]uint64", indirect, truth.SumInt[int], truth.SumWord[[20]uint64])
	truth.Sums("main.indirectFresh", "map[int][20]uint64", indirectFresh, truth.SumInt[int], truth.SumWord[[20]uint64])
	truth.Fresh("main.indirect", "main.indirectFresh")
	truth.Map("main.set", "map[uint16]struct {}", set, truth.Uint[uint16], truth.Empty[struct{}])
	truth.Map("main.setFresh", "map[uint16]struct {}", setFresh, truth.Uint[uint16], truth.Empty[struct{}])
	truth.Fresh("main.set", "main.setFresh")
}

// sumRecord adds the id, the first word.
func sumRecord(r record) uint64 { return uint64(r.id) }
