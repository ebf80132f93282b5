package census

import (
	"fmt"
	"reflect"
	"slices"

	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
	"hmaptools/internal/stackmap"
	"hmaptools/internal/target"
)

// stackWord is a word of a goroutine's stack that points into the heap and that the
// garbage collector follows. The compiler's copies of variables are such words, and
// what has no name in the source.
type stackWord struct {
	addr, value uint64
	frame       int32 // in walk.frames, -1: outside of frames
	kind        stackmap.Kind
}

// stackFrame is a frame that has such words.
type stackFrame struct {
	goroutine int64
	fn        string
	line, sp  uint64 // an instruction of it, and its lower end
}

// iterator is where the runtime's iterator has the map and its type: runtime.hiter, or
// internal/runtime/maps.Iter. A range loop has one on the stack, without a name, and
// perhaps nothing else has the map.
type iterator struct {
	size   int
	typ, m hmap.RecordField
	// Where an iterator that has begun is: in an array of buckets of the map; or in a
	// table, and in the one group of a map that has no table.
	buckets, tab, group hmap.RecordField
}

func readIterator(types *hmap.Types) (it iterator) {
	for _, x := range [][3]string{{"internal/runtime/maps.Iter", "typ", "m"}, {"runtime.hiter", "t", "h"}} {
		t := types.Named(x[0])
		if t == nil || t.Kind != reflect.Struct || t.Size <= 0 || t.Size > 1<<12 {
			continue
		}
		rec := hmap.RecordOf(t)
		it = iterator{rec.Size, rec.Field(x[1]), rec.Field(x[2]), rec.Field("buckets"), rec.Field("tab"), rec.Field("group.data")}
		if it.typ.Size > 0 && it.m.Size > 0 {
			return it
		}
	}
	return iterator{}
}

// stacks lists the words of all stacks that point into the heap, and starts at the
// maps of the iterators that lie on them.
func (w *walk) stacks() {
	if w.heap == nil {
		return
	}
	r, err := stackmap.New(w.src.Memory, w.src.Types, w.src.Arch)
	if err != nil {
		w.fail(err)
		return
	}
	gs, err := r.Goroutines()
	if err != nil {
		w.fail(err)
	}
	regs := map[int64]*stackmap.Registers{}
	for i := range w.src.Threads {
		t := &w.src.Threads[i]
		if t.Goroutine == 0 {
			continue
		}
		x := &stackmap.Registers{PC: t.PC, SP: t.SP, LR: t.LR}
		for _, reg := range t.Registers {
			x.General = append(x.General, reg.Value)
		}
		regs[t.Goroutine] = x
	}
	it := readIterator(w.src.Types)
	types := map[uint64]*hmap.Type{} // by descriptor; nil: it is none of a map
	var s stackmap.Stack
	for i := range gs {
		g := &gs[i]
		if err := r.Scan(&s, g, regs[g.ID]); err != nil {
			w.fail(err)
		}
		frames := map[int32]int32{-1: -1} // of s to those of w
		for j := range s.Words {
			x := &s.Words[j]
			if _, place := w.heap.Find(hmap.Addr(x.Value)); place != heap.Object {
				if place == heap.Outside && it.typ.Size > 0 && x.Frame >= 0 && !isRuntime(s.Frames[x.Frame].Func) {
					w.iterator(&it, types, g.ID, x, &s.Frames[x.Frame])
				}
				continue
			}
			k, ok := frames[x.Frame]
			if !ok {
				k = int32(len(w.frames))
				frames[x.Frame] = k
				f := &s.Frames[x.Frame]
				w.frames = append(w.frames, stackFrame{g.ID, f.Func, f.Line, f.SP})
			}
			w.stackWords = append(w.stackWords, stackWord{uint64(x.Addr), x.Value, k, x.Kind})
		}
		w.res.Goroutines++
		for j := range s.Closures {
			w.started(g.ID, &s.Closures[j])
		}
	}
}

// started looks at what a goroutine that has not started will run, or at a deferred
// call: "go.(func main.serve.func1).conns", "defer.(func main.f.func2).m".
func (w *walk) started(goroutine int64, x *stackmap.Closure) {
	name := "go"
	if x.Deferred {
		name = "defer"
	}
	root := &target.Root{Kind: target.Local, Name: name, Goroutine: goroutine}
	code := make([]byte, w.plans.ptr)
	if n, _ := w.src.Memory.ReadMemory(code, x.Value); n == len(code) && w.src.Position != nil {
		if at, ok := w.src.Position(wordOf(code)); ok {
			root.Func, root.File, root.Line = at.Func, at.File, at.Line
		}
	}
	w.roots++
	n := w.paths.root(&ref{op: opRoot, suffix: name, root: root, n: w.roots})
	w.closure(n, &ref{op: opFunc}, -1, x.Value)
}

// iterator looks at a word that may be the type in an iterator.
func (w *walk) iterator(it *iterator, types map[uint64]*hmap.Type, goroutine int64, x *stackmap.Word, f *stackmap.Frame) {
	t, ok := types[x.Value]
	if !ok {
		if d, err := w.src.Types.OfDescriptor(hmap.Addr(x.Value)); err == nil && d.Kind == reflect.Map {
			t = d
		}
		types[x.Value] = t
	}
	if t == nil {
		return
	}
	base := uint64(x.Addr) - uint64(it.typ.Off)
	rec := make([]byte, it.size)
	if n, _ := w.src.Memory.ReadMemory(rec, base); n < len(rec) || it.m.Uint(rec) == 0 {
		return
	}
	at, header := base+uint64(it.m.Off), hmap.Addr(it.m.Uint(rec))
	if x.Kind == stackmap.Conservative && !w.iterates(it, rec, header, t) {
		return
	}
	root := w.frameRoot(&stackFrame{goroutine, f.Func, f.Line, f.SP}, "range")
	w.roots++
	start := &item{node: w.paths.root(&ref{op: opRoot, suffix: root.Name, root: root, n: w.roots})}
	w.hold(start, &sighting{
		ref: &ref{op: opMap, kind: Field, t: t, suffix: "." + it.m.Name}, kind: Field, index: -1, addr: at, w: [3]uint64{uint64(header)},
	})
}

// iterates reports whether a record is an iterator of the map of type t at an address.
// Where no stack map says which words are live, two old words may look like one.
func (w *walk) iterates(it *iterator, rec []byte, header hmap.Addr, t *hmap.Type) bool {
	o, place := w.heap.Find(header)
	if place != heap.Object || o.Start != header {
		return false
	}
	var in hmap.Inspector
	m, err := in.Inspect(w.src.Memory, t, header, hmap.Options{})
	if err != nil || len(m.Broken) > 0 {
		return false
	}
	h := &m.Header
	if m.Layout.Generation == hmap.Classic {
		b := hmap.Addr(it.buckets.Uint(rec))
		return b != 0 && (b == h.Buckets || b == h.OldBuckets)
	}
	if h.DirLen == 0 {
		return h.DirPtr != 0 && hmap.Addr(it.group.Uint(rec)) == h.DirPtr
	}
	tab := hmap.Addr(it.tab.Uint(rec))
	return slices.ContainsFunc(m.Tables, func(t hmap.Table) bool { return t.Addr == tab })
}

// frameRoot makes a root of something in a frame.
func (w *walk) frameRoot(f *stackFrame, name string) *target.Root {
	r := &target.Root{Kind: target.Local, Name: name, Goroutine: f.goroutine, Func: f.fn}
	if w.src.Position != nil {
		if at, ok := w.src.Position(f.line); ok {
			r.Func, r.File, r.Line = at.Func, at.File, at.Line
		}
	}
	return r
}

// stackRoot makes a root of a word of a stack: "0x28(SP)", as assembly names it.
func (w *walk) stackRoot(x *stackWord) *target.Root {
	if x.frame < 0 {
		return &target.Root{Kind: target.Global, Name: fmt.Sprintf("%#x", x.addr)}
	}
	f := &w.frames[x.frame]
	return w.frameRoot(f, fmt.Sprintf("%#x(SP)", x.addr-f.sp))
}
