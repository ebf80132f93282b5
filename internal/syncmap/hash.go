package syncmap

import (
	"reflect"

	"hmaptools/internal/hmap"
)

const (
	// maxHashDepth bounds interfaces in structs in interfaces ..., maxHashNest all
	// the structs and arrays in one another, and maxHashBytes the size of a key
	// behind an interface.
	maxHashDepth = 8
	maxHashNest  = 64
	maxHashBytes = 1 << 16
)

// Hash returns a function that computes the runtime's hash of keys of type key, for
// [Options], or nil where the hash cannot be had: see [hmap.Types.Hash]. Unlike that
// it hashes interfaces, as sync.Map's keys are: what one holds is read from mem.
// arch is the target's GOARCH. The function, like types, is for one goroutine at a
// time.
func Hash(mem hmap.Memory, types *hmap.Types, arch string, key *hmap.Type) func(key []byte, seed uint64) (hash uint64, ok bool) {
	if key == nil || key.Kind != reflect.Interface {
		return types.Hash(arch, key)
	}
	if types.Hash(arch, emptyString) == nil {
		return nil
	}
	h := &hasher{mem: mem, types: types, arch: arch, known: map[*hmap.Type]hashFunc{}}
	return func(k []byte, seed uint64) (uint64, bool) { return h.iface(key, k, seed, 0) }
}

type hashFunc = func(key []byte, seed uint64) (uint64, bool)

// emptyString is what no bytes at all are hashed like.
var emptyString = &hmap.Type{Name: "string", Kind: reflect.String, Size: 16}

// hasher computes hashes of interfaces, as runtime/alg.go does.
type hasher struct {
	mem   hmap.Memory
	types *hmap.Types
	arch  string
	known map[*hmap.Type]hashFunc
	bufs  [maxHashDepth][]byte
	nest  int
}

// iface is interhash and nilinterhash.
func (h *hasher) iface(t *hmap.Type, words []byte, seed uint64, depth int) (uint64, bool) {
	const c0, c1 = 33054211828000289, 23344194077549503 // of 64-bit systems
	dyn, at, direct, err := h.types.Dynamic(t, words)
	if err != nil || depth == maxHashDepth {
		return 0, false
	}
	if dyn == nil {
		return seed, true
	}
	data := words[len(words)/2:]
	if !direct {
		if dyn.Size < 0 || dyn.Size > maxHashBytes {
			return 0, false
		}
		if int64(cap(h.bufs[depth])) < dyn.Size {
			h.bufs[depth] = make([]byte, dyn.Size)
		}
		data = h.bufs[depth][:dyn.Size]
		if err := read(h.mem, "key", data, at); err != nil {
			return 0, false
		}
	}
	x, ok := h.value(dyn, data, seed^c0, depth+1)
	return c1 * x, ok
}

// value is typehash, which goes through the fields of a struct one by one.
func (h *hasher) value(t *hmap.Type, data []byte, seed uint64, depth int) (uint64, bool) {
	f, ok := h.known[t]
	if !ok {
		if f = h.types.Hash(h.arch, t); t.Size == 0 {
			none := h.types.Hash(h.arch, emptyString)
			f = func(_ []byte, seed uint64) (uint64, bool) { return none(make([]byte, emptyString.Size), seed) }
		}
		h.known[t] = f
	}
	if f != nil {
		if int64(len(data)) < t.Size {
			return 0, false
		}
		return f(data[:t.Size], seed)
	}
	if h.nest >= maxHashNest {
		return 0, false
	}
	h.nest++
	defer func() { h.nest-- }()
	ok = true
	part := func(t *hmap.Type, off int64) {
		if ok = ok && off >= 0 && t.Size >= 0 && off <= int64(len(data))-t.Size; ok {
			seed, ok = h.value(t, data[off:off+t.Size], seed, depth)
		}
	}
	switch {
	case t.Kind == reflect.Interface:
		return h.iface(t, data, seed, depth)
	case t.Kind == reflect.Array && t.Elem() != nil && t.Len <= maxHashBytes:
		for i := int64(0); i < t.Len && ok; i++ {
			part(t.Elem(), i*t.Elem().Size)
		}
	case t.Kind == reflect.Struct:
		for _, x := range t.Fields() {
			if x.Name != "_" {
				part(x.Type, x.Off)
			}
		}
	default:
		return 0, false
	}
	return seed, ok
}
