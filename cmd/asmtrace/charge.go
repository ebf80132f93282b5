package main

import (
	"cmp"
	"slices"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
)

// A callAt is a call of a map routine in the code that a view shows.
type callAt struct {
	pc uint64 // in the binary
	op *asmnote.Op
}

// charge gives the samples to the operations of a view: by the address of the call
// where the binary is there, else by the line, which several operations may share. It
// reports whether some do.
func (s *samples) charge(v *view, b *disasm.Binary) (shared bool, err error) {
	known := false
	for _, name := range v.names {
		known = known || s.funcs[name]
	}
	if !known {
		return false, &foreignProfileError{s.file}
	}
	funcs := map[string]disasm.Function{}
	if b != nil {
		for _, f := range b.Functions() {
			funcs[f.Name] = f
		}
	}
	var calls []callAt
	for _, f := range v.funcs {
		start := uint64(0)
		if f.Relative {
			start = funcs[f.Name].Addr
		}
		for i := range f.Ops {
			for _, pc := range f.Ops[i].Calls {
				calls = append(calls, callAt{start + pc, &f.Ops[i]})
			}
		}
	}
	slices.SortFunc(calls, func(x, y callAt) int { return cmp.Compare(x.pc, y.pc) })

	lines := map[samplePlace]*weight{}
	for _, at := range s.sites {
		if op := at.operation(funcs, calls); op != nil {
			if s.ops[op] == nil {
				s.ops[op] = newWeight()
			}
			s.ops[op].add(&at.weight)
			continue
		}
		if lines[at.place] == nil {
			lines[at.place] = newWeight()
		}
		lines[at.place].add(&at.weight)
	}
	held := map[samplePlace]*asmnote.Op{}
	for _, f := range v.funcs {
		for i := range f.Ops {
			op := &f.Ops[i]
			place := samplePlace{tail(op.File), op.Line}
			if w := lines[place]; w != nil && len(op.Calls) > 0 && s.ops[op] == nil {
				s.ops[op] = w
				shared = shared || held[place] != nil
				held[place] = op
			}
		}
	}
	return shared, nil
}

// operation finds the operation that a call of the profile is, nil if the code is not
// there, or is not what the profile was taken of.
func (at *site) operation(funcs map[string]disasm.Function, calls []callAt) *asmnote.Op {
	f, ok := funcs[at.fn]
	if !ok {
		return nil
	}
	addr := at.addr
	if addr-f.Addr >= f.Size {
		addr -= at.bias
	}
	if addr-f.Addr >= f.Size {
		return nil
	}
	// A profile names the last byte of the call.
	const longest = 16
	i, found := slices.BinarySearchFunc(calls, addr, func(c callAt, addr uint64) int { return cmp.Compare(c.pc, addr) })
	if !found {
		i--
	}
	if i < 0 || addr-calls[i].pc >= longest || calls[i].pc < f.Addr {
		return nil
	}
	op := calls[i].op
	if op.Line != at.place.line || tail(op.File) != at.place.file {
		return nil
	}
	return op
}

func newWeight() *weight { return &weight{below: map[string]int64{}} }

func (w *weight) add(v *weight) {
	w.total += v.total
	for name, n := range v.below {
		w.below[name] += n
	}
}

// chargeInsts gives the samples to the instructions of a binary, whose addresses are
// those of the profile unless it is position independent.
func (s *samples) chargeInsts(funcs []*asmnote.Func) {
	var addrs []uint64
	for a := range s.addrs {
		addrs = append(addrs, a)
	}
	slices.Sort(addrs)
	for _, f := range funcs {
		for i := range f.Insts {
			in := &f.Insts[i]
			end := in.PC + 16
			if i+1 < len(f.Insts) {
				end = f.Insts[i+1].PC
			}
			k, _ := slices.BinarySearch(addrs, in.PC)
			for ; k < len(addrs) && addrs[k] < end; k++ {
				in.Samples += s.addrs[addrs[k]]
			}
		}
	}
}
