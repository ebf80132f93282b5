package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

func TestStackCheck(t *testing.T) {
	tail := bytes.Repeat([]byte{0x90}, 16)
	for _, tt := range []struct {
		name string
		code []byte
		want int
	}{
		{"small frame, short jump", []byte{0x49, 0x3b, 0x66, 0x10, 0x76, 0x29}, 6},
		{"small frame, long jump", []byte{0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0xcf, 2, 0, 0}, 10},
		{"medium frame", []byte{0x4c, 0x8d, 0x64, 0x24, 0xd0, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 2, 0, 0}, 15},
		{"large frame", []byte{0x4c, 0x8d, 0xa4, 0x24, 0, 0xff, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 2, 0, 0}, 18},
		{"no check", []byte{0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10}, 0},
		{"another comparison", []byte{0x48, 0x83, 0xf8, 0x10, 0x76, 0x29}, 0},
		{"another jump", []byte{0x49, 0x3b, 0x66, 0x10, 0x74, 0x29}, 0},
	} {
		if n := stackCheck(append(tt.code, tail...)); n != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.name, n, tt.want)
		}
	}
}

// TestRelocate: jumps and operands relative to the instruction go where they went.
func TestRelocate(t *testing.T) {
	const from, to = 0x400000, 0x300000
	for _, code := range [][]byte{
		{0x49, 0x3b, 0x66, 0x10, 0x76, 0x29},                // CMPQ; JBE short
		{0x0f, 0x84, 0, 1, 0, 0},                            // JE near
		{0xeb, 0x10},                                        // JMP short
		{0x48, 0x8d, 0x05, 0x44, 0x33, 0, 0},                // LEAQ x(IP), AX
		{0x48, 0x83, 0x3d, 0x44, 0x33, 0, 0, 5, 0x76, 0xf0}, // CMPQ x(IP), $5; JBE back
	} {
		moved, err := relocate(code, from, to)
		if err != nil {
			t.Errorf("% x: %v", code, err)
			continue
		}
		a, b := targets(t, code, from), targets(t, moved, to)
		if len(a) == 0 || len(a) != len(b) {
			t.Errorf("% x became % x: targets %#x and %#x", code, moved, a, b)
			continue
		}
		for i := range a {
			if a[i] != b[i] {
				t.Errorf("% x became % x: went to %#x, goes to %#x", code, moved, a[i], b[i])
			}
		}
	}
	var refused *RelocateError
	for _, code := range [][]byte{
		{0xe8, 0, 0, 0, 0}, // CALL
		{0xe3, 0x10},       // JRCXZ
		{0x06},             // no instruction
	} {
		if moved, err := relocate(code, from, to); !errors.As(err, &refused) {
			t.Errorf("% x became % x, error %v", code, moved, err)
		}
	}
	if _, err := relocate([]byte{0x0f, 0x84, 0, 1, 0, 0}, from, 1<<40); !errors.As(err, &refused) {
		t.Errorf("a jump over 2 GiB: %v", err)
	}
}

// targets are the addresses that code, at pc, refers to relative to itself.
func targets(t *testing.T, code []byte, pc uint64) (all []uint64) {
	t.Helper()
	for off := 0; off < len(code); {
		inst, err := x86asm.Decode(code[off:], 64)
		if err != nil {
			t.Fatalf("% x: %v", code, err)
		}
		next := pc + uint64(off+inst.Len)
		if rel, ok := inst.Args[0].(x86asm.Rel); ok {
			all = append(all, next+uint64(int64(rel)))
		} else if inst.PCRel == 4 {
			all = append(all, next+uint64(int64(int32(binary.LittleEndian.Uint32(code[off+inst.PCRelOff:])))))
		}
		off += inst.Len
	}
	return all
}

// TestReturns: a jump must not be written where another one goes.
func TestReturns(t *testing.T) {
	ret := []byte{0x48, 0x83, 0xc4, 0x18, 0x5d, 0xc3} // ADDQ $24, SP; POPQ BP; RET
	all, err := returnsOf(append([]byte{0x90}, ret...), 0x1000)
	if err != nil || len(all) != 1 || all[0].pc != 0x1001 {
		t.Errorf("returns %+v, error %v", all, err)
	}
	var refused *RelocateError
	// JE to the POPQ.
	if all, err := returnsOf(append([]byte{0x74, 4}, ret...), 0x1000); !errors.As(err, &refused) {
		t.Errorf("a jump into it: %+v, error %v", all, err)
	}
	// CALL; RET
	if all, err := returnsOf([]byte{0xe8, 0, 0, 0, 0, 0xc3}, 0x1000); !errors.As(err, &refused) {
		t.Errorf("nothing but a call before it: %+v, error %v", all, err)
	}
	if _, err := returnsOf([]byte{0x90, 0x90}, 0x1000); err == nil {
		t.Error("a function without a return")
	}
}

func FuzzRelocate(f *testing.F) {
	f.Add([]byte{0x49, 0x3b, 0x66, 0x10, 0x76, 0x29, 0x55, 0x48, 0x89, 0xe5})
	f.Fuzz(func(t *testing.T, code []byte) {
		if d, err := entryOf(code, 0x400000); err == nil {
			_, _ = relocate(d.code, d.pc, 0x300000)
		}
		_, _ = returnsOf(code, 0x400000)
	})
}
