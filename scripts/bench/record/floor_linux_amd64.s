#include "textflag.h"

// func floor(n int, line *[64]byte)
// n times: read the time stamp counter, store 64 bytes.
TEXT ·floor(SB), NOSPLIT, $0-16
	MOVQ n+0(FP), CX
	MOVQ line+8(FP), DI
loop:
	RDTSC
	MOVQ AX, 0(DI)
	MOVQ DX, 8(DI)
	MOVOU X0, 16(DI)
	MOVOU X0, 32(DI)
	MOVOU X0, 48(DI)
	DECQ CX
	JNZ  loop
	RET
