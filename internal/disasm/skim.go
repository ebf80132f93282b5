package disasm

import "bytes"

// A Block is a symbol of a listing that was skimmed: enough to tell whether it is
// worth reading.
type Block struct {
	At   int    // where it begins in the listing, in bytes
	Text []byte // its lines, which a [Reader] can read
	Pkg  string // as [Func.Pkg]
	Name string
	Code bool // it is a function: see [Func.Text]
	// Lines are the positions of its instructions in their order, those in a row that
	// are the same once. The first is of the declaration.
	Lines []Pos
	// Calls are the symbols of its relocations, code and data, in any order. What
	// follows a space in a name is taken for the name.
	Calls [][]byte
}

// A Skimmer goes through the symbols of a listing several times as fast as a [Reader],
// which it does not replace: what is within the lines is not looked at.
type Skimmer struct {
	// Foreign is called for lines of no shape, as that of a Reader is; it may be nil.
	Foreign func(line []byte)

	header Reader // for its way to read headers and positions
	block  Block
}

// NewSkimmer returns a Skimmer. It is for one goroutine.
func NewSkimmer() *Skimmer {
	return &Skimmer{header: Reader{kinds: map[string]string{}, files: map[string]string{}}}
}

// Skim calls visit for each symbol of a listing that is in memory. The Block and its
// slices are valid during the call, its strings longer.
func (s *Skimmer) Skim(text []byte, visit func(*Block)) {
	b := &s.block
	start, open := 0, false
	end := func(at int) {
		if open {
			b.At, b.Text = start, text[start:at]
			visit(b)
		}
		open = false
	}
	for at := 0; at < len(text); {
		next := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(text[at:next], []byte("\n")), []byte("\r"))
		switch {
		case len(line) == 0:
		case line[0] == '\t' && open && s.within(line):
		case line[0] != '\t' && IsHeader(line):
			end(at)
			start, open = at, true
			s.header.start(line)
			*b = Block{Pkg: b.Pkg, Name: s.header.name.of(string(s.header.text)), Code: s.header.cur.Text, Lines: b.Lines[:0], Calls: b.Calls[:0]}
			s.header.lastText = s.header.lastText[:0]
		case len(line) > 2 && line[0] == '#' && line[1] == ' ':
			end(at)
			b.Pkg = string(line[2:])
		case s.Foreign != nil:
			s.Foreign(line)
		}
		at = next
	}
	end(len(text))
}

// within looks at a line of a symbol, and reports whether it is one.
func (s *Skimmer) within(line []byte) bool {
	b := &s.block
	if len(line) > 8 && line[1] == 'r' && line[2] == 'e' {
		if i := bytes.LastIndexByte(line, ' '); b.Code && i > 0 {
			sym := line[i+1:]
			if plus := bytes.LastIndexByte(sym, '+'); plus > 0 {
				b.Calls = append(b.Calls, sym[:plus])
			}
		}
		return true
	}
	// "\t0x000a 00010 (POS)\tOP", or "\t0x0000 48 8d".
	if len(line) < 12 || line[1] != '0' || line[2] != 'x' {
		return false
	}
	i := 7
	for i < len(line) && line[i] != ' ' {
		i++
	}
	if i+3 >= len(line) || line[i+3] == ' ' {
		return i+3 <= len(line)
	}
	for i++; i < len(line) && line[i]-'0' <= 9; i++ {
	}
	if i+2 >= len(line) || line[i] != ' ' || line[i+1] != '(' {
		return false
	}
	rest, r := line[i+2:], &s.header
	if n := len(r.lastText); n > 0 && len(rest) > n+1 && rest[n] == ')' && rest[n+1] == '\t' && bytes.Equal(rest[:n], r.lastText) {
		return true
	}
	n := endOfPosition(rest)
	if n < 0 || !r.position(rest[:n]) {
		return false
	}
	if r.last.line > 0 {
		b.Lines = append(b.Lines, Pos{r.last.file, r.last.line})
	}
	return true
}
