// Package event says what happens to maps over time: an Event is one operation on
// one map, a recording is a file of events, and an Analysis is what follows from
// them.
//
// # Terminology
//
//   - operation: one call of a map function of the runtime by the program. A
//     function of the runtime that calls another one for the same operation
//     (mapaccess1_fat, makemap64) is one operation.
//   - function: a map function of the runtime, one of Funcs. Which of them a
//     target has follows from its symbols.
//   - site: the place that called the function, with its callers if they were
//     recorded.
//   - header: here the first bytes of the map's header, as they were when the
//     function was entered. Another goroutine may have been writing at that very
//     moment, so a header may be torn; nothing here takes it for a consistent
//     snapshot.
//   - life: of a map, from the first to the last operation on it. An address that
//     is used again by a later map is another life.
//
// # What this package is not
//
// It knows no process and no debugger. Events come from internal/probe and
// internal/watch, which are above it; internal/report renders an Analysis. Below
// it is internal/hmap, of which it uses Addr and Header.
//
// # Failure
//
// A recording is not trusted: every length in it has a limit, damage is a
// *DamagedError, a file that ends early is a *TruncatedError, and what came before
// is delivered all the same.
//
// # Where the truth comes from
//
// The functions, their arguments and who calls whom: runtime/map.go and
// runtime/map_fast*.go of Go 1.18 to 1.23 (map_noswiss.go in 1.24 and 1.25),
// internal/runtime/maps of Go 1.24 to 1.27.
package event
