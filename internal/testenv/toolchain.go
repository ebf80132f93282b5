package testenv

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// A Toolchain is a row of the table: a Go release with its experiment.
// Generation and Variant say what its maps are. They are the oracle for tests;
// the tools themselves find out from the target.
type Toolchain struct {
	Name       string // unique; fit for a subtest and a file name: go1.24-noswissmap
	Go         string // value of GOTOOLCHAIN: go1.24.13, or local
	Experiment string // value of GOEXPERIMENT, mostly empty
	Generation string // classic or swiss
	Variant    string // bucket, interleaved or splitgroup
}

// table returns all rows, oldest first, the host where its version belongs.
// A row is taken by a plain go test if basic is set.
func table() []struct {
	Toolchain
	basic bool
} {
	return []struct {
		Toolchain
		basic bool
	}{
		{Toolchain{"go1.18", "go1.18.10", "", "classic", "bucket"}, false},
		{Toolchain{"go1.21", "go1.21.13", "", "classic", "bucket"}, false},
		{Toolchain{"go1.23", "go1.23.12", "", "classic", "bucket"}, true},
		{Toolchain{"go1.24", "go1.24.13", "", "swiss", "interleaved"}, false},
		{Toolchain{"go1.24-noswissmap", "go1.24.13", "noswissmap", "classic", "bucket"}, false},
		{Toolchain{"go1.25", "go1.25.9", "", "swiss", "interleaved"}, false},
		{Toolchain{"go1.25-noswissmap", "go1.25.9", "noswissmap", "classic", "bucket"}, true},
		// The host builds this module, so it is 1.25 at least. It is given no
		// experiment, so that its maps are Swiss whatever the tests were built with.
		{Toolchain{hostName, "local", "", "swiss", "interleaved"}, true},
		{Toolchain{"go1.27", "go1.27.2", "", "swiss", "interleaved"}, false},
		{Toolchain{"go1.27-mapsplitgroup", "go1.27.2", "mapsplitgroup", "swiss", "splitgroup"}, false},
	}
}

const hostName = "host"

// Toolchains returns the rows that this run of the tests covers, in the order
// of the table; the package comment says which. Whether a toolchain can be had
// shows when something is built with it.
func Toolchains(t testing.TB) []Toolchain {
	t.Helper()
	var rows []Toolchain
	for _, row := range table() {
		switch {
		case testing.Short():
			if row.Name != hostName {
				continue
			}
		case !takeAll() && !row.basic:
			continue
		}
		rows = append(rows, row.Toolchain)
	}
	return rows
}

// Host returns the row of the toolchain that the tests were started with.
func Host() Toolchain {
	for _, row := range table() {
		if row.Name == hostName {
			return row.Toolchain
		}
	}
	panic("testenv: the table has no host")
}

// Classic reports whether the maps of tc are Classic.
func (tc Toolchain) Classic() bool { return tc.Generation == "classic" }

// String returns the name of the row.
func (tc Toolchain) String() string { return tc.Name }

// Command returns a go command that runs with tc, whatever the caller's
// environment says of toolchains, experiments and flags. The caller sets Dir.
// The variables in env, as KEY=VALUE, come last and win.
func (tc Toolchain) Command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	for _, kv := range os.Environ() {
		// go test exports its GOROOT, and a go command that was itself switched
		// to leaves marks; both would mislead another toolchain.
		if !strings.HasPrefix(kv, "GOROOT=") && !strings.HasPrefix(kv, "GOTOOLCHAIN_INTERNAL_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env,
		"GOTOOLCHAIN="+tc.Go,
		"GOEXPERIMENT="+tc.Experiment,
		"GOFLAGS=-buildvcs=false", // no git from a test
		"GOWORK=off",
		"GO111MODULE=on",
		"GOOS="+runtime.GOOS,
		"GOARCH="+runtime.GOARCH,
	)
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// Need skips or fails the test, as the package comment says, unless tc can be
// had. It costs a run of go version, and a download the first time.
func Need(t testing.TB, tc Toolchain) {
	t.Helper()
	out, err := tc.Command(t.Context(), nil, "version").CombinedOutput()
	if err != nil {
		unavailable(t, "toolchain %s cannot be had: %v\n%s", tc, err, out)
	}
	// Another version than that of the row would make the row's oracle wrong.
	if tc.Go != "local" && !strings.Contains(string(out), " "+tc.Go) {
		t.Fatalf("toolchain %s: go version says %s", tc, out)
	}
}

// NeedGo skips or fails the test, as Need does, unless this run of the tests
// covers a row with the Go release version, a value of GOTOOLCHAIN. A release of
// which the table has no row, so that no run would cover it, fails the test.
func NeedGo(t testing.TB, version string) {
	t.Helper()
	for _, tc := range Toolchains(t) {
		if tc.Go == version {
			Need(t, tc)
			return
		}
	}
	for _, row := range table() {
		if row.Go == version {
			t.Skipf("this run does not cover %s", version)
		}
	}
	t.Fatalf("the table of toolchains has no %s", version)
}
