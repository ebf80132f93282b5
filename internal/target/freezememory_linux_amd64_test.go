package target

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFreeMemory finds the least of what the machine and the control groups of both
// versions leave, and what it is.
func TestFreeMemory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("meminfo", "MemTotal: 9 kB\nMemAvailable:    1000 kB\n")
	write("memory.max", "max\n")
	write("memory.current", "1\n")
	write("a/memory.max", "500000\n")
	write("a/memory.current", "450000\n")
	write("a/memory.stat", "anon 1\ninactive_file 40000\nactive_file 10000\n")
	write("a/b/memory.max", "900000\n")
	write("a/b/memory.current", "1\n")
	write("memory/c/memory.limit_in_bytes", "300000\n")
	write("memory/c/memory.usage_in_bytes", "290000\n")
	write("memory/c/memory.stat", "inactive_file 7\ntotal_inactive_file 5000\n")
	for _, c := range []struct {
		groups, where string
		free          uint64
	}{
		{"", "of this machine", 1000 << 10},
		{"0::/\n", "of this machine", 1000 << 10},
		{"0::/a/b\n", "of control group /a", 100000},
		{"5:cpu:/a\n4:memory:/c/d\n0::/\n", "of control group /c", 15000},
	} {
		write("groups", c.groups)
		free, where := freeMemory(filepath.Join(dir, "groups"), filepath.Join(dir, "meminfo"), dir)
		if free != c.free || where != c.where {
			t.Errorf("%q: %d %s, want %d %s", c.groups, free, where, c.free, c.where)
		}
	}
	im := &image{pid: os.Getpid()}
	var fe *FreezeError
	err := im.checkMemory(map[string]string{"VmPTE": "9000000000000 kB"})
	if !errors.As(err, &fe) || fe.Reason != FreezeNoMemory || !strings.Contains(err.Error(), "not enough memory: a copy needs 8789062508 MiB, ") {
		t.Error(err)
	}
	if err := im.checkMemory(map[string]string{"VmPTE": "1 kB"}); err != nil {
		t.Error(err)
	}
}
