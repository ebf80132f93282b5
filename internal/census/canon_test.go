package census_test

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
)

// canon writes values as the targets do (the package comment of testenv), from
// raw bytes. It shares the types with the decoder, but none of its printing.
type canon struct{ src census.Source }

// le reads a little-endian integer.
func le(b []byte) uint64 {
	var x uint64
	for i, c := range b {
		x |= uint64(c) << (8 * i)
	}
	return x
}

func signed(b []byte) int64 {
	shift := 64 - 8*len(b)
	return int64(le(b)<<shift) >> shift
}

func (c canon) read(n int64, addr uint64) []byte {
	b := make([]byte, n)
	if k, err := c.src.Memory.ReadMemory(b, addr); err != nil {
		return []byte(fmt.Sprintf("!%d of %d bytes at %#x: %v!", k, n, addr, err))
	}
	return b
}

func (c canon) text(t *hmap.Type, b []byte) string {
	if int64(len(b)) != t.Size {
		return fmt.Sprintf("!%d bytes of a %s of %d!", len(b), t, t.Size)
	}
	switch t.Kind {
	case reflect.Bool:
		return map[byte]string{0: "false", 1: "true"}[b[0]]
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(signed(b), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(le(b), 10)
	case reflect.Float32, reflect.Float64:
		return fmt.Sprintf("f0x%0*x", 2*len(b), le(b))
	case reflect.Complex64, reflect.Complex128:
		h := len(b) / 2
		return fmt.Sprintf("(f0x%0*x,f0x%0*x)", 2*h, le(b[:h]), 2*h, le(b[h:]))
	case reflect.String:
		return quote(c.read(int64(le(b[8:])), le(b[:8])))
	case reflect.Pointer, reflect.Chan, reflect.Func, reflect.Map, reflect.UnsafePointer:
		return fmt.Sprintf("%#x", le(b))
	case reflect.Slice:
		return fmt.Sprintf("slice(%#x,%d,%d)", le(b[:8]), le(b[8:16]), le(b[16:]))
	case reflect.Array:
		if t.Size == 0 {
			return "{}" // what truth.Empty prints
		}
		var parts []string
		if t.Elem().Kind == reflect.Uint8 && t.Len == 129 {
			return quote(b) // text129 of program indirect
		}
		for i := int64(0); i < t.Len; i++ {
			parts = append(parts, c.text(t.Elem(), b[i*t.Elem().Size:(i+1)*t.Elem().Size]))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case reflect.Struct:
		var parts []string
		for _, f := range t.Fields() {
			if f.Name == "_" {
				parts = append(parts, "_")
				continue
			}
			parts = append(parts, c.text(f.Type, b[f.Off:f.Off+f.Type.Size]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case reflect.Interface:
		if le(b[:8]) == 0 {
			return "nil"
		}
		dyn, at, direct, err := c.src.Types.Dynamic(t, b)
		if err != nil {
			return "!" + err.Error() + "!"
		}
		val := b[8:]
		if !direct {
			val = c.read(dyn.Size, uint64(at))
		}
		return "iface(" + typeText(dyn.Name) + "," + c.text(dyn, val[:dyn.Size]) + ")"
	}
	return fmt.Sprintf("!%s!", t.Kind)
}

// typeText is a type's name without spaces, as the programs write it.
func typeText(name string) string {
	for _, r := range [][2]string{{"interface {}", "interface{}"}, {"struct {}", "struct{}"}, {"chan int", "chan(int)"}} {
		name = strings.ReplaceAll(name, r[0], r[1])
	}
	return name
}

func quote(b []byte) string {
	var s strings.Builder
	s.WriteByte('"')
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			s.WriteByte('\\')
			s.WriteByte(c)
		case c <= ' ' || c > '~':
			fmt.Fprintf(&s, `\x%02x`, c)
		default:
			s.WriteByte(c)
		}
	}
	s.WriteByte('"')
	return s.String()
}

// sum is what a key or an elem adds to its sum.
func (c canon) sum(t *hmap.Type, b []byte) uint64 {
	switch {
	case t.Name == "main.key136": // sum136 of program indirect
		return le(b[:8]) + le(b[16*8:])
	case t.Size == 0:
		return 0
	case t.Kind == reflect.String:
		h := uint64(14695981039346656037)
		for _, x := range c.read(int64(le(b[8:])), le(b[:8])) {
			h = (h ^ uint64(x)) * 1099511628211
		}
		return h
	case t.Kind >= reflect.Int && t.Kind <= reflect.Int64:
		return uint64(signed(b))
	}
	return le(b[:min(8, len(b))])
}
