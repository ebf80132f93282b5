package stackmap

import "bytes"

// noLocals reports whether none of a frame's locals is live though it stands at no
// call: its frame is not set up yet, or is about to be taken down.
func (r *Reader) noLocals(fn *function, pc uint64) bool {
	if fn.locals.at == 0 || pc < fn.entry {
		return false // assembly: nobody knows what it does
	}
	off := pc - fn.entry
	var full int32
	for _, x := range fn.delta {
		full = max(full, x.val)
	}
	set := uint64(0) // where the frame is complete for the first time
	for _, x := range fn.delta {
		if x.val == full {
			break
		}
		set = x.end
	}
	if off <= set {
		return true
	}
	if r.arch != "amd64" {
		return false
	}
	buf := make([]byte, maxInstruction)
	if r.mem.read(buf, pc) == nil && hasPrefix(buf, epilogue()) {
		return true
	}
	// Up to Go 1.20 the frame pointer is saved when the frame is complete.
	if off > set+2*maxInstruction {
		return false
	}
	code := make([]byte, off-set)
	if r.mem.read(code, fn.entry+set) != nil {
		return false
	}
	for len(code) > 0 {
		i := prefix(code, framePointerSaved())
		if i < 0 || i > len(code) {
			return false
		}
		code = code[i:]
	}
	return true
}

// maxInstruction is the size of the largest instruction in the tables below.
const maxInstruction = 8

// instruction is how the code of one begins, and how long it is.
type instruction struct {
	code []byte
	size int
}

// epilogue are the instructions with which compiled code takes down a frame, and
// which it has nowhere else: cmd/internal/obj/x86, preprocess.
func epilogue() []instruction {
	return []instruction{
		{[]byte{0xc3}, 1},                   // RET
		{[]byte{0x5d}, 1},                   // POPQ BP
		{[]byte{0x48, 0x83, 0xc4}, 4},       // ADDQ $8, SP
		{[]byte{0x48, 0x81, 0xc4}, 7},       // ADDQ $400, SP
		{[]byte{0x48, 0x83, 0xec, 0x80}, 4}, // SUBQ $-128, SP
		{[]byte{0x48, 0x8b, 0x6c, 0x24}, 5}, // MOVQ 8(SP), BP
		{[]byte{0x48, 0x8b, 0xac, 0x24}, 8}, // MOVQ 400(SP), BP
	}
}

// framePointerSaved are the instructions that save the caller's frame pointer in a
// frame and make one's own.
func framePointerSaved() []instruction {
	return []instruction{
		{[]byte{0x48, 0x89, 0x6c, 0x24}, 5}, // MOVQ BP, 8(SP)
		{[]byte{0x48, 0x89, 0xac, 0x24}, 8}, // MOVQ BP, 400(SP)
		{[]byte{0x48, 0x8d, 0x6c, 0x24}, 5}, // LEAQ 8(SP), BP
		{[]byte{0x48, 0x8d, 0xac, 0x24}, 8}, // LEAQ 400(SP), BP
	}
}

// prefix returns the size of the instruction at the start of code, -1 if it is none
// of those.
func prefix(code []byte, list []instruction) int {
	for _, x := range list {
		if bytes.HasPrefix(code, x.code) {
			return x.size
		}
	}
	return -1
}

func hasPrefix(code []byte, list []instruction) bool { return prefix(code, list) > 0 }
