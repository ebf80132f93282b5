package target

import (
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/go-delve/delve/pkg/proc"
)

// diedFrames is how deep a stack is looked at for the function that ends the program:
// printing the stacks and raising a signal come above it.
const diedFrames = 64

// describeDeath finds a goroutine in which the runtime has noticed a fatal error, in a
// core or in a process that has not ended yet, and makes it the one where the target
// stands. Message is the error's text then.
func (t *Target) describeDeath() {
	gs, err := t.goroutines()
	if err != nil {
		return
	}
	for _, g := range gs {
		if g.Thread == nil || g.Unreadable != nil {
			continue // nothing stands in a fatal error but a thread
		}
		s, err := t.stack(g, diedFrames)
		if err != nil {
			continue
		}
		i := slices.IndexFunc(s.frames, func(f proc.Stackframe) bool {
			return f.Err == nil && f.Call.Fn != nil && slices.Contains(fatalFuncs, f.Call.Fn.Name)
		})
		if i < 0 {
			continue
		}
		text, ok := t.fatalText(s, i)
		if !ok {
			continue
		}
		t.stop.Message, t.stop.Goroutine = text, g.ID
		t.stop.Func, t.stop.File, t.stop.Line = "", "", 0
		if k, ok := t.userFrame(s.frames[i:]); ok {
			at := s.frames[i+k].Call
			t.stop.File, t.stop.Line = at.File, at.Line
			if at.Fn != nil {
				t.stop.Func = unescape(at.Fn.Name)
			}
		}
		return
	}
}

// fatalText is what the runtime has printed, or is about to: the argument s of
// runtime.fatal and runtime.throw, which their callees print, in the frames from the
// innermost to that of the function itself.
func (t *Target) fatalText(s *stackAt, i int) (string, bool) {
	for k := i; k >= 0; k-- {
		fn := s.frames[k].Call.Fn
		if fn == nil || !isRuntime(fn.Name) {
			continue
		}
		for _, pc := range []uint64{s.frames[k].Call.PC, s.frames[k].Current.PC} {
			scope := t.scope(s, k)
			scope.PC, scope.Line = pc, math.MaxInt32
			var vars []*proc.Variable
			if guard("list locals", func() (err error) { vars, err = scope.Locals(0, "s"); return err }) != nil {
				continue
			}
			for _, v := range vars {
				if v.Name != "s" || v.Kind != reflect.String || v.Unreadable != nil {
					continue
				}
				r := t.root(scope, v)
				if text, ok := t.stringOf(&r); ok {
					return text, true
				}
			}
		}
	}
	return t.concurrentText(s, i)
}

// concurrentMessages are what the runtime says of maps, runtime/map.go and
// internal/runtime/maps/map.go of Go 1.18 to 1.27. None begins another.
var concurrentMessages = [...]string{"concurrent map writes", "concurrent map read and map write", "concurrent map iteration and map write"}

// concurrentText looks for the text of one of the fatal errors that the runtime knows of
// maps: up to Go 1.23 the debug information has lost where s is, but its address is in
// the frame still, for what prints it.
func (t *Target) concurrentText(s *stackAt, i int) (string, bool) {
	ptr := uint64(t.bi.Arch.PtrSize())
	lo, hi := s.frames[i].Regs.SP(), uint64(s.frames[i].Regs.CFA)
	if hi <= lo || hi-lo > maxMessage {
		return "", false
	}
	frame := make([]byte, hi-lo+4*ptr) // with what the caller has left for its arguments
	n, _ := t.mem.ReadMemory(frame, lo)
	buf := make([]byte, len(concurrentMessages[2]))
	for frame = frame[:max(n, 0)]; uint64(len(frame)) >= ptr; frame = frame[ptr:] {
		k, _ := t.mem.ReadMemory(buf, t.wordOf(frame))
		for _, m := range concurrentMessages {
			if strings.HasPrefix(string(buf[:max(k, 0)]), m) {
				return m, true
			}
		}
	}
	return "", false
}

// wordOf is the word at the beginning of b.
func (t *Target) wordOf(b []byte) (x uint64) {
	for i := range t.bi.Arch.PtrSize() {
		x |= uint64(b[i]) << (8 * i)
	}
	return x
}

// stringOf reads the string that a root is.
func (t *Target) stringOf(r *Root) (string, bool) {
	ptr := t.bi.Arch.PtrSize()
	raw := r.Raw
	if r.Err != nil || raw == nil && r.Addr == 0 {
		return "", false
	}
	if raw == nil {
		raw = make([]byte, 2*ptr)
		if n, _ := t.mem.ReadMemory(raw, r.Addr); n < len(raw) {
			return "", false
		}
	}
	if len(raw) < 2*ptr {
		return "", false
	}
	n := t.wordOf(raw[ptr:])
	if n == 0 || n > maxMessage {
		return "", false
	}
	text := make([]byte, n)
	if k, _ := t.mem.ReadMemory(text, t.wordOf(raw)); k < len(text) {
		return "", false
	}
	return string(text), true
}
