// Package testenv gives tests the target programs of testdata/progs, built with
// the toolchains of one table, and the truth that they tell about their own
// maps. It is for tests alone; everything that ranges over Go versions ranges
// over Toolchains.
//
// It reads no map and knows no layout: it builds, runs and parses. It imports
// nothing of this module, and neither Delve nor internal/hmap, so that a test's
// oracle shares no code with what the test examines.
//
// # Selection
//
// go test -short takes the host's toolchain alone; go test takes the host, one
// Classic toolchain and one built with GOEXPERIMENT=noswissmap; with
// HMAPTOOLS_ALL_TOOLCHAINS=1 the whole table is taken. The go command fetches
// what is missing. A toolchain that cannot be had skips the test by name, and
// fails it where HMAPTOOLS_ALL_TOOLCHAINS=1 or CI=true is set. A program that
// does not build always fails.
//
// # Truth
//
// A target prints its truth to standard error, when its maps do not change any
// more, one item a line; a reader ignores all lines that do not begin with "truth ".
// Fields are separated by single spaces and none but the last holds a space.
//
//	truth go "VERSION" classic|swiss
//	truth map NAME ADDR LEN TYPE         opens the map; what follows names it
//	truth entry NAME KEY ELEM            one line for every entry, in no order, or else
//	truth sum NAME KEYSUM ELEMSUM        sums over all entries, decimal uint64
//	truth word NAME I HEX                the words of the header, from offset 8*I
//	truth alias NAME OTHER               OTHER holds the same header
//	truth only NAME FUNC                 NAME is in scope while FUNC runs, in some frame, but not at the end
//	truth fresh NAME OTHER               OTHER was made with make(map, len) and has the same entries
//	truth growth NAME STATE NEVACUATE EVACUATED OLD   Classic; STATE as in a dump; old buckets evacuated, in all
//	truth overflow NAME BUCKETS LONGEST NOVERFLOW     Classic; overflow buckets in the chains of hmap.buckets, of the longest chain
//	truth group NAME ADDR TOMBSTONES                  Swiss without a directory
//	truth table NAME INDEX ADDR LOCALDEPTH USED CAPACITY GROWTHLEFT TOMBSTONES   Swiss
//
// NAME is what hmapdump calls the holder: main.small for a package variable, m
// for a local or an argument, and a path, such as main.srv.stats.hits, *main.pm,
// main.slice[1] or main.byName["x"]. A name may be opened more than once (frames
// of a recursion, shadowed variables, goroutines): each is a map of its own, and
// the lines after it belong to it. A nil map has address 0x0 and no words.
//
// Every name is in scope where hmapdump stops by itself, but an optimising
// compiler does not keep every variable: of small's localNone, aliases' *ptr and
// all of onstack nothing may be found unless the program is built with NoOpt.
// Locals of goroutines (own and same in aliases, made and given in generic,
// scratch and arg in server) and of functions that are running are those of other
// frames than main.main's.
//
// Keys and elems are written as follows. Integers: decimal. Floats: their bits,
// f0x and 8 or 16 digits. Complex: (RE,IM). Strings: quoted for strconv.Unquote,
// each byte but visible ASCII as \xNN. Booleans: true, false. Pointers, chans,
// funcs, maps, unsafe.Pointer: the word in hex, 0x0 for nil. Arrays: [A,B].
// Structs: {A,B} with _ for a blank field. Slices: slice(ADDR,LEN,CAP).
// Interfaces: nil or iface(TYPE,VALUE). A key adds to KEYSUM, and an elem to
// ELEMSUM: an integer itself, extended to 64 bits; a string its 64-bit FNV-1a
// hash; anything else its first word.
package testenv

import (
	"os"
	"testing"
)

const (
	allVariable = "HMAPTOOLS_ALL_TOOLCHAINS"
	ciVariable  = "CI"
)

// takeAll reports whether the whole table is asked for.
func takeAll() bool { return os.Getenv(allVariable) == "1" }

// Times is how often a test repeats what must go well each time: all of them with
// HMAPTOOLS_ALL_TOOLCHAINS=1, a tenth otherwise.
func Times(all int) int {
	if takeAll() {
		return all
	}
	return max(1, all/10)
}

// unavailable ends the test because the machine lacks something: a skip at
// home, a failure where all of the tests are meant to run.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if takeAll() || os.Getenv(ciVariable) == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
