package stackmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"hmaptools/internal/hmap"
)

// memory is the target's.
type memory struct {
	hmap.Memory
	ptr uint64
}

var errShort = errors.New("short read")

// read fills buf or fails.
func (m memory) read(buf []byte, at uint64) error {
	if len(buf) == 0 {
		return nil
	}
	n, err := m.ReadMemory(buf, at)
	if n == len(buf) {
		return nil
	}
	if err == nil {
		err = errShort
	}
	return fmt.Errorf("%d bytes at %s: %w", len(buf), hmap.Addr(at), err)
}

// word reads a pointer.
func (m memory) word(at uint64) (uint64, error) {
	var buf [8]byte
	if err := m.read(buf[:m.ptr], at); err != nil {
		return 0, err
	}
	return wordOf(buf[:m.ptr]), nil
}

// wordOf is the word in 4 or 8 bytes.
func wordOf(b []byte) uint64 {
	if len(b) == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return uint64(binary.LittleEndian.Uint32(b))
}

// stringAt reads the text that ends with a NUL.
func (m memory) stringAt(at uint64, limit int) (string, error) {
	s := stream{m: m, at: at, left: uint64(limit)}
	var text []byte
	for {
		if err := s.fill(1); err != nil {
			return string(text), err
		}
		if i := bytes.IndexByte(s.buf, 0); i >= 0 {
			return string(append(text, s.buf[:i]...)), nil
		}
		text, s.buf = append(text, s.buf...), nil
	}
}

// stream reads forward what nobody knows the length of.
type stream struct {
	m    memory
	at   uint64 // behind buf
	left uint64 // how much may still be read
	buf  []byte
}

// chunk is how much a stream reads at a time: most tables are shorter.
const chunk = 256

// fill makes at least n bytes available, n being at most chunk.
func (s *stream) fill(n int) error {
	for len(s.buf) < n {
		k := min(chunk, s.left)
		if k == 0 {
			return fmt.Errorf("table before %s does not end", hmap.Addr(s.at))
		}
		buf := make([]byte, len(s.buf)+int(k))
		copy(buf, s.buf)
		// What follows a table at the end of its section need not be mapped.
		got, err := s.m.ReadMemory(buf[len(s.buf):], s.at)
		if got == 0 {
			if err == nil {
				err = errShort
			}
			return fmt.Errorf("table at %s: %w", hmap.Addr(s.at), err)
		}
		got = min(got, int(k))
		s.buf = buf[:len(s.buf)+got]
		s.at, s.left = s.at+uint64(got), s.left-uint64(got)
	}
	return nil
}

func (s *stream) byte() (byte, error) {
	if len(s.buf) == 0 {
		if err := s.fill(1); err != nil {
			return 0, err
		}
	}
	b := s.buf[0]
	s.buf = s.buf[1:]
	return b, nil
}

// varint reads a number of at most 64 bits, seven bits a byte, the lowest first.
func (s *stream) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := s.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("table before %s: a number of more than 64 bits", hmap.Addr(s.at))
}
