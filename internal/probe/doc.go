// Package probe takes events in a running program without stopping it: it places
// inline probes in the map functions of the runtime.
//
// # How
//
// While the target stands still for a moment (ptrace), a ring of shared memory and
// a page of code, the stubs, are mapped into it by system calls that one of its
// threads is made to execute, and the first five bytes of each map function become
// a jump to a stub. The stub does what it has displaced, stores an event in the
// ring, and jumps back behind that. Nothing traces the target after that; this
// process reads the ring, which it has mapped too. Probes are taken out by writing
// the original bytes back; stubs and ring stay mapped until the target ends, since a
// thread may still be inside.
//
// A Go function begins with a check of the stack's size, from which it may be
// started anew (runtime.morestack). A stub does the check first and stores its event
// behind it, so that an operation is one event, however often it is started.
//
// The address of a new map is known when makemap returns: there a probe is placed at
// each return as well.
//
// # What a stub relies on
//
// The register ABI of Go 1.17 and later (cmd/compile/abi-internal.md): at entry
// arguments lie in AX, BX, CX, DI, and SI, R8 to R13 and X0 to X14 are free where a
// function has no more arguments, as none of these has; R14 is g; DX and X15 are
// left alone. A PC outside of Go's text is never a safepoint: preemption, profiling
// and the garbage collector take a thread inside a stub for one in foreign code.
//
// # The ring
//
// A thread claims a slot with one atomic addition, which orders the events of all
// threads, and commits it with its last store. If the reader is behind, the event is
// counted as lost, by function, and the target goes on: it never waits. A target
// whose recorder has died fills the ring once and counts from then on.
//
// # What this package is not
//
// It decodes no map and analyses nothing: it hands on event.Raw as the stubs store
// them. Below it are internal/event and golang.org/x/arch; above it is
// cmd/hmapdump. It does not use Delve: a process must not stand still for as long as
// it takes to read all debug information.
//
// # Failure
//
// Where probes cannot be placed at all the error is a *NotSupportedError, a
// *ProcessError or an *AlreadyError. A single function that cannot be probed is
// skipped, with the reason in its event.Func. Either all bytes of a jump are
// written, while all threads stand still, or none.
package probe
