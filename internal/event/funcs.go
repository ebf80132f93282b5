package event

import (
	"fmt"

	"hmaptools/internal/hmap"
)

// Key is how a function of the runtime is given the key.
type Key uint8

const (
	NoKey  Key = iota
	Word32     // the key itself, 32 bits
	Word64     // the key itself, 64 bits
	Text       // a string: pointer and length
	InMem      // a pointer to the key
)

// Spec describes a map function of the runtime: what it does, and which of its
// integer arguments, counted from 0, is what; -1 stands for none. The register
// ABI (abi-internal.md, Go 1.17 and later) gives them registers in that order.
type Spec struct {
	Sym   string
	Op    Op
	Key   Key
	Typ   int // *abi.MapType
	Map   int // the header
	Arg   int // the key, or makemap's hint, evacuate's old bucket, (*table).grow's new capacity
	Table int // *internal/runtime/maps.table
	// Result says that the map is what the function returns.
	Result bool
	// Growth is how the growing functions of one design belong together: a target
	// has at least one of each group of its generation.
	Growth hmap.Generation
}

// maps is the package of Swiss maps.
const maps = "internal/runtime/maps."

// Specs returns the map functions of all versions, Go 1.18 to 1.27.
func Specs() []Spec {
	var all []Spec
	add := func(op Op, key Key, names ...string) {
		for _, name := range names {
			s := Spec{Sym: "runtime." + name, Op: op, Key: key, Typ: 0, Map: 1, Arg: -1, Table: -1}
			if key != NoKey {
				s.Arg = 2
			}
			all = append(all, s)
		}
	}
	add(Assign, InMem, "mapassign")
	add(Assign, Word32, "mapassign_fast32", "mapassign_fast32ptr")
	add(Assign, Word64, "mapassign_fast64", "mapassign_fast64ptr")
	add(Assign, Text, "mapassign_faststr")
	for _, one := range []string{"mapaccess1", "mapaccess2"} {
		add(Access, InMem, one, one+"_fat")
		add(Access, Word32, one+"_fast32")
		add(Access, Word64, one+"_fast64")
		add(Access, Text, one+"_faststr")
	}
	add(Delete, InMem, "mapdelete")
	add(Delete, Word32, "mapdelete_fast32")
	add(Delete, Word64, "mapdelete_fast64")
	add(Delete, Text, "mapdelete_faststr")
	// mapiterinit is mapIterStart since Go 1.24, and calls it where both exist.
	add(Iter, NoKey, "mapiterinit", "mapIterStart")
	add(Clear, NoKey, "mapclear")
	// A Swiss map is cloned by its own method since Go 1.25, by mapclone2 in 1.24.
	add(Clone, NoKey, "mapclone2")
	all = append(all,
		Spec{Sym: "runtime.makemap", Op: Make, Typ: 0, Map: -1, Arg: 1, Table: -1, Result: true},
		Spec{Sym: "runtime.makemap64", Op: Make, Typ: 0, Map: -1, Arg: 1, Table: -1},
		Spec{Sym: "runtime.makemap_small", Op: Make, Typ: -1, Map: -1, Arg: -1, Table: -1, Result: true},

		Spec{Sym: maps + "(*Map).Clone", Op: Clone, Typ: 1, Map: 0, Arg: -1, Table: -1},

		Spec{Sym: "runtime.hashGrow", Op: Grow, Typ: 0, Map: 1, Arg: -1, Table: -1, Growth: hmap.Classic},
		Spec{Sym: maps + "(*table).grow", Op: Grow, Typ: 1, Map: 2, Arg: 3, Table: 0, Growth: hmap.Swiss},
		Spec{Sym: maps + "(*table).split", Op: Split, Typ: 1, Map: 2, Arg: -1, Table: 0, Growth: hmap.Swiss},
		Spec{Sym: maps + "(*table).rehash", Op: Rehash, Typ: 1, Map: 2, Arg: -1, Table: 0, Growth: hmap.Swiss},
		Spec{Sym: maps + "(*Map).growToSmall", Op: Grow, Typ: 1, Map: 0, Arg: -1, Table: -1, Growth: hmap.Swiss},
		Spec{Sym: maps + "(*Map).growToTable", Op: Grow, Typ: 1, Map: 0, Arg: -1, Table: -1, Growth: hmap.Swiss},
	)
	for _, name := range []string{"evacuate", "evacuate_fast32", "evacuate_fast64", "evacuate_faststr"} {
		all = append(all, Spec{Sym: "runtime." + name, Op: Evacuate, Typ: 0, Map: 1, Arg: 2, Table: -1, Growth: hmap.Classic})
	}
	return all
}

// MissingError says that a binary lacks functions that it must have to be watched:
// it is of a Go version that is not known, or has no maps.
type MissingError struct{ What string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("the binary has no %s: not a Go program of version 1.18 to 1.27, or one without maps", e.What)
}

// Present returns the generation of a binary's maps and those of Specs that it
// has, as far as ops wants them (none: all). has tells which symbols exist.
// (*table).rehash is left out where grow and split exist, since each rehash calls
// one of them.
func Present(has func(sym string) bool, ops []Op) (hmap.Generation, []Spec, error) {
	var gen hmap.Generation
	switch {
	case has(maps+"(*table).rehash") || has(maps+"(*table).grow"):
		gen = hmap.Swiss
	case has("runtime.hashGrow"):
		gen = hmap.Classic
	default:
		return 0, nil, &MissingError{"function in which a map grows"}
	}
	wanted := func(op Op) bool {
		for _, o := range ops {
			if o == op || o == Grow && (op == Split || op == Rehash) {
				return true
			}
		}
		return len(ops) == 0
	}
	splits := has(maps+"(*table).grow") && has(maps+"(*table).split")
	var specs []Spec
	have := map[Op]bool{}
	for _, s := range Specs() {
		if !has(s.Sym) || s.Growth != 0 && s.Growth != gen || s.Op == Rehash && splits {
			continue
		}
		have[s.Op] = true
		if wanted(s.Op) {
			specs = append(specs, s)
		}
	}
	// A program may do without most operations, but not without these: they are
	// part of every map that the runtime itself keeps.
	for _, op := range []Op{Make, Assign, Access} {
		if wanted(op) && !have[op] {
			return gen, specs, &MissingError{"function for " + op.String()}
		}
	}
	if gen == hmap.Classic && wanted(Evacuate) && !have[Evacuate] {
		return gen, specs, &MissingError{"function in which a bucket is evacuated"}
	}
	if len(specs) == 0 {
		return gen, nil, &MissingError{fmt.Sprintf("function for %v", ops)}
	}
	return gen, specs, nil
}
