// Package truth prints what a target program knows about its own maps.
//
// The lines are the oracle for everything that reads maps from outside. They
// are produced by range, by len and by reading the words of the header through
// unsafe; nothing here is shared with the decoder under test. The format of
// the lines is documented in internal/testenv, which parses them.
//
// Output goes through println alone, to standard error, one write a line, so
// that a target needs no fmt. A program calls this package as the last thing
// before main.main returns: the truth is that of the moment of the stop.
//
// The contents of a map are printed before the words of its header, because
// ranging over a Classic map sets flag bits in it.
package truth

import "unsafe"

// sink forces the maps that Map and Sums are given onto the heap, where their
// headers do not move. It is always nil again when a function here returns, so
// that it never becomes a holder.
var sink unsafe.Pointer

// Header returns the address of m's header, nil for a nil map.
func Header[K comparable, V any](m map[K]V) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&m))
}

// Map prints m with every entry. key and elem give the canonical text.
func Map[K comparable, V any](name, typ string, m map[K]V, key func(K) string, elem func(V) string) {
	sink = Header(m)
	sink = nil
	Local(name, typ, m, key, elem)
}

// Local is Map for a map that is to stay where the compiler put it, which may
// be the stack. The caller must be the last thing that uses much stack, or the
// stack may move and the printed address with it.
func Local[K comparable, V any](name, typ string, m map[K]V, key func(K) string, elem func(V) string) {
	settle(0)
	open(name, typ, Header(m), len(m))
	for k, v := range m {
		Entry(name, key(k), elem(v))
	}
	words(name, Header(m))
}

// Sums prints m with order-independent checksums instead of its entries.
func Sums[K comparable, V any](name, typ string, m map[K]V, key func(K) uint64, elem func(V) uint64) {
	sink = Header(m)
	sink = nil
	open(name, typ, Header(m), len(m))
	var ks, vs uint64
	for k, v := range m {
		ks += key(k)
		vs += elem(v)
	}
	println("truth sum " + name + " " + utoa(ks) + " " + utoa(vs))
	words(name, Header(m))
}

// Addr prints no more of m than its address, its length and its header. It does
// not range over m, so it is fit for a map that others write to, and it leaves
// the flags of a Classic header alone.
func Addr[K comparable, V any](name, typ string, m map[K]V) {
	sink = Header(m)
	sink = nil
	open(name, typ, Header(m), len(m))
	words(name, Header(m))
}

// Alias says that other holds the same header as name, which has been printed.
// Both maps are given, and if the program is wrong about them it dies.
func Alias[K comparable, V any](name string, m map[K]V, other string, o map[K]V) {
	if Header(m) != Header(o) {
		panic("truth: " + name + " and " + other + " are two maps")
	}
	println("truth alias " + name + " " + other)
}

// Fresh says that the map called fresh was made with make(map, len) and filled
// with the entries of the map called name: the yardstick of wasted_bytes.
func Fresh(name, fresh string) {
	println("truth fresh " + name + " " + fresh)
}

// Begin, Entry and End print what Map prints, for the keys that go 1.18 does
// not take for comparable type arguments: interfaces, and what holds them. p is
// the header, as Ptr gives it.
func Begin(name, typ string, p unsafe.Pointer, n int) {
	sink = p
	sink = nil
	open(name, typ, p, n)
}

// Entry prints one entry of the map that Begin has opened.
func Entry(name, key, elem string) {
	println("truth entry " + name + " " + key + " " + elem)
}

// End prints the header of the map that Begin has opened.
func End(name string, p unsafe.Pointer) { words(name, p) }

// Ptr returns the word of a map variable: the address of the header.
func Ptr[M any](m M) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&m)) }

// Only says that the map that was last printed as name is in scope while
// function fn runs, in some frame, and no longer when main.main returns.
func Only(name, fn string) {
	println("truth only " + name + " " + fn)
}

func open(name, typ string, p unsafe.Pointer, n int) {
	println("truth map " + name + " " + hex(uint64(uintptr(p))) + " " + itoa(int64(n)) + " " + typ)
}

func words(name string, p unsafe.Pointer) {
	if p == nil {
		return
	}
	for i := 0; i < headerWords(); i++ {
		println("truth word " + name + " " + itoa(int64(i)) + " " + hex(uint64(word(p, i))))
	}
}

// settle grows the stack beyond what the functions of this package need, so
// that the stack does not move between two lines about one map.
//
//go:noinline
func settle(depth int) byte {
	var room [1024]byte
	room[depth] = byte(depth)
	if depth < 32 {
		return settle(depth+1) + room[depth]
	}
	return room[depth]
}
