package census

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

const (
	// chunkBytes is how much of a long array or slice is read at a time.
	chunkBytes = 256 << 10
	// maxValue bounds a value that is read whole.
	maxValue = 64 << 20
	// maxErrors bounds Result.Errors.
	maxErrors = 100
)

// object is a value in memory under one type.
type object struct {
	addr uint64
	t    *hmap.Type
	n    int64 // elements: of a slice's array, else 1
}

// item is an object to look at.
type item struct {
	object
	from  *node
	kind  Kind
	depth int
	slice bool   // the array of a slice, of n elements
	found *Found // a map whose entries are to be looked at
}

// mapKey is a header and the type under which it was met.
type mapKey struct {
	addr hmap.Addr
	t    *hmap.Type
}

// heldWord tells words apart: by address, or a register by its frame.
type heldWord struct {
	addr      uint64
	goroutine int64
	frame     int
	path      string
}

type walk struct {
	src   Source
	opts  Options
	res   *Result
	maps  map[hmap.Addr][]*Found // one, or one for each way to lay out what is there
	seen  map[object]bool
	held  map[heldWord]bool
	leads map[*hmap.Type]bool
	queue []item
}

func (w *walk) fail(err error) {
	if len(w.res.Errors) < maxErrors {
		w.res.Errors = append(w.res.Errors, err)
	}
}

func (w *walk) root(r *target.Root) {
	if r.Type == nil || !w.leadsToMap(r.Type) {
		return
	}
	if r.Err != nil && r.Raw == nil {
		if mapOf(r.Type) != nil {
			w.res.Lost = append(w.res.Lost, Lost{r.Name, r.Func, r.File, r.Line, r.Goroutine, r.Type, r.Err})
		}
		return
	}
	n := &node{label: r.Name, root: r}
	kind := Kind(r.Kind)
	if r.Kind == target.Expr {
		if kind = Local; r.Goroutine == 0 {
			kind = Global
		}
	}
	if r.Raw != nil {
		w.value(r.Type, r.Raw, 0, n, kind, 0)
		return
	}
	w.object(item{object: object{r.Addr, r.Type, 1}, from: n, kind: kind})
}

// drain looks at everything that is queued, breadth first.
func (w *walk) drain() {
	for len(w.queue) > 0 {
		next := w.queue
		w.queue = nil
		for i := range next {
			w.visit(&next[i])
		}
	}
}

// visit looks at what was queued.
func (w *walk) visit(it *item) {
	if it.found != nil {
		w.entries(it)
		return
	}
	w.object(*it)
}

// object reads a value, or the elements of a slice in chunks, and walks them.
func (w *walk) object(it item) {
	if w.seen[it.object] {
		// Seen before, under another name: the words are the same.
		return
	}
	w.seen[it.object] = true
	w.res.Objects++
	size := it.t.Size
	if size <= 0 || size > maxValue || it.n <= 0 {
		return
	}
	if it.t.Kind == reflect.Array && size > chunkBytes && it.t.Elem() != nil && it.t.Elem().Size > 0 {
		// A long array is read in chunks like a slice.
		it.n, it.t = it.t.Len, it.t.Elem()
		size = it.t.Size
		w.elements(it, size)
		return
	}
	if it.slice {
		w.elements(it, size)
		return
	}
	buf := make([]byte, size)
	if !w.read(buf, it.addr, it.from) {
		return
	}
	w.value(it.t, buf, it.addr, it.from, it.kind, it.depth)
}

func (w *walk) elements(it item, size int64) {
	per := max(1, chunkBytes/size)
	var buf []byte
	for i := int64(0); i < it.n; i += per {
		k := min(per, it.n-i)
		if int64(len(buf)) < k*size {
			buf = make([]byte, k*size)
		}
		if !w.read(buf[:k*size], it.addr+uint64(i*size), it.from) {
			return
		}
		for j := range k {
			at := it.addr + uint64((i+j)*size)
			n := &node{parent: it.from, step: stepIndex, index: i + j}
			w.value(it.t, buf[j*size:(j+1)*size], at, n, Element, it.depth)
		}
	}
}

func (w *walk) read(buf []byte, addr uint64, from *node) bool {
	n, err := w.src.Memory.ReadMemory(buf, addr)
	if n < len(buf) {
		if err == nil {
			err = fmt.Errorf("%d of %d bytes", n, len(buf))
		}
		w.fail(fmt.Errorf("read %s at %#x: %w", from, addr, err))
		return false
	}
	return true
}

// value walks a value that lies in data, and in the target at addr (0: in
// registers). kind is what a holder at this very place is.
func (w *walk) value(t *hmap.Type, data []byte, addr uint64, from *node, kind Kind, depth int) {
	switch t.Kind {
	case reflect.Map:
		w.hold(t, hmap.Addr(wordOf(data)), addr, from, kind, depth)
	case reflect.Struct:
		for _, f := range t.Fields() {
			if !w.leadsToMap(f.Type) || f.Off < 0 || f.Off+f.Type.Size > int64(len(data)) {
				continue
			}
			at := addr
			if at != 0 {
				at += uint64(f.Off)
			}
			w.value(f.Type, data[f.Off:f.Off+f.Type.Size], at, &node{parent: from, step: stepField, label: f.Name}, Field, depth)
		}
	case reflect.Array:
		e := t.Elem()
		if e == nil || e.Size == 0 || !w.leadsToMap(e) {
			return
		}
		for i := int64(0); i < t.Len && (i+1)*e.Size <= int64(len(data)); i++ {
			at := addr
			if at != 0 {
				at += uint64(i * e.Size)
			}
			n := &node{parent: from, step: stepIndex, index: i}
			w.value(e, data[i*e.Size:(i+1)*e.Size], at, n, Element, depth)
		}
	case reflect.Pointer:
		if e := t.Elem(); e != nil && w.leadsToMap(e) {
			// *p is the one element of what p points at.
			w.follow(item{object: object{wordOf(data), e, 1}, from: deref(from, e), kind: Element, depth: depth + 1})
		}
	case reflect.Slice:
		if e := t.Elem(); e != nil && w.leadsToMap(e) {
			third := len(data) / 3
			o := object{wordOf(data[:third]), e, int64(wordOf(data[third : 2*third]))}
			if w.plausible(o, int64(wordOf(data[2*third:]))) {
				w.follow(item{object: o, from: from, kind: Element, depth: depth + 1, slice: true})
			}
		}
	case reflect.Interface:
		w.iface(t, data, addr, from, depth)
	}
}

// plausible reports whether the array of a slice can be what the slice says: a
// variable that the program has not set yet may hold anything, and a length taken
// from it would lead through all of memory.
func (w *walk) plausible(o object, capacity int64) bool {
	if o.n < 0 || o.n > capacity || o.t.Size <= 0 {
		return false
	}
	if o.n <= chunkBytes/o.t.Size { // a product may overflow
		return true
	}
	var last [1]byte
	bytes := uint64(capacity) * uint64(o.t.Size)
	if bytes/uint64(o.t.Size) != uint64(capacity) || o.addr+bytes < o.addr {
		return false
	}
	n, _ := w.src.Memory.ReadMemory(last[:], o.addr+bytes-1)
	return n == 1
}

// deref is the path of what a pointer points at: fields of a struct follow the
// pointer's own path, as in Go.
func deref(n *node, e *hmap.Type) *node {
	if e.Kind == reflect.Struct {
		return n
	}
	return &node{parent: n, step: stepDeref}
}

func (w *walk) iface(t *hmap.Type, data []byte, addr uint64, from *node, depth int) {
	half := len(data) / 2
	if wordOf(data[:half]) == 0 {
		return
	}
	dyn, at, direct, err := w.src.Types.Dynamic(t, data)
	if err != nil || !w.leadsToMap(dyn) {
		return // a type without debug information leads nowhere that has a name
	}
	n := &node{parent: from, step: stepAssert, label: dyn.Name}
	if direct {
		if addr != 0 {
			addr += uint64(half)
		}
		w.value(dyn, data[half:], addr, n, Interface, depth+1)
		return
	}
	w.follow(item{object: object{uint64(at), dyn, 1}, from: n, kind: Interface, depth: depth + 1})
}

// follow queues an object behind a pointer.
func (w *walk) follow(it item) {
	if it.addr == 0 || it.n <= 0 {
		return
	}
	if it.depth > w.opts.Depth {
		w.res.Cut++
		return
	}
	if !w.seen[it.object] {
		w.queue = append(w.queue, it)
	}
}

// hold notes a word that holds a map.
func (w *walk) hold(t *hmap.Type, header hmap.Addr, addr uint64, from *node, kind Kind, depth int) {
	if header == 0 {
		w.res.Nil++
		return
	}
	top := from.top()
	path := from.String()
	word := heldWord{addr: addr}
	if addr == 0 {
		word = heldWord{0, top.Goroutine, top.Frame, path}
	}
	if w.held[word] {
		return
	}
	w.held[word] = true
	f := w.known(header, t)
	if f == nil {
		f = w.inspect(t, header, path)
		if f == nil {
			return
		}
		w.maps[header] = append(w.maps[header], f)
		l := f.Layout
		if w.leadsToMap(l.Key) || w.leadsToMap(l.Elem) {
			if depth+1 > w.opts.Depth {
				w.res.Cut++
			} else {
				w.queue = append(w.queue, item{found: f, from: from, depth: depth + 1})
			}
		}
	}
	if top.Kind == target.Expr && len(f.Holders) > 0 {
		return // a copy of the word, in a register or in hmapdump itself
	}
	h := Holder{Kind: kind, Name: top.Name, Path: path, Type: t, Addr: hmap.Addr(addr)}
	if top.Kind != target.Global {
		h.Goroutine, h.Func, h.File, h.Line = top.Goroutine, top.Func, top.File, top.Line
		if top.Goroutine != 0 {
			f.Goroutines = append(f.Goroutines, top.Goroutine)
		}
	}
	f.Holders = append(f.Holders, h)
}

// inspect reads the map at the header.
func (w *walk) inspect(t *hmap.Type, header hmap.Addr, path string) *Found {
	var how hmap.Options
	if w.opts.Hashes {
		how.Hash = w.src.Types.Hash(w.src.Arch, t.Key())
	}
	m, err := hmap.Inspect(w.src.Memory, t, header, how)
	if m == nil {
		w.fail(fmt.Errorf("%s: %w", path, err))
		return nil
	}
	f := &Found{Map: m}
	if err != nil {
		f.Errors = append(f.Errors, err)
	}
	return f
}

// known returns the map at the header if it was met before under t or under a
// type that says the same of its memory: m and T(m) are one map. Optimised code of
// a generic function knows only the shape of a map's type; any other type is better.
func (w *walk) known(header hmap.Addr, t *hmap.Type) *Found {
	for _, f := range w.maps[header] {
		if !f.fits(t) {
			continue
		}
		if isShape(f.Type) && !isShape(t) {
			if better := w.inspect(t, header, ""); better != nil {
				f.Map = better.Map
			}
		}
		return f
	}
	return nil
}

// fits reports whether t describes the memory of f's map as f's own type does.
func (f *Found) fits(t *hmap.Type) bool {
	if f.Type == t {
		return true
	}
	l, err := t.Layout()
	return err == nil && l.Generation == f.Layout.Generation && l.Block == f.Layout.Block
}

// isShape reports whether t is made of the shapes of type arguments.
func isShape(t *hmap.Type) bool { return strings.Contains(t.Name, "go.shape.") }

// entries walks the keys and elems of a map.
func (w *walk) entries(it *item) {
	l := it.found.Layout
	keys, elems := w.leadsToMap(l.Key), w.leadsToMap(l.Elem)
	text := hmap.NewFormatter(w.src.Memory, w.src.Types)
	text.MaxText = 60
	err := hmap.Slots(w.src.Memory, it.found.Map, true, func(e *hmap.Entry) error {
		key := &entryKey{l.Key, slices.Clone(e.Key), text}
		if elems {
			w.value(l.Elem, e.Elem, uint64(e.ElemAt), &node{parent: it.from, step: stepElem, key: key}, MapValue, it.depth)
		}
		if keys {
			w.value(l.Key, e.Key, uint64(e.KeyAt), &node{parent: it.from, step: stepKey, key: key}, MapKey, it.depth)
		}
		return nil
	})
	if err != nil {
		it.found.Errors = append(it.found.Errors, err)
	}
}

// leadsToMap reports whether a value of t can hold a map, or anything that can.
func (w *walk) leadsToMap(t *hmap.Type) bool {
	if t == nil {
		return false
	}
	if v, ok := w.leads[t]; ok {
		return v
	}
	// Breadth first through the type graph; all that was seen is settled only
	// when nothing in it leads to a map, since types are cyclic.
	seen := map[*hmap.Type]bool{t: true}
	order := []*hmap.Type{t}
	for i := 0; i < len(order); i++ {
		x := order[i]
		known, ok := w.leads[x]
		if ok && !known {
			continue
		}
		if ok || x.Kind == reflect.Map || x.Kind == reflect.Interface {
			w.leads[t] = true
			return true
		}
		add := func(y *hmap.Type) {
			if y != nil && !seen[y] {
				seen[y] = true
				order = append(order, y)
			}
		}
		switch x.Kind {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			add(x.Elem())
		case reflect.Struct:
			for _, f := range x.Fields() {
				add(f.Type)
			}
		}
	}
	for _, x := range order {
		w.leads[x] = false
	}
	return false
}

// mapOf is the map type that t is, or nil.
func mapOf(t *hmap.Type) *hmap.Type {
	if t != nil && t.Kind == reflect.Map {
		return t
	}
	return nil
}

// wordOf reads a little-endian word.
func wordOf(b []byte) uint64 {
	var x uint64
	for i := len(b) - 1; i >= 0; i-- {
		x = x<<8 | uint64(b[i])
	}
	return x
}
