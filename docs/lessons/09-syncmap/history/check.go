package history

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxOps is how many operations on one key Check takes.
const MaxOps = 256

// Check returns the operations on a key whose results no order explains, in the order
// of their calls, or nil if all keys are explained. It fails if there are more than
// MaxOps on one key.
func Check(ops []Op) ([]Op, error) {
	byKey := map[int][]Op{}
	for _, o := range ops {
		byKey[o.Key] = append(byKey[o.Key], o)
	}
	for key, ops := range byKey {
		if len(ops) > MaxOps {
			return nil, fmt.Errorf("history: %d operations on key %d: at most %d can be checked", len(ops), key, MaxOps)
		}
		slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Call, b.Call) })
		if bad := violation(ops); bad != nil {
			return bad, nil
		}
	}
	return nil, nil
}

// violation returns the shortest part of a key's operations, from the first on, that
// is not explained, or nil. A part holds all of the operations that were called until
// one of them; those that had not returned by then may have taken effect or not, and
// are taken with their results, which only excuses more.
func violation(ops []Op) []Op {
	if explained(ops) {
		return nil
	}
	n := 1
	for n < len(ops) && explained(ops[:n]) {
		n++
	}
	return ops[:n]
}

// state is a key's entry.
type state struct {
	value int
	ok    bool
}

// set has a bit for each operation.
type set [MaxOps / 64]uint64

func (s *set) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }
func (s *set) flip(i int)     { s[i/64] ^= 1 << (i % 64) }

// position is how far a search has come: what is done, and what the entry is then.
type position struct {
	done set
	state
}

// explained is the search of Wing and Gong, with Lowe's memory of positions that led
// nowhere. The operations are sorted by their calls.
func explained(ops []Op) bool {
	dead := map[position]bool{}
	var p position
	var search func(first int) bool
	search = func(first int) bool {
		for first < len(ops) && p.done.has(first) {
			first++
		}
		if first == len(ops) {
			return true
		}
		if dead[p] {
			return false
		}
		// Next is an operation that was called before any other that is left had
		// returned. At the same nanosecond, either may have been first.
		before := ops[first].Return
		for i := first; i < len(ops) && ops[i].Call <= before; i++ {
			if p.done.has(i) {
				continue
			}
			before = min(before, ops[i].Return)
			next, ok := step(p.state, &ops[i])
			if !ok {
				continue
			}
			old := p.state
			p.done.flip(i)
			p.state = next
			if search(first) {
				return true
			}
			p.done.flip(i)
			p.state = old
		}
		dead[p] = true
		return false
	}
	return search(0)
}

// step does an operation on an entry, and reports whether its results are what an
// ordinary map would have given.
func step(s state, o *Op) (state, bool) {
	gone, stored := state{}, state{o.New, true}
	was := o.Value == s.value && o.OK == s.ok // the results are the entry
	switch o.Kind {
	case Load:
		return s, was
	case Store:
		return stored, true
	case Delete:
		return gone, true
	case LoadAndDelete:
		return gone, was
	case Swap:
		return stored, was
	case LoadOrStore:
		if s.ok {
			return s, was
		}
		return stored, !o.OK && o.Value == o.New
	case CompareAndSwap:
		if s.ok && s.value == o.Old {
			return stored, o.OK
		}
		return s, !o.OK
	case CompareAndDelete:
		if s.ok && s.value == o.Old {
			return gone, o.OK
		}
		return s, !o.OK
	}
	return s, false
}
