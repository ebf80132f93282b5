// Package ptrace stops the threads of another process and has one of them make system
// calls, so that nothing is left behind if this process is killed at any moment.
//
// # What killed means
//
// SIGKILL cannot be held off. When it comes, the kernel resumes all that this process
// traces with the registers that it has. So at no moment may a thread have registers
// with which it must not run, and no step may need this process to be undone. Hence
// three rules:
//
//   - Only a thread that waits for something to do is borrowed, a lender: in
//     runtime.futex or runtime.usleep, an idle M or sysmon. There is no harm in waiting
//     once more from the beginning.
//   - The system call instruction that it is borrowed for is followed by a return, and
//     on its stack lies a frame for rt_sigreturn(2), which loads the registers that it
//     goes on with. As long as this process lives it does the same, earlier and without
//     the stack.
//   - Nothing is single-stepped: the trap flag would stay set.
//
// All that is changed of the other process's memory are some hundred bytes far below the
// lender's stack pointer but within its stack, where nothing lives.
//
// # What this package is not
//
// It knows no Delve and no maps; internal/target makes frozen copies with it and
// internal/probe places probes. What runs on which thread of this process is theirs to
// decide: what a thread traces, no other can.
//
// # Where the truth comes from
//
// ptrace(2), arch/x86/include/uapi/asm/sigcontext.h and asm-generic/ucontext.h of the
// kernel, and runtime/sys_linux_amd64.s of Go 1.18 to 1.27.
package ptrace
