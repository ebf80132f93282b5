package syncmap

import (
	"fmt"
	"math/bits"
	"reflect"
	"strings"

	"hmaptools/internal/hmap"
)

// Design is how a sync.Map is made.
type Design uint8

const (
	ReadDirty Design = iota + 1 // two maps behind a mutex
	HashTrie                    // internal/sync.HashTrieMap
)

func (d Design) String() string {
	switch d {
	case ReadDirty:
		return "read-dirty"
	case HashTrie:
		return "hash-trie"
	}
	return "unknown"
}

// Layout is how the maps of one type lie in memory. Once made it is not changed:
// several goroutines may use it.
type Layout struct {
	Type   *hmap.Type // what [LayoutOf] was given
	Design Design
	// Key and Value are the types of keys and values: empty interfaces in a
	// sync.Map. They are nil for the HashTrieMap of a program that has no code to
	// store in it.
	Key, Value *hmap.Type

	size  int // of the value itself
	ptr   int // size of a pointer
	alloc *hmap.SizeClasses
	maps  mapsLayout
	trie  trieLayout
}

// Fanout is how many children an indirect node of a hash-trie has; 0 in the other
// design.
func (l *Layout) Fanout() int { return l.trie.fanout }

// mapsLayout is the layout of the read-dirty design.
type mapsLayout struct {
	mu, dirty, misses hmap.RecordField
	// read points at readOnly. An atomic.Value (up to Go 1.19) has the type in a
	// word before, which says whether there is any.
	read, readType hmap.RecordField
	// firstStore is what an atomic.Value's type points at while its first value is
	// stored: 0 if the target has no such thing.
	firstStore hmap.Addr

	readOnly    int // size of it
	m, amended  hmap.RecordField
	readOnlyErr error      // why it cannot be read
	inner       *hmap.Type // of m and of dirty

	entry     int // size of it
	p         hmap.RecordField
	expunged  hmap.Addr // of the variable that holds the mark; 0 if the target has none
	valueSize int
}

// trieLayout is the layout of a HashTrieMap.
type trieLayout struct {
	root, seed, inited, initMu hmap.RecordField // the last two since Go 1.24; offsets in the value itself

	isEntry          hmap.RecordField // of both kinds of node
	indirect         int              // size of it
	dead, mu, parent hmap.RecordField
	children         int // offset
	fanout           int // children of an indirect node
	log2             int // bits of the hash that select one of them

	entry      int // size of it, 0 if entryErr
	overflow   hmap.RecordField
	key, value span
	entryErr   error // why entries cannot be read
}

// span is a part of a node, in bytes.
type span struct{ off, size int }

func (s span) of(rec []byte) []byte { return rec[s.off : s.off+s.size : s.off+s.size] }

// maxNodeBytes bounds what is read of a map, a node, a key and a value: an entry
// holds a key and a value of any type.
const maxNodeBytes = 1 << 20

// Is reports whether t is a sync.Map, a type defined as one (type T sync.Map), or a
// HashTrieMap.
func Is(t *hmap.Type) bool { return designOf(t) != 0 }

func designOf(t *hmap.Type) Design {
	if t == nil || t.Kind != reflect.Struct {
		return 0
	}
	if isTrie(t) {
		return HashTrie
	}
	if _, dirty, ok := find(t, "dirty"); ok {
		if p := dirty.Elem(); dirty.Kind == reflect.Map && p != nil && p.Elem() != nil && p.Elem().Name == "sync.entry" {
			return ReadDirty
		}
	}
	if _, ok := trieIn(t); ok {
		return HashTrie
	}
	return 0
}

// isTrie reports whether t is a HashTrieMap itself.
func isTrie(t *hmap.Type) bool {
	return strings.HasPrefix(t.Name, "internal/sync.HashTrieMap[") || strings.HasPrefix(t.Name, "internal/concurrent.HashTrieMap[")
}

// trieIn returns the HashTrieMap that is all of a sync.Map, but for blank fields.
func trieIn(t *hmap.Type) (trie hmap.Field, ok bool) {
	for _, f := range t.Fields() {
		switch {
		case f.Name == "_":
		case f.Name == "m" && f.Type.Kind == reflect.Struct && isTrie(f.Type):
			trie, ok = f, true
		default:
			return hmap.Field{}, false
		}
	}
	return trie, ok
}

// LayoutOf says how the maps of type t lie in memory. It fails with an
// [hmap.LayoutError] if t is none ([Is]) or if the debug information lacks
// something.
func LayoutOf(types *hmap.Types, t *hmap.Type) (*Layout, error) {
	l := &Layout{Type: t, Design: designOf(t), ptr: types.PtrSize()}
	if l.Design == 0 {
		name := "no type"
		if t != nil {
			name = t.Name
		}
		return nil, &hmap.LayoutError{Type: name, Lacks: "the fields of a sync.Map that this tool knows"}
	}
	f := &finder{of: t.Name}
	l.size = f.sizeOf(t)
	var err error
	if l.alloc, err = types.SizeClasses(); err != nil {
		return nil, err
	}
	if l.Design == ReadDirty {
		l.findMaps(types, f)
	} else {
		l.findTrie(types, f)
	}
	if f.err != nil {
		return nil, f.err
	}
	return l, nil
}

func (l *Layout) findMaps(types *hmap.Types, f *finder) {
	m, t := &l.maps, l.Type
	m.mu = f.lock(t, "mu")
	m.dirty, m.misses = f.word(t, "dirty"), f.word(t, "misses")
	_, dirty, _ := find(t, "dirty")
	m.inner = dirty
	if _, v, ok := find(t, "read", "v"); ok && v.Kind == reflect.Interface {
		if v.Size != int64(2*l.ptr) {
			f.lacks("an interface of two words in " + t.Name + ".read")
			return
		}
		off, _, _ := find(t, "read", "v")
		m.readType = hmap.RecordField{Name: "read", Off: int(off), Size: l.ptr}
		m.read = hmap.RecordField{Name: "read", Off: int(off) + l.ptr, Size: l.ptr}
		if a, _, ok := types.Var("sync/atomic.firstStoreInProgress"); ok {
			m.firstStore = a
		}
	} else {
		m.read, _ = f.pointer(t, l.ptr, "read")
	}
	if m.dirty.Size != l.ptr || m.read.Off+m.read.Size > l.size {
		f.lacks("read and dirty of one word in " + t.Name)
	}
	if readOnly := types.Named("sync.readOnly"); readOnly != nil {
		m.readOnly = f.sizeOf(readOnly)
		m.m, m.amended = f.word(readOnly, "m"), f.word(readOnly, "amended")
		if m.m.Size != l.ptr {
			f.lacks("a map of one word in sync.readOnly")
		}
	} else {
		m.readOnlyErr = &hmap.LayoutError{Type: t.Name, Lacks: "sync.readOnly"}
	}

	entry := dirty.Elem().Elem()
	m.entry = f.sizeOf(entry)
	var value *hmap.Type
	m.p, value = f.pointer(entry, l.ptr, "p")
	l.Key, l.Value = dirty.Key(), value
	if value == nil {
		l.Value = l.Key // p is an unsafe.Pointer up to Go 1.19
	}
	if l.Key == nil || l.Key.Kind != reflect.Interface || l.Value.Kind != reflect.Interface {
		f.lacks("keys and values that are interfaces")
		return
	}
	m.valueSize = f.sizeOf(l.Value)
	m.expunged, _, _ = types.Var("sync.expunged")
	if _, err := m.inner.Layout(); err != nil {
		f.fail(err)
	}
}

func (l *Layout) findTrie(types *hmap.Types, f *finder) {
	r, t, base := &l.trie, l.Type, 0
	if !isTrie(t) {
		in, _ := trieIn(t)
		t, base = in.Type, int(in.Off)
	}
	at := func(w hmap.RecordField) hmap.RecordField {
		if w.Size > 0 {
			w.Off += base
		}
		if w.Off+w.Size > l.size {
			f.lacks("fields inside " + l.Type.Name)
		}
		return w
	}
	root, indirect := f.pointer(t, l.ptr, "root")
	r.root, r.seed = at(root), at(f.word(t, "seed"))
	if _, _, ok := find(t, "inited"); ok {
		r.inited, r.initMu = at(f.word(t, "inited", "v")), at(f.lock(t, "initMu"))
	}

	// The nodes' type arguments are the map's. Entries are no field's type, and the
	// root of a shape's is a struct without a name.
	pkg, args, _ := strings.Cut(t.Name, "HashTrieMap[")
	if n := types.Named(pkg + "indirect[" + args); n != nil {
		indirect = n
	}
	if indirect == nil {
		f.lacks(pkg + "indirect[" + args)
		return
	}
	r.indirect = f.sizeOf(indirect)
	r.isEntry = f.word(indirect, "node", "isEntry")
	r.dead, r.mu = f.word(indirect, "dead", "v"), f.lock(indirect, "mu")
	r.parent, _ = f.pointer(indirect, l.ptr, "parent")
	off, children, ok := find(indirect, "children")
	n := int64(0)
	if ok && children.Kind == reflect.Array && children.Elem() != nil && children.Elem().Size == int64(l.ptr) {
		n = children.Len
	}
	if n < 2 || n > 1<<8 || n&(n-1) != 0 || off < 0 || off+n*int64(l.ptr) > indirect.Size {
		f.lacks("2 to 256 children, a power of two, in " + indirect.Name)
		return
	}
	r.children, r.fanout, r.log2 = int(off), int(n), bits.TrailingZeros64(uint64(n))

	if entry := types.Named(pkg + "entry[" + args); entry != nil {
		r.entry = f.sizeOf(entry)
		r.overflow, _ = f.pointer(entry, l.ptr, "overflow")
		if f.word(entry, "node", "isEntry") != r.isEntry {
			f.lacks("one place for isEntry in both kinds of node")
		}
		r.key, l.Key = f.span(entry, "key")
		r.value, l.Value = f.span(entry, "value")
		return
	}
	// A program of Go 1.27 that only stores has the type of the code alone, with the
	// shapes of key and value. The fields are those of internal/sync.entry: isEntry,
	// overflow, key, value.
	key, value, ok := typeArgs(strings.TrimSuffix(args, "]"))
	if ok {
		l.Key, l.Value = types.Named(key), types.Named(value)
	}
	if l.Key == nil || l.Value == nil || l.Key.Size < 0 || l.Value.Size < 0 || l.Key.Size+l.Value.Size > maxNodeBytes {
		l.Key, l.Value = nil, nil
		r.entryErr = &hmap.LayoutError{Type: t.Name, Lacks: pkg + "entry[" + args}
		return
	}
	end := 0
	place := func(t *hmap.Type, size int) span {
		align := alignOf(t, l.ptr, 0)
		s := span{(end + align - 1) / align * align, size}
		end = s.off + s.size
		return s
	}
	end = r.isEntry.Off + r.isEntry.Size
	o := place(nil, l.ptr)
	r.overflow = hmap.RecordField{Name: "overflow", Off: o.off, Size: o.size}
	r.key, r.value = place(l.Key, int(l.Key.Size)), place(l.Value, int(l.Value.Size))
	r.entry = (end + l.ptr - 1) / l.ptr * l.ptr
}

// typeArgs splits "K,V" at the comma that is not in brackets of either.
func typeArgs(args string) (key, value string, ok bool) {
	depth := 0
	for i, c := range args {
		switch c {
		case '[', '{', '(':
			depth++
		case ']', '}', ')':
			depth--
		case ',':
			if depth == 0 {
				return args[:i], args[i+1:], true
			}
		}
	}
	return "", "", false
}

// alignOf is the alignment of a type; nil stands for a pointer.
func alignOf(t *hmap.Type, ptr, depth int) int {
	if t == nil || depth > maxHashNest {
		return ptr
	}
	switch t.Kind {
	case reflect.Struct:
		n := 1
		for _, f := range t.Fields() {
			n = max(n, alignOf(f.Type, ptr, depth+1))
		}
		return n
	case reflect.Array:
		return alignOf(t.Elem(), ptr, depth+1)
	case reflect.Complex64:
		return 4
	case reflect.Bool, reflect.Int8, reflect.Uint8, reflect.Int16, reflect.Uint16, reflect.Int32, reflect.Uint32, reflect.Float32:
		return int(max(t.Size, 1))
	}
	return ptr
}

// finder looks fields up and keeps the first error.
type finder struct {
	of  string // the map type
	err error
}

func (f *finder) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *finder) lacks(what string) { f.fail(&hmap.LayoutError{Type: f.of, Lacks: what}) }

// find follows a path of field names; ok is false if there is none.
func find(t *hmap.Type, path ...string) (off int64, ft *hmap.Type, ok bool) {
	for _, name := range path {
		ok = false
		for _, x := range t.Fields() {
			if x.Name == name {
				off, t, ok = off+x.Off, x.Type, true
				break
			}
		}
		if !ok {
			return 0, nil, false
		}
	}
	return off, t, ok
}

func (f *finder) sizeOf(t *hmap.Type) int {
	if t.Size < 1 || t.Size > maxNodeBytes {
		f.lacks(fmt.Sprintf("a %s of 1 to %d bytes (it has %d)", t.Name, maxNodeBytes, t.Size))
		return 0
	}
	return int(t.Size)
}

// span is a field of any size.
func (f *finder) span(t *hmap.Type, path ...string) (span, *hmap.Type) {
	off, ft, ok := find(t, path...)
	if !ok || off < 0 || ft.Size < 0 || ft.Size > maxNodeBytes || off > t.Size-ft.Size {
		f.lacks("field " + t.Name + "." + strings.Join(path, "."))
		return span{}, nil
	}
	return span{int(off), int(ft.Size)}, ft
}

// word is a field of at most 8 bytes.
func (f *finder) word(t *hmap.Type, path ...string) hmap.RecordField {
	s, _ := f.span(t, path...)
	if s.size < 1 || s.size > 8 {
		f.lacks("field " + t.Name + "." + strings.Join(path, "."))
		return hmap.RecordField{}
	}
	return hmap.RecordField{Name: path[len(path)-1], Off: s.off, Size: s.size}
}

// pointer is a pointer or an atomic.Pointer, and what it points at: nil for an
// unsafe.Pointer.
func (f *finder) pointer(t *hmap.Type, ptr int, name string) (hmap.RecordField, *hmap.Type) {
	_, ft, ok := find(t, name)
	if !ok {
		f.lacks("field " + t.Name + "." + name)
		return hmap.RecordField{}, nil
	}
	var to *hmap.Type
	path := []string{name}
	switch ft.Kind {
	case reflect.Pointer:
		to = ft.Elem()
	case reflect.Struct:
		path = append(path, "v")
		for _, x := range ft.Fields() { // _ [0]*T
			if x.Type.Kind == reflect.Array && x.Type.Elem() != nil && x.Type.Elem().Kind == reflect.Pointer {
				to = x.Type.Elem().Elem()
			}
		}
	}
	w := f.word(t, path...)
	if w.Size != ptr {
		f.lacks("a pointer " + t.Name + "." + name)
	}
	return w, to
}

// lock is the state of a mutex: 0 while nobody holds it or waits for it. That of
// package sync has another one inside since Go 1.24.
func (f *finder) lock(t *hmap.Type, name string) hmap.RecordField {
	if _, _, ok := find(t, name, "mu", "state"); ok {
		return f.word(t, name, "mu", "state")
	}
	return f.word(t, name, "state")
}
