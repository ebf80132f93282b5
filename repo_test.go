// Package hmaptools_test checks what holds for the repository as a whole: who may
// import whom, what files may say, and that the documents show what the tools
// print.
package hmaptools_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "hmaptools"

// importRules is the order of the packages, a statement of policy: the one of
// the design.
//
// DO NOT CHANGE IT TO FIX A BUILD. An import that it forbids is a question about
// the design, and negative rules are not relaxed without an answer.
//
// "a < b" means that b may import a, and whatever a may import. A package that
// stands nowhere in it may not exist. Some are not written yet.
const importRules = `
	# Decoding and disassembling know no process and no debugger.
	internal/gover < internal/hmap, internal/disasm;
	internal/hmap, internal/disasm < internal/asmnote < cmd/asmtrace;

	# What happens over time does not know how it is observed.
	internal/hmap < internal/event < internal/watch, internal/probe, internal/report;
	internal/event < cmd/hmapdump;

	# It measures commands.
	scripts/bench/record;

	# How another process is stopped without harm.
	internal/ptrace < internal/target, internal/probe;

	# A stopped target, and who holds what in it.
	internal/hmap < internal/target < internal/census, internal/watch, internal/probe;
	# What the runtime keeps of its heap, of frames and in a sync.Map is memory.
	internal/hmap < internal/heap, internal/stackmap, internal/syncmap < internal/census;
	internal/census < internal/report;

	internal/report, internal/census, internal/watch, internal/probe < cmd/hmapdump;

	# The HTML shell alone.
	internal/report < cmd/asmtrace;

	# Lessons look at their own maps; measurements drive the parts.
	internal/hmap < docs/lessons/*;
	# What a lesson needs beside its program.
	docs/lessons/07-race-storm/flame;
	docs/lessons/08-scheduling/sidebyside;
	docs/lessons/09-syncmap/history < docs/lessons/09-syncmap;
	docs/lessons/10-safe-sharing/maptest;
	docs/lessons/12-escape/plain;
	docs/lessons/10-safe-sharing/mutex, docs/lessons/10-safe-sharing/rwmutex, docs/lessons/10-safe-sharing/syncmap, docs/lessons/10-safe-sharing/snapshot;
	internal/target < scripts/bench;

	# For tests alone: nothing but tests imports it, and it imports nothing, so
	# that an oracle shares no code with what is tested.
	internal/testenv;
`

// otherModules says who may import a module that is not ours. It is not
// transitive: what is above internal/target does not get at Delve through it.
var otherModules = map[string][]string{
	"github.com/go-delve/delve":  {"internal/target", "internal/watch"},
	"github.com/spf13/pflag":     {"cmd/hmapdump", "cmd/asmtrace"},
	"github.com/google/pprof":    {"internal/report", "cmd/asmtrace", "docs/lessons/07-race-storm/flame"},
	"github.com/mattn/go-isatty": {"cmd/hmapdump"},
	// The recording is compressed where it is written; exports are reports.
	"github.com/klauspost/compress":    {"internal/event"},
	"github.com/parquet-go/parquet-go": {"internal/report"},
	"golang.org/x/arch":                {"internal/disasm", "internal/probe"},
	"golang.org/x/sys":                 {"internal/ptrace", "internal/target", "internal/watch", "internal/probe", "cmd/hmapdump", "scripts/bench", "scripts/bench/record"},
}

// decideByVersion are packages that compare versions: a difference between
// versions lies in a layout, found by the fields that exist, and nowhere in
// logic. Only gover is about versions.
var decideByVersion = []string{"go/version", "golang.org/x/mod/semver", "github.com/go-delve/delve/pkg/goversion"}

// policy is importRules in a form that answers questions.
type policy map[string]map[string]bool // package -> what it may import

// parsePolicy understands what importRules needs: chains of comma-separated
// lists with "<" between them, ended by ";", and comments.
func parsePolicy(rules string) (policy, error) {
	p := policy{}
	var text strings.Builder
	for line := range strings.Lines(rules) {
		line, _, _ = strings.Cut(line, "#")
		text.WriteString(line + " ")
	}
	for rule := range strings.SplitSeq(text.String(), ";") {
		if strings.TrimSpace(rule) == "" {
			continue
		}
		var below []string
		for level := range strings.SplitSeq(rule, "<") {
			var names []string
			for name := range strings.SplitSeq(level, ",") {
				name = strings.TrimSpace(name)
				if name == "" || strings.ContainsAny(name, " \t") {
					return nil, fmt.Errorf("in the rule %q: bad name %q", strings.TrimSpace(rule), name)
				}
				names = append(names, name)
				if p[name] == nil {
					p[name] = map[string]bool{}
				}
				for _, b := range below {
					p[name][b] = true
				}
			}
			below = names
		}
	}
	for changed := true; changed; {
		changed = false
		for _, may := range p {
			for b := range may {
				for c := range p[b] {
					if !may[c] {
						may[c], changed = true, true
					}
				}
			}
		}
	}
	for name, may := range p {
		if may[name] {
			return nil, fmt.Errorf("%s may import itself", name)
		}
	}
	return p, nil
}

// rule returns the name under which the policy lists a package: its own, or a
// pattern that matches it.
func (p policy) rule(pkg string) (string, bool) {
	if _, ok := p[pkg]; ok {
		return pkg, true
	}
	for name := range p {
		if ok, err := path.Match(name, pkg); err == nil && ok {
			return name, true
		}
	}
	return "", false
}

// listed is what the tests need of an element of go list -json.
type listed struct {
	ImportPath    string
	Imports, Deps []string
	Module        *struct{ Path string }
}

// goList runs go list -deps -json ./... for a system.
func goList(t *testing.T, goos string) []*listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Module", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []*listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, &p)
	}
}

// ours returns the path of a package within the module.
func ours(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImports(t *testing.T) {
	p, err := parsePolicy(importRules)
	if err != nil {
		t.Fatal(err)
	}
	for _, goos := range []string{"linux", "darwin"} {
		t.Run(goos, func(t *testing.T) {
			pkgs := goList(t, goos)
			moduleOf := map[string]string{}
			for _, pkg := range pkgs {
				if pkg.Module != nil {
					moduleOf[pkg.ImportPath] = pkg.Module.Path
				}
			}
			checked := 0
			for _, pkg := range pkgs {
				name, ok := ours(pkg.ImportPath)
				if !ok || name == "." { // the root holds tests alone
					continue
				}
				checked++
				for _, bad := range forbidden(p, name, pkg, moduleOf) {
					t.Error(bad)
				}
				if name == "internal/hmap" {
					for _, dep := range pkg.Deps {
						if moduleOf[dep] != "" {
							t.Errorf("internal/hmap depends on %s: it must build with the standard library alone", dep)
						}
					}
				}
			}
			if checked < 5 {
				t.Errorf("only %d packages of the module seen: go list does not tell all", checked)
			}
		})
	}
}

// forbidden returns what is wrong with the imports of one package.
func forbidden(p policy, name string, pkg *listed, moduleOf map[string]string) []string {
	var bad []string
	rule, ok := p.rule(name)
	if !ok {
		bad = append(bad, fmt.Sprintf("%s is in no rule: where does the design put it?", name))
	}
	for _, imp := range pkg.Imports {
		if slices.Contains(decideByVersion, imp) && name != "internal/gover" {
			bad = append(bad, fmt.Sprintf("%s imports %s: layouts follow from fields, not from versions", name, imp))
		}
		if dep, ok := ours(imp); ok {
			target, _ := p.rule(dep)
			if !p[rule][target] {
				bad = append(bad, fmt.Sprintf("%s must not import %s", name, dep))
			}
		} else if m := moduleOf[imp]; m != "" {
			if !slices.Contains(otherModules[m], name) {
				bad = append(bad, fmt.Sprintf("%s must not import %s", name, imp))
			}
		}
	}
	return bad
}

// TestForbidden shows that TestImports can fail.
func TestForbidden(t *testing.T) {
	p, err := parsePolicy(importRules)
	if err != nil {
		t.Fatal(err)
	}
	moduleOf := map[string]string{"github.com/go-delve/delve/pkg/proc": "github.com/go-delve/delve"}
	for _, tt := range []struct {
		name, imp string
		ok        bool
	}{
		{"internal/census", "hmaptools/internal/target", true},
		{"internal/census", "hmaptools/internal/hmap", true},
		{"internal/hmap", "hmaptools/internal/census", false},
		{"internal/hmap", "hmaptools/internal/testenv", false},
		{"internal/asmnote", "hmaptools/internal/target", false},
		{"internal/target", "github.com/go-delve/delve/pkg/proc", true},
		{"internal/census", "github.com/go-delve/delve/pkg/proc", false},
		{"internal/report", "github.com/go-delve/delve/pkg/proc", false},
		{"internal/target", "github.com/go-delve/delve/pkg/goversion", false},
		{"docs/lessons/99-new", "hmaptools/internal/hmap", true},
		{"docs/lessons/99-new", "hmaptools/internal/target", false},
		{"internal/util", "fmt", false},
		{"cmd/hmapdump", "os", true},
	} {
		bad := forbidden(p, tt.name, &listed{Imports: []string{tt.imp}}, moduleOf)
		if (len(bad) == 0) != tt.ok {
			t.Errorf("%s imports %s: allowed is %v, want %v: %v", tt.name, tt.imp, !tt.ok, tt.ok, bad)
		}
	}
	for _, rules := range []string{"a < b; b < a", "a b < c", "a < < b"} {
		if _, err := parsePolicy(rules); err == nil {
			t.Errorf("parsePolicy(%q): no error", rules)
		}
	}
}

// files returns the files of the repository, with "/" in their paths.
func files(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.Name() == ".git": // in a second checkout it is a file that names the first
		case d.Type().IsRegular():
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// machinePath matches what only one machine has. Directories that every system
// has, /tmp itself included, are none.
var machinePath = regexp.MustCompile(`(^|[^\w./$})-])/(root|work|home|Users)/[\w.]|/tmp/(go-build|go-link|Test|bash_)`)

func TestNoMachinePaths(t *testing.T) {
	for _, name := range files(t) {
		for i, line := range bytes.Split(read(t, name), []byte("\n")) {
			if m := machinePath.Find(line); m != nil {
				t.Errorf("%s:%d: %q is a path of one machine", name, i+1, m)
			}
		}
	}
	for _, s := range []string{"see /ro" + "ot/x", "/wo" + "rk/main/a.go", "/tmp/" + "go-build123/x"} {
		if !machinePath.MatchString(s) {
			t.Errorf("%q is not recognised", s)
		}
	}
}

func TestSources(t *testing.T) {
	for _, name := range files(t) {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		src := read(t, name)
		if pretty, err := format.Source(src); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		} else if !bytes.Equal(src, pretty) {
			t.Errorf("%s: not as gofmt writes it", name)
		}
		switch path.Base(path.Dir(name)) {
		case "util", "utils", "helpers", "common", "misc":
			t.Errorf("%s: a package says what it is for", name)
		}
		if !strings.HasPrefix(name, "internal/") && !strings.HasPrefix(name, "cmd/") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init hides when it runs", name)
			}
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					t.Errorf("%s: go:linkname breaks with the next release", name)
				}
				if constraint.IsGoBuild(c.Text) && goVersionTag(c.Text) && !strings.HasPrefix(path.Base(name), "self") {
					t.Errorf("%s: only the unsafe reader depends on the version that it is built with", name)
				}
			}
		}
	}
}

// goVersionTag reports whether a constraint speaks of a Go version or experiment.
func goVersionTag(line string) bool {
	expr, err := constraint.Parse(line)
	if err != nil {
		return false
	}
	found := false
	expr.Eval(func(tag string) bool {
		found = found || strings.HasPrefix(tag, "go1.") || strings.HasPrefix(tag, "goexperiment.")
		return true
	})
	return found
}

// TestGoMod holds what other parts rely on: the module's own maps can be read
// under Classic toolchains because it builds with go 1.25.
func TestGoMod(t *testing.T) {
	mod := string(read(t, "go.mod"))
	for _, want := range []string{
		"\ngo 1.25.0\n", "github.com/go-delve/delve v1.27.2", "golang.org/x/arch v0.30.0", "honnef.co/go/tools v0.7.0",
		"github.com/go-delve/delve/cmd/dlv", "honnef.co/go/tools/cmd/staticcheck",
	} {
		if !strings.Contains(mod, want) {
			t.Errorf("go.mod lacks %q", strings.TrimSpace(want))
		}
	}
	if strings.Contains(mod, "\nreplace ") || strings.Contains(mod, "\ntoolchain ") {
		t.Error("go.mod: replace and toolchain lines do not survive on other machines")
	}
}

func TestChangelog(t *testing.T) {
	log := string(read(t, "CHANGELOG.md"))
	_, unreleased, ok := strings.Cut(log, "\n## ")
	if !ok {
		t.Fatal("CHANGELOG.md has no section")
	}
	for para := range strings.SplitSeq(unreleased, "\n\n") {
		para = strings.TrimSpace(para)
		if !strings.Contains(para, " ") || strings.HasPrefix(para, "## ") {
			continue // a heading
		}
		if !strings.HasSuffix(para, ".") {
			t.Errorf("CHANGELOG.md is written in sentences: %q", para)
		}
	}
}

// TestCI: what CI runs is what the README tells a newcomer to run.
func TestCI(t *testing.T) {
	ci, readme := string(read(t, ".ci/run")), string(read(t, "README.md"))
	for _, cmd := range []string{"go run ./cmd/hmapdump ./docs/lessons/01-header", "go test ./..."} {
		if !regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(cmd) + `$`).MatchString(ci) {
			t.Errorf(".ci/run does not run %q", cmd)
		}
		if !strings.Contains(readme, "\n"+cmd+"\n") {
			t.Errorf("README.md does not show %q", cmd)
		}
	}
	if info, err := os.Stat(".ci/run"); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/run cannot be executed: %v", err)
	}
}
