//go:build linux && amd64

package probe_test

import (
	"context"
	"testing"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/probe"
	"hmaptools/internal/testenv"
)

// analyst adds events up.
type analyst struct {
	s  *probe.Session
	as *event.Assembler
	a  *event.Analysis
}

func (n *analyst) Add(r *event.Raw, stack []uint64, key []byte) {
	n.a.Add(n.as.Event(r, stack, key, n.s.Nanoseconds(r.Clock)))
}

func (n *analyst) AddAll(rs []event.Raw) {
	n.as.AddAll(n.a, rs, n.s.Nanoseconds)
}

func (n *analyst) Tick() error { return nil }

// TestGrowthHistory: a map of 1024 entries has grown in the steps that its design
// prescribes: to 2048 slots, Classic with an average of at most 6.5 entries in a
// bucket, Swiss with tables that are at most seven eighths full. Each old bucket of a
// Classic map is evacuated, once.
func TestGrowthHistory(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			bin := testenv.Build(t, tc, "oploop")
			n := &analyst{a: event.NewAnalysis()}
			_, _ = quiet(t, func() {
				s, err := probe.Launch(bin, []string{"int", "100000"}, probe.Options{RingBytes: 64 << 20})
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				n.s, n.as = s, event.NewAssembler(s.Meta())
				if end, err := s.Run(context.Background(), n); err != nil || end.LostTotal > 0 {
					t.Errorf("end %+v, error %v", end, err)
				}
			})
			if t.Failed() {
				return
			}
			if gen := n.s.Meta().Layout.Generation; (gen == hmap.Classic) != tc.Classic() {
				t.Errorf("the maps are %v, want %s", gen, tc.Generation)
			}
			// The loop's map is where most assignments went; as long as it was on the
			// goroutine's stack, a Classic one may have been at another address.
			l := n.a.Hottest()[0]
			if l.Ops[event.Assign] < 99_000 || l.Ops[event.Assign] > 100_000 || l.MaxLen != 1024 {
				t.Errorf("%d assignments, at most %d entries; want 100000 and 1024", l.Ops[event.Assign], l.MaxLen)
			}
			slots := l.Growths[0].OldSlots
			for i, g := range l.Growths {
				if g.OldSlots != slots || g.NewSlots != 2*slots && slots > 0 {
					t.Errorf("growth %d: %d to %d slots, it had %d", i, g.OldSlots, g.NewSlots, slots)
				}
				slots = g.NewSlots
				full := g.OldSlots * 7 / 8
				if tc.Classic() {
					full = g.OldSlots / 8 * 13 / 2
					if tc.Name == "go1.21" {
						full = g.OldSlots / 8 * 6 // loadFactorNum is 12 there
					}
					if g.OldSlots/8 != g.OldBuckets || g.Evacuated != g.OldBuckets || g.EndT <= g.T {
						t.Errorf("growth %d: %d of %d buckets evacuated from %d to %d ns; it had %d slots", i, g.Evacuated, g.OldBuckets, g.T, g.EndT, g.OldSlots)
					}
				}
				if g.OldSlots > 16 && g.Len != full {
					t.Errorf("growth %d: with %d entries in %d slots, want %d", i, g.Len, g.OldSlots, full)
				}
			}
			if slots != 2048 {
				t.Errorf("%d slots in the end, want 2048: %+v", slots, l.Growths)
			}
		})
	}
}
