package target

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"go/constant"
	"reflect"
	"sort"
	"strings"
	"syscall"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/service/api"
)

// Reason is why the target stands still. The strings are those of design.md.
type Reason string

const (
	Launched   Reason = "launched"    // started, nothing has run
	Attached   Reason = "attach"      // stopped by Attach wherever it was
	Core       Reason = "core"        // a core dump
	Connected  Reason = "connect"     // where the clients of a server left it
	MainReturn Reason = "main-return" // main.main is about to return, its frame is intact
	Exit       Reason = "exit"        // in os.Exit, or dying of a signal
	Fatal      Reason = "fatal"       // a fatal error of the runtime; Message is its text
	Panic      Reason = "panic"       // an unrecovered panic; Message is its value
	At         Reason = "at"          // at Until.At
	Interrupt  Reason = "interrupt"   // by Interrupt, the context, or Ctrl-C
	Exited     Reason = "exited"      // the target has ended: the stop was never reached
)

// Stop says where and why the target stands still.
type Stop struct {
	Reason  Reason
	Message string // Fatal, Panic: what the runtime is about to print; Exit: the signal's name
	// Goroutine is the id of the goroutine that stopped; 0 when none did.
	Goroutine int64
	// Func, File and Line are of the user frame; with Reason At, of the frame
	// where the location is. Empty when there is none.
	Func, File string
	Line       int
	// In is the function that the thread really is in: "runtime.fatal".
	In string
	// Hits counts how often Until.At was reached.
	Hits int
	// ExitStatus is set with Exited, and with Exit where os.Exit's argument could
	// be read; -N is death by signal N.
	ExitStatus *int
}

// Until says where Continue stops.
type Until struct {
	// At is a function or file:line; see Target.Continue. Empty: where main.main
	// returns, or the program exits.
	At string
	// Hit makes it stop when At is reached for the Hit-th time, by whatever
	// goroutine; 0 means 1.
	Hit int
}

// purpose is why we set a breakpoint; a smaller one wins when several threads
// stop at once.
type purpose int

const (
	_ purpose = iota
	atLocation
	atFatal
	atPanic
	atExit
	atMainReturn
	atSignal // where the runtime dies of a signal, or hands it to the program
	atTrace  // see Trace
)

// fatalFuncs are where the runtime dies, panicFuncs where it dies of a panic.
// Which exist depends on the version.
var (
	fatalFuncs = []string{"runtime.throw", "runtime.fatal", "runtime.fatalsignal", "runtime.winthrow"}
	panicFuncs = []string{"runtime.fatalpanic", "runtime.startpanic"}
	// signalFuncs are where a signal comes that ends the program or that it asked
	// for. Every signal comes through runtime.sigsend, but so do those with which
	// the scheduler preempts goroutines, a hundred times a second.
	signalFuncs = []string{dieFromSignal, "os/signal.process"}
)

const dieFromSignal = "runtime.dieFromSignal"

// Continue lets the target run until one of these comes about, and returns which:
//
//   - it reaches until.At for the until.Hit-th time, if At is given;
//   - otherwise: main.main is about to return, or the program calls os.Exit
//     (syscall.Exit where os is not linked). Deferred calls of main.main have run
//     by then if main returns normally;
//   - a fatal error, or a panic that nobody recovers;
//   - ctx is cancelled, Interrupt is called, or, in a target that Launch started,
//     SIGINT arrives: Ctrl-C on a terminal goes to the target, not to us, while it
//     is in the foreground. A program that asked for the signal has not seen it
//     yet; one that ignores it is not stopped by it;
//   - it ends: Reason is Exited and nothing can be read any more.
//
// An unknown At is a *LocationError. All breakpoints are taken out before
// Continue returns.
func (t *Target) Continue(ctx context.Context, until Until) (stop Stop, err error) {
	if !t.Live() {
		return Stop{}, fmt.Errorf("continue: %w", ErrNotLive)
	}
	if err := t.valid(); err != nil {
		return Stop{}, fmt.Errorf("continue: %w", err)
	}
	if until.Hit < 0 {
		return Stop{}, fmt.Errorf("continue: hit %d: hits are counted from 1", until.Hit)
	}
	until.Hit = max(until.Hit, 1)
	if err := t.setBreakpoints(until); err != nil {
		return Stop{}, errors.Join(fmt.Errorf("continue: %w", err), t.clearBreakpoints())
	}
	defer func() {
		if t.valid() == nil {
			err = errors.Join(err, t.clearBreakpoints())
			t.absorbTrap()
		}
	}()
	defer context.AfterFunc(ctx, t.Interrupt)()

	for hits := 0; ; {
		if ctx.Err() != nil {
			t.Interrupt()
		}
		if t.takeInterrupt() {
			t.stop = Stop{Reason: Interrupt, Hits: hits}
			t.describeStop(t.tgt.CurrentThread(), false)
			return t.stop, nil
		}
		ended, err := t.run()
		if err != nil {
			return Stop{}, fmt.Errorf("continue: %w", err)
		}
		if ended != nil {
			t.stop = *ended
			t.stop.Hits = hits
			return t.stop, nil
		}
		th, why, n := t.hitBreakpoint()
		hits += n
		if why == atLocation && hits < until.Hit {
			why = 0
			if n > 0 {
				// Another thread may stand at something else.
				th, why = t.hitOther()
			}
		}
		stop := Stop{Hits: hits}
		switch why {
		case atLocation:
			stop.Reason = At
		case atFatal:
			stop.Reason = Fatal
		case atPanic:
			stop.Reason = Panic
		case atExit:
			stop.Reason = Exit
		case atMainReturn:
			stop.Reason = MainReturn
		case atSignal:
			sig, ok := t.signalAt(th)
			switch {
			case ok && sig == syscall.SIGINT && t.kind == launched:
				stop.Reason = Interrupt
			case ok && t.stoppedIn(th) == dieFromSignal:
				stop.Reason, stop.Message = Exit, sig.String()
			}
		}
		if stop.Reason == "" {
			if !t.takeInterrupt() {
				continue
			}
			stop.Reason = Interrupt
		}
		t.stop = stop
		if th == nil {
			th = t.tgt.CurrentThread()
		}
		t.describeStop(th, stop.Reason == At)
		return t.stop, nil
	}
}

// Interrupt stops the target where it is, now or as soon as Continue runs it. It
// may be called from any goroutine.
func (t *Target) Interrupt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.interrupted = true
	if !t.running {
		return
	}
	// Delve forgets a request that arrives before it has resumed the threads.
	resumed := t.resumed
	go func() {
		<-resumed
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.running && t.resumed == resumed && t.interrupted {
			t.trapSent = true
			_ = t.grp.RequestManualStop()
		}
	}()
}

func (t *Target) takeInterrupt() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.interrupted
	t.interrupted = false
	return was
}

// run lets the target run to the next stop that Delve reports. It returns a Stop
// if the target has ended.
func (t *Target) run() (*Stop, error) {
	t.mu.Lock()
	t.running = true
	resumed := make(chan struct{})
	t.resumed = resumed
	early := t.interrupted // between our caller's look and now
	t.mu.Unlock()
	if early {
		t.Interrupt()
	}

	t.tty.give(t.tgt.Pid())
	t.grp.ResumeNotify(resumed)
	err := guard("run", t.grp.Continue)

	t.mu.Lock()
	t.running = false
	select {
	case <-resumed:
	default:
		close(resumed) // not resumed at all: let a waiting Interrupt go
		t.grp.ResumeNotify(nil)
	}
	t.mu.Unlock()
	t.tty.reclaim()

	var exited proc.ErrProcessExited
	if errors.As(err, &exited) {
		status := exited.Status
		return &Stop{Reason: Exited, ExitStatus: &status}, nil
	}
	return nil, err
}

// absorbTrap takes away the SIGTRAP with which RequestManualStop stops a process,
// if the process had stopped for another reason before it arrived: once we let go
// of the process it would die of it. A single step meets the pending signal before
// it executes anything, and takes it for its own trap. Only with a signal pending
// is that so: a thread in a system call would step for ever.
func (t *Target) absorbTrap() {
	t.mu.Lock()
	sent := t.trapSent
	t.mu.Unlock()
	for range 8 {
		if !sent || t.valid() != nil || !trapPending(t.tgt.Pid()) {
			return
		}
		if err := guard("step", func() error { return t.grp.StepInstruction(false) }); err != nil {
			return
		}
	}
}

func (t *Target) setBreakpoints(until Until) error {
	set := func(pcs []uint64, why purpose) error {
		for _, pc := range pcs {
			if _, taken := t.ours[pc]; taken {
				continue // an earlier purpose wins
			}
			if _, err := t.tgt.SetBreakpoint(int(why), pc, proc.UserBreakpoint, nil); err != nil {
				return fmt.Errorf("set breakpoint at %#x: %w", pc, err)
			}
			t.ours[pc] = why
		}
		return nil
	}
	// setFuncs sets breakpoints at those of the functions that exist.
	setFuncs := func(why purpose, inlined bool, names ...string) (int, error) {
		n := 0
		for _, name := range names {
			var pcs []uint64
			err := guard("find function", func() (err error) {
				if !inlined {
					var pc uint64
					fns, err := t.bi.FindFunction(name)
					if err == nil && len(fns) > 0 && fns[0].Entry != 0 {
						pc, err = proc.FirstPCAfterPrologue(t.tgt, fns[0], false)
						pcs = []uint64{pc}
					}
					return err
				}
				pcs, err = proc.FindFunctionLocation(t.tgt, name, 0)
				return err
			})
			if err != nil {
				continue
			}
			if err := set(pcs, why); err != nil {
				return n, err
			}
			n += len(pcs)
		}
		return n, nil
	}
	if until.At != "" {
		pcs, err := t.locate(until.At)
		if err != nil {
			return err
		}
		if err := set(pcs, atLocation); err != nil {
			return err
		}
	}
	if _, err := setFuncs(atFatal, false, fatalFuncs...); err != nil {
		return err
	}
	if _, err := setFuncs(atPanic, false, panicFuncs...); err != nil {
		return err
	}
	if t.kind == launched {
		if _, err := setFuncs(atSignal, true, signalFuncs...); err != nil {
			return err
		}
	}
	if until.At != "" {
		return nil
	}
	n, err := setFuncs(atExit, true, "os.Exit")
	if err == nil && n == 0 {
		_, err = setFuncs(atExit, true, "syscall.Exit")
	}
	if err != nil {
		return err
	}
	// Whatever else ends the program comes through here: main returning by a path
	// that was not found, a C library's exit does not.
	if _, err := setFuncs(atExit, false, "runtime.exit"); err != nil {
		return err
	}
	fns, err := t.bi.FindFunction("main.main")
	if err != nil || len(fns) == 0 || fns[0].Entry == 0 {
		return nil // a library, or C's main
	}
	pcs, err := t.returnPoints(fns[0])
	if err != nil {
		return fmt.Errorf("find returns of main.main: %w", err)
	}
	return set(pcs, atMainReturn)
}

// hitBreakpoint returns the thread that stands at the breakpoint of the most
// important purpose, and how many stand at Until.At.
func (t *Target) hitBreakpoint() (th proc.Thread, why purpose, hits int) {
	for _, h := range t.hits() {
		if h.why == atLocation {
			hits++
		}
		if why == 0 || h.why < why {
			th, why = h.th, h.why
		}
	}
	return th, why, hits
}

// hitOther is hitBreakpoint without Until.At.
func (t *Target) hitOther() (th proc.Thread, why purpose) {
	for _, h := range t.hits() {
		if h.why != atLocation && (why == 0 || h.why < why) {
			th, why = h.th, h.why
		}
	}
	return th, why
}

type hit struct {
	th  proc.Thread
	why purpose
}

func (t *Target) hits() []hit {
	var hits []hit
	for _, th := range t.tgt.ThreadList() {
		bp := th.Breakpoint()
		if bp.Breakpoint == nil || !bp.Active {
			continue
		}
		if why, ok := t.ours[bp.Breakpoint.Addr]; ok {
			hits = append(hits, hit{th, why})
		}
	}
	sort.Slice(hits, func(i, j int) bool { return hits[i].th.ThreadID() < hits[j].th.ThreadID() })
	return hits
}

// stoppedIn is the function that the thread is in.
func (t *Target) stoppedIn(th proc.Thread) string {
	if regs, err := th.Registers(); err == nil {
		if fn := t.bi.PCToFunc(regs.PC()); fn != nil {
			return fn.Name
		}
	}
	return ""
}

// signalAt reads the argument of runtime.dieFromSignal(uint32) or
// os/signal.process(os.Signal).
func (t *Target) signalAt(th proc.Thread) (syscall.Signal, bool) {
	if scope, err := t.topScope(th); err == nil {
		v, err := t.evalIn(scope, "sig", proc.LoadConfig{FollowPointers: true, MaxVariableRecurse: 1})
		if err == nil && v.Kind == reflect.Interface && len(v.Children) == 1 {
			v = &v.Children[0]
		}
		if err == nil && v.Unreadable == nil && v.Value != nil && v.Value.Kind() == constant.Int {
			if n, ok := constant.Int64Val(v.Value); ok && n > 0 && n < 128 {
				return syscall.Signal(n), true
			}
		}
	}
	words, ok := t.argWords(th, 2)
	if !ok {
		return 0, false
	}
	n := words[0]
	if t.stoppedIn(th) != dieFromSignal { // an interface: type, address of the value
		var b [8]byte
		if _, err := t.mem.ReadMemory(b[:], words[1]); err != nil {
			return 0, false
		}
		n = binary.LittleEndian.Uint64(b[:])
	}
	return syscall.Signal(n), n > 0 && n < 128
}

// argWords reads the first integer arguments of a function at whose entry the
// thread stands, by the register ABI of Go 1.17 and later (abi-internal.md).
func (t *Target) argWords(th proc.Thread, n int) ([]uint64, bool) {
	regs, err := th.Registers()
	if err != nil {
		return nil, false
	}
	var nums []uint64
	switch t.bi.Arch.Name {
	case "amd64":
		nums = []uint64{0, 3, 2, 5} // AX BX CX DI in DWARF's numbering
	case "arm64":
		nums = []uint64{0, 1, 2, 3}
	default:
		return nil, false
	}
	d := t.bi.Arch.RegistersToDwarfRegisters(0, regs)
	words := make([]uint64, 0, n)
	for _, num := range nums[:n] {
		words = append(words, d.Uint64Val(num))
	}
	return words, true
}

// topScope is the scope of the innermost frame of the thread.
func (t *Target) topScope(th proc.Thread) (scope *proc.EvalScope, err error) {
	err = guard("unwind", func() error {
		scope, err = proc.ThreadScope(t.tgt, th)
		return err
	})
	return scope, err
}

func (t *Target) evalIn(scope *proc.EvalScope, expr string, cfg proc.LoadConfig) (v *proc.Variable, err error) {
	err = guard("evaluate", func() error {
		v, err = scope.EvalExpression(expr, cfg)
		return err
	})
	return v, err
}

// describeStop fills in where t.stop is: the goroutine on the thread, its user
// frame, or with inFrame its innermost frame, and the message.
func (t *Target) describeStop(th proc.Thread, inFrame bool) {
	if th != nil {
		_ = guard("switch thread", func() error { return t.tgt.SwitchThread(th.ThreadID()) })
		t.stop.In = t.stoppedIn(th)
	}
	switch t.stop.Reason {
	case Fatal:
		t.stop.Message = t.fatalMessage(th)
	case Panic:
		t.stop.Message = t.panicMessage(th)
	case Exit:
		if scope, err := t.topScope(th); err == nil && t.stop.Message == "" {
			if v, err := t.evalIn(scope, "code", proc.LoadConfig{}); err == nil && v.Unreadable == nil && v.Value != nil {
				if n, ok := constant.Int64Val(v.Value); ok {
					code := int(n)
					t.stop.ExitStatus = &code
				}
			}
		}
	}
	at, ok := t.stopFrame(inFrame)
	if !ok {
		return
	}
	t.stop.Goroutine = at.goroutine
	if at.index < len(at.frames) {
		call := at.frames[at.index].Call
		t.stop.File, t.stop.Line = call.File, call.Line
		if call.Fn != nil {
			t.stop.Func = unescape(call.Fn.Name)
		}
	}
}

// maxMessage is how much of a message is read.
const maxMessage = 4096

// fatalMessage reads the argument of runtime.throw or runtime.fatal; "" when it
// cannot be had.
func (t *Target) fatalMessage(th proc.Thread) string {
	if scope, err := t.topScope(th); err == nil {
		v, err := t.evalIn(scope, "s", proc.LoadConfig{MaxStringLen: maxMessage})
		if err == nil && v.Unreadable == nil && v.Kind == reflect.String && v.Value != nil {
			return constant.StringVal(v.Value)
		}
	}
	words, ok := t.argWords(th, 2)
	if !ok || words[1] > maxMessage {
		return ""
	}
	b := make([]byte, words[1])
	if _, err := t.mem.ReadMemory(b, words[0]); err != nil {
		return ""
	}
	return string(b)
}

// panicMessage reads the value of the panic that ends the program. The runtime
// has replaced errors and Stringers by their text at this point (preprintpanics).
func (t *Target) panicMessage(th proc.Thread) string {
	cfg := proc.LoadConfig{FollowPointers: true, MaxVariableRecurse: 2, MaxStringLen: maxMessage, MaxArrayValues: 64, MaxStructFields: -1}
	scope, err := t.topScope(th)
	if err != nil {
		return ""
	}
	for _, expr := range []string{"msgs.arg", "runtime.curg._panic.arg"} {
		v, err := t.evalIn(scope, expr, cfg)
		if err != nil || v.Unreadable != nil {
			continue
		}
		var text string
		if guard("print", func() error { text = panicText(v); return nil }) == nil && text != "" {
			return text
		}
	}
	return ""
}

// panicText writes a panic's value as Go's own trace does, nearly: text as it is.
func panicText(v *proc.Variable) string {
	if v.Kind == reflect.Interface {
		if len(v.Children) != 1 {
			return "nil"
		}
		v = &v.Children[0]
	}
	if v.Kind == reflect.String && v.Value != nil {
		return constant.StringVal(v.Value)
	}
	// runtime.Error values that are not strings by now (plainError, errorString).
	return strings.TrimSpace(api.ConvertVar(v).SinglelineString())
}
