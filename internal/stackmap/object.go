package stackmap

import (
	"fmt"

	"hmaptools/internal/hmap"
)

// object is a runtime.stackObjectRecord: a local or an argument whose address is
// taken.
type object struct {
	off  int64 // from the frame pointer's slot if negative, else from the arguments
	size uint64
	ptrs uint64 // bytes up to its last pointer
	mask uint64 // address of its pointer mask
	prog bool   // the mask is a program that makes it

	read  bool
	words []int32 // which are pointers
	err   error
}

func (r *Reader) readObjects(fn *function) ([]*object, error) {
	at := fn.data(r.facts.stackObjects)
	if at == 0 {
		return nil, nil
	}
	n, err := r.mem.word(at)
	if err != nil {
		return nil, fmt.Errorf("stack objects: %w", err)
	}
	if n > maxObjects {
		return nil, fmt.Errorf("%d stack objects: more than %d", n, maxObjects)
	}
	x := r.facts
	buf := make([]byte, int(n)*x.object.size)
	if err := r.mem.read(buf, at+x.ptr); err != nil {
		return nil, fmt.Errorf("stack objects: %w", err)
	}
	list := make([]*object, n)
	for i := range list {
		rec := buf[i*x.object.size:]
		size, ptrs := x.objSize.Int(rec), x.objPtrs.Int(rec)
		prog := x.objProg && ptrs < 0
		if prog {
			ptrs = -ptrs
		}
		if size < 0 || ptrs < 0 || ptrs > size {
			return nil, fmt.Errorf("stack object %d of %d bytes with pointers in %d", i, size, ptrs)
		}
		list[i] = &object{
			off: x.objOff.Int(rec), size: uint64(size), ptrs: uint64(ptrs),
			mask: fn.mod.rodata + x.objMask.Uint(rec), prog: prog,
		}
	}
	return list, nil
}

// pointers returns the numbers of the object's words that are pointers.
func (r *Reader) pointers(o *object) ([]int32, error) {
	if !o.read {
		o.read = true
		n := int(o.ptrs / r.facts.ptr)
		mask := make([]byte, (n+7)/8)
		if n > maxMapBits {
			o.err = fmt.Errorf("stack object of %d words: more than %d", n, maxMapBits)
		} else if o.prog {
			// The program follows its length.
			o.err = runProgram(&stream{m: r.mem, at: o.mask + 4, left: maxTable}, mask, n)
		} else {
			o.err = r.mem.read(mask, o.mask)
		}
		if o.err != nil {
			o.err = fmt.Errorf("pointer mask of a stack object at %s: %w", hmap.Addr(o.mask), o.err)
			return nil, o.err
		}
		o.words = setBits(mask, n)
	}
	return o.words, o.err
}

// runProgram makes a pointer mask of n bits by a program, which large types had up
// to Go 1.23. Its instructions are
//
//	00000000            the end
//	0nnnnnnn b...       n bits follow
//	10000000 n c        the last n bits again, c times; n and c are varints
//	1nnnnnnn c          the same
func runProgram(s *stream, mask []byte, n int) error {
	done := 0
	put := func(bit byte) {
		mask[done/8] |= bit << (done % 8)
		done++
	}
	for {
		op, err := s.byte()
		if err != nil {
			return err
		}
		k := uint64(op & 0x7f)
		if op&0x80 == 0 {
			if k == 0 {
				return nil
			}
			for i := uint64(0); i < k; i += 8 {
				b, err := s.byte()
				if err != nil {
					return err
				}
				for j := range min(8, k-i) {
					if done == n {
						// The bits behind the last pointer are of no use.
						return nil
					}
					put(b >> j & 1)
				}
			}
			continue
		}
		if k == 0 {
			if k, err = s.varint(); err != nil {
				return err
			}
		}
		times, err := s.varint()
		if err != nil {
			return err
		}
		if k == 0 || k > uint64(done) {
			return fmt.Errorf("it repeats %d bits of %d", k, done)
		}
		for range times {
			for range k {
				if done == n {
					return nil
				}
				from := done - int(k)
				put(mask[from/8] >> (from % 8) & 1)
			}
		}
	}
}
