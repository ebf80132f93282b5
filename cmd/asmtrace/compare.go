package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"hmaptools/internal/asmnote"
)

// A row is an operation in several targets.
type row struct {
	fn, file  string
	line, col int
	kind      asmnote.Kind
	expr      string
	nth       int      // of the same place in one function
	cells     []string // what it became in each target, "" for nothing
	ops       []*asmnote.Op
}

func (r *row) differs() bool {
	for _, c := range r.cells[1:] {
		if c != r.cells[0] {
			return true
		}
	}
	return false
}

// rows brings the operations of several targets together: by function, place, kind
// and expression.
func rows(views []*view) []*row {
	type key struct {
		fn, file, expr string
		line, col, nth int
	}
	index := map[key]*row{}
	var all []*row
	for v, view := range views {
		for _, f := range view.funcs {
			count := map[key]int{}
			for i := range f.Ops {
				op := &f.Ops[i]
				k := key{funcKey(f), filepath.Base(op.File), op.Expr, op.Line, op.Col, 0}
				count[k]++
				k.nth = count[k]
				r := index[k]
				if r == nil {
					r = &row{fn: strings.TrimPrefix(f.Name, `"".`), file: op.File, line: op.Line, col: op.Col, kind: op.Kind, expr: op.Expr, nth: k.nth,
						cells: make([]string, len(views)), ops: make([]*asmnote.Op, len(views))}
					index[k] = r
					all = append(all, r)
				}
				r.ops[v], r.cells[v] = op, cell(op)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *row) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.col, b.col), strings.Compare(a.fn, b.fn), cmp.Compare(a.nth, b.nth))
	})
	return all
}

// funcKey is a function's name as all compilers have it: without the own package,
// for which Go 1.18 writes `""`.
func funcKey(f *asmnote.Func) string {
	pkg, _, _ := strings.Cut(f.Pkg, " ") // "p [p.test]"
	for _, prefix := range []string{`"".`, "main.", strings.ReplaceAll(pkg, "%2e", ".") + "."} {
		if rest, ok := strings.CutPrefix(strings.ReplaceAll(f.Name, "%2e", "."), prefix); ok && prefix != "." {
			return rest
		}
	}
	return f.Name
}

// cell says what an operation became, so that targets can be compared.
func cell(op *asmnote.Op) string {
	s := routineName(op)
	if n := len(op.Calls); n > 1 && op.Kind != asmnote.Range {
		s += fmt.Sprintf(" x%d", n)
	}
	if op.WriteBarrier {
		s += " +barrier"
	}
	return s
}

// compare writes the operations side by side. A line that differs begins with "!".
func compare(w io.Writer, views []*view) error {
	all := rows(views)
	if len(all) == 0 {
		return fmt.Errorf("no map operation in any target")
	}
	head := make([]string, len(views))
	widths := make([]int, len(views))
	for i, v := range views {
		head[i] = v.target.String()
		widths[i] = len(head[i])
		for _, r := range all {
			widths[i] = max(widths[i], len(r.cells[i]))
		}
	}
	sum := 0
	for _, n := range widths {
		sum += n + 2
	}
	left := max(30, width-sum-2)
	line := func(mark, name string, cells []string) error {
		s := mark + " " + pad(clip(name, left-1), left)
		for i, c := range cells {
			if c == "" {
				c = "-"
			}
			s += pad(c, widths[i]+2)
		}
		_, err := fmt.Fprintln(w, strings.TrimRight(s, " "))
		return err
	}
	if err := line(" ", "operation", head); err != nil {
		return err
	}
	differ, fn := 0, ""
	for _, r := range all {
		if r.fn != fn {
			fn = r.fn
			if _, err := fmt.Fprintf(w, "%s\n", clip(fn, width)); err != nil {
				return err
			}
		}
		mark := " "
		if r.differs() {
			mark = "!"
			differ++
		}
		if err := line(mark, fmt.Sprintf("  %s:%d %s %s", filepath.Base(r.file), r.line, r.kind, r.expr), r.cells); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d operations, %d of them differ\n", len(all), differ)
	return err
}
