package asmnote_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
	"hmaptools/internal/testenv"
)

// loaded is a package with its listing, as one toolchain compiles it.
type loaded struct {
	listing []byte
	source  *asmnote.Source
	target  asmnote.Target
	ann     *asmnote.Annotator
	funcs   []*asmnote.Func

	packages []asmnote.Package
	deps     func(path string) (asmnote.Dependency, bool)
}

// load compiles a package, a path of the standard library or ./NAME in
// testdata/progs, type-checks it and annotates its listing.
func load(t testing.TB, tc testenv.Toolchain, arch, pkg string, minor int) *loaded {
	t.Helper()
	testenv.Need(t, tc)
	env := []string{"CGO_ENABLED=0", "GOARCH=" + arch, "GOOS=linux"}
	if arch == "wasm" {
		env[2] = "GOOS=js"
	}
	cmd := tc.Command(t.Context(), env, "list", "-export", "-deps", "-gcflags=-S",
		"-json=ImportPath,Dir,Export,GoFiles,CgoFiles,DepOnly,ImportMap", pkg)
	if minor > 0 && minor < 21 { // -json takes no fields yet
		cmd = tc.Command(t.Context(), env, "list", "-export", "-deps", "-gcflags=-S", "-json", pkg)
	}
	cmd.Dir = testenv.ProgramDir(t)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: go list %s: %v\n%.2000s", tc, pkg, err, stderr.Bytes())
	}
	l := &loaded{listing: stderr.Bytes(), target: asmnote.Target{Arch: arch, Minor: minor}}
	l.source = asmnote.NewSource(l.target)
	deps := map[string]asmnote.Dependency{}
	var packages []asmnote.Package
	d := json.NewDecoder(&stdout)
	for {
		var p struct {
			ImportPath, Dir, Export string
			GoFiles, CgoFiles       []string
			DepOnly                 bool
			ImportMap               map[string]string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkg := asmnote.Package{ImportPath: p.ImportPath, Dir: p.Dir, Files: append(p.GoFiles, p.CgoFiles...), ImportMap: p.ImportMap}
		deps[p.ImportPath] = asmnote.Dependency{Package: pkg, Export: p.Export}
		if !p.DepOnly {
			packages = append(packages, pkg)
		}
	}
	l.packages, l.deps = packages, func(path string) (asmnote.Dependency, bool) { d, ok := deps[path]; return d, ok }
	for _, p := range packages {
		if err := l.source.AddPackage(p, l.deps); err != nil {
			t.Fatal(err)
		}
	}
	l.ann = asmnote.NewAnnotator(l.target, l.source)
	l.ann.Insts = func(*asmnote.Func) bool { return true }
	r := disasm.NewReader(bytes.NewReader(l.listing))
	r.Arch = arch
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return l
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := l.ann.Func(f); n != nil {
			l.funcs = append(l.funcs, n)
		}
	}
}

// minorOf is the minor release of a toolchain, 0 for the host's: the newest that
// its row stands for.
func minorOf(tc testenv.Toolchain) int {
	_, s, ok := strings.Cut(tc.Go, "go1.")
	n := 0
	for i := 0; ok && i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		n = 10*n + int(s[i]-'0')
	}
	return n
}
