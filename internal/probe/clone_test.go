package probe_test

import (
	"fmt"
	"testing"

	"hmaptools/internal/event"
	"hmaptools/internal/probe"
	"hmaptools/internal/testenv"
)

// TestClones: a clone is one event on the original, of every design of mapclone; what
// is done with the clone is done at another address.
func TestClones(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			if tc.Go == "go1.18.10" {
				t.Skip("package maps came with Go 1.21")
			}
			o := observe(t, testenv.Build(t, tc, "clones"), probe.Options{})
			var a, b uint64
			if _, err := fmt.Sscanf(o.stdout, "clones 0x%x 0x%x", &a, &b); err != nil {
				t.Fatalf("it printed %q: %v", o.stdout, err)
			}
			for addr, want := range map[uint64]map[event.Op]uint64{
				a: {event.Assign: 100, event.Delete: 10, event.Clone: 2},
				b: {event.Assign: 7, event.Delete: 0, event.Clone: 0},
			} {
				for op, n := range want {
					if got := o.ops[addr][op]; got != n {
						t.Errorf("%v of the map at %#x: %d, want %d", op, addr, got, n)
					}
				}
			}
		})
	}
}
