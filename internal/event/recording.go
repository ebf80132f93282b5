package event

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A recording is a file of blocks. It begins with magic; a block is a frame of
// frameBytes and then its payload, compressed with S2:
//
//	0   4  "blk\n"
//	4   4  kind
//	8   4  length of the payload, uncompressed
//	12  4  length as it follows, compressed
//	16  4  CRC-32C of what follows
//	20  4  number of events
//
// all little endian. The first block is a Meta, in JSON. Blocks of events and of
// Symbols, in JSON, follow: what a block of events brings up for the first time is
// named by one right before it. An End, in JSON, closes the file. Whatever is behind the last complete block was
// being written when the recorder died.
//
// A block of events can be read without those before it. It begins with seven
// uvarints: the clock and the nanoseconds since the beginning, read together when
// the block was closed; the events lost so far; and the lengths in bytes of the first
// four of the five columns that follow, the last of which takes up the rest:
//
//   - combinations: for each its function, thread, goroutine, type, map, number of
//     return addresses, and the addresses, all uvarints. They are numbered from 0.
//   - numbers: for each event that of its combination, a byte each if there are at
//     most 256 combinations, otherwise two.
//   - clocks: for each event a varint, its clock in units of 1<<clockShift less that
//     of the event before it in the block (0).
//   - bits: for each event a byte of bits, which say what it has in the last column,
//     in this order:
//     1 a header was read: but for the following it is that of the event of
//     the same combination before it in the block,
//     2 varint: change of the first word, the number of entries,
//     4 all Layout.Size bytes of the header,
//     8 uvarint: Raw.Arg,
//     16 uvarint: Raw.Arg2,
//     32 a byte, the length of the key's first bytes, and these.
//
// Columns are cheap to write and compress well: what a loop does is mostly the same
// bytes again. zstd makes files a third smaller than S2 does, and takes several times
// as long for it, which a target that keeps all processors busy would have to pay.
const magic = "hmaprec\x02"

// clockShift: a few nanoseconds are finer than what the clock tells.
const clockShift = 3

const frameBytes = 24

var frameMagic = [4]byte{'b', 'l', 'k', '\n'}

// Kinds of blocks.
const (
	blockMeta uint32 = iota + 1
	blockEvents
	blockSymbols
	blockEnd
)

// Bits of an event.
const (
	hasHeader = 1 << iota
	hasLen
	hasRest
	hasArg
	hasArg2
	hasKey
)

// Limits of a recording, of which a reader relies on all.
const (
	blockEventsMax = 1 << 16
	blockBytesMax  = 16 << 20 // uncompressed
	stackMax       = 64
	keyMax         = 255
	combosMax      = 1 << 16
	dictionaryMax  = 1 << 24 // types, return addresses and sites of a whole recording
)

// Meta says what a recording is of.
type Meta struct {
	Tool    string    `json:"tool"`
	Started time.Time `json:"started"`
	Path    string    `json:"path"` // of the binary
	BuildID string    `json:"build_id"`
	Go      string    `json:"go"`
	Arch    string    `json:"arch"`
	Pid     int       `json:"pid"`
	Engine  string    `json:"engine"`
	Layout  Layout    `json:"layout"`
	Funcs   []*Func   `json:"funcs"`
	// Clock is the time stamp counter when the recording began.
	Clock uint64 `json:"clock"`
	// Keys says that the first bytes of keys in memory were recorded.
	Keys  bool `json:"keys,omitempty"`
	Stack int  `json:"stack,omitempty"` // callers of the caller that were recorded, at most
	// GoroutineAddrs says that a goroutine's id is the address of its g, because
	// the binary does not tell where the id lies in it.
	GoroutineAddrs bool `json:"goroutine_addrs,omitempty"`
}

// Symbols name return addresses and types of a recording.
type Symbols struct {
	Frames map[uint64][]Frame `json:"frames,omitempty"` // by return address, innermost first
	Types  []*Type            `json:"types,omitempty"`
}

// End says how a recording ended.
type End struct {
	Events     uint64 `json:"events"`
	Lost       uint64 `json:"lost"`
	LostBy     []Lost `json:"lost_by,omitempty"`
	DurationNS int64  `json:"duration_ns"`
	// Unfinished are the calls during which the target ended.
	Unfinished uint64 `json:"unfinished,omitempty"`
	Reason     string `json:"reason"` // "exit status 0", "detached", "file: no space left on device"
}

// Lost is how many events of a function were lost.
type Lost struct {
	Sym string `json:"sym"`
	N   uint64 `json:"n"`
}

// NotRecordingError says that a file is no recording, or one of another format.
type NotRecordingError struct{ What string }

func (e *NotRecordingError) Error() string { return "not a recording: " + e.What }

// TruncatedError says that a recording ends before its End: the recorder died, or
// the file was cut.
type TruncatedError struct {
	Offset int64 // of the first byte that could not be used
	Events uint64
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("the recording is cut off at byte %d: %d events could be read", e.Offset, e.Events)
}

// DamagedError says that a block does not hold what it should.
type DamagedError struct {
	Offset int64 // of the block
	Detail string
	// Events is how many events the block says it has; they are missing.
	Events uint64
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the recording is damaged: block at byte %d: %s", e.Offset, e.Detail)
}

// Partial reports whether an error of Reader.Read says that a recording is cut off or
// damaged, and what could be read was.
func Partial(err error) bool {
	var truncated *TruncatedError
	var damaged *DamagedError
	return errors.As(err, &truncated) || errors.As(err, &damaged)
}

// IsRecording reports whether a file begins like a recording, of any format.
func IsRecording(r io.Reader) bool {
	head := make([]byte, len(magic)-1)
	_, err := io.ReadFull(r, head)
	return err == nil && string(head) == magic[:len(head)]
}

type frame struct {
	kind, raw, packed, sum, events uint32
}

func (f frame) append(b []byte) []byte {
	b = append(b, frameMagic[:]...)
	for _, v := range []uint32{f.kind, f.raw, f.packed, f.sum, f.events} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func parseFrame(b []byte) (f frame, why string) {
	if [4]byte(b) != frameMagic {
		return f, "no block begins here"
	}
	for i, p := range []*uint32{&f.kind, &f.raw, &f.packed, &f.sum, &f.events} {
		*p = binary.LittleEndian.Uint32(b[4+4*i:])
	}
	switch {
	case f.raw > blockBytesMax:
		return f, fmt.Sprintf("%d bytes, at most %d are allowed", f.raw, blockBytesMax)
	case f.packed > blockBytesMax+1<<16:
		return f, fmt.Sprintf("%d bytes compressed, at most %d are allowed", f.packed, blockBytesMax+1<<16)
	case f.events > blockEventsMax:
		return f, fmt.Sprintf("%d events, at most %d are allowed", f.events, blockEventsMax)
	}
	return f, ""
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func (m *Meta) check() error {
	if err := m.Layout.Check(); err != nil {
		return err
	}
	for i, f := range m.Funcs {
		if f == nil || f.Op == 0 || f.Op >= numOps {
			return fmt.Errorf("function %d has no operation", i)
		}
	}
	return nil
}

func encodeJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("event: %T does not marshal: %v", v, err)) // our own types
	}
	return b
}
