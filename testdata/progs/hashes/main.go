// Hashes holds maps whose keys take every path of the runtime's hash function:
// strings and arrays of all lengths around its lanes of 16 bytes, both zeros,
// structs of plain memory.
package main

import "hmaptools/testdata/progs/truth"

type pair struct {
	a int32
	b uint32
}

type triple struct{ a, b, c int64 }

var (
	lengths = map[string]int{} // every length from 0 to 600
	bytes1  = map[[1]byte]int{}
	bytes3  = map[[3]byte]int{}
	bytes17 = map[[17]byte]int{}
	bytes33 = map[[33]byte]int{}
	bytes65 = map[[65]byte]int{}
	wide    = map[[129]byte]int{}
	wider   = map[[513]byte]int{}
	pairs   = map[pair]int{}
	triples = map[triple]int{}
	zeros   = map[float64]int{}
	points  = map[complex128]int{}
	ptrs    = map[*int]int{}
	shorts  = map[int16]int{}
)

func main() {
	text := make([]byte, 600)
	for i := range text {
		text[i] = byte('a' + i*7%26)
	}
	for i := 0; i <= len(text); i++ {
		lengths[string(text[:i])] = i
	}
	negative := 0.0
	negative = -negative
	for i := 0; i < 300; i++ {
		b := byte(i)
		bytes1[[1]byte{b}] = i
		bytes3[[3]byte{b, 1, byte(i >> 8)}] = i
		bytes17[[17]byte{b, 16: byte(i >> 8)}] = i
		bytes33[[33]byte{b, 32: byte(i >> 8)}] = i
		bytes65[[65]byte{b, 64: byte(i >> 8)}] = i
		wide[[129]byte{b, 128: byte(i >> 8)}] = i
		wider[[513]byte{b, 512: byte(i >> 8)}] = i
		pairs[pair{int32(i), uint32(-i)}] = i
		triples[triple{int64(i), 1, -1}] = i
		points[complex(float64(i), negative)] = i
		shorts[int16(i)] = i
		if i < 20 {
			n := i
			ptrs[&n] = i
		}
	}
	zeros[negative], zeros[1], zeros[-1.5] = 0, 1, 2

	truth.Generation()
	truth.Addr("main.lengths", "map[string]int", lengths)
	truth.Addr("main.bytes1", "map[[1]uint8]int", bytes1)
	truth.Addr("main.bytes3", "map[[3]uint8]int", bytes3)
	truth.Addr("main.bytes17", "map[[17]uint8]int", bytes17)
	truth.Addr("main.bytes33", "map[[33]uint8]int", bytes33)
	truth.Addr("main.bytes65", "map[[65]uint8]int", bytes65)
	truth.Addr("main.wide", "map[[129]uint8]int", wide)
	truth.Addr("main.wider", "map[[513]uint8]int", wider)
	truth.Addr("main.pairs", "map[main.pair]int", pairs)
	truth.Addr("main.triples", "map[main.triple]int", triples)
	truth.Addr("main.zeros", "map[float64]int", zeros)
	truth.Addr("main.points", "map[complex128]int", points)
	truth.Addr("main.ptrs", "map[*int]int", ptrs)
	truth.Addr("main.shorts", "map[int16]int", shorts)
}
