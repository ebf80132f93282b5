package testenv

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

// A BuildFlag is one argument of go build.
type BuildFlag string

const (
	NoOpt    BuildFlag = "-gcflags=all=-N -l" // what dlv debug does
	PIE      BuildFlag = "-buildmode=pie"
	Race     BuildFlag = "-race" // needs a C compiler
	TrimPath BuildFlag = "-trimpath"
	Strip    BuildFlag = "-ldflags=-s -w" // neither symbols nor DWARF
	Cgo      BuildFlag = "-tags=cgo"      // needs a C compiler
)

// A Mode is a way to build a target.
type Mode struct {
	Name  string
	Flags []BuildFlag
}

// Modes returns the ways in which targets with DWARF are built, the default
// first.
func Modes() []Mode {
	return []Mode{
		{"default", nil},
		{"noopt", []BuildFlag{NoOpt}},
		{"pie", []BuildFlag{PIE}},
		{"race", []BuildFlag{Race}},
		{"trimpath", []BuildFlag{TrimPath}},
	}
}

// unused is after how long without use a cached binary is removed.
const unused = 5 * 24 * time.Hour

// Build returns the path of the program testdata/progs/PROG built with tc and
// flags, from the cache if its sources are unchanged. The file belongs to the
// cache: nobody may write to it.
func Build(t testing.TB, tc Toolchain, prog string, flags ...BuildFlag) string {
	t.Helper()
	return build(t, tc, []string{prog}, flags)[prog]
}

// BuildAll builds all programs, in one run of go build, and returns their paths
// by name. It is cheaper than a Build for each.
func BuildAll(t testing.TB, tc Toolchain, flags ...BuildFlag) map[string]string {
	t.Helper()
	return build(t, tc, Programs(t), flags)
}

// Programs returns the names of the target programs that tell the truth of their
// maps through package truth, sorted. The others have a test of their own.
func Programs(t testing.TB) []string {
	t.Helper()
	mains, err := filepath.Glob(filepath.Join(ProgramDir(t), "*", "main.go"))
	if err != nil || len(mains) == 0 {
		t.Fatalf("no target programs in %s: %v", ProgramDir(t), err)
	}
	var names []string
	for _, file := range mains {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(`"hmaptools/testdata/progs/truth"`)) {
			names = append(names, filepath.Base(filepath.Dir(file)))
		}
	}
	sort.Strings(names)
	return names
}

// ProgramDir returns the absolute path of testdata/progs. It looks for it from
// the working directory upwards, which for a test is its package's directory.
func ProgramDir(t testing.TB) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		progs := filepath.Join(dir, "testdata", "progs")
		if _, err := os.Stat(filepath.Join(progs, "go.mod")); err == nil {
			return progs
		}
		if dir == filepath.Dir(dir) {
			t.Fatalf("no testdata/progs above %s", wd)
		}
	}
}

func build(t testing.TB, tc Toolchain, progs []string, flags []BuildFlag) map[string]string {
	t.Helper()
	dir := ProgramDir(t)
	cache := cacheDir(t, tc)
	paths := map[string]string{}
	for _, prog := range progs {
		key := buildKey(t, dir, tc, prog, flags)
		paths[prog] = filepath.Join(cache, key, prog) + exeSuffix()
	}
	if len(missing(progs, paths)) == 0 {
		return paths
	}

	// Tests of several packages run at the same time and want the same
	// binaries: one of them builds, the others wait and find them.
	unlock, err := lockFile(filepath.Join(cache, "lock"))
	if err != nil {
		t.Fatalf("build cache: %v", err)
	}
	defer unlock()
	todo := missing(progs, paths)
	if len(todo) == 0 {
		return paths
	}

	Need(t, tc)
	cgo := "CGO_ENABLED=0"
	if slices.Contains(flags, Race) || slices.Contains(flags, Cgo) {
		NeedRace(t)
		cgo = "CGO_ENABLED=1"
	}
	trim(cache)
	tmp, err := os.MkdirTemp(cache, "build")
	if err != nil {
		t.Fatalf("build cache: %v", err)
	}
	defer os.RemoveAll(tmp)
	args := []string{"build", "-o", tmp + string(filepath.Separator)}
	for _, f := range flags {
		args = append(args, string(f))
	}
	for _, prog := range todo {
		args = append(args, "./"+prog)
	}
	cmd := tc.Command(t.Context(), []string{cgo}, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: go %s: %v\n%s", tc, strings.Join(args, " "), err, out)
	}
	for _, prog := range todo {
		if err := os.MkdirAll(filepath.Dir(paths[prog]), 0o777); err != nil {
			t.Fatalf("build cache: %v", err)
		}
		if err := os.Rename(filepath.Join(tmp, prog+exeSuffix()), paths[prog]); err != nil {
			t.Fatalf("build cache: %v", err)
		}
	}
	return paths
}

// missing returns the programs that are not in the cache, and marks the others
// as used.
func missing(progs []string, paths map[string]string) []string {
	var todo []string
	now := time.Now()
	for _, prog := range progs {
		if os.Chtimes(filepath.Dir(paths[prog]), now, now) != nil {
			todo = append(todo, prog)
		} else if _, err := os.Stat(paths[prog]); err != nil {
			todo = append(todo, prog)
		}
	}
	return todo
}

// trim removes from the cache of one toolchain what has not been used lately.
// What cannot be removed stays for the next time.
func trim(cache string) {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && time.Since(info.ModTime()) > unused {
			os.RemoveAll(filepath.Join(cache, e.Name()))
		}
	}
}

// cacheDir returns the directory of tc's binaries, which exists.
func cacheDir(t testing.TB, tc Toolchain) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "hmaptools-test", tc.Name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatalf("build cache: %v", err)
	}
	return dir
}

// buildKey names what decides the content of a binary. The directory is part of
// it because the DWARF holds it.
func buildKey(t testing.TB, dir string, tc Toolchain, prog string, flags []BuildFlag) string {
	t.Helper()
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q\n", dir, tc, flags, runtime.GOOS+"/"+runtime.GOARCH)
	if tc.Go == "local" {
		fmt.Fprintln(h, runtime.Version()) // the host's go built this test
	}
	for _, part := range []string{"go.mod", "truth", prog} {
		err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%q %x\n", path, sha256.Sum256(src))
			return nil
		})
		if err != nil {
			t.Fatalf("target program %s: %v", prog, err)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// NeedRace skips or fails the test, as Need does, unless -race can be linked: the
// race runtime is part of every toolchain, but it needs cgo.
func NeedRace(t testing.TB) {
	t.Helper()
	cc := "gcc"
	if env := strings.Fields(os.Getenv("CC")); len(env) > 0 {
		cc = env[0]
	} else if out, err := exec.Command("go", "env", "CC").Output(); err == nil && len(bytes.TrimSpace(out)) > 0 {
		cc = strings.Fields(string(out))[0]
	}
	if _, err := exec.LookPath(cc); err != nil {
		unavailable(t, "-race needs a C compiler: %v", err)
	}
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}
