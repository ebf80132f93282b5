package asmnote

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
)

// keyConversion hints at m[string(b)] = v: the map keeps the key, so that the
// bytes are copied; a read needs no copy.
func (w *walker) keyConversion(op *SourceOp, key ast.Expr) {
	call, ok := ast.Unparen(key).(*ast.CallExpr)
	if !ok || len(call.Args) != 1 || w.info == nil {
		return
	}
	tv, ok := w.info.Types[call.Fun]
	if !ok || !tv.IsType() {
		return
	}
	to, ok := under(tv.Type).(*types.Basic)
	if !ok || to.Info()&types.IsString == 0 {
		return
	}
	from, ok := under(w.info.TypeOf(call.Args[0])).(*types.Slice)
	if !ok {
		return
	}
	if b, ok := under(from.Elem()).(*types.Basic); ok && b.Kind() == types.Byte {
		op.hints = append(op.hints, Hint{"key-conversion",
			fmt.Sprintf("%s allocates a string for each write, because the map keeps the key; a read of m[%s] does not: look up first, and write only what is missing or changed", types.ExprString(call), types.ExprString(call))})
	}
}

// blockHints looks at the statements of a block: a map that is filled by a loop,
// and lookups that are made twice.
func (w *walker) blockHints(b *ast.BlockStmt) {
	if w.info == nil {
		return
	}
	for i, s := range b.List {
		w.sizeHint(s, b.List[i+1:])
		if n, ok := s.(*ast.IfStmt); ok {
			w.doubleLookup(n)
		}
	}
}

// made returns the variable of "m := make(map[K]V)" or "m := map[K]V{}".
func (w *walker) made(s ast.Stmt) (types.Object, ast.Expr) {
	a, ok := s.(*ast.AssignStmt)
	if !ok || len(a.Lhs) != 1 || len(a.Rhs) != 1 {
		return nil, nil
	}
	id, ok := a.Lhs[0].(*ast.Ident)
	if !ok || w.info.TypeOf(a.Rhs[0]) == nil || asMap(w.info.TypeOf(a.Rhs[0])) == nil {
		return nil, nil
	}
	switch r := ast.Unparen(a.Rhs[0]).(type) {
	case *ast.CallExpr:
		if f, ok := r.Fun.(*ast.Ident); !ok || f.Name != "make" || len(r.Args) != 1 {
			return nil, nil
		}
	case *ast.CompositeLit:
		if len(r.Elts) > 0 {
			return nil, nil
		}
	default:
		return nil, nil
	}
	return w.info.ObjectOf(id), a.Rhs[0]
}

// sizeHint hints at a map that is made without a hint and then filled by a loop
// over something of known length, once per round.
func (w *walker) sizeHint(s ast.Stmt, rest []ast.Stmt) {
	obj, made := w.made(s)
	if obj == nil {
		return
	}
	for _, next := range rest {
		loop, ok := next.(*ast.RangeStmt)
		if !ok {
			if uses(w.info, next, obj) {
				return
			}
			continue
		}
		if !uses(w.info, loop.Body, obj) {
			continue
		}
		n := ""
		switch under(w.info.TypeOf(loop.X)).(type) {
		case *types.Slice, *types.Array, *types.Map:
			n = "len(" + types.ExprString(loop.X) + ")"
		case *types.Basic:
			if b := under(w.info.TypeOf(loop.X)).(*types.Basic); b.Info()&types.IsInteger != 0 {
				n = types.ExprString(loop.X)
			}
		}
		if n == "" || len(n) > 40 || !simple(loop.X) {
			return
		}
		for _, inner := range loop.Body.List {
			a, ok := inner.(*ast.AssignStmt)
			if !ok || a.Tok != token.ASSIGN {
				continue
			}
			for _, l := range a.Lhs {
				x, ok := ast.Unparen(l).(*ast.IndexExpr)
				if !ok {
					continue
				}
				if id, ok := x.X.(*ast.Ident); ok && w.info.ObjectOf(id) == obj {
					w.pending(made.Pos(), Hint{"no-size-hint", fmt.Sprintf("the loop at line %d writes an entry per round: make(%s, %s) would spare the growth on the way",
						w.position(loop.Pos()).Line, shorten(types.ExprString(typeExpr(made))), n)})
					return
				}
			}
		}
		return
	}
}

func typeExpr(e ast.Expr) ast.Expr {
	switch e := ast.Unparen(e).(type) {
	case *ast.CallExpr:
		return e.Args[0]
	case *ast.CompositeLit:
		return e.Type
	}
	return e
}

func uses(info *types.Info, n ast.Node, obj types.Object) bool {
	found := false
	ast.Inspect(n, func(c ast.Node) bool {
		if id, ok := c.(*ast.Ident); ok && info.Uses[id] == obj {
			found = true
		}
		return !found
	})
	return found
}

// doubleLookup hints at "if _, ok := m[k]; ok { ... m[k] ... }" and at
// "if m[k] != nil { ... m[k] ... }".
func (w *walker) doubleLookup(n *ast.IfStmt) {
	var first *ast.IndexExpr
	two := false
	if a, ok := n.Init.(*ast.AssignStmt); ok && len(a.Lhs) == 2 && len(a.Rhs) == 1 {
		if x, m, ok := w.indexed(a.Rhs[0]); ok && m != nil {
			if id, ok := a.Lhs[0].(*ast.Ident); ok && id.Name == "_" {
				first, two = x, true
			}
		}
	}
	if first == nil {
		ast.Inspect(n.Cond, func(c ast.Node) bool {
			if e, ok := c.(ast.Expr); ok && first == nil {
				if x, m, ok := w.indexed(e); ok && m != nil {
					first = x
				}
			}
			return first == nil
		})
	}
	if first == nil || !simple(first.X) || !simple(first.Index) {
		return
	}
	text := types.ExprString(first)
	mapText, keyText := types.ExprString(first.X), types.ExprString(first.Index)
	// The first statement that reads m[k] before anything writes m or k.
	for _, s := range n.Body.List {
		written, again := false, token.NoPos
		ast.Inspect(s, func(c ast.Node) bool {
			switch c := c.(type) {
			case *ast.FuncLit:
				return false
			case *ast.AssignStmt:
				for _, l := range c.Lhs {
					t := types.ExprString(l)
					if t == mapText || t == keyText || t == text {
						written = true
					}
				}
				if len(c.Lhs) == 1 && c.Tok != token.ASSIGN && c.Tok != token.DEFINE && types.ExprString(c.Lhs[0]) == text {
					written = true
				}
			case *ast.IncDecStmt:
				if t := types.ExprString(c.X); t == text || t == keyText {
					written = true
				}
			case *ast.CallExpr:
				if id, ok := c.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") {
					written = true
				}
			case *ast.IndexExpr:
				if !again.IsValid() && !written && types.ExprString(c) == text {
					again = c.Lbrack
				}
			}
			return true
		})
		if again.IsValid() && !written {
			how := "keep its value in a variable"
			if two {
				how = "v, ok := " + text + " gives both with one call"
			}
			w.pending(first.Lbrack, Hint{"double-lookup", fmt.Sprintf("%s is looked up again at line %d: %s", shorten(text), w.position(again).Line, how)})
			return
		}
		if written {
			return
		}
	}
}

// pending keeps a hint for the operation that the node at pos becomes: what is in
// a block is walked after it.
func (w *walker) pending(pos token.Pos, h Hint) {
	w.later[pos] = append(w.later[pos], h)
}
