package asmnote

import (
	"go/ast"
	"go/types"
	"strings"
)

// What a map assignment is in the source: a = b for maps, and for values that hold
// some.

// placeOf says what kind of variable an expression is.
func (w *walker) placeOf(e ast.Expr) Place {
	switch x := ast.Unparen(e).(type) {
	case *ast.Ident:
		if w.info != nil {
			if v, ok := w.info.ObjectOf(x).(*types.Var); ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				return Global
			}
		}
		return Local
	case *ast.SelectorExpr:
		if w.info == nil {
			return Heap
		}
		if _, ok := w.info.Selections[x]; !ok {
			return Global // of another package
		}
		if under(w.info.TypeOf(x.X)) != nil {
			if _, ptr := under(w.info.TypeOf(x.X)).(*types.Pointer); ptr {
				return Heap
			}
		}
		return w.placeOf(x.X)
	}
	return Heap
}

// copied records a = b where b is a map that exists, in a variable, a field, an element
// or behind a pointer, also through a conversion; where it is nil; where a function
// returns it and a is no local variable, which would only name the result; and where b
// is a value that holds maps.
func (w *walker) copied(dst, src ast.Expr, n ast.Node, at Place) *SourceOp {
	if w.info == nil {
		return nil
	}
	if id, ok := dst.(*ast.Ident); ok && id.Name == "_" {
		return nil
	}
	if x, _, ok := w.indexed(dst); ok && w.done[x] {
		return nil // an assignment into a map
	}
	from := w.throughConversions(src)
	what := CopyMap
	switch x := from.(type) {
	case *ast.Ident:
		if x.Name == "nil" {
			if at == Field {
				return nil // as if it were not there
			}
			what = CopyNil
		}
	case *ast.SelectorExpr, *ast.StarExpr, *ast.IndexExpr:
	case *ast.CallExpr:
		if id, ok := ast.Unparen(x.Fun).(*ast.Ident); ok {
			if _, builtin := w.info.Uses[id].(*types.Builtin); builtin {
				return nil // make
			}
		}
		if sel, ok := ast.Unparen(x.Fun).(*ast.SelectorExpr); ok && sel.Sel.Name == "Clone" {
			if fn, ok := w.info.Uses[sel.Sel].(*types.Func); ok && fn.Pkg() != nil && fn.Pkg().Path() == "maps" {
				return nil
			}
		}
		if at == Local {
			return nil
		}
		what = CopyResult
	default:
		return nil
	}
	to := w.info.TypeOf(dst)
	if to == nil {
		to = w.info.TypeOf(src) // a field of a literal has a name alone
	}
	if to == nil || w.info.Types[src].IsType() {
		return nil
	}
	m := w.typed(to)
	var carried []string
	if m == nil {
		if _, isStruct := to.Underlying().(*types.Struct); !isStruct && !isArray(to) || what != CopyMap {
			return nil
		}
		if carried = mapsIn(to, "", 0); len(carried) == 0 {
			return nil
		}
	} else if what != CopyNil && asMap(w.info.TypeOf(src)) == nil {
		return nil
	}
	pos := dst.Pos()
	if !pos.IsValid() {
		pos = src.Pos()
	}
	op := w.add(Copy, pos, n, m, types.ExprString(dst)+" = "+types.ExprString(src))
	op.Copy = &CopyOf{Into: at, What: what, Dst: cgoNames(types.ExprString(dst)), Src: cgoNames(types.ExprString(from)), Fields: carried, DstOff: w.offset(dst), SrcOff: w.offset(from)}
	if carried != nil {
		op.MapType = typeName(to)
	}
	w.also(op, w.position(src.Pos()).Line)
	return op
}

// intoField records a field of a struct literal that takes a map that exists.
func (w *walker) intoField(st *types.Struct, field types.Object, dst, src ast.Expr, n ast.Node) {
	op := w.copied(dst, src, n, Field)
	if op == nil || hasTypeParam(st) {
		return
	}
	var before []*types.Var
	for f := range st.Fields() {
		before = append(before, f)
		if f == field {
			op.Copy.DstOff = int(w.sizes.Offsetsof(before)[len(before)-1])
			return
		}
	}
}

// identOf returns an identifier, nil for another expression.
func identOf(e ast.Expr) *ast.Ident {
	id, _ := e.(*ast.Ident)
	return id
}

// throughConversions returns what is converted in an expression, which moves the same
// word.
func (w *walker) throughConversions(e ast.Expr) ast.Expr {
	for {
		e = ast.Unparen(e)
		call, ok := e.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 || !w.info.Types[call.Fun].IsType() {
			return e
		}
		e = call.Args[0]
	}
}

func isArray(t types.Type) bool {
	_, ok := t.Underlying().(*types.Array)
	return ok
}

// mapsIn returns the paths of the map words in a value: ".Header", ".Opts.Tags", "[]".
func mapsIn(t types.Type, path string, depth int) []string {
	const deepest = 8
	if depth > deepest {
		return nil
	}
	switch u := t.Underlying().(type) {
	case *types.Map:
		return []string{path}
	case *types.Array:
		if u.Len() > 0 {
			return mapsIn(u.Elem(), path+"[]", depth+1)
		}
	case *types.Struct:
		var all []string
		for f := range u.Fields() {
			all = append(all, mapsIn(f.Type(), path+"."+f.Name(), depth+1)...)
		}
		return all
	}
	return nil
}

// offset returns how many bytes behind a pointer an expression lies, -1 if it is not
// behind one or that is not known.
func (w *walker) offset(e ast.Expr) int {
	switch x := ast.Unparen(e).(type) {
	case *ast.StarExpr:
		return 0
	case *ast.SelectorExpr:
		sel := w.info.Selections[x]
		if sel == nil || sel.Kind() != types.FieldVal {
			return -1
		}
		at := w.offset(x.X)
		t := sel.Recv()
		for _, i := range sel.Index() {
			if p, ok := t.Underlying().(*types.Pointer); ok {
				t, at = p.Elem(), 0
			}
			st, ok := t.Underlying().(*types.Struct)
			if !ok || hasTypeParam(st) {
				return -1
			}
			if at >= 0 {
				fields := make([]*types.Var, i+1)
				for k := range fields {
					fields[k] = st.Field(k)
				}
				at += int(w.sizes.Offsetsof(fields)[i])
			}
			t = st.Field(i).Type()
		}
		return at
	}
	return -1
}

// sharing says what the words of a copy have in common afterwards.
func (c *CopyOf) sharing() string {
	switch {
	case c.What == CopyNil:
		return c.Dst + " is a nil map from here on: reading finds nothing, writing panics"
	case c.What == CopyResult:
		return c.Dst + " has the header that " + c.Src + " returns"
	case len(c.Fields) > 0:
		var both []string
		for _, f := range c.Fields {
			both = append(both, strings.TrimPrefix(c.Dst, "*")+f+" and "+strings.TrimPrefix(c.Src, "*")+f)
		}
		const most = 4
		if n := len(both); n > most {
			both = append(both[:most], "and so on")
		}
		return "the headers are shared, not copied: " + strings.Join(both, "; ")
	}
	return c.Dst + " and " + c.Src + " then share one header"
}
