package hmap

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
)

// MapType is what the descriptor of a map type tells by itself.
type MapType struct {
	Name string // with full package paths, as in debug information
	Key  reflect.Kind
	// KeySize and BlockSize are in bytes; a block is a bucket or a group of 8 slots.
	KeySize, BlockSize int64
}

// Where things lie in a type's descriptor on 64-bit systems: abi.Type (runtime._type
// up to Go 1.20) and, behind it, what abi.MapType of both designs and the other types
// begin with. The same from Go 1.18 to 1.27.
const (
	rtypeSize  = 0
	rtypeFlags = 20
	rtypeKind  = 23
	rtypeName  = 40
	rtypeBytes = 48
	rtypeElem  = 48 // of an array, a channel, a pointer, a slice; of a map the key
	rtypeValue = 56 // of a map
	rtypeBlock = 64 // of a map
	rtypeLen   = 64 // of an array
	rtypeMost  = 72

	// maxTypeDepth bounds what types of one another are followed.
	maxTypeDepth = 32
)

// uncommonAt is where a descriptor of each kind may be followed by abi.UncommonType,
// which begins with the offset of the package's path. Map types have had several sizes.
func uncommonAt(k reflect.Kind) []int {
	switch k {
	case reflect.Struct, reflect.Interface:
		return []int{80}
	case reflect.Pointer, reflect.Slice, reflect.Func:
		return []int{56}
	case reflect.Array:
		return []int{72}
	case reflect.Chan:
		return []int{64}
	case reflect.Map:
		return []int{88, 104, 112, 120, 128}
	}
	return []int{48}
}

// rtypes reads descriptors without debug information.
type rtypes struct {
	mem  Memory
	base Addr // runtime.types: what names are relative to
}

// ReadMapType reads the descriptor of a map type at addr. bases are where the
// executable's types may begin: names are relative to that. It needs no debug
// information, and fails if there is no such descriptor.
func ReadMapType(mem Memory, addr Addr, bases []Addr) (MapType, error) {
	var t MapType
	rt := &rtypes{mem: mem}
	b, err := rt.at(addr)
	if err != nil {
		return t, err
	}
	if k := rtypeKindOf(b); k != reflect.Map {
		return t, fmt.Errorf("type descriptor at %v: of a %v, not a map", addr, k)
	}
	if key, err := rt.at(rtypeWord(b, rtypeElem)); err == nil {
		t.Key, t.KeySize = rtypeKindOf(key), int64(rtypeWord(key, rtypeSize))
	}
	if block, err := rt.at(rtypeWord(b, rtypeBlock)); err == nil {
		if n := int64(rtypeWord(block, rtypeSize)); n > 0 && n < 1<<20 {
			t.BlockSize = n
		}
	}
	for _, base := range bases {
		rt.base = base
		// The name of a base that is not the right one is no name.
		if s := rt.text(b); strings.HasPrefix(s, "map[") || b[rtypeFlags]&flagNamed != 0 && strings.IndexByte(s, '.') > 0 {
			t.Name = rt.name(addr, 0)
			return t, nil
		}
	}
	return t, nil
}

func rtypeWord(b []byte, off int) Addr { return Addr(binary.LittleEndian.Uint64(b[off:])) }

func rtypeKindOf(b []byte) reflect.Kind { return reflect.Kind(b[rtypeKind] & kindMask) }

func (rt *rtypes) at(addr Addr) ([]byte, error) {
	if addr == 0 {
		return nil, fmt.Errorf("no type descriptor")
	}
	b := make([]byte, rtypeMost)
	if err := read(rt.mem, "type descriptor", b, addr); err != nil {
		return nil, err
	}
	return b, nil
}

// text is a type's own name, which has the last element of package paths alone.
func (rt *rtypes) text(b []byte) string {
	s := rt.nameAt(int32(binary.LittleEndian.Uint32(b[rtypeName:])))
	if b[rtypeFlags]&flagExtraStar != 0 {
		s = strings.TrimPrefix(s, "*")
	}
	return s
}

// nameAt reads a name: flags, the length as a varint, the bytes (internal/abi.Name).
func (rt *rtypes) nameAt(off int32) string {
	at := rt.base + Addr(int64(off))
	head := make([]byte, 4)
	if read(rt.mem, "name", head, at) != nil {
		return ""
	}
	n, used := binary.Uvarint(head[1:])
	if used <= 0 || n == 0 || n > maxTypeName {
		return ""
	}
	b := make([]byte, n)
	if read(rt.mem, "name", b, at+1+Addr(used)) != nil {
		return ""
	}
	return string(b)
}

// name is the type's name with full package paths.
func (rt *rtypes) name(addr Addr, depth int) string {
	b, err := rt.at(addr)
	if err != nil || depth > maxTypeDepth {
		return "?"
	}
	s := rt.text(b)
	if b[rtypeFlags]&flagNamed != 0 {
		dot := strings.IndexByte(s, '.')
		if b[rtypeFlags]&flagUncommon == 0 || dot <= 0 || strings.ContainsAny(s[:dot], "[{( ") {
			return s
		}
		for _, off := range uncommonAt(rtypeKindOf(b)) {
			var word [4]byte
			if read(rt.mem, "type descriptor", word[:], addr+Addr(off)) != nil {
				break
			}
			path := rt.nameAt(int32(binary.LittleEndian.Uint32(word[:])))
			// Package names may differ from the last element of the path: go-x, x/v2.
			if path == s[:dot] || strings.Contains(path, "/") && rtypeKindOf(b) != reflect.Map || strings.HasSuffix(path, "/"+s[:dot]) {
				return path + s[dot:]
			}
		}
		return s
	}
	elem := func() string { return rt.name(rtypeWord(b, rtypeElem), depth+1) }
	switch rtypeKindOf(b) {
	case reflect.Pointer:
		return "*" + elem()
	case reflect.Slice:
		return "[]" + elem()
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", rtypeWord(b, rtypeLen), elem())
	case reflect.Map:
		return "map[" + elem() + "]" + rt.name(rtypeWord(b, rtypeValue), depth+1)
	case reflect.Chan:
		// The direction is in the text.
		for _, dir := range []string{"<-chan ", "chan<- ", "chan "} {
			if strings.HasPrefix(s, dir) {
				if dir == "chan " && strings.HasPrefix(s, "chan (") {
					return "chan (" + elem() + ")"
				}
				return dir + elem()
			}
		}
	}
	return s
}
