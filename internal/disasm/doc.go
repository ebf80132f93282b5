// Package disasm reads instructions: those of the compiler's listings, and those
// of linked binaries. Both become a [Func] of [Inst].
//
// A [Reader] takes apart what "go tool compile -S" and "go build -gcflags=-S"
// print, as a stream, of Go 1.18 to 1.27 and every GOARCH. A [Binary] is an ELF,
// Mach-O or PE file, stripped or not; its functions come from the runtime's own
// function table, and a [Decoder] decodes them by golang.org/x/arch. A
// [SelfCheck] holds the two against each other: it decodes the bytes that a
// listing shows beside its text.
//
// The package knows instructions, symbols and type descriptors. It does not know
// what a map operation is: that is internal/asmnote, above it. Below it are the
// standard library and x/arch alone.
//
// Input is never trusted. What is damaged leads to an error, to [Bad]
// instructions, or to lines that are handed out as foreign; not to a panic, and
// memory stays bounded by the file or by the largest symbol of a listing.
//
// The forms of a listing are those of cmd/internal/obj/objfile.go and
// cmd/internal/obj/util.go; those of the tables are in runtime/symtab.go,
// internal/abi and cmd/link/internal/ld; each of Go 1.18 to 1.27.
package disasm
