package disasm

import (
	"bufio"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// Unwrap returns a reader of the text in the output of go build -json (Go 1.24 and
// later): the values of the fields Output, one after the other, and lines that are
// no JSON object as they are. A listing that is not wrapped passes unchanged. The
// go command writes a package's whole listing as one string, so this streams
// within strings; its memory is constant.
//
// The events with an Output are those of Action build-output, for one package at a
// time. Other events hold no text and are dropped. A malformed event ends at the
// end of its line.
func Unwrap(src io.Reader) io.Reader {
	return &unwrapper{src: bufio.NewReaderSize(src, 64<<10), lineStart: true}
}

type unwrapper struct {
	src       *bufio.Reader
	out       []byte // not given yet, in space
	space     []byte
	err       error
	lineStart bool
	state     unwrapState
	key       []byte
	high      rune // first half of a surrogate pair, 0 if there is none
}

type unwrapState uint8

const (
	rawLine    unwrapState = iota // copied
	betweenKey                    // in an object, before a key or its end
	inKey
	beforeValue
	inOutput // the string that is wanted
	inString // another one
)

func (u *unwrapper) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		u.fill()
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// fill takes what the source has ready.
func (u *unwrapper) fill() {
	out := u.space[:0]
	for u.err == nil {
		if len(out) > 0 && u.src.Buffered() == 0 || len(out) > 64<<10 {
			break // give what there is before waiting for more
		}
		if u.state == inOutput && u.high == 0 {
			out = u.run(out)
		}
		var c byte
		if c, u.err = u.src.ReadByte(); u.err == nil {
			out = u.step(c, out)
		}
	}
	u.space, u.out = out, out
}

// run copies the part of a wanted string that needs no thought.
func (u *unwrapper) run(p []byte) []byte {
	b, _ := u.src.Peek(u.src.Buffered())
	n := 0
	for n < len(b) && b[n] != '\\' && b[n] != '"' && b[n] != '\n' {
		n++
	}
	p = append(p, b[:n]...)
	u.src.Discard(n)
	return p
}

// step takes one byte and appends what comes of it to p.
func (u *unwrapper) step(c byte, p []byte) []byte {
	if u.lineStart {
		u.lineStart = false
		u.state = rawLine
		if c == '{' {
			u.state = betweenKey
			return p
		}
	}
	if c == '\n' {
		u.lineStart = true
		if u.state == rawLine {
			p = append(p, c)
		}
		u.high = 0
		return p
	}
	switch u.state {
	case rawLine:
		p = append(p, c)
	case betweenKey:
		if c == '"' {
			u.state, u.key = inKey, u.key[:0]
		}
	case inKey:
		switch {
		case c == '"':
			u.state = beforeValue
		case len(u.key) < 16:
			u.key = append(u.key, c)
		}
	case beforeValue:
		switch c {
		case '"':
			u.state = inString
			if string(u.key) == "Output" {
				u.state = inOutput
			}
		case ',':
			u.state = betweenKey // a number or a word has gone by
		}
	case inString:
		switch c {
		case '\\':
			if next, err := u.src.Peek(1); err == nil && next[0] != '\n' {
				u.src.Discard(1)
			}
		case '"':
			u.state = betweenKey
		}
	case inOutput:
		switch c {
		case '\\':
			p = u.escape(p)
		case '"':
			p = u.flush(p)
			u.state = betweenKey
		default:
			p = append(u.flush(p), c)
		}
	}
	return p
}

// flush writes a half of a surrogate pair that stayed alone.
func (u *unwrapper) flush(p []byte) []byte {
	if u.high != 0 {
		p = utf8.AppendRune(p, utf8.RuneError)
		u.high = 0
	}
	return p
}

func (u *unwrapper) escape(p []byte) []byte {
	next, err := u.src.Peek(1)
	if err != nil || next[0] == '\n' {
		return p
	}
	u.src.Discard(1)
	c := next[0]
	if c != 'u' {
		p = u.flush(p)
		switch c {
		case 'n':
			c = '\n'
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		}
		return append(p, c)
	}
	var r rune
	for range 4 {
		c, err := u.src.ReadByte()
		if err != nil {
			return p
		}
		if 'A' <= c && c <= 'F' {
			c |= 0x20
		}
		d := hexDigit(c)
		if d > 15 {
			u.src.UnreadByte()
			return utf8.AppendRune(u.flush(p), utf8.RuneError)
		}
		r = r<<4 | rune(d)
	}
	switch {
	case u.high != 0 && utf16.IsSurrogate(r) && r >= 0xdc00:
		p = utf8.AppendRune(p, utf16.DecodeRune(u.high, r))
		u.high = 0
	case utf16.IsSurrogate(r) && r < 0xdc00:
		p = u.flush(p)
		u.high = r
	default:
		p = utf8.AppendRune(u.flush(p), r)
	}
	return p
}
