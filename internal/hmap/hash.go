package hmap

import (
	"encoding/binary"
	"math"
	"math/bits"
	"reflect"
)

// Hash returns a function that computes the runtime's hash of keys of type key
// in the target, for [Options], or nil where the hash cannot be had: it can on
// amd64 with AES instructions, whose keys the target keeps in aeskeysched
// (runtime/asm_amd64.s, since Go 1.27 internal/runtime/maps/memhash_amd64.s), for
// integers, pointers, channels, strings, floats, and arrays and structs made of
// plain memory. Keys with interfaces, and structs that the compiler hashes field
// by field, are left out. arch is the target's GOARCH.
func (ts *Types) Hash(arch string, key *Type) func(key []byte, seed uint64) (uint64, bool) {
	if arch != "amd64" || key == nil {
		return nil
	}
	if ts.aes == nil {
		ts.aes = ts.readAES()
	}
	a := ts.aes
	if !a.known {
		return nil
	}
	switch key.Kind {
	case reflect.String:
		return func(k []byte, seed uint64) (uint64, bool) { return ts.hashString(a, k, seed) }
	case reflect.Float32:
		return func(k []byte, seed uint64) (uint64, bool) {
			return a.float(float64(math.Float32frombits(uint32(word(k)))), k, seed)
		}
	case reflect.Float64:
		return func(k []byte, seed uint64) (uint64, bool) {
			return a.float(math.Float64frombits(word(k)), k, seed)
		}
	case reflect.Complex64, reflect.Complex128:
		part := reflect.Float32
		if key.Kind == reflect.Complex128 {
			part = reflect.Float64
		}
		f := ts.Hash(arch, &Type{Kind: part, Size: key.Size / 2})
		return func(k []byte, seed uint64) (uint64, bool) {
			h, ok := f(k[:len(k)/2], seed)
			if !ok {
				return 0, false
			}
			return f(k[len(k)/2:], h)
		}
	}
	if !key.plain() {
		return nil
	}
	switch key.Size {
	case 0:
		return func(_ []byte, seed uint64) (uint64, bool) { return seed, true }
	case 4, 8: // memhash32, memhash64
		return func(k []byte, seed uint64) (uint64, bool) { return a.short(word(k), seed), true }
	}
	return func(k []byte, seed uint64) (uint64, bool) { return a.mem(k, seed), true }
}

// plain reports whether equal values of t have equal bytes, all of which count:
// AMEM of cmd/compile/internal/types/alg.go.
func (t *Type) plain() bool {
	switch t.Kind {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Pointer, reflect.UnsafePointer, reflect.Chan:
		return true
	case reflect.Array:
		return t.Elem() != nil && t.Elem().plain()
	case reflect.Struct:
		end := int64(0)
		for _, f := range t.Fields() {
			if f.Name == "_" || f.Off != end || !f.Type.plain() {
				return false
			}
			end += f.Type.Size
		}
		return end == t.Size
	}
	return false
}

// maxHashed bounds a string key that is read to be hashed.
const maxHashed = 1 << 20

func (ts *Types) hashString(a *aesHash, k []byte, seed uint64) (uint64, bool) {
	half := len(k) / 2
	n := word(k[half:])
	if n > maxHashed {
		return 0, false
	}
	if uint64(cap(a.buf)) < n {
		a.buf = make([]byte, n)
	}
	s := a.buf[:n]
	if err := read(ts.mem, "string", s, Addr(word(k[:half]))); err != nil {
		return 0, false
	}
	return a.mem(s, seed), true
}

// aesHash is the runtime's hash with AES instructions.
type aesHash struct {
	known bool
	sched [8]block128 // aeskeysched: random at each start of the program
	buf   []byte
}

func (ts *Types) readAES() *aesHash {
	a := &aesHash{}
	for _, pkg := range [][2]string{{"runtime.useAeshash", "runtime.aeskeysched"}, {"internal/runtime/maps.UseAeshash", "internal/runtime/maps.aeskeysched"}} {
		use, _, ok1 := ts.info.Var(pkg[0])
		sched, _, ok2 := ts.info.Var(pkg[1])
		if !ok1 || !ok2 {
			continue
		}
		var flag [1]byte
		var keys [128]byte
		if read(ts.mem, pkg[0], flag[:], Addr(use)) != nil || read(ts.mem, pkg[1], keys[:], Addr(sched)) != nil {
			continue
		}
		for i := range a.sched {
			a.sched[i] = load128(keys[16*i:])
		}
		// All zero: the runtime has not started yet.
		a.known = flag[0] == 1 && a.sched != [8]block128{}
		break
	}
	return a
}

// short is memhash32 and memhash64: the key beside the seed, three rounds.
func (a *aesHash) short(key, seed uint64) uint64 {
	x := from64(seed, key)
	for i := range 3 {
		x = x.round().xor(a.sched[i])
	}
	return x.low()
}

// mem is aeshashbody: lanes of 16 bytes, each with a seed of its own; short data
// is covered from both ends.
func (a *aesHash) mem(data []byte, seed uint64) uint64 {
	n := len(data)
	base := from64(seed, uint64(uint16(n))*0x0001_0001_0001_0001)
	lanes := 8
	switch {
	case n <= 16:
		lanes = 1
	case n <= 32:
		lanes = 2
	case n <= 64:
		lanes = 4
	}
	var x [8]block128
	for i := range lanes {
		x[i] = base.xor(a.sched[i]).scramble()
	}
	switch {
	case n == 0:
		return x[0].scramble().low()
	case n <= 16:
		var last [16]byte
		copy(last[:], data)
		x[0] = x[0].xor(load128(last[:]))
	case n <= 128:
		for i := range lanes {
			at := 16 * i
			if i >= lanes/2 {
				at = n - 16*(lanes-i)
			}
			x[i] = x[i].xor(load128(data[at:]))
		}
	default:
		for i := range lanes {
			x[i] = x[i].xor(load128(data[n-16*(lanes-i):]))
		}
		for at := 0; at < (n-1)/128*128; at += 128 {
			for i := range lanes {
				x[i] = x[i].scramble().round().xor(load128(data[at+16*i:]))
			}
		}
	}
	var sum block128
	for i := range lanes {
		sum = sum.xor(x[i].scramble().scramble().scramble())
	}
	return sum.low()
}

// float is f32hash and f64hash of runtime/alg.go: both zeros are equal, and a NaN
// has a random hash.
func (a *aesHash) float(f float64, k []byte, seed uint64) (uint64, bool) {
	const c0, c1 = 33054211828000289, 23344194077549503
	switch {
	case f == 0:
		return c1 * (c0 ^ seed), true
	case f != f:
		return 0, false
	}
	return a.mem(k, seed), true
}

// block128 is an AES state: four columns, their first row in the low byte.
type block128 [4]uint32

func load128(b []byte) block128 {
	_ = b[15]
	le := binary.LittleEndian
	return block128{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

func from64(lo, hi uint64) block128 {
	return block128{uint32(lo), uint32(lo >> 32), uint32(hi), uint32(hi >> 32)}
}

func (x block128) low() uint64 { return uint64(x[0]) | uint64(x[1])<<32 }

func (x block128) xor(y block128) block128 {
	return block128{x[0] ^ y[0], x[1] ^ y[1], x[2] ^ y[2], x[3] ^ y[3]}
}

// round is AESENC with a round key of zero: SubBytes, ShiftRows, MixColumns.
func (x block128) round() block128 {
	var y block128
	for j := range y {
		y[j] = aesTable[uint8(x[j])] ^
			bits.RotateLeft32(aesTable[uint8(x[(j+1)%4]>>8)], 8) ^
			bits.RotateLeft32(aesTable[uint8(x[(j+2)%4]>>16)], 16) ^
			bits.RotateLeft32(aesTable[uint8(x[(j+3)%4]>>24)], 24)
	}
	return y
}

// scramble is AESENC with the state itself as the round key.
func (x block128) scramble() block128 { return x.round().xor(x) }

// aesTable has, for a byte of the first row, its column after SubBytes and
// MixColumns (FIPS 197, 5.1): 2, 1, 1 and 3 times the substituted byte.
var aesTable = func() (t [256]uint32) {
	mul2 := func(b uint8) uint8 { return b<<1 ^ (b>>7)*0x1b }
	// p runs through the powers of 3, q through their inverses.
	for p, q := uint8(1), uint8(1); ; {
		p ^= mul2(p)
		q ^= q << 1
		q ^= q << 2
		q ^= q << 4
		q ^= (q >> 7) * 0x09
		s := q ^ bits.RotateLeft8(q, 1) ^ bits.RotateLeft8(q, 2) ^ bits.RotateLeft8(q, 3) ^ bits.RotateLeft8(q, 4) ^ 0x63
		t[p] = column(s, mul2(s))
		if p == 1 {
			break
		}
	}
	t[0] = column(0x63, mul2(0x63))
	return t
}()

func column(s, s2 uint8) uint32 {
	return uint32(s2) | uint32(s)<<8 | uint32(s)<<16 | uint32(s2^s)<<24
}
