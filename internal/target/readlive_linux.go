package target

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// readLive reads the memory of a process. ok is false if the kernel does not
// let us do it this way. Delve does the same, but asks ptrace once more for what
// is not there, in another thread: a hundred times slower, and a census meets many
// words that point nowhere.
func readLive(pid int, buf []byte, addr uint64) (n int, err error, ok bool) {
	for n < len(buf) {
		local := []unix.Iovec{{Base: &buf[n]}}
		local[0].SetLen(len(buf) - n)
		k, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(addr + uint64(n)), Len: len(buf) - n}}, 0)
		switch {
		case err == nil && k > 0:
			n += k // it stops early at a page that is not there, and at 2 GiB
		case errors.Is(err, unix.EFAULT), err == nil:
			return n, fmt.Errorf("read memory at %#x: no memory there", addr+uint64(n)), true
		default:
			return n, err, false
		}
	}
	return n, nil, true
}
