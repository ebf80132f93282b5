package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
)

// progress shows on a terminal what takes over a second, and takes the line away
// again when it is done. The returned function ends it and waits for that.
func progress(stderr io.Writer, what string) (done func()) {
	f, ok := stderr.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return func() {}
	}
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
					fmt.Fprintf(f, "\rhmapdump: %s, %.0f s\x1b[K", what, d.Seconds())
				}
			}
		}
	}()
	return func() { close(quit); <-gone }
}
