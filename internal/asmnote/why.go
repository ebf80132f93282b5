package asmnote

import (
	"fmt"
	"go/types"
)

// maxElem is the size in bytes up to which an elem is stored in a slot and has
// fast routines: abi.MapMaxElemBytes.
const maxElem = 128

// A choice is the family of routines that the compiler takes for a map type, and
// the reason.
type choice struct {
	variant string // faststr, fast32, fast64, fast32ptr, fast64ptr or slow
	why     string
	hint    *Hint
}

// choose follows mapfast in cmd/compile/internal/walk/walk.go.
func (t Target) choose(m *types.Map, sizes types.Sizes) choice {
	key, elem := m.Key(), m.Elem()
	if hasTypeParam(key) || hasTypeParam(elem) {
		return choice{} // it depends on the instance
	}
	if n := sizes.Sizeof(elem); n > maxElem {
		c := choice{variant: "slow", why: fmt.Sprintf("the elem has %d bytes: over %d there are no fast routines, and it is stored behind a pointer", n, maxElem)}
		if n <= maxElem+maxElem/4 {
			c.hint = &Hint{"large-elem", fmt.Sprintf("the elem has %d bytes, %d over the limit of %d: below it the map stores it in the slot and has fast routines", n, n-maxElem, maxElem)}
		}
		return c
	}
	a := t.algorithm(key, sizes)
	size := sizes.Sizeof(key)
	pointer := hasPointers(key)
	w := int64(t.ptrSize())
	switch {
	case a.str:
		return choice{"faststr", "the key is a string", nil}
	case a.mem && size == 4 && !pointer:
		return choice{"fast32", "the key has 4 bytes that compare as memory, without pointers", nil}
	case a.mem && size == 4 && w == 4:
		return choice{"fast32ptr", "the key is a pointer of 4 bytes", nil}
	case a.mem && size == 8 && !pointer:
		return choice{"fast64", "the key has 8 bytes that compare as memory, without pointers", nil}
	case a.mem && size == 8 && w == 8:
		return choice{"fast64ptr", "the key is a pointer of 8 bytes", nil}
	case a.mem:
		c := choice{variant: "slow", why: fmt.Sprintf("the key has %d bytes: only 4 and 8 have fast routines", size)}
		if size > 0 && size < 8 && size != 4 {
			to := 4
			if size > 4 {
				to = 8
			}
			c.hint = &Hint{"slow-key", fmt.Sprintf("a key of %d bytes instead of %d, such as uint%d, would get the routine for %d bits", to, size, to*8, to*8)}
		}
		return c
	}
	return choice{"slow", a.why, a.hint}
}

// An algorithm is how keys are hashed and compared: compute and AlgType in
// cmd/compile/internal/types/alg.go.
type algorithm struct {
	mem, str bool   // as memory; as a string
	why      string // of neither
	hint     *Hint
}

func (t Target) algorithm(key types.Type, sizes types.Sizes) algorithm {
	a := t.plainAlgorithm(key, sizes)
	if !a.mem {
		return a
	}
	size, align := sizes.Sizeof(key), sizes.Alignof(key)
	if size == 4 || size == 8 {
		if need := t.strictAlign(); align < need && align < size {
			return algorithm{why: fmt.Sprintf("the key has %d bytes that are aligned to %d: %s cannot load them at once", size, align, t.Arch),
				hint: &Hint{"slow-key", fmt.Sprintf("a uint%d instead of an aligned-to-%d key of the same size would get the routine for %d bits", size*8, align, size*8)}}
		}
	}
	return a
}

func (t Target) plainAlgorithm(key types.Type, sizes types.Sizes) algorithm {
	switch u := key.Underlying().(type) {
	case *types.Basic:
		switch info := u.Info(); {
		case info&types.IsString != 0:
			return algorithm{str: true}
		case info&types.IsComplex != 0:
			return algorithm{why: "complex keys are compared by a function: 0 equals -0, and NaN nothing"}
		case info&types.IsFloat != 0:
			return algorithm{why: "float keys are compared by a function: 0 equals -0, and NaN nothing",
				hint: &Hint{"slow-key", "math.Float64bits or Float32bits of the key would get a fast routine, if NaN and -0 do not occur"}}
		}
		return algorithm{mem: true}
	case *types.Pointer, *types.Chan:
		return algorithm{mem: true}
	case *types.Interface:
		return algorithm{why: "an interface is hashed by its dynamic type"}
	case *types.Array:
		switch u.Len() {
		case 0:
			return algorithm{mem: true}
		case 1:
			return t.plainAlgorithm(u.Elem(), sizes)
		}
		if e := t.plainAlgorithm(u.Elem(), sizes); !e.mem {
			return algorithm{why: "the key is an array of what does not compare as memory"}
		}
		return algorithm{mem: true}
	case *types.Struct:
		return t.structAlgorithm(u, sizes)
	}
	return algorithm{why: "the key has no fast routine"}
}

func (t Target) structAlgorithm(s *types.Struct, sizes types.Sizes) algorithm {
	if s.NumFields() == 1 && s.Field(0).Name() != "_" {
		return t.plainAlgorithm(s.Field(0).Type(), sizes)
	}
	var fields []*types.Var
	for f := range s.Fields() {
		fields = append(fields, f)
		if f.Name() == "_" {
			return algorithm{why: "a struct with blank fields is compared field by field"}
		}
		if a := t.plainAlgorithm(f.Type(), sizes); !a.mem {
			return algorithm{why: fmt.Sprintf("the field %s of the key does not compare as memory", f.Name())}
		}
	}
	if len(fields) == 0 {
		return algorithm{mem: true}
	}
	offsets := sizes.Offsetsof(fields)
	size := sizes.Sizeof(s)
	for i, f := range fields {
		end := size
		if i+1 < len(offsets) {
			end = offsets[i+1]
		}
		if offsets[i]+sizes.Sizeof(f.Type()) != end {
			return algorithm{why: fmt.Sprintf("the key has padding behind the field %s: it is compared field by field", f.Name())}
		}
	}
	return algorithm{mem: true}
}

// hasPointers reports whether the collector follows something in a value.
func hasPointers(t types.Type) bool {
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return u.Kind() == types.String || u.Kind() == types.UnsafePointer
	case *types.Array:
		return u.Len() > 0 && hasPointers(u.Elem())
	case *types.Struct:
		for f := range u.Fields() {
			if hasPointers(f.Type()) {
				return true
			}
		}
		return false
	}
	return true
}

// hasTypeParam reports whether the type depends on type parameters.
func hasTypeParam(t types.Type) bool {
	switch t := types.Unalias(t).(type) {
	case *types.TypeParam:
		return true
	case *types.Named:
		for arg := range t.TypeArgs().Types() {
			if hasTypeParam(arg) {
				return true
			}
		}
		return false
	case *types.Array:
		return hasTypeParam(t.Elem())
	case *types.Pointer:
		return false // of a known size whatever it points at
	case *types.Struct:
		for f := range t.Fields() {
			if hasTypeParam(f.Type()) {
				return true
			}
		}
	}
	return false
}

// whyRoutine says what a routine itself tells of the map type, where there is no
// source.
func whyRoutine(variant string) string {
	switch variant {
	case "faststr":
		return "the key is a string, and the elem has at most 128 bytes"
	case "fast32":
		return "the key has 4 bytes that compare as memory, and the elem at most 128"
	case "fast64":
		return "the key has 8 bytes that compare as memory, and the elem at most 128"
	case "fast32ptr", "fast64ptr":
		return "the key is a pointer, and the elem has at most 128 bytes"
	case "fat":
		return "the elem has over 1024 bytes: the caller brings the zero elem"
	case "slow":
		return "the key's kind or size, or an elem over 128 bytes, has no fast routine"
	}
	return ""
}

// whyMake says why a map is made so.
func whyMake(variant string) string {
	switch variant {
	case "small":
		return "no hint, or one of 8 or less: the first group or bucket is allocated by the first insert, or with the header"
	case "hint":
		return "the hint is over 8, or known at run time only"
	case "stack":
		return "the map does not escape: header and first group or bucket are on the stack"
	}
	return ""
}

// Predicted returns the variant of routine that the types lead to; ok is false
// where the source was not type-checked, or the types are those of an instance.
func (op *SourceOp) Predicted() (variant string, ok bool) {
	if op == nil {
		return "", false
	}
	return op.choice.variant, op.choice.variant != ""
}
