// Package hmap decodes Go maps from raw memory.
//
// # Terminology
//
// The words are the runtime's own.
//
//   - header: what a map variable points at: runtime.hmap (Classic) or
//     internal/runtime/maps.Map (Swiss). A map variable is one machine word,
//     the header's address.
//   - Classic: the generation of Go 1.23 and before, and of 1.24 and 1.25 built
//     with GOEXPERIMENT=noswissmap. Entries lie in buckets (bmap) of eight
//     slots with one tophash each; a full bucket continues in a chain of
//     overflow buckets; growth allocates a new array and evacuates the old
//     buckets into it, a few per write.
//   - Swiss: the generation of Go 1.24 and later. Entries lie in groups of
//     eight slots with one control byte each; groups form a table, a directory
//     selects the table; a table grows by being replaced or split at once; a
//     deleted slot may stay behind as a tombstone.
//   - block: here only, a bucket or a group, where the code is the same for
//     both: eight slots behind eight bytes of tophash or control.
//   - entry: a key with its elem. slot: a place for one entry.
//
// # Where the truth comes from
//
// A [Layout] holds every offset, size and constant, read from the target's own
// debug information ([Types]) or, for this process, from the runtime's type
// descriptors ([FromReflect]). Nothing here depends on a version number: the
// generation follows from the fields that a header has. The algorithms mirror
// runtime/map.go of Go 1.18 to 1.23 (map_noswiss.go in 1.24 and 1.25) and
// internal/runtime/maps of Go 1.24 to 1.27.
//
// # What this package is not
//
// It knows no process, no core file and no debugger: all memory comes through
// [Memory]. Above it are internal/target, which supplies memory and debug
// information, internal/census, which finds maps, and internal/report, which
// renders them. Below it is only the standard library.
//
// # Failure
//
// The target's data is not trusted: every length, pointer and chain that comes
// from memory has a limit, no input makes the package panic, hang, or allocate
// without bound. What could be read before an error is kept: [Inspect] returns
// the partial result together with the joined errors.
package hmap
