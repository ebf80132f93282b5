package asmnote_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/testenv"
)

// TestStandardLibrary is the measure of the whole: over real packages every call of
// a map routine belongs to one operation, and 99 of 100 operations of the source are
// found or explained. Those that are not are listed.
func TestStandardLibrary(t *testing.T) {
	for _, pkg := range []string{"net/http", "go/types", "encoding/json", "text/template"} {
		t.Run(pkg, func(t *testing.T) {
			l := load(t, testenv.Host(), "amd64", pkg, 0)
			want := 0
			for line := range strings.Lines(string(l.listing)) {
				if callLine.MatchString(line) {
					want++
				}
			}
			got, unmatched := 0, 0
			for _, f := range l.funcs {
				unmatched += f.Unmatched
				seen := map[uint64]bool{}
				for i := range f.Ops {
					for _, pc := range f.Ops[i].Calls {
						if seen[pc] {
							t.Errorf("%s: the call at %#x belongs to two operations", f.Name, pc)
						}
						seen[pc] = true
						got++
					}
					if op := &f.Ops[i]; op.Source == nil {
						t.Logf("no source: %s: %s at %s:%d", f.Name, op.Symbol, op.File, op.Line)
					}
				}
			}
			if got != want || want < 20 {
				t.Errorf("%d calls belong to an operation, the listing has %d", got, want)
			}
			if unmatched*100 > got {
				t.Errorf("%d of %d calls have no operation in the source", unmatched, got)
			}

			counts := map[asmnote.Kind]int{}
			found, explained, missing := 0, map[string]int{}, 0
			for _, o := range l.ann.Outcomes() {
				counts[o.Op.Kind]++
				switch {
				case o.How != "":
					found++
				case o.Reason != "":
					explained[o.Reason]++
				default:
					missing++
					t.Logf("not found: %s:%d:%d %s %s", o.Op.File, o.Op.Line, o.Op.Col, o.Op.Kind, o.Op.Expr)
				}
			}
			total := len(l.source.Ops)
			t.Logf("%d calls, %d without source; %d operations in the source: %d found, %d not found, explained: %v", got, unmatched, total, found, missing, explained)
			if missing*100 > total || total < 20 {
				t.Errorf("%d of %d operations are neither found nor explained", missing, total)
			}
			// Most must be found: explanations are for what has no code.
			if found*100 < total*90 {
				t.Errorf("%d of %d operations are found", found, total)
			}
			checkCounts(t, pkg, counts)
		})
	}
}

// checkCounts compares how many operations were taken from the source with what a
// second, plain walk counts.
func checkCounts(t *testing.T, pkg string, got map[asmnote.Kind]int) {
	t.Helper()
	want := countOps(t, pkg)
	index := got[asmnote.Assign] + got[asmnote.Update] + got[asmnote.Access] + got[asmnote.Access2]
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"index", index, want["index"]}, {"range", got[asmnote.Range], want["range"]}, {"delete", got[asmnote.Delete], want["delete"]},
		{"clear", got[asmnote.Clear], want["clear"]}, {"len", got[asmnote.Len], want["len"]}, {"make", got[asmnote.Make], want["make"]},
		{"literal", got[asmnote.Literal], want["literal"]}, {"nilcheck", got[asmnote.NilCheck], want["nilcheck"]},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d operations of the source, a plain count has %d", c.what, c.got, c.want)
		}
	}
}

func countOps(t *testing.T, pkg string) map[string]int {
	t.Helper()
	fset := token.NewFileSet()
	dir := goList(t, "{{.Dir}}", pkg)[0]
	var files []*ast.File
	for _, name := range goList(t, "{{range .GoFiles}}{{.}}\n{{end}}{{range .CgoFiles}}{{.}}\n{{end}}", pkg) {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil), FakeImportC: true}
	if _, err := conf.Check(pkg, fset, files, info); err != nil {
		t.Fatal(err)
	}
	isMap := func(e ast.Expr) bool {
		tv, ok := info.Types[e]
		if !ok || tv.IsType() {
			return false
		}
		_, ok = tv.Type.Underlying().(*types.Map)
		return ok
	}
	count := map[string]int{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IndexExpr:
				if isMap(n.X) {
					count["index"]++
				}
			case *ast.RangeStmt:
				if isMap(n.X) {
					count["range"]++
				}
			case *ast.CompositeLit:
				if isMap(n) {
					count["literal"]++
				}
			case *ast.BinaryExpr:
				if (n.Op == token.EQL || n.Op == token.NEQ) && (isMap(n.X) || isMap(n.Y)) {
					count["nilcheck"]++
				}
			case *ast.CallExpr:
				id, ok := n.Fun.(*ast.Ident)
				if !ok {
					return true
				}
				if _, ok := info.Uses[id].(*types.Builtin); !ok {
					return true
				}
				switch {
				case id.Name == "make" && isMap(n):
					count["make"]++
				case (id.Name == "len" || id.Name == "delete" || id.Name == "clear") && isMap(n.Args[0]):
					count[id.Name]++
				}
			}
			return true
		})
	}
	return count
}

func goList(t *testing.T, format, pkg string) []string {
	t.Helper()
	cmd := testenv.Host().Command(t.Context(), []string{"CGO_ENABLED=0"}, "list", "-f", format, pkg)
	cmd.Dir = testenv.ProgramDir(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// Hints name what they hint at, and only that.
func TestHints(t *testing.T) {
	dir := t.TempDir()
	const src = `package p

func fill(keys []string) map[string]int {
	m := make(map[string]int) // no-size-hint
	for i, k := range keys {
		m[k] = i
	}
	return m
}

func sized(keys []string) map[string]int {
	m := make(map[string]int, len(keys))
	for i, k := range keys {
		m[k] = i
	}
	return m
}

func rare(keys []string) map[string]int {
	m := make(map[string]int)
	for i, k := range keys {
		if k == "" {
			m[k] = i
		}
	}
	return m
}

func bytes(m map[string]int, b []byte) int {
	m[string(b)] = 1 // key-conversion
	return m[string(b)]
}

func runes(m map[string]int, s []rune) { m[string(s)] = 1 }

func twice(m map[string]int, k string) int {
	if _, ok := m[k]; ok { // double-lookup
		return m[k] * 2
	}
	return 0
}

func once(m map[string]int, k string) int {
	if v, ok := m[k]; ok {
		return v
	}
	if _, ok := m[k]; !ok {
		m[k] = 2
	}
	if _, ok := m[k]; ok {
		m[k] = 3
		return m[k]
	}
	return 0
}

func narrow(m map[uint16]int, k uint16) int { return m[k] } // slow-key
func float(m map[float64]int, k float64) int { return m[k] } // slow-key
func wide(m map[[16]byte]int, k [16]byte) int { return m[k] }
func large(m map[int][136]byte, k int) byte { return m[k][0] } // large-elem
func huge(m map[int][1360]byte, k int) byte { return m[k][0] }
func fit(m map[int][128]byte, k int) byte { return m[k][0] }
`
	file := filepath.Join(dir, "p.go")
	if err := os.WriteFile(file, []byte(src), 0o666); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for i, line := range strings.Split(src, "\n") {
		if _, code, ok := strings.Cut(line, "// "); ok {
			want[fmt.Sprintf("%d %s", i+1, code)] = true
		}
	}
	l := load(t, testenv.Host(), "amd64", file, 0)
	got := map[string]bool{}
	for _, f := range l.funcs {
		for i := range f.Ops {
			for _, h := range f.Ops[i].Hints {
				got[fmt.Sprintf("%d %s", f.Ops[i].Line, h.Code)] = true
				if len(h.Text) < 30 {
					t.Errorf("a hint without a reason: %q", h.Text)
				}
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("hints %v, want %v", got, want)
	}
}
