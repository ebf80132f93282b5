package census

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// Kind is how a holder holds a map: the kinds of design.md.
type Kind string

const (
	Global    Kind = "global"
	Local     Kind = "local"
	Arg       Kind = "arg"
	Register  Kind = "register"  // a local or argument in a CPU register
	Field     Kind = "field"     // of a struct
	Element   Kind = "element"   // of an array or slice
	MapValue  Kind = "mapvalue"  // the elem of an entry
	MapKey    Kind = "mapkey"    // part of the key of an entry
	Interface Kind = "interface" // the data word of an interface, or what it points at
)

// Holder is a word that is the address of a map's header.
type Holder struct {
	Kind Kind
	Name string // of the variable at which the path starts: "main.srv", "m"
	Path string // "main.srv.sessions[42].Attrs"
	Type *hmap.Type
	Addr hmap.Addr // of the word; 0 for a register

	// Of the variable, where it belongs to a frame.
	Goroutine int64
	Func      string
	File      string
	Line      int
}

// Found is a map with everybody who holds it.
type Found struct {
	*hmap.Map
	Holders    []Holder
	Goroutines []int64 // whose frames hold it, ascending
	Errors     []error // what could not be read
}

// Shared reports whether two distinct words hold the header.
func (f *Found) Shared() bool { return len(f.Holders) > 1 }

// Lost is a variable of a map type whose value the compiler did not keep.
type Lost struct {
	Name, Func, File string
	Line             int
	Goroutine        int64
	Type             *hmap.Type
	Err              error
}

// Result is a census.
type Result struct {
	Maps    []*Found // by header address
	Nil     int      // variables, fields and elements of a map type that are nil
	Lost    []Lost
	Objects int // looked at behind variables
	Errors  []error
	// Cut counts the pointers, slices, interfaces and maps that lie deeper than
	// Options.Depth and were not followed.
	Cut int
}

// Options say how far a census goes.
type Options struct {
	// Depth is how many pointers, slices, interfaces and maps are followed from
	// a variable: 0 lists the variables alone.
	Depth int
}

// Source is what a census needs of a target.
type Source struct {
	Memory hmap.Memory
	Types  *hmap.Types
	Roots  []target.Root
}

// Take lists the maps that the roots lead to.
func Take(src Source, opts Options) *Result {
	w := &walk{
		src: src, opts: opts,
		maps:  map[mapKey]*Found{},
		seen:  map[object]bool{},
		held:  map[heldWord]bool{},
		leads: map[*hmap.Type]bool{},
		res:   &Result{},
	}
	for i := range src.Roots {
		w.root(&src.Roots[i])
	}
	for len(w.queue) > 0 {
		next := w.queue
		w.queue = nil
		for i := range next {
			w.visit(&next[i])
		}
	}
	for _, f := range w.maps {
		slices.Sort(f.Goroutines)
		f.Goroutines = slices.Compact(f.Goroutines)
		w.res.Maps = append(w.res.Maps, f)
	}
	slices.SortFunc(w.res.Maps, func(a, b *Found) int {
		return cmp.Or(cmp.Compare(a.Header.Addr, b.Header.Addr), cmp.Compare(a.Type.Name, b.Type.Name))
	})
	return w.res
}

// One inspects the one map that an evaluated expression names: a map, or a
// pointer, an interface or a named type that leads to exactly one.
func One(src Source, r target.Root) (*Found, error) {
	res := Take(Source{src.Memory, src.Types, []target.Root{r}}, Options{Depth: 1})
	switch {
	case len(res.Maps) > 0 && mapOf(r.Type) == nil && len(res.Maps) > 1:
		return nil, fmt.Errorf("%s is a %s, which holds %d maps", r.Name, r.Type, len(res.Maps))
	case len(res.Maps) > 0:
		for _, f := range res.Maps {
			for _, h := range f.Holders {
				if h.Path == r.Name || len(res.Maps) == 1 {
					return f, nil
				}
			}
		}
		return res.Maps[0], nil
	case r.Err != nil:
		return nil, fmt.Errorf("%s: %w", r.Name, r.Err)
	case res.Nil > 0:
		return nil, &NilError{r.Name, r.Type.Name}
	case len(res.Errors) > 0:
		return nil, fmt.Errorf("%s: %w", r.Name, errors.Join(res.Errors...))
	}
	return nil, &NotMapError{r.Name, r.Type.Name}
}

// NilError says that an expression is a nil map, which has no header.
type NilError struct{ Expr, Type string }

func (e *NilError) Error() string {
	return fmt.Sprintf("%s is a nil %s: it has no header", e.Expr, e.Type)
}

// NotMapError says that an expression is not a map.
type NotMapError struct{ Expr, Type string }

func (e *NotMapError) Error() string { return fmt.Sprintf("%s is a %s, not a map", e.Expr, e.Type) }
