package asmnote

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A SourceOp is a map operation that the source asks for.
type SourceOp struct {
	Kind Kind
	File string
	// Line and Col are of the operation; the compiler gives its code this line.
	Line, Col int
	// Last is the last line of the statement or expression.
	Last int
	Expr string
	// MapType is written with full import paths, as symbols are; "" if the file was
	// not type-checked.
	MapType string
	// Under is the map type itself where MapType is a defined one, else the same.
	Under string
	// Func is the function that holds it, nil at package level.
	Func *SourceFunc

	// Entries are the lines of a literal's entries.
	Entries []int
	// Copy says more of a copy, nil for other kinds.
	Copy *CopyOf
	// Idiom marks a range loop that deletes every key, and nothing else.
	Idiom bool
	// Sub marks an operation that the compiler makes part of another: the read in
	// m[k] = append(m[k], v), the delete in a loop that becomes mapclear.
	Sub bool
	// Generic says that the map type depends on type parameters.
	Generic bool
	// Hint is what make was given, as the source has it; "" for none.
	Hint string
	// Typed says that the type checker saw it; without that it may be no map.
	Typed bool

	choice choice
	hints  []Hint
}

// A CopyOf is what a map assignment moves from where to where.
type CopyOf struct {
	Into     Place
	What     Copied
	Dst, Src string // both sides, conversions left out
	// Fields are the paths of the map words in a value that holds some; nil for a map.
	Fields []string
	// DstOff and SrcOff are how many bytes behind a pointer both sides lie, -1 if they
	// are no such fields.
	DstOff, SrcOff int
}

// Copied is what is assigned.
type Copied string

// What is assigned.
const (
	CopyMap    Copied = "map"    // a map that exists, or a value that holds some
	CopyNil    Copied = "nil"    //
	CopyResult Copied = "result" // of a call
)

// A Place is what kind of variable a map word is stored in.
type Place string

// The places.
const (
	Local  Place = "local"
	Global Place = "global"
	Heap   Place = "heap"  // a field, an element, what a pointer points at
	Field  Place = "field" // of a literal, wherever that lies
)

// A SourceFunc is a function declaration or literal.
type SourceFunc struct {
	Name      string // of the declaration around it
	File      string
	Line, End int
	Lit       bool
	Ops       []*SourceOp
}

// A Source holds the map operations of source files. Files are known under the
// names that positions in code may have. Once all packages are added, several
// Annotators may use it at the same time.
type Source struct {
	mu      sync.RWMutex // of files
	foreign bool         // export data cannot be read
	target  Target
	sizes   types.Sizes
	files   map[string]*sourceFile // by every name
	Ops     []*SourceOp            // of type-checked files, in the order of the source
	// Expected are the expectations in comments, in the order of the source.
	Expected []Expectation
	resolve  func(string) string
}

type sourceFile struct {
	lines map[int][]*SourceOp
	funcs map[int][]*SourceFunc // by the line of the keyword func
}

// NewSource returns a Source without files, for code of a target.
func NewSource(t Target) *Source {
	sizes := types.SizesFor("gc", t.Arch)
	if sizes == nil {
		sizes = types.SizesFor("gc", "amd64")
	}
	return &Source{target: t, sizes: sizes, files: map[string]*sourceFile{}}
}

// Sizes are the sizes of types on the target.
func (s *Source) Sizes() types.Sizes { return s.sizes }

// AddFile takes a parsed file. With info, from a type checker that was asked for
// Types, Defs and Uses, exactly the map operations are found; without it
// everything that may be one by its form. names are further names for the file.
func (s *Source) AddFile(fset *token.FileSet, f *ast.File, info *types.Info, names ...string) {
	if tf := fset.File(f.FileStart); tf != nil {
		s.take(s.walk(fset, tf, f, info), names)
	}
}

// take takes what a walker has found.
func (s *Source) take(w *walker, names []string) {
	s.Ops = append(s.Ops, w.ops...)
	s.Expected = append(s.Expected, w.expected...)
	own := w.tokens.Name()
	for name, sf := range w.out {
		s.files[name] = sf
		// The parser takes what //line says from the file's directory, the compiler as
		// it is.
		if rel, err := filepath.Rel(filepath.Dir(own), name); err == nil && name != own {
			s.files[rel] = sf
		}
	}
	// The file as it is may be named in other ways; what //line says is as it is.
	if sf := w.out[own]; sf != nil {
		for _, n := range names {
			s.files[n] = sf
		}
	}
}

// Merge takes over what another Source, for the same target, knows of type-checked
// files. They then share it.
func (s *Source) Merge(from *Source) {
	maps.Copy(s.files, from.files)
	s.Ops = append(s.Ops, from.Ops...)
	s.Expected = append(s.Expected, from.Expected...)
}

// declared returns the functions that are declared at a position, in a file that is
// there.
func (s *Source) declared(file string, line int) []*SourceFunc {
	sf := s.known(file)
	if sf == nil {
		return nil
	}
	return sf.funcs[line]
}

// known returns a file by its name in a position, nil if it was not added.
func (s *Source) known(file string) *sourceFile {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.files[file]
}

// Concerns reports whether code at a position may hold an operation of the
// type-checked files, or belongs to the declaration of a function that has some.
func (s *Source) Concerns(file string, line int) bool {
	sf := s.known(file)
	if sf == nil {
		return false
	}
	return len(sf.lines[line]) > 0 || slices.ContainsFunc(sf.funcs[line], func(f *SourceFunc) bool { return len(f.Ops) > 0 })
}

// at returns the operations at a position, for a call: the file is parsed if it was
// not added.
func (s *Source) at(file string, line int) []*SourceOp {
	sf := s.find(file)
	if sf == nil {
		return nil
	}
	return sf.lines[line]
}

// find returns a file by its name in a position. One that was not added is parsed,
// once, if it exists under that name.
func (s *Source) find(file string) *sourceFile {
	s.mu.RLock()
	sf, ok := s.files[file]
	s.mu.RUnlock()
	if ok {
		return sf
	}
	path := file
	if s.resolve != nil {
		path = s.resolve(file)
	}
	var parsed *ast.File
	fset := token.NewFileSet()
	if filepath.IsAbs(path) && strings.HasSuffix(path, ".go") {
		parsed, _ = parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sf, ok := s.files[file]; ok {
		return sf // another Annotator was faster
	}
	s.files[file] = nil
	if parsed != nil {
		s.AddFile(fset, parsed, nil, file)
	}
	return s.files[file]
}

// SetResolve gives a function that maps file names in positions to paths, for
// files that were not added; "" leaves one out.
func (s *Source) SetResolve(fn func(string) string) { s.resolve = fn }

// A walker collects the operations of one file.
type walker struct {
	target Target
	sizes  types.Sizes
	fset   *token.FileSet
	info   *types.Info
	tokens *token.File

	out      map[string]*sourceFile // by the names that //line gives, and its own
	ops      []*SourceOp
	expected []Expectation

	stack []ast.Node
	funcs []*SourceFunc
	sub   map[ast.Expr]bool // parts of other operations
	done  map[ast.Expr]bool
	later map[token.Pos][]Hint // of operations that are not recorded yet
	name  string               // of the last map type, if it is a defined one
}

// walk finds what is in a file. It only reads s.
func (s *Source) walk(fset *token.FileSet, tf *token.File, f *ast.File, info *types.Info) *walker {
	w := &walker{target: s.target, sizes: s.sizes, fset: fset, info: info, tokens: tf, out: map[string]*sourceFile{},
		sub: map[ast.Expr]bool{}, done: map[ast.Expr]bool{}, later: map[token.Pos][]Hint{}}
	w.fileOf(tf.Name())
	if info != nil {
		w.expect(f)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if n == nil {
			switch w.stack[len(w.stack)-1].(type) {
			case *ast.FuncDecl, *ast.FuncLit:
				w.funcs = w.funcs[:len(w.funcs)-1]
			}
			w.stack = w.stack[:len(w.stack)-1]
			return true
		}
		w.enter(n)
		w.stack = append(w.stack, n)
		w.node(n)
		return true
	})
	return w
}

func (w *walker) fileOf(name string) *sourceFile {
	sf := w.out[name]
	if sf == nil {
		sf = &sourceFile{map[int][]*SourceOp{}, map[int][]*SourceFunc{}}
		w.out[name] = sf
	}
	return sf
}

// position is where the compiler says that a node is: after //line directives.
func (w *walker) position(pos token.Pos) token.Position { return w.fset.PositionFor(pos, true) }

func (w *walker) enter(n ast.Node) {
	var name string
	var pos, end token.Pos
	switch n := n.(type) {
	case *ast.FuncDecl:
		name, pos, end = n.Name.Name, n.Name.Pos(), n.End()
	case *ast.FuncLit:
		pos, end = n.Pos(), n.End()
		if len(w.funcs) > 0 {
			name = w.funcs[0].Name
		}
	default:
		return
	}
	at := w.position(pos)
	_, lit := n.(*ast.FuncLit)
	fn := &SourceFunc{Name: name, File: at.Filename, Line: at.Line, End: w.position(end).Line, Lit: lit}
	w.funcs = append(w.funcs, fn)
	sf := w.fileOf(at.Filename)
	sf.funcs[at.Line] = append(sf.funcs[at.Line], fn)
}

// mapOf returns the map type of an expression; maybe is true if it is not known
// whether it is one.
func (w *walker) mapOf(e ast.Expr) (m *types.Map, maybe bool) {
	if w.info == nil {
		return nil, true
	}
	tv, ok := w.info.Types[e]
	if !ok {
		if id, ok := e.(*ast.Ident); ok {
			if obj := w.info.ObjectOf(id); obj != nil && obj.Type() != nil {
				return w.typed(obj.Type()), false
			}
		}
		return nil, false
	}
	if tv.IsType() {
		return nil, false
	}
	return w.typed(tv.Type), false
}

// typed returns the map type that is the core of t, nil if it is none, and remembers
// its name for the operation that is recorded next.
func (w *walker) typed(t types.Type) *types.Map {
	if t == nil {
		return nil
	}
	m := asMap(t)
	w.name = ""
	if _, ok := types.Unalias(t).(*types.Named); ok && m != nil {
		w.name = typeName(t)
	}
	return m
}

// asMap returns the map type that is the core of t, nil if it is none.
func asMap(t types.Type) *types.Map {
	switch u := t.Underlying().(type) {
	case *types.Map:
		return u
	case *types.Interface:
		if _, ok := types.Unalias(t).(*types.TypeParam); !ok {
			return nil
		}
		for e := range u.EmbeddedTypes() {
			if union, ok := e.(*types.Union); ok && union.Len() > 0 {
				e = union.Term(0).Type()
			}
			if m := asMap(e); m != nil {
				return m
			}
		}
	}
	return nil
}

// add records an operation at a node's position.
func (w *walker) add(kind Kind, pos token.Pos, n ast.Node, m *types.Map, expr string) *SourceOp {
	at := w.position(pos)
	op := &SourceOp{Kind: kind, File: at.Filename, Line: at.Line, Col: at.Column, Last: w.position(n.End()).Line, Expr: shorten(cgoNames(expr)), Typed: w.info != nil}
	if len(w.funcs) > 0 {
		op.Func = w.funcs[len(w.funcs)-1]
		op.Func.Ops = append(op.Func.Ops, op)
	}
	if m != nil {
		op.Under = typeName(m)
		if op.MapType = w.name; w.name == "" {
			op.MapType = op.Under
		}
		op.Generic = hasTypeParam(m.Key()) || hasTypeParam(m.Elem())
		op.choice = w.target.choose(m, w.sizes)
	}
	op.hints = w.later[pos]
	sf := w.fileOf(at.Filename)
	sf.lines[at.Line] = append(sf.lines[at.Line], op)
	if w.info != nil {
		w.ops = append(w.ops, op)
	}
	return op
}

// also makes an operation known at a further line.
func (w *walker) also(op *SourceOp, line int) {
	sf := w.fileOf(op.File)
	if !slices.Contains(sf.lines[line], op) {
		sf.lines[line] = append(sf.lines[line], op)
	}
}

const maxExpr = 60

// shorten makes an expression fit for a line.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxExpr {
		return string(r[:maxExpr-3]) + "..."
	}
	return s
}

// sameTypeName reports whether a symbol's type and one of the source may be one:
// both without import paths, which are escaped in symbols.
func sameTypeName(symbol, source string) bool {
	return bare(symbol) == bare(source)
}

func bare(s string) string {
	var b strings.Builder
	word := 0 // where the current qualified name starts in b
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ' ':
			continue
		case c == '/' || c == '.' && b.Len() > word && !strings.HasSuffix(b.String(), "."):
			if c == '.' && strings.HasPrefix(s[i:], "...") {
				break
			}
			head := b.String()[:word]
			b.Reset()
			b.WriteString(head)
			continue
		case !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '%' || c == '-' || c == '.' || c >= 0x80):
			b.WriteByte(c)
			word = b.Len()
			continue
		}
		b.WriteByte(c)
	}
	return strings.NewReplacer("interface{}", "any", "uint8", "byte", "int32", "rune").Replace(b.String())
}
