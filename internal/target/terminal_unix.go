//go:build unix

package target

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal on standard input, if there is one. While
// the target runs, its process group is in the foreground; while it stands still,
// ours is, so that Ctrl-C reaches this process.
type terminal struct {
	fd    int
	ours  int // our process group
	owned bool
}

// openTerminal returns the terminal on f. Its zero value, which is returned when f is no
// terminal or this process is not in the foreground, does nothing.
func openTerminal(f *os.File) *terminal {
	fd := int(f.Fd())
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil || pgrp != unix.Getpgrp() {
		return &terminal{}
	}
	return &terminal{fd: fd, ours: pgrp, owned: true}
}

func (t *terminal) give(pid int) { t.set(pid) }
func (t *terminal) reclaim()     { t.set(t.ours) }

func (t *terminal) set(pgrp int) {
	if !t.owned {
		return
	}
	// A process in the background that sets the foreground group gets SIGTTOU.
	signal.Ignore(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, pgrp)
}
