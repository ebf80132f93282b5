//go:build !linux

package watch

// pin does nothing: only Linux lets a process choose its processors.
func pin(int) (unpin func() error, err error) { return func() error { return nil }, nil }
