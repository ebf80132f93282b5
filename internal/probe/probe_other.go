//go:build !linux || !amd64

package probe

import (
	"context"
	"runtime"

	"hmaptools/internal/event"
)

// Session is a target with probes; there is none on this platform.
type Session struct{}

func unsupported() error {
	return &NotSupportedError{"they exist for linux/amd64 only, this is " + runtime.GOOS + "/" + runtime.GOARCH}
}

// Launch fails with a *NotSupportedError.
func Launch(string, []string, Options) (*Session, error) { return nil, unsupported() }

// Attach fails with a *NotSupportedError.
func Attach(int, Options) (*Session, error) { return nil, unsupported() }

// Meta is nil.
func (*Session) Meta() *event.Meta { return nil }

// Now is 0.
func (*Session) Now() (clock uint64, ns int64) { return 0, 0 }

// Nanoseconds is 0.
func (*Session) Nanoseconds(uint64) int64 { return 0 }

// Lost is 0.
func (*Session) Lost() uint64 { return 0 }

// Symbolize knows nothing.
func (*Session) Symbolize([]uint64, []uint64) event.Symbols { return event.Symbols{} }

// Notes are none.
func (*Session) Notes() []string { return nil }

// Run fails with a *NotSupportedError.
func (*Session) Run(context.Context, Sink) (End, error) { return End{}, unsupported() }

// Kill does nothing.
func (*Session) Kill() {}

// Pid is 0.
func (*Session) Pid() int { return 0 }

// Close does nothing.
func (*Session) Close() {}

// Wait does nothing.
func (*Session) Wait() int { return 0 }
