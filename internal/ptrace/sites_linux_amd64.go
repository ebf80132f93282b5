package ptrace

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// WaitSite is a place where a thread that has nothing to do waits.
type WaitSite struct {
	Number uint64 // of the system call
	Begin  uint64 // where AX gets the number; the system call instruction follows
	Behind uint64
}

// Sites are the places in the runtime's text that are used.
type Sites struct {
	Waits     []WaitSite
	Sigreturn uint64 // makes rt_sigreturn(2)
	Return    uint64 // a system call instruction that a return follows
}

// What those places look like: the same from Go 1.18 to 1.27,
// runtime/sys_linux_amd64.s.
var (
	futexCode = []byte{
		0xb8, 0xca, 0, 0, 0, // MOVL $SYS_futex, AX
		0x0f, 0x05, // SYSCALL
	}
	usleepCode = []byte{
		0xb8, 0x23, 0, 0, 0, // MOVL $SYS_nanosleep, AX
		0x0f, 0x05, // SYSCALL
	}
	osyieldCode = []byte{
		0xb8, 0x18, 0, 0, 0, // MOVL $SYS_sched_yield, AX
		0x0f, 0x05, // SYSCALL
		0xc3, // RET
	}
	sigreturnCode = []byte{
		0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, // MOVQ $SYS_rt_sigreturn, AX: debuggers rely on this form
		0x0f, 0x05, // SYSCALL
	}
)

// Find finds code in the text of a function; addr is 0 if the function does not exist or
// has no such code. after is the text behind the code.
type Find func(function string, code []byte) (addr uint64, after []byte)

// Text is the code of a function.
type Text struct {
	Addr uint64
	Code []byte
}

// In makes a Find of what tells the functions of a name: one in assembly has a wrapper
// of the same name.
func In(texts func(function string) []Text) Find {
	return func(function string, code []byte) (uint64, []byte) {
		for _, t := range texts(function) {
			if i := bytes.Index(t.Code, code); i >= 0 {
				return t.Addr + uint64(i), t.Code[i+len(code):]
			}
		}
		return 0, nil
	}
}

// FindSites finds the sites. What is not there is left out; Complete says whether that
// is so.
func FindSites(find Find) (s Sites) {
	for _, w := range []struct {
		function string
		number   uint64
		code     []byte
	}{{"runtime.futex", unix.SYS_FUTEX, futexCode}, {"runtime.usleep", unix.SYS_NANOSLEEP, usleepCode}} {
		if at, _ := find(w.function, w.code); at != 0 {
			s.Waits = append(s.Waits, WaitSite{w.number, at, at + uint64(len(w.code))})
		}
	}
	s.Sigreturn, _ = find("runtime.sigreturn__sigaction", sigreturnCode)
	if s.Sigreturn == 0 {
		s.Sigreturn, _ = find("runtime.sigreturn", sigreturnCode) // up to Go 1.20
	}
	if at, _ := find("runtime.osyield", osyieldCode); at != 0 {
		s.Return = at + 5
	}
	return s
}

// Complete reports whether all sites were found.
func (s *Sites) Complete() bool { return len(s.Waits) > 0 && s.Sigreturn != 0 && s.Return != 0 }

// Functions are the functions in which FindSites looks.
func Functions() []string {
	return []string{"runtime.futex", "runtime.usleep", "runtime.sigreturn__sigaction", "runtime.sigreturn", "runtime.osyield"}
}

// WaitAt is the site at which a thread waits that is in a system call, or in none, at
// a program counter: in the call, or just before it, as one is that was a lender and
// has not run since.
func (s *Sites) WaitAt(number, pc uint64) (WaitSite, bool) {
	for _, w := range s.Waits {
		if w.Number == number && w.Behind == pc || w.Begin == pc {
			return w, true
		}
	}
	return WaitSite{}, false
}

// Again makes registers of a thread that waits at a site those with which it makes the
// call once more.
func (w WaitSite) Again(r Regs) Regs {
	r.Rip, r.Orig_rax = w.Begin, NoSyscall
	return r
}

// A frame is what a lender returns to: the address of
// rt_sigreturn(2), and the ucontext that this takes the registers from. See
// arch/x86/include/uapi/asm/sigcontext.h and asm-generic/ucontext.h of the kernel.
const (
	FrameSize  = 320          // of a frame: 8 + 304, and a multiple of 16
	frameStack = 8 + 24       // uc_stack.ss_flags
	frameRegs  = 8 + 40       // uc_mcontext; runtime.clone overwrites half of R8, the first
	frameMask  = 8 + 40 + 256 // uc_sigmask
	noChange   = 0x7fffffff   // as ss_flags, an error that rt_sigreturn overlooks
)

// Frame makes registers and a signal mask into a frame. The floating point state is
// none: nobody who is given a frame has any.
func (s *Sites) Frame(r *Regs, mask uint64) []byte {
	b := make([]byte, FrameSize)
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
	put(0, s.Sigreturn)
	put(frameStack, noChange)
	for i, v := range []uint64{
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15,
		r.Rdi, r.Rsi, r.Rbp, r.Rbx, r.Rdx, r.Rax, r.Rcx, r.Rsp, r.Rip, r.Eflags,
		r.Cs | r.Ss<<48, // and no GS, no FS: their bases stay
	} {
		put(frameRegs+8*i, v)
	}
	put(frameMask, mask)
	return b
}

// Room reports whether the stack of a thread, which reaches from lo to hi, has room for
// frames at Below.
func Room(r *Regs, lo, hi uint64) bool {
	return lo < hi && lo+scratch+16+stackRoom <= r.Rsp && r.Rsp < hi
}

// Below is where frames lie on the stack of a lender.
func Below(r *Regs) uint64 { return (r.Rsp - scratch) &^ 15 }

const (
	// scratch is how far below the lender's stack pointer the frames lie, and
	// stackRoom how far above the end of the lender's stack.
	scratch   = 4096 + 1024
	stackRoom = 512
)
