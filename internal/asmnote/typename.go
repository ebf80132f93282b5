package asmnote

import (
	"go/types"
	"strconv"
	"strings"
)

// typeName writes a type as the linker's symbols have it, with full import paths,
// without names of parameters: LinkString in cmd/compile/internal/types/fmt.go.
// The empty interface is "any" as people write it.
func typeName(t types.Type) string {
	var w typeWriter
	w.typ(t, 0)
	return w.String()
}

// cgoNames writes names that cgo has made as the source has them, as the go command
// does in the listing.
func cgoNames(s string) string {
	if !strings.Contains(s, "_C") {
		return s
	}
	return strings.NewReplacer("_Ctype_", "C.", "(_Cfunc_", "(C.", "_Cfunc_", "C.").Replace(s)
}

type typeWriter struct{ strings.Builder }

func (w *typeWriter) typ(t types.Type, depth int) {
	if depth > 32 { // a type that holds itself without a name: not valid Go
		w.WriteString("...")
		return
	}
	depth++
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		if p := t.Obj().Pkg(); p != nil {
			w.WriteString(p.Path() + ".")
		}
		w.WriteString(cgoNames(t.Obj().Name()))
		for i, n := 0, t.TypeArgs().Len(); i < n; i++ {
			w.WriteByte("[,"[min(i, 1)])
			w.typ(t.TypeArgs().At(i), depth)
			if i == n-1 {
				w.WriteByte(']')
			}
		}
	case *types.Pointer:
		w.WriteByte('*')
		w.typ(t.Elem(), depth)
	case *types.Slice:
		w.WriteString("[]")
		w.typ(t.Elem(), depth)
	case *types.Array:
		w.WriteString("[" + strconv.FormatInt(t.Len(), 10) + "]")
		w.typ(t.Elem(), depth)
	case *types.Map:
		w.WriteString("map[")
		w.typ(t.Key(), depth)
		w.WriteByte(']')
		w.typ(t.Elem(), depth)
	case *types.Chan:
		switch t.Dir() {
		case types.SendRecv:
			w.WriteString("chan ")
		case types.SendOnly:
			w.WriteString("chan<- ")
		case types.RecvOnly:
			w.WriteString("<-chan ")
		}
		w.typ(t.Elem(), depth)
	case *types.Signature:
		w.WriteString("func")
		w.signature(t, depth)
	case *types.Struct:
		w.WriteString("struct {")
		for i := range t.NumFields() {
			f := t.Field(i)
			w.WriteString([]string{" ", "; "}[min(i, 1)])
			if !f.Embedded() {
				w.qualified(f)
				w.WriteByte(' ')
			}
			w.typ(f.Type(), depth)
			if tag := t.Tag(i); tag != "" {
				w.WriteString(" " + strconv.Quote(tag))
			}
			if i == t.NumFields()-1 {
				w.WriteByte(' ')
			}
		}
		w.WriteByte('}')
	case *types.Interface:
		w.iface(t, depth)
	case *types.Basic:
		switch t.Kind() {
		case types.Byte:
			w.WriteString("uint8")
		case types.Rune:
			w.WriteString("int32")
		default:
			w.WriteString(t.String())
		}
	default: // a type parameter
		w.WriteString(t.String())
	}
}

func (w *typeWriter) qualified(o types.Object) {
	if !o.Exported() && o.Pkg() != nil {
		w.WriteString(o.Pkg().Path() + ".")
	}
	w.WriteString(o.Name())
}

func (w *typeWriter) iface(t *types.Interface, depth int) {
	if t.NumMethods() == 0 {
		w.WriteString("any")
		return
	}
	w.WriteString("interface {")
	for i := range t.NumMethods() {
		w.WriteString([]string{" ", "; "}[min(i, 1)])
		w.qualified(t.Method(i))
		w.signature(t.Method(i).Signature(), depth)
	}
	w.WriteString(" }")
}

func (w *typeWriter) signature(s *types.Signature, depth int) {
	w.tuple(s.Params(), s.Variadic(), depth)
	switch r := s.Results(); r.Len() {
	case 0:
	case 1:
		w.WriteByte(' ')
		w.typ(r.At(0).Type(), depth)
	default:
		w.WriteByte(' ')
		w.tuple(r, false, depth)
	}
}

func (w *typeWriter) tuple(t *types.Tuple, variadic bool, depth int) {
	w.WriteByte('(')
	for i := range t.Len() {
		if i > 0 {
			w.WriteString(", ")
		}
		typ := t.At(i).Type()
		if s, ok := typ.(*types.Slice); ok && variadic && i == t.Len()-1 {
			w.WriteString("...")
			typ = s.Elem()
		}
		w.typ(typ, depth)
	}
	w.WriteByte(')')
}
