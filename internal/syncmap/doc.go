// Package syncmap decodes a sync.Map of a stopped target from raw memory, and the
// hash-trie under it wherever else one is used.
//
// # Terminology
//
// The words are those of package sync.
//
//   - read-dirty: the design of Go 1.23 and before, and of 1.24 and 1.25 built with
//     GOEXPERIMENT=nosynchashtriemap. Two ordinary maps from keys to entries: read,
//     which is looked at without a lock, and dirty, which holds the keys that are
//     new since (the map is then amended) and, after enough misses, becomes read.
//   - entry (read-dirty): what both maps point at for a key. It points at the value,
//     or at nothing: the key is deleted. An expunged entry is deleted and was left
//     out of dirty.
//   - hash-trie: the design since Go 1.24, internal/sync.HashTrieMap: a tree whose
//     indirect nodes select one of 16 children by four bits of the key's hash, from
//     the highest bits down.
//   - entry (hash-trie): a node that holds a key and its value. Keys with the same
//     hash form an overflow chain: in a sync.Map int(1) and uint(1) do.
//
// # Where the truth comes from
//
// sync/map.go of Go 1.18 to 1.25, internal/sync/hashtriemap.go of Go 1.24 to 1.27,
// internal/concurrent/hashtriemap.go of Go 1.23. Offsets and sizes are read from the
// target's debug information, and the design follows from the fields that the type
// has, never from a version.
//
// # What this package is not
//
// It knows no process and does not look for maps: internal/census, above it, finds
// them. Ordinary maps, those inside a sync.Map too, are internal/hmap's, below it.
// unique.canonMap and runtime.traceMap are tries of their own design.
//
// # Failure
//
// The target's data is not trusted: every chain has a limit, which is in the error,
// and nothing is followed twice. What could be read before an error is kept:
// [Inspect] returns it together with the joined errors.
package syncmap
