package probe

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// variable is where a stub finds a map: a word at a fixed address, or at the end of a
// chain of pointers that begins there.
type variable struct {
	addr  uint64 // in the file
	steps []int64
	// Of each step: follow the pointer, and go so far from where it points.
}

// VariableError says that an expression does not name a map that can be found in a
// program from its beginning on.
type VariableError struct{ Expr, Detail string }

func (e *VariableError) Error() string { return e.Expr + ": " + e.Detail }

// attrGoKind is DW_AT_go_kind, a reflect.Kind: cmd/internal/dwarf.
const attrGoKind = dwarf.Attr(0x2900)

// variable finds what an expression names: a package variable, fields of structs and
// elements of arrays in it, through pointers.
func (im *image) variable(expr string) (v variable, err error) {
	fail := func(format string, args ...any) (variable, error) {
		return v, &VariableError{expr, fmt.Sprintf(format, args...)}
	}
	e, err := parser.ParseExpr(expr)
	if err != nil {
		return fail("%v", err)
	}
	// From the outside in, up to the variable.
	var path []any // string: a field; int64: an index; nil: a dereference
	var pkg, name string
	for name == "" {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			path = append(path, nil)
			e = x.X
		case *ast.IndexExpr:
			lit, ok := x.Index.(*ast.BasicLit)
			if !ok || lit.Kind != token.INT {
				return fail("an index must be a number")
			}
			n, err := strconv.ParseInt(lit.Value, 0, 64)
			if err != nil {
				return fail("%v", err)
			}
			path = append(path, n)
			e = x.X
		case *ast.SelectorExpr:
			switch p := x.X.(type) {
			case *ast.Ident:
				pkg, name = p.Name, x.Sel.Name
				continue
			case *ast.BasicLit:
				if s, err := strconv.Unquote(p.Value); err == nil && p.Kind == token.STRING {
					pkg, name = s, x.Sel.Name
					continue
				}
			}
			path = append(path, x.Sel.Name)
			e = x.X
		case *ast.Ident:
			return fail("a program that is only being started has no local variables: want a package variable, such as main.cache")
		default:
			return fail("want a package variable, fields, elements of arrays and pointers to them")
		}
	}
	sym, err := im.symbol(pkg, name)
	if err != nil {
		return fail("%v", err)
	}
	v.addr = sym.Value
	if im.dwarf == nil {
		if len(path) > 0 || sym.Size != 8 {
			return fail("the binary has no debug information: only a package variable that is a map itself can be found")
		}
		return v, nil
	}
	typ, err := im.typeOf(sym.Name)
	if err != nil {
		return fail("%v", err)
	}
	// last is what the offset that comes next is added to.
	var off int64
	add := func(n int64) { off += n }
	follow := func() {
		if len(v.steps) == 0 {
			v.addr += uint64(off)
		} else {
			v.steps[len(v.steps)-1] += off
		}
		off = 0
		v.steps = append(v.steps, 0)
	}
	for i := len(path) - 1; i >= 0; i-- {
		under := im.under(typ)
		if under == nil {
			return fail("its type cannot be read")
		}
		if _, deref := path[i].(int64); under.Tag == dwarf.TagPointerType && kindOf(typ) != reflect.Map && !deref {
			follow()
			if typ = im.typeAt(under); typ == nil {
				return fail("it is an unsafe pointer")
			}
			if path[i] == nil {
				continue
			}
			under = im.under(typ)
		}
		switch p := path[i].(type) {
		case string:
			if under == nil || under.Tag != dwarf.TagStructType {
				return fail("no field %s in what is no struct", p)
			}
			field := im.field(under, p)
			if field == nil {
				return fail("no field %s", p)
			}
			at, _ := field.Val(dwarf.AttrDataMemberLoc).(int64)
			add(at)
			typ = im.typeAt(field)
		case int64:
			if under == nil || under.Tag != dwarf.TagArrayType {
				return fail("element %d of what is no array: a slice's elements may move", p)
			}
			elem := im.typeAt(under)
			all, err1 := im.dwarf.Type(under.Offset)
			one, err2 := im.dwarf.Type(elem.Offset)
			if err1 != nil || err2 != nil || p < 0 || p >= all.Size()/max(1, one.Size()) {
				return fail("no element %d", p)
			}
			add(p * one.Size())
			typ = elem
		case nil:
			return fail("it is no pointer")
		}
		if typ == nil {
			return fail("its type cannot be read")
		}
	}
	if kindOf(typ) != reflect.Map && kindOf(im.under(typ)) != reflect.Map {
		what, _ := typ.Val(dwarf.AttrName).(string)
		return fail("its type is %s, not a map", what)
	}
	if len(v.steps) == 0 {
		v.addr += uint64(off)
	} else {
		v.steps[len(v.steps)-1] += off
	}
	return v, nil
}

// symbol finds a package variable; pkg may be the last element of a package's path.
func (im *image) symbol(pkg, name string) (found elf.Symbol, err error) {
	syms, err := im.file.Symbols()
	if err != nil {
		return found, fmt.Errorf("the binary is stripped: it does not tell where its variables are")
	}
	n := 0
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) != elf.STT_OBJECT {
			continue
		}
		of, last, ok := strings.Cut(s.Name[strings.LastIndexByte(s.Name, '/')+1:], ".")
		if !ok || last != name || of != pkg && s.Name != pkg+"."+name {
			continue
		}
		if s.Name == pkg+"."+name {
			return s, nil
		}
		found = s
		n++
	}
	switch n {
	case 0:
		return found, fmt.Errorf("no package variable of that name, or one that is never used")
	case 1:
		return found, nil
	}
	return found, fmt.Errorf(`%d packages have such a variable: give the path, as in "net/http".DefaultClient`, n)
}

// typeOf returns the type of the package variable with a name.
func (im *image) typeOf(name string) (*dwarf.Entry, error) {
	pkg := name[:strings.LastIndexByte(name, '/')+1]
	rest, _, _ := strings.Cut(name[len(pkg):], ".")
	pkg += rest
	for r := im.dwarf.Reader(); ; {
		e, err := r.Next()
		if err != nil || e == nil {
			return nil, fmt.Errorf("its type is not in the debug information")
		}
		n, _ := e.Val(dwarf.AttrName).(string)
		switch {
		case e.Tag == dwarf.TagCompileUnit && n != pkg && pkg != "main" && !strings.Contains(pkg, "%"):
			r.SkipChildren()
		case e.Tag == dwarf.TagCompileUnit:
		case e.Tag == dwarf.TagVariable && n == name:
			if t := im.typeAt(e); t != nil {
				return t, nil
			}
		case e.Children:
			r.SkipChildren()
		}
	}
}

// typeAt is the entry of a type that another entry refers to.
func (im *image) typeAt(e *dwarf.Entry) *dwarf.Entry {
	off, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if !ok {
		return nil
	}
	r := im.dwarf.Reader()
	r.Seek(off)
	t, err := r.Next()
	if err != nil {
		return nil
	}
	return t
}

// under is what a type is defined as.
func (im *image) under(t *dwarf.Entry) *dwarf.Entry {
	for n := 0; t != nil && t.Tag == dwarf.TagTypedef && n < 100; n++ {
		if kindOf(t) == reflect.Map {
			return t
		}
		t = im.typeAt(t)
	}
	return t
}

func (im *image) field(st *dwarf.Entry, name string) *dwarf.Entry {
	r := im.dwarf.Reader()
	r.Seek(st.Offset)
	if e, err := r.Next(); err != nil || e == nil || !e.Children {
		return nil
	}
	for {
		e, err := r.Next()
		if err != nil || e == nil || e.Tag == 0 {
			return nil
		}
		if n, _ := e.Val(dwarf.AttrName).(string); e.Tag == dwarf.TagMember && n == name {
			return e
		}
		if e.Children {
			r.SkipChildren()
		}
	}
}

func kindOf(t *dwarf.Entry) reflect.Kind {
	if t == nil {
		return reflect.Invalid
	}
	k, _ := t.Val(attrGoKind).(int64)
	return reflect.Kind(k)
}
