package event

import "fmt"

// Op is a kind of operation. Its strings are those of a trace.
type Op uint8

const (
	Make     Op = iota + 1
	Assign      // m[k] = v, or an update
	Access      // v := m[k], or v, ok
	Delete      // delete(m, k)
	Iter        // the start of a range
	Clear       // clear(m)
	Clone       // maps.Clone(m); the map is the original
	Grow        // Classic: a new bucket array; Swiss: a table, or its first group, is replaced
	Split       // Swiss: a table becomes two
	Rehash      // Swiss: where grow and split cannot be told apart
	Evacuate    // Classic: an old bucket is evacuated
	numOps
)

var opNames = [numOps]string{"", "make", "assign", "access", "delete", "iter", "clear", "clone", "grow", "split", "rehash", "evacuate"}

func (o Op) String() string {
	if o > 0 && o < numOps {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// Writes reports whether the operation changes the map for its caller.
func (o Op) Writes() bool { return o == Assign || o == Delete || o == Clear }

// Reads reports whether the operation only looks at the map.
func (o Op) Reads() bool { return o == Access || o == Iter || o == Clone }

// Growth reports whether the operation is a part of a map's growth, which another
// operation brought about.
func (o Op) Growth() bool { return o >= Grow && o < numOps }

// ParseOp is the inverse of String.
func ParseOp(s string) (Op, error) {
	for o, name := range opNames {
		if name == s && o > 0 {
			return Op(o), nil
		}
	}
	return 0, fmt.Errorf("operation %q: want one of %v", s, opNames[1:])
}

// MarshalText makes an Op a string in JSON.
func (o Op) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (o *Op) UnmarshalText(text []byte) (err error) {
	*o, err = ParseOp(string(text))
	return err
}
