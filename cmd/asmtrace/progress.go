package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// A progress shows on a terminal what takes over a second, and how far it is. Several
// goroutines may count; nil counts nothing.
type progress struct {
	done, total atomic.Int64 // total is 0 while it is not known
}

// showProgress begins. The returned function takes the line away again and waits for
// that.
func showProgress(stderr io.Writer, what string) (p *progress, end func()) {
	f, ok := stderr.(*os.File)
	if !ok {
		return nil, func() {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil, func() {}
	}
	p = &progress{}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		start := time.Now()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-quit:
				if shown {
					fmt.Fprint(f, "\r\x1b[K")
				}
				return
			case <-tick.C:
				if d := time.Since(start); d > time.Second {
					shown = true
					fmt.Fprintf(f, "\r%s\x1b[K", p.text(what, d))
				}
			}
		}
	}()
	return p, func() { close(quit); <-gone }
}

// text is the line: a bar where the end is in sight, else the time.
func (p *progress) text(what string, d time.Duration) string {
	const columns = 32
	done, total := p.done.Load(), p.total.Load()
	what = clip(what, 50)
	if total <= 0 {
		return fmt.Sprintf("asmtrace: %s, %.0f s", what, d.Seconds())
	}
	done = min(done, total)
	n := int(columns * done / total)
	return fmt.Sprintf("asmtrace: %s [%s%s] %d%%", what, strings.Repeat("#", n), strings.Repeat(".", columns-n), 100*done/total)
}

// of sets how much there is to do.
func (p *progress) of(total int64) {
	if p != nil {
		p.total.Store(total)
	}
}

// add counts what was done.
func (p *progress) add(n int64) {
	if p != nil {
		p.done.Add(n)
	}
}
