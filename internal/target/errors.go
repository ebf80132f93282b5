package target

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotLive is returned where only a process that can run will do.
var ErrNotLive = errors.New("the target is not a live process")

// ErrClosed is returned by a Target after Close.
var ErrClosed = errors.New("the target is closed")

// ErrExited is returned where the target has ended.
var ErrExited = errors.New("the target has ended")

// ErrInterrupted is returned by Finish when Interrupt was called.
var ErrInterrupted = errors.New("interrupted")

// ErrOptimisedAway says that a variable has no value at the stop: the compiler
// did not keep it.
var ErrOptimisedAway = errors.New("optimised away")

// ErrPartly says that some of a variable's bytes were not kept by the compiler;
// Root.Lost says which.
var ErrPartly = errors.New("partly optimised away")

// NotELFError says that a file is not a binary that this machine runs.
type NotELFError struct {
	Path string
	What string // what it is instead: "a Mach-O binary", "a text file"
}

func (e *NotELFError) Error() string {
	return fmt.Sprintf("%s: not an ELF binary but %s", e.Path, e.What)
}

// NotGoError says that a binary was not built by the Go toolchain.
type NotGoError struct{ Path string }

func (e *NotGoError) Error() string { return e.Path + ": not a Go program" }

// NoDWARFError says that a Go binary carries no debug information. Functions of
// such a binary are still known (from its pclntab); variables and types are not.
type NoDWARFError struct {
	Path    string
	Missing []string // the ELF sections that are not there
}

func (e *NoDWARFError) Error() string {
	return fmt.Sprintf("%s: stripped: no %s; build it without -ldflags=-s or -ldflags=-w",
		e.Path, strings.Join(e.Missing, ", "))
}

// ProcessError says why a process cannot be attached to.
type ProcessError struct {
	Pid    int
	Reason ProcessReason
	Detail string // by whom it is traced, for instance
}

// ProcessReason is why a process cannot be attached to.
type ProcessReason int

const (
	NoProcess    ProcessReason = iota // no process has this pid
	Zombie                            // it has ended and was not waited for
	NoPermission                      // it belongs to another user, or the kernel forbids tracing
	Traced                            // another tracer holds it
	Self                              // it is this process
)

func (r ProcessReason) String() string {
	switch r {
	case NoProcess:
		return "no such process"
	case Zombie:
		return "the process has ended (zombie)"
	case NoPermission:
		return "no permission to trace it"
	case Traced:
		return "another debugger traces it"
	case Self:
		return "this is the debugger itself"
	}
	return "unknown"
}

func (e *ProcessError) Error() string {
	s := fmt.Sprintf("attach to process %d: %v", e.Pid, e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// CoreError says why a core dump cannot be opened.
type CoreError struct {
	Path   string
	Reason CoreReason
	Detail string
}

// CoreReason is why a core dump cannot be opened.
type CoreReason int

const (
	NotCore       CoreReason = iota // the file is not an ELF core dump
	OtherBinary                     // the core is of another binary
	CoreTruncated                   // the file ends within its headers or notes
)

func (r CoreReason) String() string {
	switch r {
	case NotCore:
		return "not a core dump"
	case OtherBinary:
		return "a core dump of another binary"
	case CoreTruncated:
		return "truncated within its headers"
	}
	return "unknown"
}

func (e *CoreError) Error() string {
	s := fmt.Sprintf("%s: %v", e.Path, e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// LocationError says that a place to stop at does not exist, or is not one place.
type LocationError struct {
	Spec      string
	Reason    string   // "no such function", "no code at this line", "ambiguous"
	Suggested []string // near names, or the candidates; at most 10
}

func (e *LocationError) Error() string {
	s := fmt.Sprintf("location %q: %s", e.Spec, e.Reason)
	if len(e.Suggested) > 0 {
		s += ": " + strings.Join(e.Suggested, ", ")
	}
	return s
}

// ExprError says that an expression does not parse or names nothing at the stop.
type ExprError struct {
	Expr string
	Err  error
}

func (e *ExprError) Error() string { return fmt.Sprintf("expression %q: %v", e.Expr, e.Err) }
func (e *ExprError) Unwrap() error { return e.Err }

// BuildError carries what the go command printed.
type BuildError struct {
	Arg    string
	Output string
	Err    error
}

func (e *BuildError) Error() string {
	if e.Output == "" {
		return fmt.Sprintf("build %s: %v", e.Arg, e.Err)
	}
	return fmt.Sprintf("build %s: %v\n%s", e.Arg, e.Err, strings.TrimRight(e.Output, "\n"))
}
func (e *BuildError) Unwrap() error { return e.Err }
