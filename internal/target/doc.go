// Package target runs, attaches to and opens the inspected program: a process
// that it starts, a process that is running, a core dump, what a headless Delve
// server debugs.
//
// It answers with memory (hmap.Memory), types (hmap.DebugInfo), the place where
// the target stopped (Stop) and the variables that are alive there (Root). It
// knows nothing of maps: which of the variables lead to a header is the
// census's business.
//
// It is the one importer of Delve. Delve is used as a library, pkg/proc with its
// native and core back ends; pkg/proc does not check versions, and targets from
// Go 1.18 to 1.27 work. A server is a client's business alone: its answers make
// one more back end of pkg/proc. Types are read from image 0 alone, the executable: a
// plugin's own types are not seen.
//
// # Words
//
//   - target: the inspected program.
//   - stop: the place where all threads of the target stand still.
//   - user frame: the innermost frame of the stopped goroutine that is not in
//     the standard library; where the user's code is.
//   - root: a variable the search for maps starts at: a package variable, a
//     local or an argument.
//
// # Failure
//
// What a caller acts on is a type: NoDWARFError, NotELFError, NotGoError,
// ProcessError, CoreError, ConnectError, LocationError, ExprError, BuildError. Whatever
// happens, an attached target goes on running after Close, and a launched one
// ends. Delve's own breakpoints are taken out as soon as it has set them, ours
// when the target stops, so that a stopped target holds none even if this process is
// killed.
//
// # Where the facts come from
//
// How a Go program ends, how it dies and how it treats a signal: runtime/proc.go
// (main), runtime/panic.go (throw, fatal, fatalpanic), runtime/signal_unix.go
// (sighandler, dieFromSignal), runtime/sigqueue.go (sigsend), os/proc.go (Exit),
// Go 1.18 to 1.27.
package target
