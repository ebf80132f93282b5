package disasm

import (
	"bytes"
	"fmt"
	"strings"
)

// The shapes of lines, as writeSymDebugNamed in cmd/internal/obj/objfile.go of Go
// 1.18 to 1.27 prints them.
type shape uint8

const (
	foreign shape = iota
	blank
	pkgLine // "# PKG", by the go command
	header  // "NAME KIND FLAGS size=N ..."
	inst    // "\t0x000a 00010 (POS)\tOP\tARGS"
	dump    // "\t0x0000 48 8d  H."
	rel     // "\trel 10+4 t=R_CALL SYM+0"
)

// shape recognises a line, and takes it into the current symbol if it belongs
// there. The lines of a symbol are foreign where no symbol is.
func (r *Reader) shape(line []byte) shape {
	if len(line) == 0 {
		return blank
	}
	if line[0] == '\t' && r.open {
		if len(line) > 8 {
			switch {
			case line[1] == '0' && line[2] == 'x':
				return r.addressed(line)
			case line[1] == 'r' && r.reloc(line):
				return rel
			}
		}
		return foreign
	}
	if IsHeader(line) {
		return header
	}
	if line[0] == '#' && len(line) > 2 && line[1] == ' ' {
		return pkgLine
	}
	return foreign
}

// sizeField returns the index of "size=" in a header, -1 in other lines. It is
// the last one: names may hold spaces and anything else, what follows does not.
func sizeField(line []byte) int {
	i := bytes.LastIndex(line, []byte(" size="))
	if i < 0 || i+6 == len(line) {
		return -1
	}
	// Numbers follow, "key=0x1f" and "leaf".
	for _, c := range line[i+6:] {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '=' || c == ' ' || c == '-') {
			return -1
		}
	}
	if c := line[i+6]; c-'0' > 9 && c != '-' {
		return -1
	}
	return i
}

// IsHeader reports whether a line begins a symbol of a listing.
func IsHeader(line []byte) bool {
	return len(line) > 0 && line[0] != '\t' && sizeField(line) >= 0
}

// start begins the symbol of a header:
//
//	NAME KIND [static ][dupok ][cfunc ][nosplit ][topframe ][asm ]size=N args=0xN locals=0xN funcid=0xN align=0xN[ leaf]
//
// The fields after size come in another order, and align on data too, since Go
// 1.27. NAME may be empty.
func (r *Reader) start(line []byte) {
	r.cur = Func{
		Insts: r.cur.Insts[:0], Code: r.cur.Code[:0], Relocs: r.cur.Relocs[:0],
		Pkg: r.pkg, FirstLine: r.stats.Lines + 1,
		Align: -1, FuncID: -1, ABI: -1, ArgSize: -1,
	}
	f := &r.cur
	r.open, r.wasm = true, false
	r.text, r.args, r.codes, r.rels = r.text[:0], r.args[:0], r.codes[:0], r.rels[:0]

	i := sizeField(line)
	alignAt, argsAt := -1, -1
	n := -1
	for field := range bytes.FieldsSeq(line[i+1:]) {
		n++
		key, value, _ := strings.Cut(string(field), "=")
		v, ok := parseField(value)
		switch {
		case key == "leaf":
			f.Flags |= Leaf
		case !ok:
		case key == "size":
			f.Size = v
		case key == "args":
			f.Args, argsAt = int64(int32(v)), n
		case key == "locals":
			f.Locals = int64(int32(v))
		case key == "funcid":
			f.FuncID = v
		case key == "align":
			f.Align, alignAt = v, n
		}
	}
	r.evidence.fields(alignAt, argsAt)

	// What is left of the size is taken from the right.
	left := line[:i]
	for {
		sp := bytes.LastIndexByte(left, ' ')
		flag, ok := flagOf(left[sp+1:])
		if !ok || sp < 0 {
			break
		}
		f.Flags |= flag
		left = left[:sp]
	}
	sp := bytes.LastIndexByte(left, ' ')
	if kind := left[sp+1:]; sp >= 0 && isKind(kind) {
		f.Kind = intern(r.kinds, kind)
		f.Text = strings.HasPrefix(f.Kind, "STEXT")
		left = left[:sp]
	}
	left = bytes.TrimSuffix(left, []byte(" ")) // Kind may be missing
	if name, ok := bytes.CutPrefix(left, []byte("aux for ")); ok {
		f.Flags |= Aux
		left = name
	}
	left, f.ABI = cutABI(left)
	r.name = r.keep(left)
}

// parseField reads what follows a "=" in a header.
func parseField(s string) (int64, bool) {
	hex, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return parseInt(s)
	}
	if hex == "" || len(hex) > 16 {
		return 0, false
	}
	v := uint64(0)
	for i := 0; i < len(hex); i++ {
		d := hexDigit(hex[i])
		if d > 15 {
			return 0, false
		}
		v = v<<4 | uint64(d)
	}
	return int64(v), true
}

func flagOf(word []byte) (Flags, bool) {
	switch string(word) {
	case "static":
		return Static, true
	case "dupok":
		return DupOK, true
	case "cfunc":
		return CFunc, true
	case "nosplit":
		return NoSplit, true
	case "topframe":
		return TopFrame, true
	case "asm":
		return Asm, true
	}
	return 0, false
}

// isKind reports whether a word may be the name of a cmd/internal/objabi.SymKind.
func isKind(word []byte) bool {
	if len(word) < 2 || word[0] != 'S' {
		return false
	}
	for _, c := range word[1:] {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// cutABI takes the suffix from a name that -S=2 adds: "<1>", and "<idx 3 4>"
// behind it with -S=3. Without one the ABI is -1.
func cutABI(name []byte) ([]byte, int) {
	n := len(name)
	if n < 3 || name[n-1] != '>' {
		return name, -1
	}
	if i := bytes.LastIndex(name, []byte("<idx ")); i > 0 && name[i-1] == '>' {
		n = i
	}
	open := bytes.LastIndexByte(name[:n], '<')
	if open < 0 {
		return name, -1
	}
	abi, ok := parseUint(name[open+1 : n-1])
	if !ok || abi > 99 {
		return name, -1
	}
	return name[:open], int(abi)
}

// keep puts a string of the current symbol away.
func (r *Reader) keep(b []byte) span {
	start := len(r.text)
	r.text = append(r.text, b...)
	return span{int32(start), int32(len(r.text))}
}

// intern returns the one copy of a string that m has.
func intern(m map[string]string, b []byte) string {
	if s, ok := m[string(b)]; ok {
		return s
	}
	if len(m) >= maxNames {
		clear(m)
	}
	s := string(b)
	m[s] = s
	return s
}

// addressed reads a line that begins with "\t0x".
func (r *Reader) addressed(line []byte) shape {
	i, off := 3, uint64(0)
	for ; i < len(line) && i < 3+15; i++ {
		d := hexDigit(line[i])
		if d > 15 {
			break
		}
		off = off<<4 | uint64(d)
	}
	if i < 7 || i+3 > len(line) || line[i] != ' ' {
		return foreign
	}
	// A byte of the dump has two digits, the decimal offset at least five.
	if i+3 == len(line) || line[i+3] == ' ' {
		if r.dump(line[i:], off) {
			return dump
		}
	} else if r.inst(line[i+1:], off) {
		return inst
	}
	return foreign
}

// inst reads an instruction from its decimal offset on: "00010 (POS)\tOP\tARGS".
func (r *Reader) inst(rest []byte, pc uint64) bool {
	i, dec := 0, uint64(0)
	for ; i < len(rest) && rest[i]-'0' <= 9 && i < 18; i++ {
		dec = dec*10 + uint64(rest[i]-'0')
	}
	// Both offsets are the same number, or two lines have got into each other.
	if i < 5 || dec != pc || i+3 > len(rest) || rest[i] != ' ' || rest[i+1] != '(' {
		return false
	}
	rest = rest[i+2:]
	n := len(r.lastText)
	if n == 0 || len(rest) < n+2 || rest[n] != ')' || rest[n+1] != '\t' || !bytes.Equal(rest[:n], r.lastText) {
		if n = endOfPosition(rest); n < 0 || !r.position(rest[:n]) {
			return false
		}
	}
	op, args := rest[n+2:], []byte(nil)
	if i := bytes.IndexByte(op, '\t'); i >= 0 {
		op, args = op[:i], op[i+1:]
	}
	if len(op) == 0 {
		return false
	}
	if len(r.cur.Insts) >= maxInsts || len(r.text)+len(args) > maxText {
		r.cur.Incomplete = fmt.Sprintf("it has more than %d instructions", len(r.cur.Insts))
		return true
	}
	if r.lastOp == nil || string(op) != r.lastOp.name {
		r.lastOp = r.opcode(op)
	}
	r.lastOp.seen++
	r.wasm = r.wasm || r.lastOp.wasm
	r.cur.Insts = append(r.cur.Insts, Inst{PC: pc, Op: r.lastOp.name, File: r.last.file, Line: r.last.line, Orig: r.last.orig})
	r.args, r.codes = append(r.args, r.keep(args)), append(r.codes, r.lastOp)
	return true
}

// endOfPosition returns where the ")" behind a position is, -1 if it is missing. A tab
// follows it; only a file's name may hold one before.
func endOfPosition(rest []byte) int {
	if n := bytes.IndexByte(rest, '\t'); n > 0 && rest[n-1] == ')' {
		return n - 1
	}
	return bytes.LastIndex(rest, []byte(")\t"))
}

func (r *Reader) opcode(name []byte) *opcode {
	op := r.ops[string(name)]
	if op == nil {
		op = newOpcode(string(name))
		if len(r.ops) < maxNames {
			r.ops[op.name] = op
		}
	}
	return op
}

// position reads what stands between the parentheses: "FILE:LINE", with
// "[FILE:LINE]" behind it where a //line directive says something else, or
// "<unknown line number>".
func (r *Reader) position(text []byte) bool {
	pos, orig := text, (*Pos)(nil)
	if n := len(pos); n > 0 && pos[n-1] == ']' {
		// The real file's name may hold a "[" too: a line number stands before the
		// right one.
		open := n
		for {
			open = bytes.LastIndexByte(pos[:open], '[')
			if open < 0 {
				return false
			}
			if _, _, ok := cutLine(pos[:open]); ok {
				break
			}
		}
		file, line, ok := cutLine(pos[open+1 : n-1])
		if !ok {
			return false
		}
		pos, orig = pos[:open], &Pos{intern(r.files, file), line}
	}
	file, line, ok := cutLine(pos)
	if !ok {
		if string(pos) != "<unknown line number>" {
			return false
		}
		file = nil
	}
	r.lastText = append(r.lastText[:0], text...)
	r.last.file, r.last.line, r.last.orig = intern(r.files, file), line, orig
	return true
}

// cutLine splits "FILE:LINE".
func cutLine(pos []byte) (file []byte, line int, ok bool) {
	colon := bytes.LastIndexByte(pos, ':')
	if colon < 0 || colon+1 == len(pos) || len(pos)-colon > 10 {
		return nil, 0, false
	}
	for _, c := range pos[colon+1:] {
		if c -= '0'; c > 9 {
			return nil, 0, false
		}
		line = line*10 + int(c)
	}
	return pos[:colon], line, true
}

// dump reads a line of bytes behind its offset: " 00 01 ..  ASCII". A short line
// is padded to the columns of a full one.
func (r *Reader) dump(rest []byte, off uint64) bool {
	var b [16]byte
	n := 0
	for ; n < 16 && 3*n+2 < len(rest); n++ {
		hi, lo := hexDigit(rest[3*n+1]), hexDigit(rest[3*n+2])
		if hi|lo > 15 || rest[3*n] != ' ' {
			break
		}
		b[n] = hi<<4 | lo
	}
	// Spaces up to the text column follow. The text is not what it was where the go
	// command took "/tmp" or "_Ctype_int" in it for something to abbreviate.
	const text = 16*3 + 2
	if n == 0 || len(rest) < text || off&15 != 0 || len(bytes.TrimRight(rest[3*n:text], " ")) > 0 {
		return false
	}
	switch {
	case off != uint64(len(r.cur.Code)):
		if r.cur.Incomplete == "" {
			r.cur.Incomplete = fmt.Sprintf("the dump has no bytes %#x to %#x", len(r.cur.Code), off)
		}
	case off >= maxCode:
		r.cur.Incomplete = fmt.Sprintf("it has more than %d bytes", maxCode)
	default:
		r.cur.Code = append(r.cur.Code, b[:n]...)
	}
	return true
}

// reloc reads "\trel OFF+LEN t=TYPE SYM+ADD". SYM may be empty.
func (r *Reader) reloc(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("\trel "))
	if !ok {
		return false
	}
	loc, rest, ok1 := bytes.Cut(rest, []byte(" t="))
	typ, rest, ok2 := bytes.Cut(rest, []byte(" "))
	plus := bytes.LastIndexByte(rest, '+')
	at := bytes.IndexByte(loc, '+')
	if !ok1 || !ok2 || plus < 0 || at < 0 || len(typ) == 0 {
		return false
	}
	off, ok1 := parseInt(loc[:at])
	size, ok2 := parseInt(loc[at+1:])
	dec, hex, ok := addend(rest[plus+1:])
	if !ok || !ok1 || !ok2 {
		return false
	}
	name, abi := cutABI(rest[:plus])
	if len(r.cur.Relocs) >= maxInsts || len(r.text)+len(name) > maxText {
		r.cur.Incomplete = fmt.Sprintf("it has more than %d relocations", len(r.cur.Relocs))
		return true
	}
	t := r.types[string(typ)]
	if t == nil {
		t = newRelocType(string(typ))
		if len(r.types) < maxNames {
			r.types[string(typ)] = t
		}
	}
	t.seen++
	r.cur.Relocs = append(r.cur.Relocs, Reloc{Off: off, Len: size, Type: t.name, ABI: abi})
	r.rels = append(r.rels, relocText{r.keep(name), dec, hex})
	return true
}

// addend reads the number behind a relocation's symbol in both notations: decimal,
// and the hexadecimal one of a uint64 that is printed for arm and ppc64. One of
// them is right.
func addend(b []byte) (dec, hex int64, ok bool) {
	dec, ok = parseInt(b)
	if len(b) == 0 || len(b) > 16 {
		return dec, 0, ok
	}
	u := uint64(0)
	for _, c := range b {
		d := hexDigit(c)
		if d > 15 {
			return dec, 0, ok
		}
		u = u<<4 | uint64(d)
	}
	return dec, int64(u), true
}

// hexDigit returns the value of a lower-case hexadecimal digit, 255 of another
// byte.
func hexDigit(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c-'a' <= 5:
		return c - 'a' + 10
	}
	return 255
}
