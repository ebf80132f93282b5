package asmnote_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/testenv"
)

// Every form of a map assignment is found and said to be what it is, and the store is
// the right one of a line with several.
func TestCopies(t *testing.T) {
	const src = `package p

type H map[string]int
type Opts struct {
	Tags, Attrs map[string]string
	N           int
}
type T struct {
	A int
	M map[string]int
	O Opts
	P *T
}

var G, G2 map[string]int
var GT T
var get func() map[string]int

func Nil(t *T)            { t.M = nil }                          // asmtrace: copy inline barrier
func NilG()               { G = nil }                            // asmtrace: copy inline barrier
func Conv(t *T, h H)      { t.M = map[string]int(h) }            // asmtrace: copy inline barrier
func Result(t *T)         { t.M = get() }                        // asmtrace: copy inline barrier
func ResultG()            { G = get() }                          // asmtrace: copy inline barrier
func Field(t, u *T)       { t.A, t.P.M = u.A, u.M }              // asmtrace: copy inline barrier
func Struct(t, u *T)      { *t = *u }                            // asmtrace: copy inline barrier
func Part(t, u *T)        { t.O = u.O }                          // asmtrace: copy inline barrier
func Local(t *T) string   { o := t.O; o.N++; return o.Tags["x"] + o.Attrs["y"] } // asmtrace: copy inline nobarrier
func Global(t *T)         { GT = *t }                            // asmtrace: copy inline barrier
func Stack(u *T) int      { t := &T{A: 1}; t.M = u.M; return use(t) } // asmtrace: copy inline nobarrier
func Literal(h H) *T      { return &T{M: h, O: Opts{Attrs: nil}} } // asmtrace: copy inline barrier
func NilLocal(m H) H      { if len(m) > 3 { m = nil }; return m } // asmtrace: copy none
func Name() int           { m := get(); return len(m) }          // asmtrace: len inline

//go:noinline
func use(t *T) int { return t.M["x"] }
`
	file := filepath.Join(t.TempDir(), "p.go")
	if err := os.WriteFile(file, []byte(src), 0o666); err != nil {
		t.Fatal(err)
	}
	l := load(t, testenv.Host(), "amd64", file, 0)
	if want := strings.Count(src, "// asmtrace:"); len(l.source.Expected) != want {
		t.Errorf("%d expectations, want %d", len(l.source.Expected), want)
	}
	words := map[string]int{"Struct": 3, "Part": 2, "Local": 2, "Global": 3}
	stores := map[string]string{"Field": ", 8(", "Nil": "$0, 8(", "NilG": ".G(SB)", "Stack": "(SP)", "Literal": ", 8(", "Struct": "X14, (", "Global": "X14, ("}
	for i := range l.source.Expected {
		e := &l.source.Expected[i]
		met := false
		for _, f := range l.funcs {
			for k := range f.Ops {
				op := &f.Ops[k]
				if !e.Meets(op) {
					continue
				}
				met = true
				name := f.Name[strings.LastIndexByte(f.Name, '.')+1:]
				if op.Kind == "copy" && op.Words != max(1, words[name]) {
					t.Errorf("%s: %d words, want %d", name, op.Words, max(1, words[name]))
				}
				at := slices.IndexFunc(f.Insts, func(in asmnote.Inst) bool { return in.PC == op.PC })
				if part := stores[name]; at < 0 || !strings.Contains(f.Insts[at].Args, part) {
					t.Errorf("%s: the store is %s, want one with %q", name, f.Insts[at].Args, part)
				}
				if op.Kind == "copy" && len(op.Notes) == 0 {
					t.Errorf("%s: nothing is said of the header", name)
				}
			}
		}
		if !met {
			t.Errorf("line %d: no operation meets %q", e.Line, e.Text)
		}
	}
	for _, f := range l.funcs {
		for k := range f.Ops {
			if op := &f.Ops[k]; strings.HasSuffix(f.Name, ".Name") && op.Kind == "copy" {
				t.Errorf("a variable that names a result is a copy: %s", op.Expr)
			}
		}
	}
}
