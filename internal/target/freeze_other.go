//go:build !linux || !amd64

package target

import "errors"

// canFreeze: the system calls that make a frozen copy are linux/amd64's.
const canFreeze = false

func freeze(int, string) (frozenImage, error) { return nil, errors.ErrUnsupported }
