package asmnote

import (
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
)

// parent returns the i-th node around the current one; parentheses do not count.
func (w *walker) parent(i int) ast.Node {
	for k := len(w.stack) - 2; k >= 0; k-- {
		if _, ok := w.stack[k].(*ast.ParenExpr); ok {
			continue
		}
		if i == 0 {
			return w.stack[k]
		}
		i--
	}
	return nil
}

// node finds the operation that a node is, if any. Inner operations of a
// statement are recorded after it.
func (w *walker) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		w.assignment(n)
	case *ast.IncDecStmt:
		if x, m, ok := w.indexed(n.X); ok {
			w.done[x] = true
			w.add(Update, n.Pos(), n, m, types.ExprString(n.X)+n.Tok.String())
		}
	case *ast.ValueSpec:
		w.declaration(n)
	case *ast.IndexExpr:
		if x, m, ok := w.indexed(n); ok && !w.done[x] {
			op := w.add(Access, n.Lbrack, n, m, types.ExprString(n))
			op.Sub = w.sub[x]
			w.also(op, w.position(n.Pos()).Line)
		}
	case *ast.CallExpr:
		w.call(n)
	case *ast.CompositeLit:
		w.literal(n)
	case *ast.RangeStmt:
		w.rangeLoop(n)
	case *ast.BinaryExpr:
		w.comparison(n)
	case *ast.FuncLit:
		w.captures(n)
	case *ast.KeyValueExpr:
		// A field of a struct literal that takes an existing map.
		if lit, ok := w.parent(0).(*ast.CompositeLit); ok && w.info != nil {
			if st, isStruct := under(w.info.TypeOf(lit)).(*types.Struct); isStruct {
				w.intoField(st, w.info.Uses[identOf(n.Key)], n.Key, n.Value, n)
			}
		}
	case *ast.BlockStmt:
		w.blockHints(n)
	}
}

func under(t types.Type) types.Type {
	if t == nil {
		return nil
	}
	return t.Underlying()
}

// indexed returns an index expression of a map. Without types every index
// expression may be one.
func (w *walker) indexed(e ast.Expr) (*ast.IndexExpr, *types.Map, bool) {
	x, ok := ast.Unparen(e).(*ast.IndexExpr)
	if !ok {
		return nil, nil, false
	}
	m, maybe := w.mapOf(x.X)
	return x, m, m != nil || maybe
}

func (w *walker) assignment(n *ast.AssignStmt) {
	text := func(i int) string {
		if len(n.Lhs) == len(n.Rhs) {
			return types.ExprString(n.Lhs[i]) + " " + n.Tok.String() + " " + types.ExprString(n.Rhs[i])
		}
		return types.ExprString(n.Lhs[i]) + " " + n.Tok.String() + " " + types.ExprString(n.Rhs[0])
	}
	if len(n.Lhs) == 2 && len(n.Rhs) == 1 {
		if x, m, ok := w.indexed(n.Rhs[0]); ok {
			w.done[x] = true
			w.add(Access2, x.Lbrack, n, m, types.ExprString(n.Lhs[0])+", "+types.ExprString(n.Lhs[1])+" "+n.Tok.String()+" "+types.ExprString(x))
		}
	}
	for i, l := range n.Lhs {
		if x, m, ok := w.indexed(l); ok {
			w.done[x] = true
			kind := Assign
			if n.Tok != token.ASSIGN {
				kind = Update
			} else if w.appends(n, i, x) {
				kind = Update
			}
			op := w.add(kind, n.Pos(), n, m, text(i))
			// The compiler may give the call the line of the left side.
			w.also(op, w.position(x.Lbrack).Line)
			w.also(op, w.position(n.TokPos).Line)
			if m != nil {
				w.keyConversion(op, x.Index)
			}
		}
		if len(n.Lhs) == len(n.Rhs) && (n.Tok == token.ASSIGN || n.Tok == token.DEFINE) {
			w.copied(l, n.Rhs[i], n, w.placeOf(l))
		}
	}
}

// appends reports whether the i-th assignment is m[k] = append(m[k], ...), which
// needs one call. It marks the read.
func (w *walker) appends(n *ast.AssignStmt, i int, x *ast.IndexExpr) bool {
	if len(n.Lhs) != 1 || len(n.Rhs) != 1 {
		return false
	}
	call, ok := ast.Unparen(n.Rhs[i]).(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return false
	}
	if id, ok := call.Fun.(*ast.Ident); !ok || id.Name != "append" {
		return false
	}
	first, ok := ast.Unparen(call.Args[0]).(*ast.IndexExpr)
	if !ok || types.ExprString(first) != types.ExprString(x) || !simple(x.X) || !simple(x.Index) {
		return false
	}
	w.sub[first] = true
	return true
}

// simple reports whether evaluating an expression twice is the same as once.
func simple(e ast.Expr) bool {
	ok := true
	ast.Inspect(e, func(n ast.Node) bool {
		if c, isCall := n.(*ast.CallExpr); isCall {
			if _, conv := c.Fun.(*ast.Ident); !conv || len(c.Args) != 1 {
				ok = false
			}
		}
		return ok
	})
	return ok
}

func (w *walker) declaration(n *ast.ValueSpec) {
	if len(n.Names) == 2 && len(n.Values) == 1 {
		if x, m, ok := w.indexed(n.Values[0]); ok {
			w.done[x] = true
			w.add(Access2, x.Lbrack, n, m, n.Names[0].Name+", "+n.Names[1].Name+" = "+types.ExprString(x))
		}
	}
	if len(n.Names) == len(n.Values) {
		for i, v := range n.Values {
			at := Local
			if len(w.funcs) == 0 {
				at = Global
			}
			w.copied(n.Names[i], v, n, at)
		}
	}
}

func (w *walker) call(n *ast.CallExpr) {
	fun := ast.Unparen(n.Fun)
	name, builtin := "", true
	switch f := fun.(type) {
	case *ast.Ident:
		name = f.Name
		if w.info != nil {
			_, builtin = w.info.Uses[f].(*types.Builtin)
		}
	case *ast.SelectorExpr:
		if id, ok := f.X.(*ast.Ident); ok && id.Name == "maps" && f.Sel.Name == "Clone" {
			w.clone(n, f)
		}
		return
	case *ast.IndexExpr: // maps.Clone[M]
		if sel, ok := f.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "Clone" {
			w.clone(n, sel)
		}
		return
	}
	if !builtin || len(n.Args) == 0 {
		return
	}
	m, maybe := w.mapOf(n.Args[0])
	isMap := m != nil || maybe
	switch name {
	case "make":
		if w.info != nil {
			if m = w.typed(w.info.TypeOf(n)); m == nil {
				return
			}
		} else if _, ok := n.Args[0].(*ast.MapType); !ok {
			if _, named := n.Args[0].(*ast.Ident); !named {
				return
			}
		}
		op := w.add(Make, n.Pos(), n, m, types.ExprString(n))
		if len(n.Args) > 1 {
			op.Hint = types.ExprString(n.Args[1])
		}
	case "len":
		if isMap {
			w.add(Len, n.Pos(), n, m, types.ExprString(n))
		}
	case "delete":
		if isMap && len(n.Args) == 2 {
			op := w.add(Delete, n.Pos(), n, m, types.ExprString(n))
			op.Sub = w.sub[n]
			w.also(op, w.position(n.Lparen).Line)
		}
	case "clone": // of package maps, which the runtime implements
		if w.info == nil && len(n.Args) == 1 && filepath.Base(w.tokens.Name()) == "maps.go" {
			w.add(Clone, n.Pos(), n, nil, types.ExprString(n))
		}
	case "clear":
		if isMap {
			w.add(Clear, n.Pos(), n, m, types.ExprString(n))
		}
	}
}

func (w *walker) clone(n *ast.CallExpr, f *ast.SelectorExpr) {
	if len(n.Args) != 1 {
		return
	}
	if w.info != nil {
		if fn, ok := w.info.Uses[f.Sel].(*types.Func); !ok || fn.Pkg() == nil || fn.Pkg().Path() != "maps" {
			return
		}
	}
	m, _ := w.mapOf(n.Args[0])
	w.add(Clone, n.Pos(), n, m, types.ExprString(n))
}

func (w *walker) literal(n *ast.CompositeLit) {
	var m *types.Map
	if w.info != nil {
		if m = w.typed(w.info.TypeOf(n)); m == nil {
			if st, ok := under(w.info.TypeOf(n)).(*types.Struct); ok {
				for i, e := range n.Elts { // fields without names
					if _, named := e.(*ast.KeyValueExpr); !named && i < st.NumFields() {
						w.intoField(st, st.Field(i), ast.NewIdent(st.Field(i).Name()), e, e)
					}
				}
			}
			return
		}
	} else if _, ok := n.Type.(*ast.MapType); !ok {
		// A named type, or the elided type of an inner literal: entries tell.
		if len(n.Elts) == 0 {
			return
		}
		if kv, ok := n.Elts[0].(*ast.KeyValueExpr); !ok {
			return
		} else if _, field := kv.Key.(*ast.Ident); field && n.Type != nil {
			return
		}
	}
	text := "{...}"
	if len(n.Elts) == 0 {
		text = "{}"
	}
	if n.Type != nil {
		text = types.ExprString(n.Type) + text
	}
	pos := n.Pos()
	op := w.add(Literal, pos, n, m, text)
	w.also(op, w.position(n.Lbrace).Line)
	for _, e := range n.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		line := w.position(kv.Pos()).Line
		op.Entries = append(op.Entries, line)
		w.also(op, line)
		w.also(op, w.position(kv.Colon).Line)
		w.also(op, w.position(kv.Value.Pos()).Line)
		w.also(op, w.position(kv.Value.End()).Line)
	}
	w.also(op, op.Last)
}

func (w *walker) rangeLoop(n *ast.RangeStmt) {
	for _, e := range []ast.Expr{n.Key, n.Value} {
		if e == nil {
			continue
		}
		if x, m, ok := w.indexed(e); ok {
			w.done[x] = true
			w.add(Assign, e.Pos(), n, m, types.ExprString(e)+" = range "+types.ExprString(n.X))
		}
	}
	m, maybe := w.mapOf(n.X)
	if m == nil && !maybe {
		return
	}
	text := "for "
	if n.Key != nil {
		text += types.ExprString(n.Key)
		if n.Value != nil {
			text += ", " + types.ExprString(n.Value)
		}
		text += " " + n.Tok.String() + " "
	}
	op := w.add(Range, n.Pos(), n, m, text+"range "+types.ExprString(n.X))
	w.also(op, w.position(n.X.Pos()).Line)
	// for k := range m { delete(m, k) }
	if n.Value == nil && n.Key != nil && len(n.Body.List) == 1 {
		if es, ok := n.Body.List[0].(*ast.ExprStmt); ok {
			if c, ok := es.X.(*ast.CallExpr); ok && len(c.Args) == 2 {
				id, ok := c.Fun.(*ast.Ident)
				if ok && id.Name == "delete" && types.ExprString(c.Args[0]) == types.ExprString(n.X) && types.ExprString(c.Args[1]) == types.ExprString(n.Key) {
					op.Idiom = true
					w.sub[c] = true
				}
			}
		}
	}
}

func (w *walker) comparison(n *ast.BinaryExpr) {
	if n.Op != token.EQL && n.Op != token.NEQ || w.info == nil {
		return
	}
	x := n.X
	if id, ok := ast.Unparen(x).(*ast.Ident); ok && id.Name == "nil" {
		x = n.Y
	}
	if m, _ := w.mapOf(x); m != nil {
		w.add(NilCheck, n.OpPos, n, m, types.ExprString(n))
	}
}

// captures records the map variables of the functions around that a literal uses.
func (w *walker) captures(n *ast.FuncLit) {
	if w.info == nil || len(w.funcs) < 2 {
		return
	}
	seen := map[types.Object]bool{}
	ast.Inspect(n.Body, func(c ast.Node) bool {
		id, ok := c.(*ast.Ident)
		if !ok {
			return true
		}
		v, ok := w.info.Uses[id].(*types.Var)
		if !ok || v.IsField() || seen[v] || v.Pkg() == nil || v.Parent() == v.Pkg().Scope() || v.Pos() >= n.Pos() && v.Pos() < n.End() {
			return true
		}
		if m := w.typed(v.Type()); m != nil {
			seen[v] = true
			// It belongs to the function that makes the closure.
			inner := w.funcs[len(w.funcs)-1]
			w.funcs = w.funcs[:len(w.funcs)-1]
			w.add(Closure, n.Pos(), n.Type, m, "func captures "+v.Name())
			w.funcs = append(w.funcs, inner)
		}
		return true
	})
}
