package probe

import (
	"fmt"

	"hmaptools/internal/event"
)

// Options say what is recorded.
type Options struct {
	Ops []event.Op // none: all
	// RingBytes is the size of the ring, rounded to a power of two; 0 stands for
	// DefaultRingBytes.
	RingBytes int
	// Keys stores the first KeyBytes bytes of keys that are strings or lie in
	// memory.
	Keys bool
	// Map is an expression: only events on the map that it names at that moment are
	// stored, and all makes. It names a package variable, or a field or an element of
	// an array in one, through pointers. "" stands for all maps.
	Map string
	// Stack is how many callers of the caller are stored, at most MaxStack. They are
	// found by frame pointers.
	Stack int
}

// Sizes of what is stored.
const (
	DefaultRingBytes = 64 << 20
	MaxRingBytes     = 4 << 30
	KeyBytes         = 32
	MaxStack         = 40
)

// Sink takes the events of a Session in. What it is given is valid during the call
// only.
type Sink interface {
	Add(r *event.Raw, stack []uint64, key []byte)
	// AddAll is Add for events one behind the other that have neither.
	AddAll(rs []event.Raw)
	// Tick is called about every tenth of a second, and when there are no events.
	// An error ends the recording; the probes are taken out.
	Tick() error
}

// End says how a Session ended.
type End struct {
	// Exited says that the target has ended; ExitStatus is then its exit status, or
	// minus the number of a signal. It is known for a target that was launched.
	Exited     bool
	ExitStatus int
	Lost       []event.Lost
	LostTotal  uint64
	// Unfinished are slots that were claimed and never committed: the target ended.
	Unfinished uint64
}

// NotSupportedError says that there are no inline probes here, and why.
type NotSupportedError struct{ Why string }

func (e *NotSupportedError) Error() string { return "inline probes are not supported: " + e.Why }

// ProcessError says what went wrong with the target's process.
type ProcessError struct {
	Pid    int
	Detail string
	Err    error
}

func (e *ProcessError) Error() string {
	s := fmt.Sprintf("process %d: %s", e.Pid, e.Detail)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ProcessError) Unwrap() error { return e.Err }

// AlreadyError says that probes are placed in the process already, by the process
// Owner, which is alive.
type AlreadyError struct{ Pid, Owner int }

func (e *AlreadyError) Error() string {
	return fmt.Sprintf("process %d: process %d is recording it already", e.Pid, e.Owner)
}

// EndedError says that the target ended while probes were being placed.
type EndedError struct{ Pid int }

func (e *EndedError) Error() string {
	return fmt.Sprintf("process %d ended while probes were being placed", e.Pid)
}
