// Asmtrace says, instruction by instruction, what each map operation of a Go
// program became.
//
// Usage:
//
//	asmtrace [flags] PACKAGE | FILE.go ...   compile (from the build cache where possible) and annotate
//	asmtrace [flags] -                       annotate a listing of the compiler read from standard input
//	asmtrace [flags] --bin PROG              disassemble a linked binary, stripped ones too
//
// A package is compiled by the go command with -gcflags=-S, which replays the
// listing from its build cache. The functions with a map operation are printed:
// for each operation the source's expression, the routine of the runtime that is
// called and why this one, what is in which register or stack slot at the call,
// what the result means and which instruction uses it, and hints; then the
// instructions between the lines of the source.
//
//	$ asmtrace ./store                      # every function of a package with a map operation
//	$ asmtrace -s 'Cache.*Get' ./store
//	$ asmtrace --summary net/http           # one line per operation
//	$ go build -gcflags=-S ./store 2>&1 | asmtrace -
//	$ asmtrace --bin --summary ./server     # ELF, Mach-O or PE
//
// The operations are make, literal, assign, update (m[k] op= v), access, access2
// (v, ok := m[k]), delete, clear, range, len, nilcheck, copy (a = b), clone and
// closure. A map assignment a = b is one machine word, the header's address, or
// no instruction at all; both names then share one header.
//
// Several compilers or architectures are compared, operation by operation; a line
// that differs is marked:
//
//	$ asmtrace --toolchain go1.23.12,go1.26.8 ./store
//	$ asmtrace --goarch amd64,arm64,386 ./store
//
// With --profile the samples of a CPU profile of the program are charged to the
// operations: what is spent in mapassign, in mallocgc and in growth below it
// counts for the operation that called it. Several on one line are told apart by the
// address of the call, in the binary of --bin or in that which the profile names, if it
// is there and is what was compiled. Lines have their share too, and with --bin each
// instruction, unless the binary is position independent.
//
// With --check comments in the source say what is expected, on the line of the
// operation: "// asmtrace: assign faststr", several separated by commas. Behind
// the operation may stand a variant (faststr, fast32, fast64, fast32ptr,
// fast64ptr, fat, slow, small, hint, stack, inline, none), a routine
// (mapassign_faststr), barrier or nobarrier.
//
// With --selfcheck the bytes of the listing are decoded by golang.org/x/arch, and
// compared with its text.
//
// What is found goes to standard output, everything else to standard error. Exit
// status: 0 fine; 1 failed, or nothing matched; 2 wrong usage; 3 a finding: an
// expectation that is not met, or a self-check that fails.
package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

func main() {
	collectLate()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// collectLate has the garbage collector begin at 200 MiB, and from there on whenever
// the heap has doubled: most runs end before that, and collecting took a fifth of their
// time.
func collectLate() {
	const first = 200 << 20
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(first)
	var collected func(*int)
	collected = func(*int) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		debug.SetMemoryLimit(max(first, int64(2*live[0].Value.Uint64())))
		runtime.SetFinalizer(new(int), collected)
	}
	runtime.SetFinalizer(new(int), collected)
}
