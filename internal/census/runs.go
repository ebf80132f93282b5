package census

import "slices"

// extent is a stretch of memory.
type extent struct{ lo, hi uint64 }

// run is a stretch of an array that was looked at.
type run struct {
	extent
	node  nodeID
	first int64 // index of the first element in it
}

// runs are the stretches of arrays that were looked at, by the object that they lie
// in and the type of their elements, in the order of their addresses.
type runs map[object][]run

// add notes a stretch, and returns which parts of it are new.
func (rs runs) add(key object, e extent, n nodeID, first int64) (fresh []extent) {
	old := rs[key]
	i, _ := slices.BinarySearchFunc(old, e.lo, func(r run, lo uint64) int {
		if r.hi <= lo {
			return -1
		}
		return 1
	})
	at := e.lo
	for j := i; j < len(old) && old[j].lo < e.hi; j++ {
		if old[j].lo > at {
			fresh = append(fresh, extent{at, old[j].lo})
		}
		at = max(at, old[j].hi)
	}
	if at < e.hi {
		fresh = append(fresh, extent{at, e.hi})
	}
	for _, f := range fresh {
		i, _ := slices.BinarySearchFunc(rs[key], f.lo, func(r run, lo uint64) int {
			if r.lo < lo {
				return -1
			}
			return 1
		})
		rs[key] = slices.Insert(rs[key], i, run{f, n, first})
	}
	return fresh
}
