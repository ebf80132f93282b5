// Program asmcorpus holds one construct with a map per function, for tests of
// what a compiler makes of them. It is compiled, listed and disassembled; it is
// not run, and it tells no truth.
//
// A function is named after its construct. Constructs that need a newer Go lie
// in files of their own. A new construct goes to the table of its file too: the
// linker drops what nobody refers to, and a test compares the binary's functions
// with those of the listing.
package main

func main() {
	keep(makes, assigns, accesses, deletes, ranges, inlined, copies, dynamic, generics, calls)
	keep(newer121, newer123)
}

//go:noinline
func keep(tables ...[]any) {
	for _, t := range tables {
		kept += len(t)
	}
}

var kept int

// Types of keys and elems. Their sizes and kinds decide which routine is called.
type (
	K32    struct{ A, B int16 }
	K64    struct{ A, B int32 }
	KMixed struct {
		A int32
		B string
	}
	KString struct{ S string }
	KPtr    struct{ P *int }
	KWide   [136]byte
	V128    [128]byte
	V129    [129]byte
	V1600   [1600]byte
	Named   map[string]int
	Holder  struct {
		N int
		M map[string]int
	}
)

// Variables of the package.
var (
	G, H map[string]int
	GLit = map[string]int{"one": 1, "two": 2, "three": 3}
	GFn  = func(k string) int { return GLit[k] }
	any0 any
)
