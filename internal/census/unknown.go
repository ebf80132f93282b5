package census

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

// namer says where a word lies that no type explains: as far as types lead, and from
// there on by offsets.
type namer struct {
	w       *walk
	reach   *reach
	typed   map[uint64]typed // by address, of those that are asked for
	globals []*target.Root   // package variables by address
	stack   map[uint64]*stackWord
}

// typed is a stretch of memory whose type is known, as the walk met it.
type typed struct {
	lo, hi uint64
	plan   *plan
	node   nodeID
	first  int64
}

// better reports whether x says more of a place than y: the longer of two stretches
// does.
func (x *typed) better(y *typed) bool {
	return cmp.Or(cmp.Compare(y.hi-y.lo, x.hi-x.lo), cmp.Compare(x.lo, y.lo), cmp.Compare(x.plan.id, y.plan.id)) < 0
}

// newNamer gets ready to name the words that were found.
func newNamer(w *walk, r *reach) *namer {
	nm := &namer{w: w, reach: r, typed: map[uint64]typed{}, stack: make(map[uint64]*stackWord, len(w.stackWords))}
	for i := range w.stackWords {
		nm.stack[w.stackWords[i].addr] = &w.stackWords[i]
	}
	// What may be asked for: the words, and those that lead to them.
	var asked []uint64
	for _, at := range r.found {
		for range maxVia + 1 {
			asked = append(asked, at)
			o, _ := w.heap.Find(hmap.Addr(at))
			var ok bool
			if at, ok = r.leads(uint64(o.Start)); !ok {
				break
			}
		}
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	byID := make([]*plan, len(w.plans.byType)+1)
	for _, p := range w.plans.byType {
		byID[p.id] = p
	}
	add := func(t typed) {
		i, _ := slices.BinarySearch(asked, t.lo)
		for ; i < len(asked) && asked[i] < t.hi; i++ {
			if old, ok := nm.typed[asked[i]]; !ok || t.better(&old) {
				nm.typed[asked[i]] = t
			}
		}
	}
	w.seen.each(func(addr uint64, id uint32, n nodeID) {
		add(typed{addr, addr + uint64(byID[id].size), byID[id], n, -1})
	})
	for o, rs := range w.runs {
		for _, r := range rs {
			add(typed{r.lo, r.hi, byID[o.plan], r.node, r.first})
		}
	}
	for i := range w.src.Roots {
		if r := &w.src.Roots[i]; r.Kind == target.Global && r.Addr != 0 && r.Type != nil {
			nm.globals = append(nm.globals, r)
		}
	}
	slices.SortFunc(nm.globals, func(a, b *target.Root) int { return cmp.Compare(a.Addr, b.Addr) })
	return nm
}

// maxVia bounds the objects without a type in a path.
const maxVia = 16

// holder makes a holder of the word at an address. It is none if it is a number of the
// runtime's own, in a queue of the garbage collector's for instance, or a copy in a
// frame of the runtime's for the time of an operation.
func (nm *namer) holder(at uint64) (Holder, bool) {
	if x := nm.stack[at]; x != nil && x.frame >= 0 && isRuntime(nm.w.frames[x.frame].fn) {
		return Holder{}, false
	}
	text, t, root := nm.place(at, maxVia)
	if t != nil && !t.Pointers() && root != nil && root.Kind == target.Global && isRuntimes(root.Name) {
		return Holder{}, false
	}
	if t == nil {
		t = nm.w.plans.pointer()
	}
	r := target.Root{Kind: target.Global, Name: text}
	if root != nil {
		r = *root
	}
	return Holder{Kind: Unknown, Type: t, Addr: hmap.Addr(at), paths: &nm.w.paths, node: nm.w.paths.root(&ref{op: opRoot, suffix: text, root: &r})}, true
}

// place says where a word lies, of which type it is, nil if that is not known, and
// to which variable that belongs, nil if to none.
func (nm *namer) place(at uint64, depth int) (text string, t *hmap.Type, root *target.Root) {
	if x := nm.stack[at]; x != nil {
		root = nm.w.stackRoot(x)
		return root.Name, nil, root
	}
	if x, ok := nm.typed[at]; ok {
		text, off := nm.w.paths.text(x.node), int64(at-x.lo)
		if x.first >= 0 {
			text += "[" + strconv.FormatInt(x.first+off/x.plan.size, 10) + "]"
			off %= x.plan.size
		}
		rest, t := descend(x.plan.t, off)
		return text + rest, t, nm.w.paths.top(x.node)
	}
	i, ok := slices.BinarySearchFunc(nm.globals, at, func(r *target.Root, at uint64) int { return cmp.Compare(r.Addr, at) })
	if !ok {
		i--
	}
	if i >= 0 && at-nm.globals[i].Addr < uint64(nm.globals[i].Type.Size) {
		g := nm.globals[i]
		rest, t := descend(g.Type, int64(at-g.Addr))
		return g.Name + rest, t, g
	}
	o, _ := nm.w.heap.Find(hmap.Addr(at))
	from, ok := nm.reach.leads(uint64(o.Start))
	if !ok || depth == 0 {
		return fmt.Sprintf("%#x", at), nil, nil
	}
	text, t, root = nm.place(from, depth-1)
	word := make([]byte, nm.w.plans.ptr)
	if n, _ := nm.w.src.Memory.ReadMemory(word, from); n < len(word) {
		return fmt.Sprintf("%#x", at), nil, nil
	}
	// The word may point into the middle of the object.
	off := int64(at - wordOf(word))
	if t != nil && off >= 0 {
		if e := t.Elem(); e != nil && e.Size > 0 {
			switch {
			case t.Kind == reflect.Pointer && off < e.Size:
				rest, t := descend(e, off)
				if e.Kind != reflect.Struct {
					text = "(*" + text + ")"
				}
				return text + rest, t, root
			case t.Kind == reflect.Slice:
				rest, t := descend(e, off%e.Size)
				return text + "[" + strconv.FormatInt(off/e.Size, 10) + "]" + rest, t, root
			}
		}
	}
	if off == 0 {
		return "*" + text, nil, root
	}
	return fmt.Sprintf("*(%s%+d)", text, off), nil, root
}

// descend says which part of a value lies at an offset: ".a[3].b", and its type.
func descend(t *hmap.Type, off int64) (text string, part *hmap.Type) {
	for depth := 0; depth < 64; depth++ {
		switch t.Kind {
		case reflect.Struct:
			var in *hmap.Field
			fs := t.Fields()
			for i := range fs {
				if f := &fs[i]; f.Off <= off && off < f.Off+f.Type.Size {
					in = f
				}
			}
			if in == nil {
				return fmt.Sprintf("%s+%d", text, off), nil
			}
			text += "." + in.Name
			t, off = in.Type, off-in.Off
		case reflect.Array:
			e := t.Elem()
			if e == nil || e.Size <= 0 {
				return fmt.Sprintf("%s+%d", text, off), nil
			}
			text += "[" + strconv.FormatInt(off/e.Size, 10) + "]"
			t, off = e, off%e.Size
		default:
			if off != 0 {
				return fmt.Sprintf("%s+%d", text, off), nil
			}
			return text, t
		}
	}
	return text, nil
}
