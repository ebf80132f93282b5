package disasm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of what one symbol of a listing may hold, so that memory stays bounded
// whatever the input is. No compiler comes near them: in the standard library
// the longest line has 3 kB.
const (
	maxLine  = 1 << 20  // bytes
	maxInsts = 1 << 20  // of a function; the same for relocations
	maxCode  = 64 << 20 // bytes of a symbol
	maxText  = 1 << 28  // bytes of operands and names in a symbol
	maxNames = 1 << 16  // distinct files, mnemonics and so on of which one copy is kept
)

// A Reader takes a listing of go tool compile -S or go build -gcflags=-S apart,
// one symbol at a time. Its memory is bounded by the largest symbol, whatever the
// length of the listing.
//
// It needs no hint as to which compiler wrote the listing for which architecture:
// [Reader.Guess] says what the text reveals.
type Reader struct {
	// Foreign, if not nil, is called for each line that has none of a listing's
	// shapes: what compilers, the go command and others print to the same stream.
	// The number counts from 1. The line is without its end and valid during the
	// call alone; of one that is longer than 1 MiB it is the beginning.
	Foreign func(number int64, line []byte)

	// Arch is the GOARCH of the listing if the caller knows it; "" infers it.
	Arch string

	src      io.Reader
	buf      []byte
	pos, end int // of what is read and not consumed in buf
	next     int // length of the line that peek returned, with its end
	srcErr   error
	stats    ListingStats

	pkg   string
	cur   Func
	open  bool      // cur holds a symbol that is not delivered yet
	text  []byte    // the strings of cur, one after the other
	name  span      // of cur.Name, in text
	args  []span    // of cur.Insts
	codes []*opcode // likewise
	rels  []relocText
	wasm  bool // cur has instructions of WebAssembly
	kinds map[string]string
	files map[string]string
	ops   map[string]*opcode
	types map[string]*relocType

	// Lines in a row tend to have the same position and the same mnemonic.
	lastOp   *opcode
	lastText []byte // between the parentheses
	last     struct {
		file string
		line int
		orig *Pos
	}
	evidence evidence
}

// A span is a part of Reader.text.
type span struct{ start, end int32 }

func (s span) of(text string) string { return text[s.start:s.end] }

// relocText is what cannot be decided before the whole function is there.
type relocText struct {
	name     span
	dec, hex int64 // the addend in either notation
}

// ListingStats counts the lines of a listing by their shapes. Lines is the sum of
// those after it up to Foreign.
type ListingStats struct {
	Bytes, Lines int64
	Packages     int64 // "# pkg"
	Headers      int64
	Insts        int64
	Dumps        int64 // lines of up to 16 bytes
	Relocs       int64
	Blanks       int64
	Foreign      int64 // lines of no shape
	// Incomplete counts the symbols that were delivered with [Func.Incomplete].
	Incomplete int64
}

// A CutError says that a listing ends in the middle of a symbol. That symbol is
// not delivered, all others were.
type CutError struct {
	Line   int64  // the last one, from 1
	Symbol string // "" if its name is not known
	Why    string
}

func (e *CutError) Error() string {
	in := ""
	if e.Symbol != "" {
		in = " in " + e.Symbol
	}
	return fmt.Sprintf("read listing: it ends%s at line %d: %s", in, e.Line, e.Why)
}

// NewReader returns a Reader of the listing src.
func NewReader(src io.Reader) *Reader {
	return &Reader{
		src:   src,
		buf:   make([]byte, 256<<10),
		kinds: map[string]string{},
		files: map[string]string{},
		ops:   map[string]*opcode{},
		types: map[string]*relocType{},
	}
}

// Reset makes the Reader read another listing, of the same compiler. It keeps its
// memory, and what it has learnt of the architecture.
func (r *Reader) Reset(src io.Reader) {
	r.src, r.srcErr, r.pos, r.end = src, nil, 0, 0
	r.open, r.pkg, r.stats = false, "", ListingStats{}
}

// Stats returns the counts of what was read so far.
func (r *Reader) Stats() ListingStats { return r.stats }

// Pkg returns what the last "# " line named, see [Func.Pkg].
func (r *Reader) Pkg() string { return r.pkg }

// Next returns the next symbol. Its slices belong to the Reader and are valid
// until the next call; [Func.Clone] makes them last. Its strings may be kept;
// each keeps all names and operands of the symbol in memory.
//
// At the end the error is io.EOF, or a [*CutError] if the listing ends within a
// symbol, or that of the underlying reader.
func (r *Reader) Next() (*Func, error) {
	for {
		line, err := r.peek()
		if err != nil {
			return r.atEnd(err)
		}
		// Without an end the last line may be whole or not.
		cut := len(line) == r.next
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		shape := r.shape(line)
		if shape == header || shape == pkgLine {
			if r.open {
				return r.finish(), nil // the line stays the next one
			}
		}
		known := true
		switch shape {
		case blank:
			r.stats.Blanks++
		case pkgLine:
			r.stats.Packages++
			r.pkg = string(line[2:])
		case header:
			r.stats.Headers++
			r.start(line)
		case inst:
			r.stats.Insts++
		case dump:
			r.stats.Dumps++
		case rel:
			r.stats.Relocs++
		default:
			known = false
			r.stats.Foreign++
			if !cut && r.Foreign != nil {
				r.Foreign(r.stats.Lines+1, line)
			}
		}
		r.consume()
		if !known && cut {
			return nil, r.cutError("the line is incomplete")
		}
	}
}

// Clone returns a copy of f that shares no slice with it.
func (f *Func) Clone() *Func {
	c := *f
	c.Insts = slices.Clone(f.Insts)
	c.Code = slices.Clone(f.Code)
	c.Relocs = slices.Clone(f.Relocs)
	c.Inlined = slices.Clone(f.Inlined)
	return &c
}

// atEnd delivers the last symbol if it is whole.
func (r *Reader) atEnd(err error) (*Func, error) {
	if !r.open {
		return nil, err
	}
	if err != io.EOF {
		r.open = false
		return nil, err
	}
	f := r.finish()
	why := f.Incomplete
	if why != "" {
		r.stats.Incomplete--
	} else {
		why = missingReloc(f, r.wasm)
	}
	if why != "" {
		return nil, &CutError{r.stats.Lines, f.Name, why}
	}
	return f, nil
}

func (r *Reader) cutError(why string) error {
	e := &CutError{r.stats.Lines, "", why}
	if r.open {
		r.open = false
		e.Symbol = r.name.of(string(r.text))
	}
	return e
}

// missingReloc says whether the end of a function is missing though its code is
// there: the last direct call has no relocation.
func missingReloc(f *Func, wasm bool) string {
	if !f.Text {
		return ""
	}
	for i := len(f.Insts) - 1; i >= 0; i-- {
		in := &f.Insts[i]
		if in.Kind != Call || in.Sym == "" {
			continue
		}
		for j := len(f.Relocs) - 1; j >= 0; j-- {
			if rel := &f.Relocs[j]; rel.Sym == in.Sym && (wasm || rel.Off >= int64(in.PC)) {
				return ""
			}
		}
		return "the relocation of the call of " + in.Sym + " is missing"
	}
	return ""
}

// peek returns the next line without its newline, and sets next. The line stays
// the next one until consume is called. A line that is too long is foreign.
func (r *Reader) peek() ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(r.buf[r.pos+seen:r.end], '\n'); i >= 0 {
			r.next = seen + i + 1
			return r.buf[r.pos : r.pos+seen+i], nil
		}
		seen = r.end - r.pos
		switch {
		case seen > maxLine:
			if err := r.skipLine(); err != nil {
				return nil, err
			}
			seen = 0
		case r.srcErr == nil:
			r.fill()
		case seen > 0 && r.srcErr == io.EOF:
			r.next = seen
			return r.buf[r.pos:r.end], nil
		default:
			return nil, r.srcErr
		}
	}
}

// skipLine drops a line that is longer than maxLine, of which the beginning lies
// in the buffer.
func (r *Reader) skipLine() error {
	r.stats.Foreign++
	r.stats.Lines++
	if r.Foreign != nil {
		r.Foreign(r.stats.Lines, r.buf[r.pos:r.pos+maxLine])
	}
	for {
		if i := bytes.IndexByte(r.buf[r.pos:r.end], '\n'); i >= 0 {
			r.stats.Bytes += int64(i + 1)
			r.pos += i + 1
			return nil
		}
		r.stats.Bytes += int64(r.end - r.pos)
		r.pos = r.end
		if r.srcErr == io.EOF {
			return r.cutError("the line is longer than 1 MiB")
		}
		if r.srcErr != nil {
			return r.srcErr
		}
		r.fill()
	}
}

// fill reads more, after moving what is left to the front of the buffer.
func (r *Reader) fill() {
	if r.pos > 0 {
		copy(r.buf, r.buf[r.pos:r.end])
		r.pos, r.end = 0, r.end-r.pos
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	const patience = 100 // empty reads in a row, as bufio has it
	for range patience {
		n, err := r.src.Read(r.buf[r.end:])
		if n < 0 || n > len(r.buf)-r.end {
			r.srcErr = errors.New("read listing: the source returned an impossible count")
			return
		}
		r.end += n
		if err != nil && err != io.EOF {
			err = fmt.Errorf("read listing: after line %d: %w", r.stats.Lines, err)
		}
		r.srcErr = err
		if n > 0 || err != nil {
			return
		}
	}
	r.srcErr = fmt.Errorf("read listing: after line %d: %w", r.stats.Lines, io.ErrNoProgress)
}

// consume goes past the line that peek returned.
func (r *Reader) consume() {
	r.pos += r.next
	r.stats.Bytes += int64(r.next)
	r.stats.Lines++
}
