package census

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"hmaptools/internal/hmap"
	"hmaptools/internal/syncmap"
	"hmaptools/internal/target"
)

// Kind is how a holder holds a map: the kinds of design.md.
type Kind uint8

const (
	Unknown   Kind = iota // a word that is the header's address, whatever its type
	Global                // a package variable
	Local                 // a local variable
	Arg                   // an argument or a result
	Register              // a local or argument in a CPU register
	Field                 // of a struct
	Element               // of an array or slice
	MapValue              // the elem of an entry
	MapKey                // part of the key of an entry
	Interface             // the data word of an interface, or what it points at
	Closure               // a variable that a function captured
	Channel               // an element in a channel's buffer, or of a blocked sender
)

func (k Kind) String() string {
	return [...]string{
		"unknown", "global", "local", "arg", "register", "field", "element", "mapvalue", "mapkey", "interface", "closure", "channel",
	}[k]
}

// kindOf is the kind of a holder that is a variable. What an expression names is
// taken for a package variable if it belongs to no goroutine.
func kindOf(r *target.Root) Kind {
	switch r.Kind {
	case target.Local:
		return Local
	case target.Arg:
		return Arg
	case target.Register:
		return Register
	case target.Expr:
		if r.Goroutine != 0 {
			return Local
		}
	}
	return Global
}

// Holder is a word that is the address of a map's header.
type Holder struct {
	Type  *hmap.Type
	Addr  hmap.Addr // of the word; 0 for a register
	paths *paths
	node  nodeID
	Kind  Kind
}

func (h Holder) root() *target.Root { return h.paths.top(h.node) }

// Name is the variable at which the path starts: "main.srv", "m".
func (h Holder) Name() string { return h.root().Name }

// Path is the way from the variable to the word: "main.srv.sessions[42].Attrs". It
// is made on demand and reads the target's memory where it has keys in it, so the
// target must still stand where the census was taken.
func (h Holder) Path() string { return h.paths.text(h.node) }

// Frame says to which call the variable belongs: goroutine, function, file and the
// line where the frame is. All are zero for a package variable.
func (h Holder) Frame() (goroutine int64, fn, file string, line int) {
	if r := h.root(); r.Kind != target.Global {
		return r.Goroutine, r.Func, r.File, r.Line
	}
	return 0, "", "", 0
}

// Found is a map with everybody who holds it.
type Found struct {
	*hmap.Map
	Holders    []Holder
	Goroutines []int64 // whose frames hold it, ascending
	Errors     []error // what could not be read
}

// Shared reports whether two distinct places hold the header: words that are of no
// type that could do not count.
func (f *Found) Shared() bool {
	n := 0
	for i := 0; i < len(f.Holders) && n < 2; i++ {
		if f.Holders[i].Kind != Unknown {
			n++
		}
	}
	return n > 1
}

// add notes a holder.
func (f *Found) add(h Holder) {
	if g, _, _, _ := h.Frame(); g != 0 {
		f.Goroutines = append(f.Goroutines, g)
	}
	f.Holders = append(f.Holders, h)
}

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
	Maps     []*Found   // by header address
	SyncMaps []*SyncMap // by address
	Nil      int        // variables, fields and elements of a map type that are nil
	Lost     []Lost
	// Objects counts the values that were looked at under their types.
	Objects int
	// Bytes is how much memory they take.
	Bytes uint64
	// Goroutines is of how many the stacks were looked at.
	Goroutines int
	// Unknown counts the words that hold a header though no type says so.
	Unknown int
	// Stale counts the pointers that cannot be what their type says: into free
	// memory, over the end of an object. Variables that are not set yet are full of
	// them.
	Stale  int
	Errors []error
	// Cut counts the pointers, slices, interfaces and maps that lie deeper than
	// Options.Depth and were not followed.
	Cut int
}

// Options say how far a census goes.
type Options struct {
	// Depth is how many pointers, slices, interfaces and maps are followed from
	// a variable: 0 lists the variables alone, a negative number follows all.
	Depth int
	// Hashes makes it check every key against its control byte or tophash, where
	// the target's hash can be had: see hmap.Types.Hash.
	Hashes bool
	// Sized, if it is set, is told how many objects of the heap may hold pointers before
	// they are looked at: a census takes up to some 500 bytes for each.
	Sized func(objects uint64)
}

// Source is what a census needs of a target.
type Source struct {
	Memory hmap.Memory // that several goroutines may read at a time
	Types  *hmap.Types
	Arch   string // GOARCH
	Roots  []target.Root
	// Closure returns what the function whose code starts at entry keeps in its
	// closures, nil if it keeps nothing or that is not known. It may be nil.
	Closure func(entry uint64) *hmap.Type
	// Threads are the target's, for what is in registers. They may be left out.
	Threads []target.Thread
	// Position says where an instruction lies. It may be nil.
	Position func(pc uint64) (at target.Frame, ok bool)
}

// Of is the source that a stopped target is. What could not be listed of its
// variables and threads is in the joined errors, and left out.
func Of(t *target.Target) (Source, error) {
	roots, err1 := t.Roots()
	threads, err2 := t.Threads()
	return Source{
		Memory: t.Memory(), Types: t.Types(), Arch: t.Arch(), Roots: roots, Threads: threads,
		Closure: t.Closure, Position: t.Position,
	}, errors.Join(err1, err2)
}

// Take lists the maps that the roots lead to.
func Take(src Source, opts Options) *Result {
	w := newWalk(src, opts)
	// What a program's own variables lead to is named by them. Those of the
	// runtime and of sync lead to the rest: timers, deferred calls, pools.
	from := func(is func(r *target.Root) bool) {
		for i := range src.Roots {
			if is(&src.Roots[i]) {
				w.root(&src.Roots[i])
			}
		}
		w.drain()
	}
	own := func(r *target.Root) bool { return r.Kind == target.Global && isRuntimes(r.Name) }
	from(func(r *target.Root) bool { return r.Kind != target.Expr && !own(r) })
	w.stacks()
	w.specials()
	from(own)
	// What an expression names has other names too, as a rule: those count.
	from(func(r *target.Root) bool { return r.Kind == target.Expr })
	w.settle()
	w.unexplained()
	return w.result()
}

// isRuntimes reports whether a package variable is the runtime's or of a package
// that works for it.
func isRuntimes(name string) bool {
	return isRuntime(name) || strings.HasPrefix(name, "sync.") || strings.HasPrefix(name, "internal/")
}

// settle makes holders of the words of the runtime's own types that hold a header: an
// iterator's, for example. Those in the frames of the runtime's functions are copies
// for the time of an operation.
func (w *walk) settle() {
	for _, p := range w.later {
		at := locate(w.heap, uint64(p.header))
		if m := w.maps.get(&at); m != nil && p.holder.Addr != 0 {
			if !w.held.has(uint64(p.holder.Addr)) && !isRuntime(p.holder.root().Func) {
				w.held.add(uint64(p.holder.Addr))
				m.add(p.holder)
			}
		}
	}
}

// nearest puts the shortest path first, and among equals the variable that the
// target lists first.
func nearest(a, b Holder) int {
	unknown := func(h Holder) int {
		if h.Kind == Unknown {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(unknown(a), unknown(b)), cmp.Compare(a.paths.get(a.node).depth, b.paths.get(b.node).depth),
		cmp.Compare(a.paths.first(a.node).n, b.paths.first(b.node).n), cmp.Compare(a.Addr, b.Addr))
}

// result makes a Result of what was found.
func (w *walk) result() *Result {
	w.aside.wait()
	w.sortSync()
	// Headers have one map, but for what is in a variable that is not set yet.
	hmap.SortByAddr(w.maps.all, func(m *metAt) hmap.Addr { return m.header })
	w.res.Maps = make([]*Found, 0, len(w.maps.all))
	for i := range w.maps.all {
		from := len(w.res.Maps)
		for m := w.maps.all[i].m; m != nil; m = m.next {
			f := &m.Found
			if f.Map == nil || len(f.Holders) == 0 {
				continue
			}
			if m.entriesErr != nil {
				f.Errors = append(f.Errors, m.entriesErr)
			}
			if len(f.Holders) > 1 {
				slices.SortStableFunc(f.Holders, nearest)
			}
			slices.Sort(f.Goroutines)
			f.Goroutines = slices.Compact(f.Goroutines)
			w.res.Maps = append(w.res.Maps, f)
		}
		if same := w.res.Maps[from:]; len(same) > 1 {
			slices.SortFunc(same, func(a, b *Found) int { return cmp.Compare(a.Type.Name, b.Type.Name) })
		}
	}
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
	all, syncs := res.Maps, res.SyncMaps
	res.Maps, res.SyncMaps, res.Lost = nil, nil, nil
	for _, k := range keys {
		for _, f := range all {
			if f.Header.Addr == k.addr && sameLayout(f.Type, k.t) && !slices.Contains(res.Maps, f) {
				res.Maps = append(res.Maps, f)
			}
		}
		for _, m := range syncs {
			if m.Addr == k.addr && m.Layout.Type == k.t && !slices.Contains(res.SyncMaps, m) {
				res.SyncMaps = append(res.SyncMaps, m)
			}
		}
	}
	return res, nil
}

// mapKey is a header and the type under which it was met, or a sync.Map's.
type mapKey struct {
	addr hmap.Addr
	t    *hmap.Type
}

// resolve finds the header that an expression names: itself a map, or through
// pointers and interfaces.
func resolve(src Source, r *target.Root) (mapKey, error) {
	if r.Err != nil && r.Raw == nil {
		return mapKey{}, fmt.Errorf("%s: %w", r.Name, r.Err)
	}
	t, data, where := r.Type, r.Raw, r.Addr
	if data == nil {
		data = make([]byte, min(t.Size, maxValue))
		if n, err := src.Memory.ReadMemory(data, r.Addr); n < len(data) {
			return mapKey{}, fmt.Errorf("%s: read %s at %#x: %w", r.Name, t, r.Addr, err)
		}
	}
	for range maxIndirections {
		if syncmap.Is(t) && where != 0 {
			return mapKey{hmap.Addr(where), t}, nil
		}
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
				data, where = data[len(data)/2:], 0
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
		where = at
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
