package testenv

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Archs are the architectures other than amd64 of which the listings are tested,
// with the host's toolchain.
func Archs() []string {
	return []string{"386", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm"}
}

// Compiled is what the go command makes of a package for a target.
type Compiled struct {
	Listing []byte // standard error of go build -gcflags=-S
	Binary  string // path of the program; it belongs to the test
}

// Compile builds a package, a path of the standard library or ./NAME in
// testdata/progs, with its listing. The go command replays both from its cache.
// goos and goarch may be "" for those of the machine.
func Compile(t testing.TB, tc Toolchain, goos, goarch, pkg string, flags ...string) Compiled {
	t.Helper()
	Need(t, tc)
	env := []string{"CGO_ENABLED=0"}
	if goarch == "wasm" {
		goos = "js"
	}
	if goarch != "" {
		env = append(env, "GOARCH="+goarch)
	}
	if goos != "" {
		env = append(env, "GOOS="+goos)
	}
	out := filepath.Join(t.TempDir(), "out")
	args := slices.Concat([]string{"build", "-o", out}, flags)
	if !slices.ContainsFunc(flags, func(f string) bool { return len(f) > 9 && f[:9] == "-gcflags=" }) {
		args = append(args, "-gcflags=-S")
	}
	cmd := tc.Command(t.Context(), env, append(args, pkg)...)
	cmd.Dir = ProgramDir(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: go build %s: %v\n%.2000s", tc, pkg, err, stderr.Bytes())
	}
	if _, err := os.Stat(out); err != nil {
		t.Fatal(err)
	}
	return Compiled{stderr.Bytes(), out}
}
