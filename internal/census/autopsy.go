package census

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// Autopsy is what can be said of a program that dies of a concurrent map access.
type Autopsy struct {
	Message string
	Fatal   int64  // the goroutine that noticed it
	Map     *Found // nil if it cannot be told
	// Certain says that the map was read from the arguments of the runtime's own
	// function; otherwise it follows from what the goroutine holds.
	Certain bool
	// Goroutines are those that are inside an operation on the map, then those
	// that only hold it.
	Goroutines []Inside
}

// Inside is a goroutine that has to do with the map.
type Inside struct {
	ID         int64
	Op         string // assign, access, delete, iter, clear, grow; "" if it only holds the map
	Symbol     string // the runtime's function: "runtime.mapassign_faststr"
	Func, File string // of the user's frame
	Line       int
	Holds      []string // names of its variables that hold the header
}

// Left reports that nobody but the goroutine that noticed it is inside the map any
// more: the runtime sees a concurrent access by the flag that the other one left
// behind, or had set while it was there.
func (a *Autopsy) Left() bool {
	for _, g := range a.Goroutines {
		if g.Op != "" && g.ID != a.Fatal {
			return false
		}
	}
	return true
}

// isConcurrent reports whether a fatal error is one of the three that the runtime
// knows of maps.
func isConcurrent(message string) bool { return strings.HasPrefix(message, "concurrent map ") }

// Examine finds out which map a target died of, at its fatal error, or in a core or a
// process in which the runtime has noticed one. It returns nil if it died of something
// else.
func Examine(src Source, res *Result, stop target.Stop, stacks []target.Stack) *Autopsy {
	if !isConcurrent(stop.Message) {
		return nil
	}
	a := &Autopsy{Message: stop.Message, Fatal: stop.Goroutine}
	args := headerArgs(src)
	byAddr := map[hmap.Addr]*Found{}
	for _, f := range res.Maps {
		byAddr[f.Header.Addr] = f
	}
	var all []Inside
	for _, s := range stacks {
		all = append(all, place(s))
	}
	for _, addr := range args[a.Fatal] {
		if f := byAddr[addr]; f != nil {
			a.Map, a.Certain = f, true
		}
	}
	if a.Map == nil {
		a.Map = suspect(a.Fatal, all, args, res)
	}
	if a.Map == nil {
		return a
	}
	for _, g := range all {
		held := heldBy(a.Map, g.ID)
		for _, h := range held {
			g.Holds = append(g.Holds, h.Path())
		}
		inside := g.Op != "" && onMap(a.Map, g, args[g.ID])
		switch {
		case inside:
		case len(held) > 0:
			g.Op, g.Symbol = "", ""
			_, g.Func, g.File, g.Line = held[0].Frame()
		case g.ID != a.Fatal:
			continue
		}
		a.Goroutines = append(a.Goroutines, g)
	}
	rank := func(g Inside) int {
		switch {
		case g.ID == a.Fatal:
			return 0
		case g.Op != "":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(a.Goroutines, func(x, y Inside) int { return cmp.Compare(rank(x), rank(y)) })
	return a
}

// onMap reports whether the operation of g is on f: by the header that the
// runtime's function was given, or, where that was not kept, by the user's frame
// holding f.
func onMap(f *Found, g Inside, args []hmap.Addr) bool {
	if len(args) > 0 {
		return slices.Contains(args, f.Header.Addr)
	}
	held := heldBy(f, g.ID)
	return slices.ContainsFunc(held, func(h *Holder) bool { return h.root().Func == g.Func })
}

func heldBy(f *Found, goroutine int64) []*Holder {
	var hs []*Holder
	for i := range f.Holders {
		h := &f.Holders[i]
		if g, fn, _, _ := h.Frame(); g == goroutine && fn != "" {
			hs = append(hs, h)
		}
	}
	return hs
}

// suspect is the map that the fatal goroutine, whose arguments are lost, must have
// been at: the only one that its user frame holds; else the only one that other
// goroutines are inside of; else the only one with a writer inside.
func suspect(fatal int64, all []Inside, args map[int64][]hmap.Addr, res *Result) *Found {
	only := func(fs []*Found) *Found {
		if len(fs) == 1 {
			return fs[0]
		}
		return nil
	}
	var held, others, busy []*Found
	for _, f := range res.Maps {
		for _, g := range all {
			if g.ID == fatal && slices.ContainsFunc(heldBy(f, fatal), func(h *Holder) bool { return h.root().Func == g.Func }) {
				held = append(held, f)
			}
		}
		if slices.ContainsFunc(all, func(g Inside) bool { return g.ID != fatal && slices.Contains(args[g.ID], f.Header.Addr) }) {
			others = append(others, f)
		}
		if f.Busy {
			busy = append(busy, f)
		}
	}
	for _, fs := range [][]*Found{held, others, busy} {
		if f := only(fs); f != nil {
			return f
		}
	}
	return nil
}

// place finds the map operation that a goroutine is inside of: the runtime's
// function that the innermost user frame has called.
func place(s target.Stack) Inside {
	g := Inside{ID: s.Goroutine}
	for i, f := range s.Frames {
		if isRuntime(f.Func) {
			continue
		}
		g.Func, g.File, g.Line = f.Func, f.File, f.Line
		for j := i - 1; j >= 0; j-- {
			if op := opOf(s.Frames[j].Func); op != "" {
				g.Op, g.Symbol = op, s.Frames[j].Func
				break
			}
		}
		break
	}
	return g
}

// isRuntime also takes assembly without a package, such as aeshashbody.
func isRuntime(fn string) bool {
	return !strings.Contains(fn, ".") || strings.HasPrefix(fn, "runtime.") || strings.HasPrefix(fn, "internal/runtime/") || strings.HasPrefix(fn, "runtime/")
}

// operations are the beginnings of the names of the runtime's map functions,
// runtime/map*.go and internal/runtime/maps/*.go of Go 1.18 to 1.27.
var operations = []struct{ prefix, op string }{
	{"runtime.mapassign", "assign"}, {"internal/runtime/maps.runtime_mapassign", "assign"}, {"internal/runtime/maps.(*Map).PutSlot", "assign"},
	{"runtime.mapaccess", "access"}, {"internal/runtime/maps.runtime_mapaccess", "access"}, {"internal/runtime/maps.(*Map).getWith", "access"},
	{"runtime.mapdelete", "delete"}, {"internal/runtime/maps.runtime_mapdelete", "delete"}, {"internal/runtime/maps.(*Map).Delete", "delete"},
	{"runtime.mapiter", "iter"}, {"runtime.mapIter", "iter"}, {"internal/runtime/maps.(*Iter)", "iter"}, {"runtime.mapclone", "iter"},
	{"runtime.mapclear", "clear"}, {"internal/runtime/maps.(*Map).Clear", "clear"},
	{"runtime.mapIterStart", "iter"}, {"reflect.map", "access"},
}

func opOf(fn string) string {
	for _, o := range operations {
		if strings.HasPrefix(fn, o.prefix) {
			return o.op
		}
	}
	return ""
}

// headerArgs reads, for each goroutine, the headers that the runtime's map
// functions on its stack were given.
func headerArgs(src Source) map[int64][]hmap.Addr {
	args := map[int64][]hmap.Addr{}
	for i := range src.Roots {
		r := &src.Roots[i]
		if r.Goroutine == 0 || r.Err != nil || !isRuntime(r.Func) || !isHeaderPointer(r.Type) {
			continue
		}
		word := r.Raw
		if word == nil {
			word = make([]byte, r.Type.Size)
			if n, _ := src.Memory.ReadMemory(word, r.Addr); n < len(word) {
				continue
			}
		}
		if h := hmap.Addr(wordOf(word)); h != 0 && !slices.Contains(args[r.Goroutine], h) {
			args[r.Goroutine] = append(args[r.Goroutine], h)
		}
	}
	return args
}

// isHeaderPointer reports whether t is *hmap or *Map of the runtime.
func isHeaderPointer(t *hmap.Type) bool {
	if t == nil || t.Kind != reflect.Pointer || t.Elem() == nil {
		return false
	}
	name := t.Elem().Name
	return name == "runtime.hmap" || name == "internal/runtime/maps.Map"
}
