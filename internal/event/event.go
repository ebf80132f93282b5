package event

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"hmaptools/internal/hmap"
)

// Event is one operation on a map. Func, Type and Site are shared by all events of
// a source, so pointers compare.
type Event struct {
	T         int64 // nanoseconds since the recording began
	Func      *Func
	Map       hmap.Addr // of the header; 0 for a nil map
	Type      *Type     // nil if not known: makemap_small is not told
	Goroutine int64     // 0 is a thread's own stack
	Thread    int       // the kernel's id; 0 if not known
	Site      *Site
	// Header is the map's header on entry; of a make, on return. Its Addr is 0 when
	// there was none to read.
	Header hmap.Header
	// Arg is the key (Word32, Word64), the length of the key (Text), the hint of a
	// make, the old bucket of an evacuation, or the new capacity of a table.
	Arg uint64
	// KeyBytes are the first bytes of the key, where they were recorded; they are
	// valid until the next event.
	KeyBytes []byte
	// Table describes the table of a Swiss map that grows or splits.
	Table Table
}

// Table is a table of a Swiss map, as it was before it was replaced.
type Table struct{ Used, Capacity, GrowthLeft, LocalDepth int }

// Tombstones is how many slots of the table are deleted and not empty. A table is
// filled up to seven eighths, a table of one group but for one slot: GrowthLeft
// counts down from there (table.resetGrowthLeft).
func (t Table) Tombstones() int {
	if t.Capacity == 0 {
		return 0
	}
	most := t.Capacity * 7 / 8
	if t.Capacity <= 8 {
		most = t.Capacity - 1
	}
	return max(0, most-t.GrowthLeft-t.Used)
}

// Func is a map function in which events are taken.
type Func struct {
	Sym  string    `json:"sym"`
	Op   Op        `json:"op"`
	Key  Key       `json:"key,omitempty"`
	Addr hmap.Addr `json:"addr"`
	// Skipped says why no events are taken in it; "" if they are.
	Skipped string `json:"skipped,omitempty"`
	// Growth holds the two functions without a table in which a Swiss map grows.
	OldSlots int64 `json:"old_slots,omitempty"`
	NewSlots int64 `json:"new_slots,omitempty"`
	// LoadNum/LoadDen is the average number of entries in a bucket that a Classic map
	// may have: runtime.loadFactorNum and loadFactorDen, of hashGrow.
	LoadNum uint64 `json:"load_num,omitempty"`
	LoadDen uint64 `json:"load_den,omitempty"`
}

// NewFunc returns the function that spec describes.
func NewFunc(spec Spec, addr hmap.Addr) *Func {
	f := &Func{Sym: spec.Sym, Op: spec.Op, Key: spec.Key, Addr: addr}
	switch spec.Sym {
	case "runtime.hashGrow":
		f.LoadNum, f.LoadDen = 13, 2 // but in Go 1.21, where it is 12
	case maps + "(*Map).growToSmall": // of a map that has no group yet
		f.NewSlots = 8
	case maps + "(*Map).growToTable": // 2*abi.MapGroupSlots
		f.OldSlots, f.NewSlots = 8, 16
	}
	return f
}

// Type is a map type.
type Type struct {
	Addr hmap.Addr    `json:"addr"` // of its descriptor
	Name string       `json:"name"` // "" if it could not be read
	Key  reflect.Kind `json:"key,omitempty"`
	Size int64        `json:"key_size,omitempty"` // of the key in bytes
	// Block is the size of a bucket or a group of eight slots in bytes.
	Block int64 `json:"block,omitempty"`
}

// Frame is a function call; inlined calls are frames too.
type Frame struct {
	Func string `json:"func"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func (f Frame) String() string {
	if f.File == "" {
		return f.Func
	}
	return fmt.Sprintf("%s (%s:%d)", f.Func, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
}

// Site is the place of a call: the return addresses, innermost first.
type Site struct {
	PCs    []uint64
	frames map[uint64][]Frame // of the source: by return address
}

// Frames are the frames of the site, innermost first, as far as they are known.
func (s *Site) Frames() []Frame {
	var all []Frame
	for _, pc := range s.PCs {
		if f := s.frames[pc]; len(f) > 0 {
			all = append(all, f...)
		} else {
			all = append(all, Frame{Func: fmt.Sprintf("%#x", pc)})
		}
	}
	return all
}

// Caller is the frame that called the map function; where the runtime, package
// reflect or maps.Clone did it for the program, and the callers are known, the program's.
func (s *Site) Caller() Frame {
	if len(s.PCs) == 0 {
		return Frame{}
	}
	frames := s.Frames()
	for _, f := range frames {
		if f.Func != "maps.clone" && !strings.HasPrefix(f.Func, "maps.Clone[") && !strings.HasPrefix(f.Func, "runtime.") && !strings.HasPrefix(f.Func, "reflect.") && !strings.HasPrefix(f.Func, "internal/") && !strings.HasPrefix(f.Func, "0x") {
			return f
		}
	}
	return frames[0]
}

// Slots returns how many slots the growing part of the map had and will have: the
// map's buckets (Classic), the table, or the two tables that it is split into
// (Swiss). Both are 0 if the event is no growth.
func (e *Event) Slots() (old, new int64) {
	switch e.Func.Op {
	case Grow, Split, Rehash:
	default:
		return 0, 0
	}
	if e.Header.Generation == hmap.Classic {
		old = 8 << min(e.Header.B, 48)
		if e.DoubleGrow() {
			return old, 2 * old
		}
		return old, old
	}
	switch {
	case e.Func.NewSlots > 0:
		return e.Func.OldSlots, e.Func.NewSlots
	case e.Func.Op == Grow:
		return int64(e.Table.Capacity), int64(e.Arg)
	}
	return int64(e.Table.Capacity), 2 * int64(e.Table.Capacity)
}

// DoubleGrow reports whether hashGrow doubles the buckets of a Classic map, rather
// than making as many new ones: runtime/map.go, overLoadFactor.
func (e *Event) DoubleGrow() bool {
	n := uint64(e.Header.Count) + 1
	return n > 8 && e.Func.LoadDen > 0 && n > e.Func.LoadNum*((uint64(1)<<min(e.Header.B, 48))/e.Func.LoadDen)
}

// OldBuckets is how many old buckets a Classic map had when one of them was
// evacuated.
func (e *Event) OldBuckets() int64 {
	const sameSizeGrow = 8 // runtime/map.go
	b := min(e.Header.B, 48)
	if e.Header.Flags&sameSizeGrow == 0 && b > 0 {
		b--
	}
	return 1 << b
}

// Concurrent reports whether the event proves a concurrent access: the header said
// on entry that a writer is inside. An operation that is part of another one, a
// growth for instance, proves nothing.
func (e *Event) Concurrent() bool {
	const hashWriting = 4 // runtime/map.go
	if e.Header.Addr == 0 || !e.Func.Op.Writes() && !e.Func.Op.Reads() {
		return false
	}
	if e.Header.Generation == hmap.Classic {
		return e.Header.Flags&hashWriting != 0
	}
	return e.Header.Writing&1 != 0
}

// maxKeyText bounds a key's text.
const maxKeyText = 64

// KeyText is the key in Go's syntax; "" if it is not known.
func (e *Event) KeyText() string {
	kind := reflect.Invalid
	if e.Type != nil {
		kind = e.Type.Key
	}
	switch e.Func.Key {
	case Word32:
		if kind == reflect.Int32 || kind == reflect.Invalid {
			return strconv.FormatInt(int64(int32(e.Arg)), 10)
		}
		return word(kind, e.Arg&0xffffffff)
	case Word64:
		return word(kind, e.Arg)
	case Text:
		if e.KeyBytes == nil && e.Arg > 0 {
			return ""
		}
		n := min(e.Arg, uint64(len(e.KeyBytes)), maxKeyText)
		s := strconv.Quote(string(e.KeyBytes[:n]))
		if n < e.Arg {
			s += "..."
		}
		return s
	case InMem:
		if e.KeyBytes == nil || e.Type == nil || e.Type.Size == 0 {
			return ""
		}
		b := e.KeyBytes[:min(int64(len(e.KeyBytes)), e.Type.Size)]
		if e.Type.Size <= 8 && kind >= reflect.Bool && kind <= reflect.Uintptr {
			var w uint64
			for i, c := range b {
				w |= uint64(c) << (8 * i)
			}
			shift := 64 - 8*uint(len(b))
			if kind <= reflect.Int64 {
				w = uint64(int64(w<<shift) >> shift)
			}
			return word(kind, w)
		}
		s := fmt.Sprintf("0x%x", b)
		if int64(len(b)) < e.Type.Size {
			s += "..."
		}
		return s
	}
	return ""
}

func word(kind reflect.Kind, w uint64) string {
	switch kind {
	case reflect.Bool:
		return strconv.FormatBool(w != 0)
	case reflect.Pointer, reflect.UnsafePointer, reflect.Chan, reflect.Map, reflect.Func:
		return fmt.Sprintf("%#x", w)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(w, 10)
	}
	return strconv.FormatInt(int64(w), 10)
}
