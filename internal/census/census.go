package census

import (
	"cmp"
	"fmt"
	"reflect"
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
	// Hashes makes it check every key against its control byte or tophash, where
	// the target's hash can be had: see hmap.Types.Hash.
	Hashes bool
}

// Source is what a census needs of a target.
type Source struct {
	Memory hmap.Memory
	Types  *hmap.Types
	Arch   string // GOARCH
	Roots  []target.Root
}

// Take lists the maps that the roots lead to.
func Take(src Source, opts Options) *Result {
	src.Memory = &cache{mem: src.Memory}
	w := &walk{
		src: src, opts: opts,
		maps:  map[hmap.Addr][]*Found{},
		seen:  map[object]bool{},
		held:  map[heldWord]bool{},
		leads: map[*hmap.Type]bool{},
		res:   &Result{},
	}
	for i := range src.Roots {
		if src.Roots[i].Kind != target.Expr {
			w.root(&src.Roots[i])
		}
	}
	w.drain()
	// What an expression names has other names too, as a rule: those count.
	for i := range src.Roots {
		if src.Roots[i].Kind == target.Expr {
			w.root(&src.Roots[i])
		}
	}
	w.drain()
	for _, at := range w.maps {
		for _, f := range at {
			slices.Sort(f.Goroutines)
			f.Goroutines = slices.Compact(f.Goroutines)
			w.res.Maps = append(w.res.Maps, f)
		}
	}
	slices.SortFunc(w.res.Maps, func(a, b *Found) int {
		return cmp.Or(cmp.Compare(a.Header.Addr, b.Header.Addr), cmp.Compare(a.Type.Name, b.Type.Name))
	})
	return w.res
}

// Named is a census of the maps that expressions name, in their order, with
// everybody who holds them: of all that the roots lead to, it keeps these. An
// expression that leads to no map fails with a *NilError, a *NotMapError, or why
// it could not be read.
func Named(src Source, opts Options, exprs []target.Root) (*Result, error) {
	keys := make([]mapKey, len(exprs))
	for i := range exprs {
		var err error
		if keys[i], err = resolve(src, &exprs[i]); err != nil {
			return nil, err
		}
	}
	// The expressions come last: what has a name of its own keeps it.
	src.Roots = append(slices.Clip(src.Roots), exprs...)
	res := Take(src, opts)
	all := res.Maps
	res.Maps, res.Lost = nil, nil
	for _, k := range keys {
		for _, f := range all {
			if f.Header.Addr == k.addr && f.fits(k.t) && !slices.Contains(res.Maps, f) {
				res.Maps = append(res.Maps, f)
			}
		}
	}
	return res, nil
}

// resolve finds the header that an expression names: itself a map, or through
// pointers and interfaces.
func resolve(src Source, r *target.Root) (mapKey, error) {
	if r.Err != nil && r.Raw == nil {
		return mapKey{}, fmt.Errorf("%s: %w", r.Name, r.Err)
	}
	t, data := r.Type, r.Raw
	if data == nil {
		data = make([]byte, min(t.Size, maxValue))
		if n, err := src.Memory.ReadMemory(data, r.Addr); n < len(data) {
			return mapKey{}, fmt.Errorf("%s: read %s at %#x: %w", r.Name, t, r.Addr, err)
		}
	}
	for range maxIndirections {
		var at uint64
		switch t.Kind {
		case reflect.Map:
			if h := hmap.Addr(wordOf(data)); h != 0 {
				return mapKey{h, t}, nil
			}
			return mapKey{}, &NilError{r.Name, t.Name}
		case reflect.Pointer:
			at, t = wordOf(data), t.Elem()
		case reflect.Interface:
			dyn, addr, direct, err := src.Types.Dynamic(t, data)
			if err != nil {
				return mapKey{}, fmt.Errorf("%s: %w", r.Name, err)
			}
			if t = dyn; direct && dyn != nil {
				data = data[len(data)/2:]
				continue
			}
			at = uint64(addr)
		default:
			return mapKey{}, &NotMapError{r.Name, r.Type.Name}
		}
		if at == 0 || t == nil || t.Size > maxValue {
			return mapKey{}, &NotMapError{r.Name, r.Type.Name}
		}
		data = make([]byte, t.Size)
		if n, err := src.Memory.ReadMemory(data, at); n < len(data) {
			return mapKey{}, fmt.Errorf("%s: read %s at %#x: %w", r.Name, t, at, err)
		}
	}
	return mapKey{}, &NotMapError{r.Name, r.Type.Name}
}

// maxIndirections bounds the pointers from an expression to its map.
const maxIndirections = 16

// NilError says that an expression is a nil map, which has no header.
type NilError struct{ Expr, Type string }

func (e *NilError) Error() string {
	return fmt.Sprintf("%s is a nil %s: it has no header", e.Expr, e.Type)
}

// NotMapError says that an expression is not a map.
type NotMapError struct{ Expr, Type string }

func (e *NotMapError) Error() string { return fmt.Sprintf("%s is a %s, not a map", e.Expr, e.Type) }
