package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/arch/x86/x86asm"
)

// jumpBytes is the size of the jump that is written over code.
const jumpBytes = 5

// displaced is code that a stub does in place of the function.
type displaced struct {
	pc   uint64 // where it lies in the function
	code []byte // whole instructions, jumpBytes at least
	// check is how many bytes of it are the check of the stack's size, which comes
	// before the event; 0 if the function has none.
	check int
}

// RelocateError says why the code of a function cannot be moved to a stub.
type RelocateError struct {
	PC   uint64
	Inst string
	Why  string
}

func (e *RelocateError) Error() string {
	return fmt.Sprintf("%s at %#x %s", e.Inst, e.PC, e.Why)
}

// entryOf returns what a probe at the entry of a function displaces; code is the
// whole function, at pc.
func entryOf(code []byte, pc uint64) (displaced, error) {
	if n := stackCheck(code); n >= jumpBytes {
		return displaced{pc: pc, code: code[:n], check: n}, nil
	}
	n := 0
	for n < jumpBytes {
		inst, err := decode(code[n:])
		if err != nil {
			return displaced{}, &RelocateError{pc + uint64(n), "the instruction", "is not known: " + err.Error()}
		}
		n += inst.Len
	}
	d := displaced{pc: pc, code: code[:n]}
	return d, noJumpInto(code, pc, 1, jumpBytes)
}

// stackCheck returns the length of the check of the stack's size with which a Go
// function begins, up to and with the jump to where it calls runtime.morestack; 0 if
// there is none. cmd/internal/obj/x86, stacksplit, writes one of
//
//	CMPQ SP, 16(R14); JLS
//	LEAQ -n(SP), R12; CMPQ R12, 16(R14); JLS
//	MOVQ SP, R12; SUBQ $n, R12; JCS; CMPQ R12, 16(R14); JLS
func stackCheck(code []byte) int {
	for n, compared := 0, false; ; {
		inst, err := decode(code[n:])
		if err != nil {
			return 0
		}
		n += inst.Len
		switch {
		case compared:
			if inst.Op != x86asm.JBE {
				return 0
			}
			return n
		case inst.Op == x86asm.CMP:
			mem, ok := inst.Args[1].(x86asm.Mem)
			reg, ok1 := inst.Args[0].(x86asm.Reg)
			if !ok || !ok1 || reg != x86asm.RSP && reg != x86asm.R12 || mem.Base != x86asm.R14 || mem.Index != 0 || mem.Disp != 16 {
				return 0
			}
			compared = true
		case inst.Op == x86asm.LEA, inst.Op == x86asm.MOV, inst.Op == x86asm.SUB:
			if reg, ok := inst.Args[0].(x86asm.Reg); !ok || reg != x86asm.R12 {
				return 0
			}
			if mem, ok := inst.Args[1].(x86asm.Mem); ok && mem.Base != x86asm.RSP {
				return 0
			}
		case inst.Op == x86asm.JB && n > inst.Len:
		default:
			return 0
		}
	}
}

// returnsOf returns what probes at the returns of a function displace: each with what
// comes before it. It fails unless all returns can be probed.
func returnsOf(code []byte, pc uint64) ([]displaced, error) {
	type at struct{ off, n int }
	var insts []at
	var all []displaced
	for off := 0; off < len(code); {
		inst, err := decode(code[off:])
		if err != nil {
			return nil, &RelocateError{pc + uint64(off), "the instruction", "is not known: " + err.Error()}
		}
		insts = append(insts, at{off, inst.Len})
		if inst.Op == x86asm.RET {
			// Go back until there is room for a jump, over what a stub can do as well:
			// mostly it is the instructions that free the frame.
			begin, end := off, off+inst.Len
			for i := len(insts) - 2; i >= 0 && end-begin < jumpBytes; i-- {
				in, _ := decode(code[insts[i].off:])
				if in.Op == x86asm.CALL || in.Op == x86asm.RET || in.Op == x86asm.JMP || in.Op == x86asm.UD2 {
					break
				}
				if _, jumps := in.Args[0].(x86asm.Rel); jumps {
					break
				}
				begin = insts[i].off
			}
			if end-begin < jumpBytes {
				return nil, &RelocateError{pc + uint64(off), "the return", "is too short for a jump"}
			}
			if err := noJumpInto(code, pc, begin+1, begin+jumpBytes); err != nil {
				return nil, err
			}
			all = append(all, displaced{pc: pc + uint64(begin), code: code[begin:end]})
		}
		off += inst.Len
	}
	if len(all) == 0 {
		return nil, errors.New("it does not return")
	}
	return all, nil
}

// noJumpInto fails if a jump of the function goes to one of the bytes from begin
// until end, or if that cannot be told.
func noJumpInto(code []byte, pc uint64, begin, end int) error {
	for off := 0; off < len(code); {
		inst, err := decode(code[off:])
		if err != nil {
			return &RelocateError{pc + uint64(off), "the instruction", "is not known: " + err.Error()}
		}
		off += inst.Len
		if rel, ok := inst.Args[0].(x86asm.Rel); ok {
			if to := off + int(rel); to >= begin && to < end {
				return &RelocateError{pc + uint64(off-inst.Len), inst.Op.String(), "jumps into the bytes that a jump would overwrite"}
			}
		}
	}
	return nil
}

// relocate returns code, which lies at from, as it must be to do the same at to. Its
// jumps become those with 32 bits of distance.
func relocate(code []byte, from, to uint64) ([]byte, error) {
	var out []byte
	for off := 0; off < len(code); {
		inst, err := decode(code[off:])
		if err != nil {
			return nil, &RelocateError{from + uint64(off), "the instruction", "is not known: " + err.Error()}
		}
		b := code[off : off+inst.Len]
		fail := func(why string) error { return &RelocateError{from + uint64(off), inst.Op.String(), why} }
		next := from + uint64(off+inst.Len)
		switch {
		case inst.PCRel == 0:
			out = append(out, b...)
		case inst.Op == x86asm.CALL:
			return nil, fail("would leave a return address outside of the function")
		default:
			rel, isJump := inst.Args[0].(x86asm.Rel)
			if !isJump {
				// An operand relative to the next instruction: 32 bits at PCRelOff.
				if inst.PCRel != 4 {
					return nil, fail("has an operand that cannot be moved")
				}
				target := next + uint64(int64(int32(binary.LittleEndian.Uint32(b[inst.PCRelOff:]))))
				moved := append([]byte{}, b...)
				d, ok := distance(to+uint64(len(out)+len(b)), target)
				if !ok {
					return nil, fail("has an operand out of reach")
				}
				binary.LittleEndian.PutUint32(moved[inst.PCRelOff:], uint32(d))
				out = append(out, moved...)
				break
			}
			var op []byte
			switch {
			case inst.Op == x86asm.JMP:
				op = []byte{0xe9}
			case b[0]&0xf0 == 0x70:
				op = []byte{0x0f, 0x80 | b[0]&0xf}
			case b[0] == 0x0f && b[1]&0xf0 == 0x80:
				op = b[:2]
			default:
				return nil, fail("is a jump that cannot be moved")
			}
			d, ok := distance(to+uint64(len(out)+len(op)+4), next+uint64(int64(rel)))
			if !ok {
				return nil, fail("jumps out of reach")
			}
			out = append(out, op...)
			out = binary.LittleEndian.AppendUint32(out, uint32(d))
		}
		off += inst.Len
	}
	return out, nil
}

// distance is what takes from to to, if 32 bits hold it.
func distance(from, to uint64) (int32, bool) {
	d := int64(to - from)
	return int32(d), d >= math.MinInt32 && d <= math.MaxInt32
}

// jump returns a jump from from to to.
func jump(from, to uint64) ([]byte, error) {
	d, ok := distance(from+jumpBytes, to)
	if !ok {
		return nil, fmt.Errorf("a jump from %#x to %#x is out of reach", from, to)
	}
	return binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(d)), nil
}

// decode decodes an instruction. x86asm looks beyond the end of code that is cut off
// in the middle of some instructions, and panics.
func decode(code []byte) (x86asm.Inst, error) {
	const longest = 15
	n := len(code)
	if n == 0 {
		return x86asm.Inst{}, x86asm.ErrTruncated
	}
	if n <= longest {
		code = append(append(make([]byte, 0, 2*longest+1), code...), make([]byte, longest)...)
	}
	inst, err := x86asm.Decode(code, 64)
	if err == nil && inst.Len > n {
		err = x86asm.ErrTruncated
	}
	return inst, err
}
