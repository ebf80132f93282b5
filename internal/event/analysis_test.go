package event_test

import (
	"testing"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// story makes events one after the other.
type story struct {
	t     *testing.T
	m     *event.Meta
	names *event.Interner
	a     *event.Analysis
	now   int64
}

func newStory(t *testing.T, gen hmap.Generation) *story {
	return &story{t: t, m: meta(gen), names: event.NewInterner(), a: event.NewAnalysis()}
}

func (s *story) add(sym string, g int64, pc uint64, h hmap.Header, change func(e *event.Event)) {
	s.now++
	e := &event.Event{T: s.now, Func: s.m.Funcs[fn(s.t, s.m, sym)], Map: h.Addr, Type: s.names.Type(0x500), Goroutine: g, Site: s.names.Site(pc), Header: h}
	h.Generation = s.m.Layout.Generation
	e.Header.Generation = h.Generation
	if change != nil {
		change(e)
	}
	s.a.Add(e)
}

const (
	assign64 = "runtime.mapassign_fast64"
	access64 = "runtime.mapaccess1_fast64"
	delete64 = "runtime.mapdelete_fast64"

	cloneSwiss   = "internal/runtime/maps.(*Map).Clone"
	cloneClassic = "runtime.mapclone2"
)

// TestLives: one address, several maps; one map, several addresses.
func TestLives(t *testing.T) {
	s := newStory(t, hmap.Swiss)
	at := hmap.Header{Addr: 0xc000, Seed: 1}
	s.add("runtime.makemap", 1, 10, at, func(e *event.Event) { e.Arg = 5 })
	s.add(assign64, 1, 11, at, nil)
	s.add("runtime.makemap", 1, 10, hmap.Header{Addr: 0xc000, Seed: 2}, nil)                 // made again: the first is garbage
	s.add(assign64, 1, 11, hmap.Header{Addr: 0xc000, Seed: 2, Used: 3}, nil)                 // 2 of the second
	s.add(delete64, 1, 12, hmap.Header{Addr: 0xc000, Seed: 2, Used: 1}, nil)                 // its last entry goes:
	s.add(assign64, 1, 11, hmap.Header{Addr: 0xc000, Seed: 3}, nil)                          // a new seed, the same map
	s.add(assign64, 1, 11, hmap.Header{Addr: 0xc000, Seed: 4, Used: 7}, nil)                 // and this is another one
	s.add(assign64, 1, 11, hmap.Header{Addr: 0xd000, Seed: 4, Used: 8}, nil)                 // which moves
	s.add(access64, 2, 13, hmap.Header{Addr: 0xd000, Seed: 4, Used: 8}, nil)                 // and is read by another goroutine
	s.add(access64, 2, 13, hmap.Header{}, func(e *event.Event) { e.Header = hmap.Header{} }) // a nil map
	lives := s.a.Lives
	if len(lives) != 4 {
		t.Fatalf("%d lives, want 4: %+v", len(lives), lives)
	}
	for i, want := range []struct {
		addr           hmap.Addr
		assign, access uint64
		made           bool
		moved          uint64
	}{{0xc000, 1, 0, true, 0}, {0xc000, 2, 0, true, 0}, {0xd000, 2, 1, false, 1}, {0, 0, 1, false, 0}} {
		l := lives[i]
		if l.Addr != want.addr || l.Ops[event.Assign] != want.assign || l.Ops[event.Access] != want.access || (l.Made != nil) != want.made || l.Moved != want.moved {
			t.Errorf("life %d: %+v, want %+v", i, l, want)
		}
	}
	if lives[0].Hint != 5 || lives[1].MaxLen != 3 || lives[2].Goroutines[2].Reads != 1 || lives[2].Goroutines[1].Writes != 2 {
		t.Errorf("lives: %+v", lives)
	}
}

// TestClone: a clone has its original's seed (Go 1.25 and later), and is another map.
// A map that several goroutines use does not lie on a stack, so it has not moved.
func TestClone(t *testing.T) {
	s := newStory(t, hmap.Swiss)
	at := hmap.Header{Addr: 0xc000, Seed: 1, Used: 3}
	s.add(assign64, 1, 11, at, nil)
	s.add(cloneSwiss, 1, 12, at, nil)
	for _, addr := range []hmap.Addr{0xd000, 0xc000, 0xe000, 0xd000} {
		s.add(assign64, 1, 11, hmap.Header{Addr: addr, Seed: 1, Used: 3}, nil)
	}
	// This one was cloned before the recording began.
	s.add(assign64, 1, 11, hmap.Header{Addr: 0xf000, Seed: 2}, nil)
	s.add(assign64, 2, 11, hmap.Header{Addr: 0xf800, Seed: 2}, nil)
	want := []struct {
		addr          hmap.Addr
		assign, clone uint64
	}{{0xc000, 2, 1}, {0xd000, 2, 0}, {0xe000, 1, 0}, {0xf000, 1, 0}, {0xf800, 1, 0}}
	if len(s.a.Lives) != len(want) {
		t.Fatalf("%d lives, want %d: %+v", len(s.a.Lives), len(want), s.a.Lives)
	}
	for i, w := range want {
		if l := s.a.Lives[i]; l.Addr != w.addr || l.Ops[event.Assign] != w.assign || l.Ops[event.Clone] != w.clone || l.Moved != 0 {
			t.Errorf("life %d: %+v, want %+v", i, l, w)
		}
	}
	if n := s.a.Lives[0].Goroutines[1].Reads; n != 1 {
		t.Errorf("the clone makes %d reads of its original, want 1", n)
	}
}

// TestMovedAway: the maps of two stacks change places before the first of them is seen
// again; no map is taken for a third one.
func TestMovedAway(t *testing.T) {
	s := newStory(t, hmap.Swiss)
	a, b := hmap.Header{Addr: 0xa000, Seed: 1, Used: 3}, hmap.Header{Addr: 0xb000, Seed: 2, Used: 3}
	s.add(assign64, 1, 11, a, nil)
	s.add(assign64, 2, 12, b, nil)
	b.Addr = 0xa000 // a has moved, but that was not seen yet
	s.add(assign64, 2, 12, b, nil)
	a.Addr = 0xc000
	s.add(assign64, 1, 11, a, nil)
	a.Addr, b.Addr = 0xa000, 0xc000
	s.add(assign64, 1, 11, a, nil)
	s.add(assign64, 2, 12, b, nil)
	s.add(assign64, 1, 11, a, nil)
	if len(s.a.Lives) != 2 || s.a.Lives[0].Ops[event.Assign] != 4 || s.a.Lives[1].Ops[event.Assign] != 3 {
		t.Errorf("%d lives: %+v", len(s.a.Lives), s.a.Lives)
	}
}

// TestConcurrent: only a header that says so proves that a writer was inside, and the
// writer is the last one of another goroutine.
func TestConcurrent(t *testing.T) {
	for _, gen := range []hmap.Generation{hmap.Swiss, hmap.Classic} {
		s := newStory(t, gen)
		idle := hmap.Header{Addr: 0xc000, Seed: 1, Hash0: 1}
		inside := idle
		inside.Writing, inside.Flags = 1, 4
		s.add(assign64, 1, 11, idle, nil)
		s.add(access64, 2, 12, idle, nil)
		s.add(assign64, 1, 11, idle, nil)
		s.add(access64, 2, 13, inside, nil) // goroutine 1 is inside
		s.add(assign64, 2, 14, inside, nil) // still
		s.add(map[hmap.Generation]string{hmap.Swiss: cloneSwiss, hmap.Classic: cloneClassic}[gen], 2, 15, inside, nil)
		l := s.a.Lives[0]
		if l.Conflicting != 3 || len(l.Conflicts) != 3 {
			t.Fatalf("%v: %d conflicts, want 3", gen, l.Conflicting)
		}
		for i, c := range l.Conflicts {
			if c.A.Goroutine != 1 || c.A.Site.PCs[0] != 11 || c.B.Goroutine != 2 || c.B.Site.PCs[0] != uint64(13+i) {
				t.Errorf("%v: conflict %d: %+v", gen, i, c)
			}
		}
	}
}

// TestGrowth: growth is charged to the operation that brought it about; growth without
// more entries is churn; each old bucket is evacuated once.
func TestGrowth(t *testing.T) {
	s := newStory(t, hmap.Classic)
	h := hmap.Header{Addr: 0xc000, Hash0: 1, B: 2, Count: 26}
	s.add(assign64, 1, 11, h, nil)
	s.add("runtime.hashGrow", 1, 99, h, nil) // 99 is in the runtime
	h.B, h.OldBuckets = 3, 1
	for _, bucket := range []uint64{0, 1, 0, 3, 2} { // 0 twice
		s.add("runtime.evacuate_fast64", 1, 98, h, func(e *event.Event) { e.Arg = bucket })
	}
	h.OldBuckets, h.Count = 0, 20
	s.add(assign64, 1, 12, h, nil)
	s.add("runtime.hashGrow", 1, 99, h, nil) // too many overflow buckets
	l := s.a.Lives[0]
	if l.Grown != 2 || l.Churn != 1 || l.Evacuations != 4 {
		t.Fatalf("grown %d, churn %d, evacuations %d; want 2, 1, 4", l.Grown, l.Churn, l.Evacuations)
	}
	g := l.Growths[0]
	if g.Site.PCs[0] != 11 || g.OldSlots != 32 || g.NewSlots != 64 || g.Evacuated != 4 || g.OldBuckets != 4 || g.EndT != 7 || g.SameSize {
		t.Errorf("first growth: %+v", g)
	}
	g = l.Growths[1]
	if g.Site.PCs[0] != 12 || g.OldSlots != 64 || g.NewSlots != 64 || !g.SameSize {
		t.Errorf("second growth: %+v", g)
	}
}

// TestFold: a program that makes maps for ever does not fill memory, and no operation
// is forgotten.
func TestFold(t *testing.T) {
	s := newStory(t, hmap.Swiss)
	const n = event.MaxLives * 3
	for i := range n {
		h := hmap.Header{Addr: hmap.Addr(0xc000 + i%1000*64), Seed: uint64(i + 1)}
		s.add("runtime.makemap", 1, 10, h, nil)
		s.add(assign64, 1, 11, h, nil)
	}
	s.a.Close()
	if len(s.a.Lives) > event.MaxLives+1000 {
		t.Errorf("%d lives", len(s.a.Lives))
	}
	var makes, assigns, lives uint64
	for _, l := range s.a.Lives {
		makes += l.Ops[event.Make]
		assigns += l.Ops[event.Assign]
		lives += 1 + l.Folded
	}
	if makes != n || assigns != n || lives != n {
		t.Errorf("%d makes, %d assignments, %d lives; want %d", makes, assigns, lives, n)
	}
}
