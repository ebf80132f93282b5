package target

import (
	"fmt"
	"syscall"
)

// maxStops bounds how often Finish resumes a target that stops by itself, at
// runtime.Breakpoint for instance.
const maxStops = 1000

// Finish lets a launched target run on to its end, without breakpoints, and
// returns how it ended. Interrupt makes it return ErrInterrupted, with the target
// standing still.
func (t *Target) Finish() (Stop, error) {
	if t.kind != launched {
		return Stop{}, fmt.Errorf("finish: %w", ErrNotLive)
	}
	if err := t.valid(); err != nil {
		return Stop{}, fmt.Errorf("finish: %w", err)
	}
	for range maxStops {
		if t.takeInterrupt() {
			return Stop{}, fmt.Errorf("finish: %w", ErrInterrupted)
		}
		ended, err := t.run()
		if err != nil {
			return Stop{}, fmt.Errorf("finish: %w", err)
		}
		if ended != nil {
			t.stop = *ended
			return t.stop, nil
		}
	}
	return Stop{}, fmt.Errorf("finish: it stopped by itself %d times", maxStops)
}

// Kill ends a launched target at once, and leaves any other alone. Unlike Close it
// may be called from any goroutine, while the target runs.
func (t *Target) Kill() {
	if t.kind == launched {
		_ = syscall.Kill(t.tgt.Pid(), syscall.SIGKILL)
	}
}
