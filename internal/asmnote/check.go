package asmnote

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// A Package is what the go command says of a package that was compiled.
type Package struct {
	ImportPath string
	Dir        string
	Files      []string          // names in Dir, or absolute ones, of the Go files that were compiled
	Cgo        bool              // some of them import "C"
	ImportMap  map[string]string // from the source's import paths to packages, where they differ
	GoVersion  string            // language version, "go1.21"; "" for the newest
}

// A Dependency is a package that others import.
type Dependency struct {
	Package
	Export string // file with its export data
}

// AddPackage parses and type-checks a package, and takes its files. deps returns
// what it imports. Their types come from export data; where that is of a compiler
// that the standard library's reader does not know, from their source. What cannot
// be checked is left out, and the first reason returned: the rest was taken.
func (s *Source) AddPackage(p Package, deps func(path string) (Dependency, bool)) error {
	fset := token.NewFileSet()
	files, first := parseFiles(fset, p)
	info := newInfo(fset)
	exports := exportImporter(fset, deps)
	bySource := func() *sourceImporter { return &sourceImporter{s, fset, deps, map[string]*types.Package{}} }
	var imp types.ImporterFrom = exports
	if s.foreign {
		imp = bySource()
	}
	err := s.check(fset, p, files, info, imp)
	if exports.failed != nil {
		// One package of either kind would not know the types of the other.
		s.foreign = true
		info = newInfo(fset)
		err = s.check(fset, p, files, info, bySource())
	}
	walkers := make([]*walker, len(files))
	each(len(files), func(i int) { walkers[i] = s.walk(fset, fset.File(files[i].FileStart), files[i], info) })
	for _, w := range walkers {
		name := filepath.Base(w.tokens.Name())
		s.take(w, []string{path.Join(p.ImportPath, name), name})
	}
	if first == nil {
		first = err
	}
	return first
}

// newInfo makes room for what the type checker says of the files that were parsed.
// The sizes were counted in the standard library: an expression takes 14 to 18 bytes
// of source.
func newInfo(fset *token.FileSet) *types.Info {
	bytes := 0
	for f := range fset.Iterate {
		bytes += f.Size()
	}
	return &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue, bytes/16), Defs: make(map[*ast.Ident]types.Object, bytes/110),
		Uses: make(map[*ast.Ident]types.Object, bytes/24), Selections: make(map[*ast.SelectorExpr]*types.Selection, bytes/110),
	}
}

// parseFiles returns the files of a package that can be parsed, at least in part.
func parseFiles(fset *token.FileSet, p Package) (good []*ast.File, first error) {
	files := make([]*ast.File, len(p.Files))
	errs := make([]error, len(p.Files))
	each(len(p.Files), func(i int) {
		name := p.Files[i]
		if !filepath.IsAbs(name) { // cgo writes some into the build cache
			name = filepath.Join(p.Dir, name)
		}
		var src []byte
		if src, errs[i] = os.ReadFile(name); errs[i] != nil {
			return
		}
		mode := parser.SkipObjectResolution
		if bytes.Contains(src, []byte(expectPrefix)) {
			mode |= parser.ParseComments
		}
		files[i], errs[i] = parser.ParseFile(fset, name, src, mode)
	})
	for i, f := range files {
		if errs[i] != nil && first == nil {
			first = fmt.Errorf("parse %s: %w", p.ImportPath, errs[i])
		}
		if f != nil {
			good = append(good, f)
		}
	}
	return good, first
}

// each calls fn for 0 to n-1, on all cores.
func each(n int, fn func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// check type-checks a package and returns the first error.
func (s *Source) check(fset *token.FileSet, p Package, files []*ast.File, info *types.Info, imp types.ImporterFrom) error {
	var first error
	conf := types.Config{
		Importer: withMap{imp, p.ImportMap}, Sizes: s.sizes, FakeImportC: true, GoVersion: p.GoVersion,
		Error: func(err error) {
			if first == nil {
				first = fmt.Errorf("type-check %s: %w", p.ImportPath, err)
			}
		},
	}
	conf.Check(p.ImportPath, fset, files, info) // errors went to conf.Error
	return first
}

// withMap renames what a package imports: vendored packages.
type withMap struct {
	types.ImporterFrom
	names map[string]string
}

func (m withMap) Import(path string) (*types.Package, error) { return m.ImportFrom(path, "", 0) }

func (m withMap) ImportFrom(path, dir string, mode types.ImportMode) (*types.Package, error) {
	if to, ok := m.names[path]; ok {
		path = to
	}
	return m.ImporterFrom.ImportFrom(path, dir, mode)
}

// An exports reads export data, and remembers a failure.
type exports struct {
	types.ImporterFrom
	failed error
}

func exportImporter(fset *token.FileSet, deps func(string) (Dependency, bool)) *exports {
	lookup := func(path string) (io.ReadCloser, error) {
		d, ok := deps(path)
		if !ok || d.Export == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(d.Export)
	}
	return &exports{importer.ForCompiler(fset, "gc", lookup).(types.ImporterFrom), nil}
}

func (e *exports) ImportFrom(path, dir string, mode types.ImportMode) (p *types.Package, err error) {
	// Export data of another compiler has made the reader panic.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("import %s: %v", path, r)
		}
		if err != nil && e.failed == nil {
			e.failed = err
		}
	}()
	return e.ImporterFrom.ImportFrom(path, dir, mode)
}

// A sourceImporter type-checks the declarations of packages, without bodies.
type sourceImporter struct {
	s    *Source
	fset *token.FileSet
	deps func(string) (Dependency, bool)
	done map[string]*types.Package
}

func (im *sourceImporter) Import(path string) (*types.Package, error) {
	return im.ImportFrom(path, "", 0)
}

func (im *sourceImporter) ImportFrom(path, _ string, _ types.ImportMode) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	if p, ok := im.done[path]; ok {
		if p == nil {
			return nil, fmt.Errorf("import %s: it imports itself", path)
		}
		return p, nil
	}
	im.done[path] = nil
	d, ok := im.deps(path)
	if !ok {
		return nil, fmt.Errorf("import %s: the go command does not list it", path)
	}
	files, _ := parseFiles(im.fset, d.Package)
	conf := types.Config{
		Importer: withMap{im, d.ImportMap}, Sizes: im.s.sizes, FakeImportC: true, IgnoreFuncBodies: true,
		Error: func(error) {}, // what cannot be checked is missing
	}
	p, _ := conf.Check(path, im.fset, files, nil)
	im.done[path] = p
	return p, nil
}
