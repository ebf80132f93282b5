//go:build linux && amd64

package probe_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"hmaptools/internal/event"
	"hmaptools/internal/probe"
	"hmaptools/internal/testenv"
)

// TestVariables: of the map that a variable holds, and of no other, all operations are
// seen that the program does while the variable holds it; also of one that is made late,
// and of another that takes its place.
func TestVariables(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		modes := []testenv.Mode{{Name: "default"}}
		if tc.Name == testenv.Host().Name {
			modes = append(modes, testenv.Mode{Name: "pie", Flags: []testenv.BuildFlag{testenv.PIE}})
		}
		for _, mode := range modes {
			t.Run(tc.Name+"-"+mode.Name, func(t *testing.T) {
				bin := testenv.Build(t, tc, "opvars", mode.Flags...)
				told := 0
				for line := range strings.Lines(plain(t, bin)) {
					var expr string
					var mk, assign, access uint64
					if _, err := fmt.Sscanf(line, "%s make=%d assign=%d access=%d", &expr, &mk, &assign, &access); err != nil {
						t.Fatalf("%q: %v", line, err)
					}
					told++
					o := observe(t, bin, probe.Options{Map: expr, RingBytes: 1 << 20})
					var got [event.NumOps]uint64
					maps := uint64(0)
					for _, ops := range o.ops {
						if ops[event.Assign]+ops[event.Access] > 0 {
							maps++
						}
						for op, n := range ops {
							got[op] += n
						}
					}
					if got[event.Assign] != assign || got[event.Access] != access || maps != mk || got[event.Make] < mk || o.end.LostTotal > 0 {
						t.Errorf("%s: %d maps, %d assign, %d access, %d lost; the program told %s", expr, maps, got[event.Assign], got[event.Access], o.end.LostTotal, line)
					}
				}
				if told < 5 {
					t.Errorf("the program told of %d variables", told)
				}
			})
		}
	}
}

// TestNoVariable: what is no map, or cannot be found from the beginning on, is refused
// before the program is started.
func TestNoVariable(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "opvars")
	for _, expr := range []string{"cache", "main.none", "main.srv", "main.sink", "main.table", "main.table[3]", "main.srv.in.none", "main.srv[0]", "*main.sink", "main.cache.x", "f()", "main.cache +"} {
		_, err := probe.Launch(bin, nil, probe.Options{Map: expr})
		var v *probe.VariableError
		if !errors.As(err, &v) || v.Expr != expr {
			t.Errorf("%s: %v, want a VariableError", expr, err)
		}
	}
	var v *probe.VariableError
	if _, err := probe.Launch(testenv.Build(t, testenv.Host(), "opvars", testenv.Strip), nil, probe.Options{Map: "main.cache"}); !errors.As(err, &v) {
		t.Errorf("a stripped binary: %v, want a VariableError", err)
	}
}
