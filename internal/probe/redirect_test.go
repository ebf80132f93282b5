//go:build linux && amd64

package probe_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// redirect makes standard output and error of this process, which a target has too,
// go to files until restore is called.
func redirect(t testing.TB, stdout, stderr *os.File) (restore func()) {
	t.Helper()
	var saved [2]int
	for i, f := range []*os.File{stdout, stderr} {
		fd, err := unix.Dup(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		saved[i] = fd
		if err := unix.Dup2(int(f.Fd()), i+1); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for i, fd := range saved {
			_ = unix.Dup2(fd, i+1)
			unix.Close(fd)
		}
	}
}

// plain runs a program without probes and returns what it writes to standard output.
func plain(t testing.TB, bin string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", bin, args, err, out)
	}
	return string(out)
}
