package target

import (
	"errors"
	"fmt"
	"go/constant"
	"math"
	"path"
	"reflect"
	"sort"
	"strings"

	"github.com/go-delve/delve/pkg/dwarf/godwarf"
	"github.com/go-delve/delve/pkg/proc"

	"hmaptools/internal/hmap"
)

// RootKind is what kind of variable a root is.
type RootKind string

const (
	Global   RootKind = "global"
	Local    RootKind = "local"
	Arg      RootKind = "arg"      // an argument or a result
	Register RootKind = "register" // a local or an argument that is in registers, at least in part
	Expr     RootKind = "expr"     // what Eval was asked for
)

// Root is a variable of the stopped target.
type Root struct {
	Kind RootKind
	Name string     // "main.cache" (globals: the full package path), "m"; Eval: the expression
	Type *hmap.Type // nil only when Err says why
	Addr uint64     // where the value lies in target memory; 0 when it has no address
	// Raw is the value's bytes when it has no address, because it is in registers
	// or in several pieces of memory: Type.Size of them. Otherwise nil.
	Raw  []byte
	Lost []Span // the stretches of Raw that the compiler did not keep; they are zero
	Err  error  // ErrOptimisedAway, ErrPartly, or why it is unreadable

	// Of locals and arguments:
	Goroutine int64
	Frame     int // 0 is the innermost; inlined calls are frames too
	Func      string
	File      string
	Line      int  // where the frame is
	DeclLine  int  // where the variable is declared
	Shadowed  bool // an inner variable of this frame has the same name
	Escaped   bool // it lives on the heap
}

// Span is a stretch of bytes.
type Span struct{ Off, Len int64 }

// Roots lists all package variables of the executable, sorted by name, and after
// them the locals and arguments of every frame of every goroutine, by goroutine,
// frame and declaration. Of the runtime's frames those of its map code are listed,
// and the one where Until.At stopped; the others make up most of the variables of a
// parked goroutine and hold no map. The compiler's temporaries are left out, and the
// locals of a function that has not started: what lies there is not theirs yet. What
// was read is returned along with the joined errors.
//
// It takes some 130 microseconds for each goroutine, most of them for the unwinding.
func (t *Target) Roots() ([]Root, error) {
	globals, err1 := t.Globals()
	locals, err2 := t.Locals()
	return append(globals, locals...), errors.Join(err1, err2)
}

// Globals lists the package variables, sorted by name.
func (t *Target) Globals() ([]Root, error) {
	if err := t.debug.loadGlobals(); err != nil {
		return nil, err
	}
	types := t.Types()
	roots := make([]Root, 0, len(t.debug.globals))
	for _, g := range t.debug.globals {
		r := Root{Kind: Global, Name: g.name, Addr: g.addr, DeclLine: g.line}
		r.Type, r.Err = types.At(g.typ)
		roots = append(roots, r)
	}
	sort.SliceStable(roots, func(i, j int) bool { return roots[i].Name < roots[j].Name })
	return roots, nil
}

// Locals lists the locals and arguments of every frame of every goroutine.
func (t *Target) Locals() ([]Root, error) {
	gs, err := t.goroutines()
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	var roots []Root
	for _, g := range gs {
		if g.Unreadable != nil {
			errs = append(errs, fmt.Errorf("read goroutine: %w", g.Unreadable))
			continue
		}
		s, err := t.stack(g, maxFrames)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rs, err := t.stackRoots(s)
		roots = append(roots, rs...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return roots, errors.Join(errs...)
}

// isMapCode reports whether a function of the runtime is of its maps: of
// internal/runtime/maps, or of runtime/map*.go.
func isMapCode(fn, file string) bool {
	return strings.HasPrefix(fn, "internal/runtime/maps.") || strings.HasPrefix(path.Base(file), "map") ||
		path.Base(path.Dir(file)) == "maps"
}

func (t *Target) stackRoots(s *stackAt) ([]Root, error) {
	user := false
	for i := range s.frames {
		if fn := s.frames[i].Call.Fn; fn != nil && !isRuntime(fn.Name) {
			user = true
			break
		}
	}
	if !user {
		return nil, nil
	}
	type key struct {
		name string
		addr uint64
		decl int
	}
	// Delve lists the variables of a function in the bodies of its range-over-func
	// loops too.
	seen := make(map[key]bool)
	var roots []Root
	var errs []error
	for i := range s.frames {
		f := &s.frames[i]
		if f.Err != nil {
			errs = append(errs, fmt.Errorf("unwind goroutine %d: frame %d: %w", s.goroutine, i, f.Err))
			break
		}
		if f.Call.Fn == nil || f.Current.Fn == nil {
			continue
		}
		if isRuntime(f.Call.Fn.Name) && !isMapCode(f.Call.Fn.Name, f.Call.File) && !(i == 0 && t.stop.Reason == At) {
			continue
		}
		scope := t.scope(s, i)
		// Delve leaves out what is declared on this line or behind it. Where the compiler
		// says for each instruction where a variable is, it is set wherever it is, and
		// what a closure of one line captured is declared on that line.
		line := scope.Line
		if f.Current.Fn.Optimized() {
			scope.Line = math.MaxInt32
		}
		var vars []*proc.Variable
		err := guard("list locals", func() (err error) { vars, err = scope.Locals(0, ""); return err })
		if err != nil {
			// C and assembly have none.
			if !isRuntime(f.Call.Fn.Name) {
				errs = append(errs, fmt.Errorf("locals of %s: %w", f.Call.Fn.Name, err))
			}
			continue
		}
		for _, v := range vars {
			isArg := v.Flags&(proc.VariableArgument|proc.VariableReturnArgument) != 0
			if strings.HasPrefix(v.Name, ".autotmp_") || f.Call.PC == f.Current.Fn.Entry && !isArg {
				continue
			}
			r := t.root(scope, v)
			if r.Err != nil && i > 0 && f.Current.PC != f.Call.PC {
				t.spilled(s, i, v, &r)
			}
			if r.Err != nil && v.DeclLine >= int64(line) {
				continue // not declared yet
			}
			r.Goroutine, r.Frame = s.goroutine, i
			r.Func, r.File, r.Line = unescape(f.Call.Fn.Name), f.Call.File, f.Call.Line
			if r.Addr != 0 {
				k := key{r.Name, r.Addr, r.DeclLine}
				if seen[k] {
					continue
				}
				seen[k] = true
			}
			roots = append(roots, r)
		}
	}
	if len(s.frames) > maxFrames {
		errs = append(errs, fmt.Errorf("unwind goroutine %d: %d frames: %w", s.goroutine, maxFrames, errDeepStack))
	}
	return roots, errors.Join(errs...)
}

// spilled finds a variable of a frame that waits for a call to return. Where the call
// is, the debug information may say that it is in a register, which is lost by then; but
// if it says that behind the call it is in the frame, it has lain there all the while:
// Go has no registers that a call preserves.
func (t *Target) spilled(s *stackAt, i int, v *proc.Variable, r *Root) {
	scope := t.scope(s, i)
	scope.PC, scope.Line = s.frames[i].Current.PC, math.MaxInt32
	var vars []*proc.Variable
	if guard("list locals", func() (err error) { vars, err = scope.Locals(0, ""); return err }) != nil {
		return
	}
	for _, w := range vars {
		if w.Name != v.Name || w.DeclLine != v.DeclLine || w.Unreadable != nil || w.Flags&proc.VariableFakeAddress != 0 {
			continue
		}
		if x := t.root(scope, w); x.Err == nil && x.Addr != 0 && x.Type == r.Type {
			*r = x
			return
		}
	}
}

// root makes a Root of a variable of Delve's that is not loaded.
func (t *Target) root(scope *proc.EvalScope, v *proc.Variable) Root {
	r := Root{Kind: Local, Name: v.Name, Addr: v.Addr, DeclLine: int(v.DeclLine)}
	if v.Flags&(proc.VariableArgument|proc.VariableReturnArgument) != 0 {
		r.Kind = Arg
	}
	r.Shadowed = v.Flags&proc.VariableShadowed != 0
	r.Escaped = v.Flags&proc.VariableEscaped != 0
	var err error
	if r.Type, err = t.typeOf(v); err != nil {
		r.Err = err
		r.Addr = 0
		return r
	}
	switch {
	case v.Unreadable != nil:
		r.Addr = 0
		r.Err = unreadable(v.Unreadable)
	case v.Flags&proc.VariableFakeAddress != 0 && !r.Escaped:
		r.Addr = 0
		expr := v.LocationExpr.String()
		if strings.Contains(expr, "DW_OP_reg") {
			r.Kind = Register
		}
		t.readPieces(scope, v, expr, &r)
	}
	return r
}

// typeOf finds the type of a variable of Delve's among ours.
func (t *Target) typeOf(v *proc.Variable) (*hmap.Type, error) {
	typ := v.DwarfType
	if typ == nil {
		typ = v.RealType
	}
	if typ == nil {
		return nil, errors.New("no type")
	}
	c := typ.Common()
	if c.Index != 0 {
		return nil, fmt.Errorf("type %s is of a shared library; only the executable's types are read", typ)
	}
	if c.Offset == 0 {
		return nil, fmt.Errorf("type %s is not in the debug information", typ)
	}
	return t.Types().At(c.Offset)
}

// unreadable puts Delve's error into words. An entry without a location at this
// place is one the compiler did not keep.
func unreadable(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "could not find loclist entry"), strings.Contains(text, "empty OP stack"),
		strings.Contains(text, "no location attribute"), strings.Contains(text, "could not read 0 bytes"):
		return ErrOptimisedAway
	case strings.Contains(text, "from register"):
		// In a register when the frame made its call: gone, Go has no
		// callee-saved registers.
		return ErrOptimisedAway
	}
	return fmt.Errorf("unreadable: %w", err)
}

// maxPieces is the size of the largest value that is put together from pieces.
const maxPieces = 4096

// readPieces reads a variable that Delve has put together from registers and
// pieces of memory. Such a value has an address that Delve made up; its
// expressions know it.
func (t *Target) readPieces(scope *proc.EvalScope, v *proc.Variable, expr string, r *Root) {
	size := r.Type.Size
	if size == 0 {
		r.Raw = []byte{}
		return
	}
	if size < 0 || size > maxPieces {
		r.Err = fmt.Errorf("unreadable: %d bytes in pieces; at most %d are read", size, maxPieces)
		return
	}
	lost := lostPieces(expr, size)
	if total(lost) >= size {
		r.Err = ErrOptimisedAway
		return
	}
	raw, err := t.readMadeUp(scope, v.Addr, size)
	if err != nil {
		r.Err = unreadable(err)
		return
	}
	r.Raw = raw
	if len(lost) > 0 {
		r.Lost, r.Err = lost, ErrPartly
	}
}

// readMadeUp reads bytes at an address that Delve made up.
func (t *Target) readMadeUp(scope *proc.EvalScope, addr uint64, size int64) ([]byte, error) {
	cfg := proc.LoadConfig{MaxArrayValues: int(size), MaxVariableRecurse: 1}
	v, err := t.evalIn(scope, fmt.Sprintf("*(*[%d]uint8)(%#x)", size, addr), cfg)
	if err != nil {
		return nil, err
	}
	if v.Unreadable != nil {
		return nil, v.Unreadable
	}
	if int64(len(v.Children)) != size {
		return nil, fmt.Errorf("%d of %d bytes", len(v.Children), size)
	}
	raw := make([]byte, size)
	for i := range v.Children {
		c := &v.Children[i]
		if c.Unreadable != nil {
			return nil, c.Unreadable
		}
		raw[i] = byteOf(c)
	}
	return raw, nil
}

// lostPieces finds, in a location expression as Delve prints it, the pieces that
// have no location: a DW_OP_piece with nothing before it. Delve fills them with
// zeros, and a lost map would look nil.
func lostPieces(expr string, size int64) []Span {
	if !strings.Contains(expr, "DW_OP_piece") {
		return nil
	}
	var lost []Span
	off := int64(0)
	located := false
	fields := strings.Fields(expr)
	if len(fields) > 0 && strings.HasPrefix(fields[0], "[") {
		fields = fields[1:]
	}
	for i := 0; i < len(fields); i++ {
		if fields[i] != "DW_OP_piece" {
			located = true
			continue
		}
		i++
		var n int64
		if i < len(fields) {
			fmt.Sscanf(fields[i], "0x%x", &n)
		}
		if !located && n > 0 {
			if k := len(lost) - 1; k >= 0 && lost[k].Off+lost[k].Len == off {
				lost[k].Len += n
			} else {
				lost = append(lost, Span{off, n})
			}
		}
		off += n
		located = false
	}
	if off < size && off > 0 {
		lost = append(lost, Span{off, size - off})
	}
	return lost
}

func total(spans []Span) int64 {
	var n int64
	for _, s := range spans {
		n += s.Len
	}
	return n
}

// Eval evaluates a Go expression at the stop: in the frame that Stop describes;
// if it names nothing there, in the frames that called it, outwards, then in those
// of goroutine 1, of which Root.Goroutine and Root.Frame tell. Delve's forms are understood: package paths in quotes, casts of
// addresses. It calls no function of the target. An expression that does not
// parse, or names nothing, is an *ExprError.
func (t *Target) Eval(expr string) (Root, error) {
	if err := t.valid(); err != nil {
		return Root{}, fmt.Errorf("evaluate %q: %w", expr, err)
	}
	s, ok := t.stopFrame(t.stop.Reason == At)
	if !ok {
		r, err := t.evalRoot(t.globalScope(t.tgt.Memory()), expr)
		if err != nil {
			return Root{}, &ExprError{expr, err}
		}
		return r, nil
	}
	r, err := t.evalInStack(s, expr)
	if err != nil && notFound(err) && s.goroutine != 1 {
		// Which goroutine a process that is attached to, or interrupted, happens to
		// be in is chance: main's variables can be named all the same.
		if main, ok := t.mainFrame(); ok {
			if r, err := t.evalInStack(main, expr); err == nil {
				return r, nil
			}
		}
	}
	if err != nil {
		return Root{}, &ExprError{expr, err}
	}
	return r, nil
}

// evalInStack evaluates in the frame of s, then in the user frames that called it.
func (t *Target) evalInStack(s *stackAt, expr string) (Root, error) {
	var first error
	for i := s.index; i < len(s.frames); i++ {
		f := &s.frames[i]
		if f.Err != nil || f.Call.Fn == nil || i > s.index && t.isStd(f.Call.Fn.Name, f.Call.File) {
			continue
		}
		r, err := t.evalRoot(t.scope(s, i), expr)
		if err == nil {
			r.Goroutine, r.Frame = s.goroutine, i
			r.Func, r.File, r.Line = unescape(f.Call.Fn.Name), f.Call.File, f.Call.Line
			return r, nil
		}
		if first == nil {
			first = err
		}
		if !notFound(err) {
			break
		}
	}
	if first == nil {
		first = errors.New("the stopped goroutine has no frame to evaluate it in")
	}
	return Root{}, first
}

func notFound(err error) bool { return strings.Contains(err.Error(), "could not find symbol") }

func (t *Target) evalRoot(scope *proc.EvalScope, expr string) (Root, error) {
	v, err := t.evalIn(scope, expr, proc.LoadConfig{})
	if err != nil {
		return Root{}, err
	}
	// A pointer that Delve made (&x, a cast) has a type that the target does not
	// have: what it points at does.
	if p, ok := v.RealType.(*godwarf.PtrType); ok && v.DwarfType.Common().Offset == 0 && len(v.Children) == 1 {
		c := v.Children[0]
		if c.Addr == 0 {
			return Root{}, fmt.Errorf("nil pointer to %s", p.Type)
		}
		v = &c
	}
	r := t.root(scope, v)
	r.Kind, r.Name = Expr, expr
	if r.Type == nil {
		return Root{}, r.Err
	}
	if r.Err != nil || r.Addr != 0 || r.Raw != nil {
		return r, nil
	}
	// A value that lies nowhere: the result of a conversion, a constant.
	var w uint64
	switch {
	case r.Type.Kind == reflect.Map || r.Type.Kind == reflect.Chan:
		w = v.Base
	case (r.Type.Kind == reflect.Pointer || r.Type.Kind == reflect.UnsafePointer) && len(v.Children) == 1:
		w = v.Children[0].Addr
	default:
		return Root{}, fmt.Errorf("a %s that lies nowhere in memory", r.Type.Name)
	}
	r.Raw = make([]byte, t.bi.Arch.PtrSize())
	for i := range r.Raw {
		r.Raw[i] = byte(w >> (8 * i))
	}
	return r, nil
}

func byteOf(v *proc.Variable) byte {
	if v.Value == nil {
		return 0
	}
	n, _ := constant.Uint64Val(v.Value)
	return byte(n)
}
