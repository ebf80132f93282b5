// Package stackmap says which words of a goroutine's stack the garbage collector
// would follow, by the collector's own stack maps in the target's memory.
//
// A stack is full of old values: spill slots whose variable is dead, arguments of
// calls that have returned. For every call the compiler records which words of the
// caller's frame are live while the call lasts. This package unwinds a stack and
// reads these maps, as the collector does. It knows no maps of the language and no
// names of variables: which live word holds a header, and how to call it, is the
// census's business, which is above. Below is internal/hmap alone; no debugger
// takes part, so that the stacks of ten thousand goroutines take a few dozen
// milliseconds.
//
// # Words
//
//   - frame: a physical frame; calls that were inlined share it.
//   - SP, CFA: a frame lies between them. SP is the stack pointer while the frame
//     stands at PC, CFA what it is after the function has returned: the runtime's
//     stkframe.sp and stkframe.fp.
//   - stack map: a bitmap, of the locals or of the arguments, a bit a word.
//   - stack object: a local whose address is taken. No bitmap has it. The collector
//     follows its pointers if it finds a pointer to it, and so does Scan.
//   - conservative: without a map; every word of the frame may be live.
//
// # Where no map speaks
//
// The maps hold at calls. A goroutine that runs stands anywhere, so its innermost
// frame is conservative: so are, as for the collector, the frame of
// runtime.asyncPreempt and the one that it interrupted. Two places inside a function
// are known all the same. Before its frame is set up, and where it is taken down, no
// local is live; there a breakpoint at a function's entry stands, and one at its
// return.
//
// # Failure
//
// The target's memory is not trusted: every count, length and chain has a limit.
// Where a stack cannot be unwound, the frames up to there stand, all that lies
// beyond is conservative, and an error says so.
//
// # Where the facts come from
//
// Go 1.18 to 1.27: runtime/symtab.go (moduledata, _func, pcvalue, funcdata,
// stackmap), runtime/stkframe.go (getStackMap; runtime/stack.go up to 1.20),
// runtime/traceback.go (unwinder; gentraceback up to 1.20), runtime/mgcmark.go
// (scanstack, scanframeworker), runtime/stack.go (stackObjectRecord),
// runtime/mbitmap.go (runGCProg, up to 1.23). Fields and constants are found by
// their names in the target's debug information. What is not there is said by the
// architecture: whether frames hold a frame pointer.
package stackmap
