package asmnote_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/testenv"
)

var update = flag.Bool("update", false, "write testdata/catalogue.txt; with HMAPTOOLS_ALL_TOOLCHAINS=1")

const catalogueFile = "testdata/catalogue.txt"

// hostColumn is the column that the others are compared with in the file.
const hostColumn = "host"

// TestCatalogue holds what each construct of the corpus becomes under each
// compiler, and under the host's for each architecture, against the table in
// testdata/catalogue.txt. What the table says was compared with the listings by
// other means too: see TestCalls and TestPrediction.
func TestCatalogue(t *testing.T) {
	columns := map[string]map[string]string{} // by column and function
	for _, tc := range testenv.Toolchains(t) {
		columns[tc.Name] = describe(load(t, tc, "amd64", "./asmcorpus", minorOf(tc)))
	}
	for _, arch := range testenv.Archs() {
		columns[arch] = describe(load(t, testenv.Host(), arch, "./asmcorpus", 0))
	}
	if *update {
		if len(columns) < 10+len(testenv.Archs()) {
			t.Fatal("-update needs all toolchains")
		}
		writeCatalogue(t, columns)
	}
	want := readCatalogue(t)
	compared := 0
	for column, funcs := range columns {
		for name, got := range funcs {
			w, ok := want[name]
			if !ok {
				t.Errorf("%s: %s is not in %s: %s", column, name, catalogueFile, got)
				continue
			}
			exp, ok := w[column]
			if !ok {
				exp = w[hostColumn]
			}
			compared++
			if got != exp {
				t.Errorf("%s: %s is %q, want %q", column, name, got, exp)
			}
		}
	}
	for name, w := range want {
		if _, ok := columns[hostColumn][name]; !ok && w[hostColumn] != "" {
			t.Errorf("%s is in %s, but has no code", name, catalogueFile)
		}
	}
	if compared < 180*len(columns) {
		t.Errorf("%d comparisons in %d columns", compared, len(columns))
	}
}

// describe gives the operations of every function of the corpus in one line each.
func describe(l *loaded) map[string]string {
	all := map[string]string{}
	for _, f := range l.funcs {
		name, ok := strings.CutPrefix(f.Name, "main.")
		if !ok {
			name, ok = strings.CutPrefix(f.Name, `"".`)
		}
		// Generic code has other names in Go 1.18; its shapes are tested by themselves.
		if !ok || strings.ContainsAny(name, "[.-") {
			continue
		}
		all[name] = opsText(f)
	}
	return all
}

func opsText(f *asmnote.Func) string {
	var ops []string
	for i := range f.Ops {
		op := &f.Ops[i]
		s := string(op.Kind) + " " + op.Variant
		if len(op.Calls) > 1 {
			s += fmt.Sprintf(" x%d", len(op.Calls))
		}
		if op.WriteBarrier {
			s += " barrier"
		}
		ops = append(ops, s)
	}
	if len(ops) == 0 {
		return "-"
	}
	return strings.Join(ops, "; ")
}

// writeCatalogue writes for each function what the host makes of it, and the
// columns that differ.
func writeCatalogue(t *testing.T, columns map[string]map[string]string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# What each function of testdata/progs/asmcorpus becomes: the host's compiler on amd64, and who differs.\n" +
		"# Written by: HMAPTOOLS_ALL_TOOLCHAINS=1 go test ./internal/asmnote -run TestCatalogue -update\n")
	names := map[string]bool{}
	for _, funcs := range columns {
		for name := range funcs {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		base := columns[hostColumn][name]
		fmt.Fprintf(&b, "%s\n\t%s\n", name, base)
		byText := map[string][]string{}
		for column, funcs := range columns {
			if got, ok := funcs[name]; ok && got != base {
				byText[got] = append(byText[got], column)
			}
		}
		for _, text := range slices.Sorted(maps.Keys(byText)) {
			slices.Sort(byText[text])
			fmt.Fprintf(&b, "\t%s: %s\n", strings.Join(byText[text], " "), text)
		}
	}
	if err := os.WriteFile(catalogueFile, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
}

// readCatalogue returns the texts by function and column.
func readCatalogue(t *testing.T) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile(catalogueFile)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{}
	name := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		text, indented := strings.CutPrefix(line, "\t")
		switch {
		case strings.HasPrefix(line, "#"):
		case !indented:
			name = line
			want[name] = map[string]string{}
		default:
			columns, ops, ok := strings.Cut(text, ": ")
			if !ok {
				columns, ops = hostColumn, text
			}
			for column := range strings.FieldsSeq(columns) {
				want[name][column] = ops
			}
		}
	}
	return want
}

// callLine finds calls of map routines in a listing by other means than the
// package's: a regular expression over its lines.
var callLine = regexp.MustCompile(`^\t0x[0-9a-f]+ [0-9]+ \(.*\)\t(?:CALL|Call|JAL\tX1,|BL)\s+(?:runtime\.(?:makemap(?:64|_small)?|map(?:assign|access[12]|delete)(?:_fast(?:32|64|str|32ptr|64ptr)|_fat)?|mapclear|mapiterinit|mapiternext|mapIterStart|mapIterNext)|maps\.clone)\(SB\)`)

// Every call of a map routine belongs to exactly one operation, under every
// compiler and for every architecture.
func TestCalls(t *testing.T) {
	check := func(t *testing.T, l *loaded) {
		want := 0
		for line := range strings.Lines(string(l.listing)) {
			if callLine.MatchString(line) {
				want++
			}
		}
		got := 0
		for _, f := range l.funcs {
			seen := map[uint64]bool{}
			for i := range f.Ops {
				for _, pc := range f.Ops[i].Calls {
					if seen[pc] && l.target.Arch != "wasm" { // where a PC is not an instruction's
						t.Errorf("%s: the call at %#x belongs to two operations", f.Name, pc)
					}
					seen[pc] = true
					got++
				}
			}
		}
		if got != want || want < 290 {
			t.Errorf("%d calls belong to an operation, the listing has %d", got, want)
		}
	}
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) { check(t, load(t, tc, "amd64", "./asmcorpus", minorOf(tc))) })
	}
	for _, arch := range testenv.Archs() {
		t.Run(arch, func(t *testing.T) { check(t, load(t, testenv.Host(), arch, "./asmcorpus", 0)) })
	}
}

// The routine that is predicted from the types is the one that is called: the
// reason that is given is the right one.
func TestPrediction(t *testing.T) {
	check := func(t *testing.T, l *loaded) {
		predicted := 0
		for _, f := range l.funcs {
			for i := range f.Ops {
				op := &f.Ops[i]
				switch op.Kind {
				case asmnote.Assign, asmnote.Update, asmnote.Access, asmnote.Access2, asmnote.Delete:
				default:
					continue
				}
				want, ok := op.Source.Predicted()
				if !ok || op.Source.Generic {
					continue
				}
				predicted++
				reads := op.Kind != asmnote.Assign && op.Kind != asmnote.Update
				if reads {
					want = strings.TrimSuffix(want, "ptr")
				}
				if op.Variant != want && !(reads && op.Variant == "fat" && want == "slow") {
					t.Errorf("%s: %s of %s calls %s, predicted %s", f.Name, op.Expr, op.MapType, op.Symbol, want)
				}
				if op.Why == "" {
					t.Errorf("%s: %s has no reason", f.Name, op.Expr)
				}
			}
		}
		if predicted < 150 {
			t.Errorf("%d predictions", predicted)
		}
	}
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) { check(t, load(t, tc, "amd64", "./asmcorpus", minorOf(tc))) })
	}
	for _, arch := range testenv.Archs() {
		t.Run(arch, func(t *testing.T) { check(t, load(t, testenv.Host(), arch, "./asmcorpus", 0)) })
	}
}
