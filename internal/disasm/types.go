package disasm

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Type is a type descriptor of a binary, an abi.Type of internal/abi (runtime._type
// before Go 1.21).
type Type struct {
	Addr uint64
	// Name is the type as the linker's symbols write it behind "type:", with full
	// import paths: map[string]example.com/p.T. A type that is declared in a
	// function lacks the compiler's number: main.loc for main.loc·1.
	Name  string
	Kind  reflect.Kind
	Size  int64 // in bytes
	Align int64
	// Key is of a map, Elem of a map, pointer, slice, array or channel; 0 for
	// others. They are addresses of descriptors.
	Key, Elem uint64

	tflag uint8
}

const (
	tflagUncommon  = 1 << 0
	tflagExtraStar = 1 << 1
	tflagNamed     = 1 << 2
)

// Limits of what is read of descriptors.
const (
	maxTypeName  = 1 << 14
	maxTypeDepth = 64
	maxTypeParts = 1 << 10 // fields, methods and parameters in one name
)

// offsets of abi.Type's fields, by the size w of a word.
func (im *image) typeField(addr, words, bytes uint64) uint64 {
	return addr + words*uint64(im.arch.ptrSize) + bytes
}

// typeHeaderLen is the size of abi.Type: four words, four uint32.
func (im *image) typeHeaderLen() uint64 { return 4*uint64(im.arch.ptrSize) + 16 }

// A typeTable reads the descriptors of a binary.
type typeTable struct {
	im   *image
	base uint64 // moduledata.types: names and types count from here
}

// header reads the fields that all types have. It fails where there is no
// descriptor.
func (tt *typeTable) header(addr uint64) (*Type, string, error) {
	im := tt.im
	w := uint64(im.arch.ptrSize)
	b, ok := im.bytes(addr, tt.im.typeHeaderLen())
	if !ok || addr%w != 0 {
		return nil, "", fmt.Errorf("type descriptor at %#x: not in the file", addr)
	}
	size, ptrBytes := im.arch.uint(b), im.arch.uint(b[w:])
	t := &Type{
		Addr: addr, Size: int64(size), tflag: b[2*w+4], Align: int64(b[2*w+5]),
		// The high bits were flags before Go 1.24.
		Kind: reflect.Kind(b[2*w+7] & 31),
	}
	fieldAlign := b[2*w+6]
	bad := func(what string) (*Type, string, error) {
		return nil, "", fmt.Errorf("type descriptor at %#x: bad %s", addr, what)
	}
	switch {
	case size > 1<<40 || ptrBytes > size:
		return bad("size")
	case !align(uint8(t.Align)) || !align(fieldAlign):
		return bad("alignment")
	case t.Kind == reflect.Invalid || t.Kind > reflect.UnsafePointer:
		return bad("kind")
	}
	text, ok := tt.name(im.arch.order.Uint32(b[4*w+8:]))
	if !ok || text == "" {
		return bad("name")
	}
	if t.tflag&tflagExtraStar != 0 {
		if text, ok = strings.CutPrefix(text, "*"); !ok {
			return bad("name")
		}
	}
	return t, text, nil
}

func align(a uint8) bool { return a != 0 && a&(a-1) == 0 && a <= 64 }

// name reads an abi.Name: a byte of flags, the length, the text. Names count from
// the start of the types.
func (tt *typeTable) name(off uint32) (string, bool) {
	s, _, ok := tt.nameAt(tt.base + uint64(off))
	return s, ok && off != 0 && off < 1<<31
}

// nameAt also returns a field's tag.
func (tt *typeTable) nameAt(addr uint64) (name, tag string, ok bool) {
	mem, ok := tt.im.rest(addr)
	if !ok || len(mem) < 2 || mem[0] > 0x0f {
		return "", "", false
	}
	flags := mem[0]
	mem = mem[1:]
	for i, s := range []*string{&name, &tag} {
		const hasTag = 1 << 1
		if i == 1 && flags&hasTag == 0 {
			break
		}
		n, k := 0, 0
		for ; k < len(mem) && k < 3; k++ {
			n |= int(mem[k]&0x7f) << (7 * k)
			if mem[k]&0x80 == 0 {
				break
			}
		}
		if k++; k > 3 || k > len(mem) || n > maxTypeName || n > len(mem)-k || !utf8.Valid(mem[k:k+n]) {
			return "", "", false
		}
		*s = string(mem[k : k+n])
		mem = mem[k+n:]
	}
	return name, tag, true
}

// read returns the descriptor at addr with its full name.
func (tt *typeTable) read(addr uint64) (*Type, error) {
	t, text, err := tt.header(addr)
	if err != nil {
		return nil, err
	}
	im, h := tt.im, tt.im.typeHeaderLen()
	switch t.Kind {
	case reflect.Map:
		t.Key, _ = im.word(addr + h)
		t.Elem, _ = im.word(im.typeField(addr+h, 1, 0))
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
		t.Elem, _ = im.word(addr + h)
	}
	n := namer{tt: tt, left: maxTypeParts}
	n.write(t, text, 0)
	t.Name = n.b.String()
	if n.failed || len(t.Name) > maxTypeName {
		t.Name = text // with package names instead of paths
	}
	return t, nil
}

// A namer writes the name of a type as LinkString in
// cmd/compile/internal/types/fmt.go does.
type namer struct {
	tt     *typeTable
	b      strings.Builder
	left   int // parts that may follow
	failed bool
}

// at writes the name of the type at addr.
func (n *namer) at(addr uint64, depth int) {
	if n.left--; n.left < 0 || depth > maxTypeDepth || n.b.Len() > maxTypeName {
		n.failed = true
		return
	}
	t, text, err := n.tt.header(addr)
	if err != nil {
		n.failed = true
		return
	}
	n.write(t, text, depth)
}

// elem writes the type that the i-th word behind the header points at.
func (n *namer) elem(t *Type, i uint64, depth int) {
	im := n.tt.im
	p, ok := im.word(im.typeField(t.Addr+im.typeHeaderLen(), i, 0))
	if !ok {
		n.failed = true
		return
	}
	n.at(p, depth+1)
}

// write writes the name of t, of which the descriptor says text.
func (n *namer) write(t *Type, text string, depth int) {
	if t.tflag&tflagNamed != 0 {
		n.named(t, text)
		return
	}
	im, h := n.tt.im, t.Addr+n.tt.im.typeHeaderLen()
	switch t.Kind {
	case reflect.Pointer:
		n.b.WriteByte('*')
		n.elem(t, 0, depth)
	case reflect.Slice:
		n.b.WriteString("[]")
		n.elem(t, 0, depth)
	case reflect.Array:
		length, _ := im.word(im.typeField(h, 2, 0))
		n.b.WriteString("[" + strconv.FormatUint(length, 10) + "]")
		n.elem(t, 0, depth)
	case reflect.Map:
		n.b.WriteString("map[")
		n.elem(t, 0, depth)
		n.b.WriteByte(']')
		n.elem(t, 1, depth)
	case reflect.Chan:
		n.channel(t, depth)
	case reflect.Func:
		n.b.WriteString("func")
		n.signature(t, depth)
	case reflect.Interface:
		n.iface(t, text, depth)
	case reflect.Struct:
		// That of a group or bucket names the map instead.
		if strings.HasPrefix(text, "map.") {
			n.b.WriteString(text)
			return
		}
		n.structure(t, depth)
	default:
		n.b.WriteString(text)
	}
}

// named writes PKGPATH.NAME. The descriptor's text has the package's name before
// the first dot, and the path elsewhere.
func (n *namer) named(t *Type, text string) {
	args := strings.IndexByte(text, '[')
	if args < 0 {
		args = len(text)
	}
	dot := strings.LastIndexByte(text[:args], '.')
	if dot < 0 { // error, int
		n.b.WriteString(text)
		return
	}
	path, ok := n.tt.pkgPath(t, text[:dot])
	if !ok {
		n.b.WriteString(text)
		return
	}
	n.b.WriteString(pathToPrefix(path) + text[dot:])
}

// pkgPath reads the import path of a named type from its abi.UncommonType, which
// stands behind the descriptor proper.
func (tt *typeTable) pkgPath(t *Type, pkg string) (string, bool) {
	if t.tflag&tflagUncommon == 0 {
		return "", false
	}
	w := uint64(tt.im.arch.ptrSize)
	h := tt.im.typeHeaderLen()
	var sizes []uint64
	switch t.Kind {
	case reflect.Pointer, reflect.Slice, reflect.Func:
		sizes = []uint64{h + w}
	case reflect.Array:
		sizes = []uint64{h + 3*w}
	case reflect.Chan:
		sizes = []uint64{h + 2*w}
	case reflect.Interface, reflect.Struct:
		sizes = []uint64{h + 4*w}
	case reflect.Map:
		// Four words, then: 8 bytes (Classic); 3 or 6 words and flags (Swiss).
		sizes = []uint64{h + 4*w + 8, h + 8*w, h + 11*w}
	default:
		sizes = []uint64{h}
	}
	for _, size := range sizes {
		b, ok := tt.im.bytes(t.Addr+size, 4)
		if !ok {
			continue
		}
		// The last element of the path is mostly the package's name, but need not be;
		// only where the place is in doubt it has to.
		path, ok := tt.name(tt.im.arch.order.Uint32(b))
		if ok && path != "" && (len(sizes) == 1 || path == pkg || strings.Contains(path, pkg)) {
			return path, true
		}
	}
	return "", false
}

// pathToPrefix escapes an import path as cmd/internal/objabi.PathToPrefix does:
// dots of the last element, and what is not printable.
func pathToPrefix(path string) string {
	if path == "go.shape" { // the compiler's own package, never escaped
		return path
	}
	slash := strings.LastIndexByte(path, '/')
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if c <= ' ' || c == '.' && i > slash || c == '%' || c == '"' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (n *namer) channel(t *Type, depth int) {
	im := n.tt.im
	dir, _ := im.word(im.typeField(t.Addr+im.typeHeaderLen(), 1, 0))
	switch reflect.ChanDir(dir) {
	case reflect.RecvDir:
		n.b.WriteString("<-chan ")
	case reflect.SendDir:
		n.b.WriteString("chan<- ")
	default:
		n.b.WriteString("chan ")
		start := n.b.Len()
		n.elem(t, 0, depth)
		if elem := n.b.String()[start:]; strings.HasPrefix(elem, "<-chan ") {
			head := n.b.String()[:start]
			n.b.Reset()
			n.b.WriteString(head + "(" + elem + ")")
		}
		return
	}
	n.elem(t, 0, depth)
}

// signature writes parameters and results. The pointers to their types stand
// behind the descriptor, and behind the abi.UncommonType if there is one.
func (n *namer) signature(t *Type, depth int) {
	im := n.tt.im
	w := uint64(im.arch.ptrSize)
	h := t.Addr + im.typeHeaderLen()
	b, ok := im.bytes(h, 4)
	if !ok {
		n.failed = true
		return
	}
	in, out := im.arch.order.Uint16(b), im.arch.order.Uint16(b[2:])
	const variadic = 1 << 15
	dots := out&variadic != 0
	out &^= variadic
	if int(in)+int(out) > n.left {
		n.failed = true
		return
	}
	types := (h + 4 + w - 1) &^ (w - 1)
	if t.tflag&tflagUncommon != 0 {
		types += 16
	}
	list := func(from, to uint64, dots bool) {
		for i := from; i < to; i++ {
			if i > from {
				n.b.WriteString(", ")
			}
			p, _ := im.word(types + i*w)
			if dots && i == to-1 { // a slice: its elem behind dots
				n.b.WriteString("...")
				p, _ = im.word(p + im.typeHeaderLen())
			}
			n.at(p, depth+1)
		}
	}
	n.b.WriteByte('(')
	list(0, uint64(in), dots)
	n.b.WriteByte(')')
	switch {
	case out == 1:
		n.b.WriteByte(' ')
		list(uint64(in), uint64(in)+1, false)
	case out > 1:
		n.b.WriteString(" (")
		list(uint64(in), uint64(in)+uint64(out), false)
		n.b.WriteByte(')')
	}
}

// slice reads a slice's pointer and length, behind the first word of what follows
// the header.
func (n *namer) slice(t *Type) (ptr, length uint64) {
	im := n.tt.im
	h := t.Addr + im.typeHeaderLen()
	ptr, _ = im.word(im.typeField(h, 1, 0))
	length, ok := im.word(im.typeField(h, 2, 0))
	if !ok || length > uint64(max(n.left, 0)) {
		n.failed = true
		return 0, 0
	}
	return ptr, length
}

// qualifier returns the import path with a dot that stands before the unexported
// names of a struct or an interface.
func (n *namer) qualifier(t *Type, name string) string {
	r, _ := utf8.DecodeRuneInString(name)
	if r != '_' && !('a' <= r && r <= 'z') && r < utf8.RuneSelf {
		return ""
	}
	im := n.tt.im
	p, _ := im.word(t.Addr + im.typeHeaderLen())
	path, _, ok := n.tt.nameAt(p)
	if !ok || path == "" {
		return ""
	}
	return pathToPrefix(path) + "."
}

func (n *namer) iface(t *Type, text string, depth int) {
	methods, count := n.slice(t)
	if count == 0 {
		n.b.WriteString(text)
		return
	}
	n.b.WriteString("interface {")
	for i := range count {
		if i > 0 {
			n.b.WriteByte(';')
		}
		b, ok := n.tt.im.bytes(methods+8*i, 8)
		if !ok {
			n.failed = true
			return
		}
		order := n.tt.im.arch.order
		name, _ := n.tt.name(order.Uint32(b))
		n.b.WriteString(" " + n.qualifier(t, name) + name)
		f, _, err := n.tt.header(n.tt.base + uint64(order.Uint32(b[4:])))
		if n.left--; err != nil || f.Kind != reflect.Func || n.left < 0 || depth > maxTypeDepth {
			n.failed = true
			return
		}
		n.signature(f, depth+1)
	}
	n.b.WriteString(" }")
}

func (n *namer) structure(t *Type, depth int) {
	fields, count := n.slice(t)
	n.b.WriteString("struct {")
	im := n.tt.im
	w := uint64(im.arch.ptrSize)
	for i := range count {
		if i > 0 {
			n.b.WriteByte(';')
		}
		p, _ := im.word(fields + 3*w*i)
		typ, _ := im.word(fields + 3*w*i + w)
		name, tag, ok := n.tt.nameAt(p)
		flags, ok2 := im.bytes(p, 1)
		if !ok || !ok2 {
			n.failed = true
			return
		}
		const embedded = 1 << 3
		n.b.WriteByte(' ')
		if flags[0]&embedded == 0 {
			n.b.WriteString(n.qualifier(t, name) + name + " ")
		}
		n.at(typ, depth+1)
		if tag != "" {
			n.b.WriteString(" " + strconv.Quote(tag))
		}
	}
	if count > 0 {
		n.b.WriteByte(' ')
	}
	n.b.WriteByte('}')
}

// typesFrom tries the words of the moduledata as the base of the types: from the
// right one on there are descriptors with names.
func (im *image) typesFrom(words []uint64) uint64 {
	best, most := uint64(0), 3 // a few may look right by accident
	for i, base := range words {
		if base == 0 || i < 23 {
			continue // before moduledata.etext nothing comes into question
		}
		mem, ok := im.rest(base)
		if !ok {
			continue
		}
		tt := &typeTable{im, base}
		// The next word is where they end, up to Go 1.26 at least. What comes first may
		// be other constants, a megabyte of them in a large program.
		look := uint64(64 << 10)
		if i+1 < len(words) && words[i+1] > base && words[i+1]-base <= uint64(len(mem)) {
			look = words[i+1] - base
		}
		const enough = 64
		w, n := uint64(im.arch.ptrSize), 0
		for off := uint64(0); off < min(look, uint64(len(mem))) && n < enough; off += w {
			if _, _, err := tt.header(base + off); err == nil {
				n++
			}
		}
		if n > most {
			best, most = base, n
		}
	}
	return best
}
