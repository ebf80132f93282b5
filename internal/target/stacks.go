package target

import "errors"

// Frame is a function call on a goroutine's stack; inlined calls are frames too.
type Frame struct {
	Func, File string
	Line       int
}

// Stack is what a goroutine is doing, innermost frame first.
type Stack struct {
	Goroutine int64
	Frames    []Frame
}

// Stacks unwinds all goroutines but the runtime's own, depth frames each at most.
// What could be unwound is returned along with the joined errors.
func (t *Target) Stacks(depth int) ([]Stack, error) {
	gs, err := t.goroutines()
	errs := []error{err}
	var stacks []Stack
	for _, g := range gs {
		if g.Unreadable != nil {
			continue
		}
		system := false
		_ = guard("goroutine", func() error { system = g.System(t.tgt); return nil })
		if system {
			continue
		}
		s, err := t.stack(g, depth)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out := Stack{Goroutine: g.ID}
		for i := range s.frames {
			f := &s.frames[i]
			if f.Err != nil || f.Call.Fn == nil {
				continue
			}
			out.Frames = append(out.Frames, Frame{unescape(f.Call.Fn.Name), f.Call.File, f.Call.Line})
		}
		stacks = append(stacks, out)
	}
	return stacks, errors.Join(errs...)
}
