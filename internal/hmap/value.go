package hmap

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Formatter prints values from the target's memory in Go's syntax. What exceeds
// its limits is cut with "...", what cannot be read is named in place: a
// Formatter never fails.
type Formatter struct {
	Mem Memory
	// Types finds the dynamic types of interfaces; nil leaves them as words.
	Types     *Types
	MaxString int // bytes of a string
	MaxElems  int // elements of a slice or array
	MaxDepth  int // nested structs, slices, arrays, pointers and interfaces
	// MaxText bounds the whole text of one value in bytes; 0 for no bound.
	MaxText int
}

// NewFormatter has limits that suit a table.
func NewFormatter(mem Memory, types *Types) *Formatter {
	return &Formatter{Mem: mem, Types: types, MaxString: 64, MaxElems: 8, MaxDepth: 4, MaxText: 400}
}

// Format prints a value of type t that lies in data.
func (f *Formatter) Format(t *Type, data []byte) string {
	p := &printer{Formatter: f}
	p.value(t, data, 0)
	s := p.String()
	if f.MaxText > 0 && len(s) > f.MaxText {
		s = strings.ToValidUTF8(s[:f.MaxText], "") + "..."
	}
	return s
}

type printer struct {
	*Formatter
	strings.Builder
}

func (p *printer) full() bool { return p.MaxText > 0 && p.Len() > p.MaxText }

func (p *printer) value(t *Type, data []byte, depth int) {
	if int64(len(data)) < t.Size {
		fmt.Fprintf(p, "<%d of %d bytes>", len(data), t.Size)
		return
	}
	data = data[:t.Size]
	if depth > p.MaxDepth || p.full() {
		p.WriteString("...")
		return
	}
	if !sizeFits(t.Kind, t.Size) {
		fmt.Fprintf(p, "<%s of %d bytes>", t.Name, t.Size)
		return
	}
	switch t.Kind {
	case reflect.Bool:
		p.WriteString(strconv.FormatBool(word(data) != 0))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.WriteString(strconv.FormatInt(RecordField{Size: len(data)}.Int(data), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		p.WriteString(strconv.FormatUint(word(data), 10))
	case reflect.Float32:
		p.WriteString(float(float64(math.Float32frombits(uint32(word(data)))), 32))
	case reflect.Float64:
		p.WriteString(float(math.Float64frombits(word(data)), 64))
	case reflect.Complex64:
		p.complex(float64(math.Float32frombits(uint32(word(data[:4])))), float64(math.Float32frombits(uint32(word(data[4:])))), 32)
	case reflect.Complex128:
		p.complex(math.Float64frombits(word(data[:8])), math.Float64frombits(word(data[8:])), 64)
	case reflect.String:
		p.string(data)
	case reflect.Array:
		p.WriteString(ShortName(t.Name))
		p.elems(t.Elem(), data, t.Len, depth)
	case reflect.Slice:
		p.slice(t, data, depth)
	case reflect.Struct:
		p.structure(t, data, depth)
	case reflect.Interface:
		p.iface(t, data, depth)
	case reflect.Pointer:
		p.pointer(t, Addr(word(data)), depth)
	case reflect.Map:
		p.mapValue(t, Addr(word(data)))
	case reflect.Chan, reflect.Func, reflect.UnsafePointer:
		p.addr(t.Name, Addr(word(data)))
	default:
		fmt.Fprintf(p, "<%s: % x>", t.Name, data[:min(len(data), 16)])
	}
}

// sizeFits reports whether a value of kind k can have size bytes: debug
// information may say anything.
func sizeFits(k reflect.Kind, size int64) bool {
	switch k {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return size == 1
	case reflect.Int16, reflect.Uint16:
		return size == 2
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		return size == 4
	case reflect.Int64, reflect.Uint64, reflect.Float64, reflect.Complex64:
		return size == 8
	case reflect.Complex128:
		return size == 16
	case reflect.Int, reflect.Uint, reflect.Uintptr, reflect.Pointer, reflect.Map, reflect.Chan,
		reflect.Func, reflect.UnsafePointer:
		return size == 4 || size == 8
	case reflect.String, reflect.Interface:
		return size == 8 || size == 16
	case reflect.Slice:
		return size == 12 || size == 24
	}
	return true
}

// float prints what Go's %v prints, and keeps the sign of zero.
func float(x float64, size int) string { return strconv.FormatFloat(x, 'g', -1, size) }

func (p *printer) complex(re, im float64, size int) {
	i := float(im, size)
	if !strings.HasPrefix(i, "-") && !strings.HasPrefix(i, "+") {
		i = "+" + i
	}
	p.WriteString("(" + float(re, size) + i + "i)")
}

func (p *printer) addr(name string, a Addr) {
	if a == 0 {
		p.WriteString("nil")
		return
	}
	name = ShortName(name)
	if strings.ContainsAny(name, "* ") {
		name = "(" + name + ")"
	}
	p.WriteString(name + "(" + a.String() + ")")
}

func (p *printer) string(data []byte) {
	half := len(data) / 2
	a, n := Addr(word(data[:half])), int64(word(data[half:]))
	if n == 0 {
		p.WriteString(`""`)
		return
	}
	if n < 0 {
		fmt.Fprintf(p, "<string of %d bytes>", n)
		return
	}
	buf := make([]byte, min(n, int64(p.MaxString)))
	if err := read(p.Mem, "string", buf, a); err != nil {
		fmt.Fprintf(p, "<string of %d bytes at %s: unreadable>", n, a)
		return
	}
	p.WriteString(strconv.Quote(string(buf)))
	if n > int64(len(buf)) {
		fmt.Fprintf(p, "...+%d", n-int64(len(buf)))
	}
}

// elems prints n values of type t that lie in data, as far as it reaches.
func (p *printer) elems(t *Type, data []byte, n int64, depth int) {
	p.WriteByte('{')
	for i := int64(0); i < n; i++ {
		if t == nil {
			p.WriteString("?")
			break
		}
		if i > 0 {
			p.WriteString(", ")
		}
		if i >= int64(p.MaxElems) || p.full() {
			fmt.Fprintf(p, "...+%d", n-i)
			break
		}
		at := int64(len(data))
		if i == 0 || t.Size <= at/i {
			at = i * t.Size
		}
		p.value(t, data[at:], depth+1)
	}
	p.WriteByte('}')
}

func (p *printer) slice(t *Type, data []byte, depth int) {
	third := len(data) / 3
	a, n := Addr(word(data[:third])), int64(word(data[third:2*third]))
	elem := t.Elem()
	if a == 0 {
		p.WriteString("nil")
		return
	}
	if elem == nil || n < 0 || elem.Size > maxIndirect {
		fmt.Fprintf(p, "<%s of %d at %s>", ShortName(t.Name), n, a)
		return
	}
	p.WriteString(ShortName(t.Name))
	buf := make([]byte, min(n, int64(p.MaxElems))*elem.Size)
	if err := read(p.Mem, "slice", buf, a); err != nil {
		fmt.Fprintf(p, "<%d at %s: unreadable>", n, a)
		return
	}
	p.elems(elem, buf, n, depth)
}

func (p *printer) structure(t *Type, data []byte, depth int) {
	p.WriteString(ShortName(t.Name))
	p.WriteByte('{')
	for i, f := range t.Fields() {
		if i > 0 {
			p.WriteString(", ")
		}
		if p.full() {
			p.WriteString("...")
			break
		}
		p.WriteString(f.Name + ": ")
		if f.Off < 0 || f.Off > int64(len(data)) {
			p.WriteString("?")
			continue
		}
		p.value(f.Type, data[f.Off:], depth+1)
	}
	p.WriteByte('}')
}

// ShortName leaves the last element of each package path in a type's name, as Go
// source does.
func ShortName(name string) string {
	if !strings.Contains(name, "/") {
		return name
	}
	var b strings.Builder
	start := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '/':
			start = i + 1
		case strings.IndexByte("[]*(){},; ", c) >= 0:
			b.WriteString(name[start : i+1])
			start = i + 1
		}
	}
	b.WriteString(name[start:])
	return b.String()
}

func (p *printer) pointer(t *Type, a Addr, depth int) {
	elem := t.Elem()
	if a == 0 || elem == nil || elem.Kind != reflect.Struct || elem.Size > maxIndirect || depth+1 > p.MaxDepth {
		p.addr(t.Name, a)
		return
	}
	buf := make([]byte, elem.Size)
	if err := read(p.Mem, "pointer", buf, a); err != nil {
		p.addr(t.Name, a)
		return
	}
	p.WriteByte('&')
	p.value(elem, buf, depth+1)
}

func (p *printer) iface(t *Type, data []byte, depth int) {
	if word(data[:len(data)/2]) == 0 {
		p.WriteString("nil")
		return
	}
	var dyn *Type
	var at Addr
	var direct bool
	err := errNil
	if p.Types != nil {
		dyn, at, direct, err = p.Types.Dynamic(t, data)
	}
	if err != nil || dyn.Size > maxIndirect {
		fmt.Fprintf(p, "%s{%s, %s}", ShortName(t.Name), Addr(word(data[:len(data)/2])), Addr(word(data[len(data)/2:])))
		return
	}
	val := data[len(data)/2:]
	if !direct {
		val = make([]byte, dyn.Size)
		if err := read(p.Mem, "interface value", val, at); err != nil {
			p.addr(ShortName(dyn.Name), at)
			return
		}
	}
	switch dyn.Kind {
	case reflect.Struct, reflect.Array, reflect.Slice, reflect.Map, reflect.Pointer, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		p.value(dyn, val, depth+1) // says its type itself
	default:
		p.WriteString(ShortName(dyn.Name) + "(")
		p.value(dyn, val, depth+1)
		p.WriteByte(')')
	}
}

// mapValue prints a map as its header's address and length: its entries are a
// matter of their own.
func (p *printer) mapValue(t *Type, a Addr) {
	if a == 0 {
		p.WriteString("nil")
		return
	}
	p.WriteString(ShortName(t.Name) + "(" + a.String())
	if l, err := t.Layout(); err == nil {
		if h, err := ReadHeader(p.Mem, l, a); err == nil {
			fmt.Fprintf(p, " len %d", h.Len())
		}
	}
	p.WriteByte(')')
}
