package hmap

import (
	"cmp"
	"reflect"
	"slices"
)

// Named returns the type of that name, with its full package path
// ("runtime.mspan"), nil if the target's debug information has none.
func (ts *Types) Named(name string) *Type { return ts.named(name) }

// Var returns where a package variable lies ("runtime.mheap_") and its type; ok is
// false if the target has none of that name.
func (ts *Types) Var(name string) (addr Addr, t *Type, ok bool) {
	a, off, ok := ts.info.Var(name)
	if !ok {
		return 0, nil, false
	}
	t, err := ts.At(off)
	if err != nil {
		return 0, nil, false
	}
	return Addr(a), t, true
}

// SizeClasses are the sizes to which the target's allocator rounds. It fails where
// the target's debug information lacks them.
func (ts *Types) SizeClasses() (*SizeClasses, error) { return ts.sizeClasses() }

// NewStruct makes a struct type that no debug information has as a whole: what a
// closure captured. The fields are in the order of their offsets.
func NewStruct(name string, size int64, fields []Field) *Type {
	fields = slices.Clone(fields)
	slices.SortStableFunc(fields, func(a, b Field) int { return cmp.Compare(a.Off, b.Off) })
	return &Type{Name: name, Kind: reflect.Struct, Size: size, fields: func() []Field { return fields }}
}
