package stackmap

import (
	"fmt"

	"hmaptools/internal/hmap"
)

// Reader reads the stacks of one stop of a target. It is meant for one goroutine at a
// time; what it learns of functions it keeps.
type Reader struct {
	mem     memory
	types   *hmap.Types
	arch    string
	facts   *facts
	modules []*module
	last    *module // where the last function was found
	sites   map[uint64]*site
}

// New makes a Reader. arch is the target's GOARCH. A *hmap.LayoutError names the
// field, the constant or the variable that the target lacks. It reads the tables of
// functions, eight bytes for each; before the target's first instruction they may not
// be there.
func New(mem hmap.Memory, types *hmap.Types, arch string) (*Reader, error) {
	f, err := readFacts(types, arch)
	if err != nil {
		return nil, fmt.Errorf("read stacks: %w", err)
	}
	r := &Reader{mem: memory{mem, f.ptr}, types: types, arch: arch, facts: f, sites: map[uint64]*site{}}
	if r.modules, err = readModules(r.mem, types); err != nil {
		return nil, fmt.Errorf("read stacks: %w", err)
	}
	return r, nil
}

// Kind is why a word is taken for a live pointer.
type Kind uint8

const (
	// Exact: a stack map says so.
	Exact Kind = iota
	// InObject: it is a pointer of a stack object, to which other live words lead.
	InObject
	// Conservative: it may be live; no map says whether it is.
	Conservative
)

func (k Kind) String() string {
	switch k {
	case Exact:
		return "exact"
	case InObject:
		return "in object"
	}
	return "conservative"
}

// Word is a word that the collector would follow, and that is not nil.
type Word struct {
	Addr  hmap.Addr
	Value uint64
	// Frame is the index in Stack.Frames of the frame that it belongs to; -1 for what
	// the runtime keeps outside of frames: the closure of a goroutine that has not
	// started, its deferred calls.
	Frame int32
	Kind  Kind
}

// Closure is a word of the runtime's that holds a closure.
type Closure struct {
	Word
	Deferred bool // of a deferred call; else the one that the goroutine will run
}

// Frame is a physical frame.
type Frame struct {
	// Func is the function's name in the target's table of functions, in which
	// type arguments are "[...]".
	Func string
	PC   uint64 // where it goes on: mostly a return address
	// Line is the address of an instruction of Func: its line is where the frame
	// stands. It is that of the call, and outside of what was inlined there.
	Line    uint64
	SP, CFA uint64
	// Exact: the words are those of a stack map. Otherwise all of them are
	// conservative.
	Exact bool
	// Dead: it will not go on; the call that it stands at panicked, and nothing
	// recovers in it. None of its words is live.
	Dead bool
}

// Stack is a goroutine's stack as Scan found it. A Stack may be used again: Scan
// overwrites it, and what it holds is the caller's until then.
type Stack struct {
	Frames []Frame // innermost first
	Words  []Word  // by frame; those of stack objects come last
	// Closures are the words that hold the closure of a goroutine that has not started,
	// and those of its deferred calls. They are among Words too.
	Closures []Closure

	g       *Goroutine
	mem     []byte // of the stack, from base on
	base    uint64
	objects []placed
	queue   []pointer // to follow
	later   []pointer // conservative ones
}

// placed is a stack object in its frame.
type placed struct {
	at    uint64
	o     *object
	frame int32
	done  bool
}

// pointer is one into the stack.
type pointer struct {
	to   uint64
	kind Kind
}
