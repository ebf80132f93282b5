// Package asmnote says what became of the map operations of a program: it turns
// the instructions of a function into operations, in the runtime's own words.
//
// There are two sides. The code is a [disasm.Func] of a listing or of a binary;
// every call of a map routine in it becomes part of exactly one [Op]. The source
// is a [Source]: the map operations of parsed and typed files. An [Annotator]
// brings both together by position, kind and map type, and finds by patterns what
// is no call: len, a comparison with nil, a map on the stack, and a = b, which is
// one machine word or no instruction at all.
//
// The package knows routines, calling conventions and the compiler's choice of a
// routine, and nothing of flags, files on the command line or output: that is
// cmd/asmtrace, above it. Below it are internal/disasm and the type checker.
//
// What cannot be known is left empty, not guessed: an argument whose register is
// written on several ways has no value, an operation without source no expression.
//
// The sources of the facts: cmd/compile/internal/walk (mapfast, walkAppend,
// walkRange), cmd/compile/internal/reflectdata/alg.go, cmd/compile/abi-internal.md
// and internal/abi/map*.go, each of Go 1.18 to 1.27.
package asmnote
