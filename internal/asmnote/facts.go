package asmnote

import (
	"encoding/gob"
	"fmt"
	"io"
)

// What a Source knows of type-checked files can be kept, so that a package that has
// not changed is not checked again. The form is for the same build of this package
// alone.

type savedOp struct {
	Op           SourceOp // without Func
	Func         int      // index plus one
	Variant, Why string
	Hint         *Hint
	Hints        []Hint
}

type savedFunc struct {
	Func SourceFunc // without Ops
	Ops  []int
}

type savedFile struct {
	Names []string
	Lines map[int][]int // indices of operations
	Funcs map[int][]int
}

type savedSource struct {
	Ops      []savedOp
	Funcs    []savedFunc
	Files    []savedFile
	Expected []Expectation
}

// Save writes what the Source knows. It is meant for before the first Annotator.
func (s *Source) Save(w io.Writer) error {
	var out savedSource
	out.Expected = s.Expected
	ops := map[*SourceOp]int{}
	funcs := map[*SourceFunc]int{}
	function := func(f *SourceFunc) int {
		if f == nil {
			return 0
		}
		i, ok := funcs[f]
		if !ok {
			i = len(out.Funcs) + 1
			funcs[f] = i
			plain := *f
			plain.Ops = nil
			out.Funcs = append(out.Funcs, savedFunc{Func: plain})
		}
		return i
	}
	for i, op := range s.Ops {
		ops[op] = i
		plain := *op
		plain.Func = nil
		out.Ops = append(out.Ops, savedOp{plain, function(op.Func), op.choice.variant, op.choice.why, op.choice.hint, op.hints})
	}
	files := map[*sourceFile]int{}
	for name, sf := range s.files {
		if sf == nil {
			continue
		}
		if i, ok := files[sf]; ok {
			out.Files[i].Names = append(out.Files[i].Names, name)
			continue
		}
		files[sf] = len(out.Files)
		f := savedFile{Names: []string{name}, Lines: map[int][]int{}, Funcs: map[int][]int{}}
		for n, list := range sf.lines {
			for _, op := range list {
				f.Lines[n] = append(f.Lines[n], ops[op])
			}
		}
		for n, list := range sf.funcs {
			for _, fn := range list {
				f.Funcs[n] = append(f.Funcs[n], function(fn)-1)
			}
		}
		out.Files = append(out.Files, f)
	}
	for fn, i := range funcs {
		for _, op := range fn.Ops {
			out.Funcs[i-1].Ops = append(out.Funcs[i-1].Ops, ops[op])
		}
	}
	return gob.NewEncoder(w).Encode(&out)
}

// Load adds what Save wrote. What is damaged is refused as a whole.
func (s *Source) Load(r io.Reader) error {
	var in savedSource
	if err := gob.NewDecoder(r).Decode(&in); err != nil {
		return fmt.Errorf("load facts: %w", err)
	}
	ops := make([]*SourceOp, len(in.Ops))
	funcs := make([]*SourceFunc, len(in.Funcs))
	ok := true
	pickOps := func(list []int) []*SourceOp {
		var out []*SourceOp
		for _, i := range list {
			if i < 0 || i >= len(ops) {
				ok = false
				continue
			}
			out = append(out, ops[i])
		}
		return out
	}
	for i := range in.Ops {
		op := &in.Ops[i]
		ops[i] = &op.Op
		ops[i].choice, ops[i].hints = choice{op.Variant, op.Why, op.Hint}, op.Hints
	}
	for i := range in.Funcs {
		funcs[i] = &in.Funcs[i].Func
		funcs[i].Ops = pickOps(in.Funcs[i].Ops)
	}
	for i := range in.Ops {
		if f := in.Ops[i].Func; f < 0 || f > len(funcs) {
			ok = false
		} else if f > 0 {
			ops[i].Func = funcs[f-1]
		}
	}
	files := map[string]*sourceFile{}
	for _, f := range in.Files {
		sf := &sourceFile{map[int][]*SourceOp{}, map[int][]*SourceFunc{}}
		for n, list := range f.Lines {
			sf.lines[n] = pickOps(list)
		}
		for n, list := range f.Funcs {
			for _, i := range list {
				if i < 0 || i >= len(funcs) {
					ok = false
					continue
				}
				sf.funcs[n] = append(sf.funcs[n], funcs[i])
			}
		}
		for _, name := range f.Names {
			files[name] = sf
		}
	}
	if !ok {
		return fmt.Errorf("load facts: an index is out of range")
	}
	for name, sf := range files {
		s.files[name] = sf
	}
	s.Ops = append(s.Ops, ops...)
	s.Expected = append(s.Expected, in.Expected...)
	return nil
}
