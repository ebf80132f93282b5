package stackmap

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"hmaptools/internal/hmap"
)

// Limits on a stack. The runtime's own is a gigabyte, which only a recursion
// without an end fills.
const (
	maxStack    = 64 << 20 // bytes that are read of it
	maxFrames   = 1 << 16
	maxDeferred = 1 << 16
	maxErrors   = 10 // that one stack reports
)

// firstRead is how much of a stack is read at first: most are not deeper.
const firstRead = 8 << 10

// Scan unwinds the stack of a goroutine and lists the words in it that the collector
// would follow, without those that are nil. regs are the registers of the thread that
// the goroutine is on; nil if it is on none. What could be read is in s even if there
// is an error. It takes some microseconds, and some 100 nanoseconds a frame.
func (r *Reader) Scan(s *Stack, g *Goroutine, regs *Registers) error {
	s.Frames, s.Words, s.Closures = s.Frames[:0], s.Words[:0], s.Closures[:0]
	s.g, s.mem, s.objects, s.queue = g, s.mem[:0], s.objects[:0], s.queue[:0]
	if g.Lo >= g.Hi {
		return fmt.Errorf("scan goroutine %d: its stack is [%s, %s)", g.ID, g.Lo, g.Hi)
	}
	from, err := r.start(g, regs)
	if err != nil {
		return fmt.Errorf("scan goroutine %d: %w", g.ID, err)
	}
	for _, v := range from.registers {
		s.follow(v, Conservative)
	}
	if from.saved != 0 {
		for i, v := range from.registers {
			s.add(r, from.saved+uint64(i)*r.facts.ptr, v, 0, Conservative)
		}
	}
	errs := s.unwind(r, from)
	errs = append(errs, s.outside(r)...)
	errs = append(errs, s.reach(r)...)
	if len(errs) > maxErrors {
		errs = errs[:maxErrors]
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("scan goroutine %d: %w", g.ID, err)
	}
	return nil
}

// have makes the stack readable up to an address.
func (s *Stack) have(r *Reader, to uint64) error {
	end := s.base + uint64(len(s.mem))
	if to <= end {
		return nil
	}
	if to > uint64(s.g.Hi) {
		return fmt.Errorf("%s is beyond the stack", hmap.Addr(to))
	}
	// At least twice as much as before, so that a deep stack takes few reads.
	want := min(uint64(s.g.Hi), max(to, end+max(firstRead, uint64(len(s.mem)))))
	if want-s.base > maxStack {
		if want = to; want-s.base > maxStack {
			return errDeep
		}
	}
	n := len(s.mem)
	s.mem = slices.Grow(s.mem, int(want-end))[:want-s.base]
	if err := r.mem.read(s.mem[n:], end); err != nil {
		s.mem = s.mem[:n]
		return err
	}
	return nil
}

// errDeep says that a stack was not unwound to its end.
var errDeep = fmt.Errorf("more than %d frames, or %d bytes, of stack; the outer frames are left out", maxFrames, maxStack)

// word reads a word of the stack.
func (s *Stack) word(r *Reader, at uint64) (uint64, error) {
	if at < s.base || at%r.facts.ptr != 0 || at+r.facts.ptr < at {
		return 0, fmt.Errorf("%s is no word of the frames", hmap.Addr(at))
	}
	if err := s.have(r, at+r.facts.ptr); err != nil {
		return 0, err
	}
	return wordOf(s.mem[at-s.base : at-s.base+r.facts.ptr]), nil
}

// add lists a word and notes where it points in the stack.
func (s *Stack) add(r *Reader, at, value uint64, frame int32, kind Kind) {
	if value == 0 {
		return
	}
	s.Words = append(s.Words, Word{hmap.Addr(at), value, frame, kind})
	s.follow(value, kind)
}

// follow notes a pointer into the stack: one to a stack object, it may be.
func (s *Stack) follow(value uint64, kind Kind) {
	if s.g.on(value) {
		s.queue = append(s.queue, pointer{value, kind})
	}
}

// all lists the words from lo to hi as conservative ones.
func (s *Stack) all(r *Reader, lo, hi uint64, frame int32) error {
	if lo = max(lo, s.base); lo >= hi {
		return nil
	}
	if err := s.have(r, hi); err != nil {
		return err
	}
	ptr := r.facts.ptr
	for at := (lo + ptr - 1) &^ (ptr - 1); at+ptr <= hi; at += ptr {
		s.add(r, at, wordOf(s.mem[at-s.base:at-s.base+ptr]), frame, Conservative)
	}
	return nil
}

// cfa is where the frame ends that stands at a place: funcspdelta of the runtime.
func (r *Reader) cfa(fn *function, at place) uint64 {
	end := at.sp + uint64(int64(fn.delta.at(at.pc-fn.entry)))
	if r.facts.minFrame == 0 {
		end += r.facts.ptr // the call pushed its return address
	}
	return end
}

// returnAddress is where the caller of a frame goes on.
func (r *Reader) returnAddress(at place, cfa uint64, innermost bool, word func(uint64) (uint64, error)) (uint64, error) {
	if r.facts.minFrame == 0 {
		return word(cfa - r.facts.ptr)
	}
	// The register holds it until the frame is made.
	if innermost && at.sp < cfa || at.lr == 0 {
		return word(at.sp)
	}
	return at.lr, nil
}

// unwind goes from frame to frame, as the runtime's unwinder does, and lists their
// words.
func (s *Stack) unwind(r *Reader, from start) (errs []error) {
	x := r.facts
	at, anywhere := from.place, from.anywhere
	s.base = at.sp
	word := func(at uint64) (uint64, error) { return s.word(r, at) }
	fail := func(err error) []error {
		errs = append(errs, err)
		if !errors.Is(err, errDeep) {
			// Nobody knows where the next frame begins.
			if err := s.all(r, at.sp, uint64(s.g.Hi), int32(len(s.Frames))-1); err != nil {
				errs = append(errs, err)
			}
		}
		return errs
	}
	if !s.g.on(at.sp) || at.sp%x.ptr != 0 {
		s.base = uint64(s.g.Lo)
		return append(errs, fmt.Errorf("its stack pointer is %s, its stack [%s, %s)", hmap.Addr(at.sp), s.g.Lo, s.g.Hi))
	}
	if at.pc == 0 {
		// A call of a nil function: the caller is the innermost.
		ret, err := s.word(r, at.sp)
		if err != nil {
			return fail(err)
		}
		at.pc, at.lr, anywhere = ret, 0, false
		if x.minFrame == 0 {
			at.sp += x.ptr
		}
	}
	var callee uint64 // its funcID
	conservative := false
	for {
		i := int32(len(s.Frames))
		if i >= maxFrames {
			return fail(errDeep)
		}
		var st *site
		var fn *function
		if anywhere {
			fn = r.function(at.pc)
		} else if st = r.site(at.pc); st != nil {
			fn = st.fn
		}
		switch {
		case fn == nil:
			return fail(fmt.Errorf("frame %d: no function is at %s", i, hmap.Addr(at.pc)))
		case fn.err != nil:
			return fail(fmt.Errorf("frame %d: %w", i, fn.err))
		case fn.pcsp == 0:
			return fail(fmt.Errorf("frame %d: nobody knows the frame of %s", i, fn.name))
		}
		var cfa uint64
		if st != nil {
			cfa = at.sp + uint64(int64(st.delta))
			if x.minFrame == 0 {
				cfa += x.ptr
			}
		} else {
			cfa = r.cfa(fn, at)
		}
		if cfa < at.sp || cfa > uint64(s.g.Hi) {
			return fail(fmt.Errorf("frame %d: %s from %s to %s", i, fn.name, hmap.Addr(at.sp), hmap.Addr(cfa)))
		}
		top := fn.flag&x.topFrame != 0
		var ret uint64
		if !top {
			var err error
			if ret, err = r.returnAddress(at, cfa, i == 0, word); err != nil {
				return fail(fmt.Errorf("frame %d: return address: %w", i, err))
			}
		}
		// The locals end at varp, under the return address and the frame pointer.
		varp := cfa
		if x.minFrame == 0 {
			varp -= x.ptr
		}
		if varp > at.sp && x.framePointer {
			varp -= x.ptr
		}
		f := Frame{Func: fn.name, PC: at.pc, SP: at.sp, CFA: cfa}
		injects := fn.id == x.asyncPreempt || fn.id == x.debugCall
		b := body{fn: fn, st: st, at: at, varp: varp, argp: cfa + x.minFrame, frame: i}
		var err error
		switch {
		case anywhere && r.noLocals(fn, at.pc):
			f.Line = r.outermost(fn, at.pc)
			err = s.arguments(r, &b)
		case anywhere || injects || conservative:
			f.Line = at.pc
			if st != nil && !conservative {
				f.Line = st.line
			} else {
				f.Line = r.outermost(fn, at.pc)
			}
			err = s.whole(r, &b)
		case callee == x.sigpanic && fn.deferreturn == 0:
			f.Line, f.Dead = r.outermost(fn, at.pc), true
		default:
			f.Line = st.line
			if callee == x.sigpanic {
				// If a deferred call recovers, it goes on at the return.
				f.Line = r.outermost(fn, at.pc)
				b.st = r.site(fn.entry + fn.deferreturn + 1)
			}
			f.Exact, err = s.mapped(r, &b)
		}
		s.Frames = append(s.Frames, f)
		if err != nil {
			errs = append(errs, fmt.Errorf("frame %d: %s: %w", i, fn.name, err))
		}
		if top {
			break
		}
		if ret == 0 {
			break
		}
		if ret == at.pc && cfa == at.sp {
			return fail(fmt.Errorf("frame %d: %s is its own caller", i, fn.name))
		}
		injected := injects || fn.id == x.sigpanic
		conservative = injects
		anywhere = false
		callee = fn.id
		at = place{pc: ret, sp: cfa}
		if x.minFrame != 0 && injected {
			// The signal handler pushed the return address of the frame that it made to
			// call this one.
			lr, err := word(at.sp)
			if err != nil {
				return fail(fmt.Errorf("frame %d: return address: %w", i+1, err))
			}
			at.sp += (x.minFrame + x.stackAlign - 1) / x.stackAlign * x.stackAlign
			if next := r.function(at.pc); next == nil {
				at.pc = lr
			} else if next.err == nil && next.delta.at(at.pc-next.entry) == 0 {
				at.lr = lr
			}
		}
	}
	if n := len(s.Frames); n > 0 && s.g.top != 0 && s.Frames[n-1].SP != s.g.top {
		at.sp = s.Frames[n-1].SP
		return fail(fmt.Errorf("unwound to %s in %s, but the stack begins at %s",
			hmap.Addr(at.sp), s.Frames[n-1].Func, hmap.Addr(s.g.top)))
	}
	return errs
}

// body is a frame whose words are to be listed.
type body struct {
	fn         *function
	st         *site // nil where it stands at no call
	at         place
	varp, argp uint64
	frame      int32
}

// whole lists all words of a frame, and its arguments.
func (s *Stack) whole(r *Reader, b *body) error {
	return errors.Join(s.all(r, b.at.sp, b.varp, b.frame), s.arguments(r, b))
}

// arguments lists all arguments of a frame. Those of a function in assembly that
// takes what it finds are described by the record that its caller gave it.
func (s *Stack) arguments(r *Reader, b *body) error {
	n := uint64(0)
	if b.fn.args > 0 {
		n = uint64(b.fn.args)
	} else if b.fn.args == r.facts.argsUnknown {
		n = s.methodArguments(r, b)
	}
	return s.all(r, b.argp, min(b.argp+n, uint64(s.g.Hi)), b.frame)
}

// maxArguments bounds the arguments of a call through reflect, in bytes.
const maxArguments = 1 << 20

// methodArguments is how many bytes of arguments and results the function has that
// package reflect made: argMapInternal of the runtime.
func (s *Stack) methodArguments(r *Reader, b *body) uint64 {
	if b.fn.name != "reflect.makeFuncStub" && b.fn.name != "reflect.methodValueCall" {
		return 0
	}
	at, err := s.word(r, b.at.sp+r.facts.minFrame)
	if err != nil {
		return 0
	}
	buf := make([]byte, r.facts.methodValue.size)
	if r.mem.read(buf, at) != nil || r.facts.methodFn.Uint(buf) != b.fn.entry {
		return 0
	}
	n := make([]byte, 4)
	if r.mem.read(n, r.facts.methodStack.Uint(buf)+uint64(r.facts.bitvectorN.Off)) != nil {
		return 0
	}
	return min(hmap.RecordField{Size: 4}.Uint(n)*r.facts.ptr, maxArguments)
}

// mapped lists the words of a frame that its stack map has. Without a map it lists
// all, and exact is false.
func (s *Stack) mapped(r *Reader, b *body) (exact bool, err error) {
	x, st := r.facts, b.st
	least := x.minFrame
	if r.arch == "arm64" {
		least = x.stackAlign // getStackMap of the runtime
	}
	locals := b.varp > b.at.sp && b.varp-b.at.sp > least
	if st == nil || st.err != nil || locals && st.noLocals || st.noArgs {
		err := s.whole(r, b)
		if st != nil && st.err != nil {
			err = errors.Join(st.err, err)
		}
		return false, err
	}
	if locals {
		for _, k := range st.locals {
			at := b.varp + uint64(int64(k)*int64(x.ptr))
			v, err := s.word(r, at)
			if err != nil {
				return false, err
			}
			s.add(r, at, v, b.frame, Exact)
		}
	}
	for _, k := range st.args {
		at := b.argp + uint64(int64(k)*int64(x.ptr))
		v, err := s.word(r, at)
		if err != nil {
			return false, err
		}
		s.add(r, at, v, b.frame, Exact)
	}
	for _, o := range b.fn.objects {
		at := b.varp
		if o.off >= 0 {
			at = b.argp
		}
		// One that is not in the frame yet is no object.
		if at += uint64(o.off); at >= b.at.sp && at < uint64(s.g.Hi) {
			s.objects = append(s.objects, placed{at: at, o: o, frame: b.frame})
		}
	}
	return true, nil
}

// outside lists what the runtime keeps for a goroutine outside of its frames.
func (s *Stack) outside(r *Reader) (errs []error) {
	g, x := s.g, r.facts
	s.closure(r, uint64(g.addr)+uint64(x.schedCtxt.Off), g.ctxt, -1, false)
	if g.x != 0 {
		buf := make([]byte, x.xRegsBytes)
		if err := r.mem.read(buf, g.x); err != nil {
			errs = append(errs, fmt.Errorf("vector registers: %w", err))
		} else {
			for off := uint64(0); off+x.ptr <= x.xRegsBytes; off += x.ptr {
				s.add(r, g.x+off, wordOf(buf[off:off+x.ptr]), -1, Conservative)
			}
		}
	}
	if len(s.Frames) == 0 {
		return errs
	}
	// A function that is deferred may be a closure on the stack, and so may the record
	// of the deferred call.
	buf := make([]byte, x.deferred.size)
	for d, n := g.deferred, 0; d != 0; n++ {
		if n >= maxDeferred {
			return append(errs, fmt.Errorf("more than %d deferred calls", maxDeferred))
		}
		if err := r.mem.read(buf, d); err != nil {
			return append(errs, fmt.Errorf("deferred call: %w", err))
		}
		fn, link := x.deferFn.Uint(buf), x.deferLink.Uint(buf)
		s.closure(r, d+uint64(x.deferFn.Off), fn, s.frameAt(d), true)
		s.add(r, d+uint64(x.deferLink.Off), link, s.frameAt(d), Exact)
		d = link
	}
	s.follow(g.panicking, Exact)
	return errs
}

// closure lists a word that holds a closure.
func (s *Stack) closure(r *Reader, at, value uint64, frame int32, deferred bool) {
	if value != 0 {
		s.Closures = append(s.Closures, Closure{Word{hmap.Addr(at), value, frame, Exact}, deferred})
	}
	s.add(r, at, value, frame, Exact)
}

// frameAt is the index of the frame that holds an address, -1 if none does.
func (s *Stack) frameAt(at uint64) int32 {
	i := sort.Search(len(s.Frames), func(i int) bool { return s.Frames[i].CFA > at })
	if i == len(s.Frames) || at < s.Frames[i].SP {
		return -1
	}
	return int32(i)
}

// reach lists the pointers of the stack objects that the words lead to: those that
// exact words lead to first, so that what they hold is known to be live.
func (s *Stack) reach(r *Reader) (errs []error) {
	if len(s.objects) == 0 {
		return nil
	}
	byAddr := func(a, b placed) int { return cmp.Compare(a.at, b.at) }
	if !slices.IsSortedFunc(s.objects, byAddr) {
		slices.SortFunc(s.objects, byAddr)
	}
	s.later = s.later[:0]
	for _, p := range s.queue {
		if p.kind == Conservative {
			s.later = append(s.later, p)
		}
	}
	errs = s.drain(r, InObject)
	s.queue = append(s.queue[:0], s.later...)
	return append(errs, s.drain(r, Conservative)...)
}

// drain follows the pointers in the queue. Those of the objects that it reaches are
// words of that kind.
func (s *Stack) drain(r *Reader, kind Kind) (errs []error) {
	for len(s.queue) > 0 {
		p := s.queue[len(s.queue)-1]
		s.queue = s.queue[:len(s.queue)-1]
		if p.kind == Conservative && kind != Conservative {
			continue
		}
		o := s.objectAt(p.to)
		if o == nil || o.done {
			continue
		}
		o.done = true
		words, err := r.pointers(o.o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, k := range words {
			at := o.at + uint64(k)*r.facts.ptr
			v, err := s.word(r, at)
			if err != nil {
				errs = append(errs, fmt.Errorf("stack object: %w", err))
				break
			}
			s.add(r, at, v, o.frame, kind)
		}
	}
	return errs
}

// objectAt is the stack object that holds an address, nil if none does.
func (s *Stack) objectAt(at uint64) *placed {
	i := sort.Search(len(s.objects), func(i int) bool { return s.objects[i].at > at }) - 1
	if i < 0 || at-s.objects[i].at >= s.objects[i].o.size {
		return nil
	}
	return &s.objects[i]
}
