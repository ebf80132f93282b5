package target_test

import (
	"encoding/binary"
	"testing"

	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

func TestDebugInfo(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			testenv.Need(t, tc)
			modes := testenv.Modes()
			for _, mode := range []testenv.Mode{modes[0], modes[2]} {
				t.Run(mode.Name, func(t *testing.T) {
					r := launch(t, testenv.Build(t, tc, "aliases", mode.Flags...))
					if stop := r.cont(target.Until{}); stop.Reason != target.MainReturn {
						t.Fatalf("stop %+v", stop)
					}
					d := r.DebugInfo()
					// Values from runtime/map.go and internal/runtime/maps/group.go.
					name, want := "internal/runtime/maps.ctrlEmpty", int64(0b10000000)
					header := "internal/runtime/maps.Map"
					if tc.Classic() {
						name, want, header = "runtime.minTopHash", 5, "runtime.hmap"
					}
					if got, ok := d.Const(name); !ok || got != want {
						t.Errorf("%s = %d, %v; want %d", name, got, ok, want)
					}
					if _, ok := d.Const("runtime.noSuchConstant"); ok {
						t.Error("a constant that does not exist was found")
					}
					if _, ok := d.Const("main.alone"); ok {
						t.Error("a variable was taken for a constant")
					}
					if _, ok := d.TypeNamed(header); !ok {
						t.Errorf("no type %s", header)
					}
					addr, typ, ok := d.Var("main.boxed")
					if !ok {
						t.Fatal("no main.boxed")
					}
					if ty, err := r.Types().At(typ); err != nil || ty.Size != 16 {
						t.Errorf("type of main.boxed: %v, %v", ty, err)
					}
					var words [16]byte
					if _, err := r.Memory().ReadMemory(words[:], addr); err != nil {
						t.Fatal(err)
					}
					off, ok := d.RuntimeType(binary.LittleEndian.Uint64(words[:]))
					if !ok {
						t.Fatal("the dynamic type of main.boxed was not found")
					}
					if ty, err := r.Types().At(off); err != nil || ty.Name != "map[string]int" {
						t.Errorf("the dynamic type of main.boxed is %v, %v", ty, err)
					}
					if _, ok := d.RuntimeType(0x1234); ok {
						t.Error("a type descriptor was found where there is none")
					}
					// The holders that the target told of.
					rs := roots(t, r.Target)
					tr := r.truth()
					a := tr.Map(t, "main.a").Addr
					wantWord(t, r.Target, rs, "", "main.b", 0, a)
					wantWord(t, r.Target, rs, "main.main", "local", 0, a)
					wantWord(t, r.Target, rs, "main.byArg", "arg", 0, a)
					wantWord(t, r.Target, rs, "main.byArg", "arg", 0, tr.Map(t, "main.alone").Addr)
					wantWord(t, r.Target, rs, "main.byLocal", "own", 0, tr.Map(t, "own").Addr)
					wantWord(t, r.Target, rs, "main.main", "captured", 0, tr.Map(t, "captured").Addr)
					for expr, want := range map[string]uint64{
						"srv.cache":              a,
						"srv.stats.hits":         a,
						"*pm":                    a,
						"slice[1]":               a,
						`byName["y"]`:            tr.Map(t, `main.byName["y"]`).Addr,
						"boxed.(map[string]int)": a,
						"&local":                 a, // the variable that the pointer points at
						"ps.cache":               tr.Map(t, "main.ps.cache").Addr,
						"srv.stats.sub.misses":   tr.Map(t, "main.srv.stats.sub.misses").Addr,
						"main.alone":             tr.Map(t, "main.alone").Addr,
					} {
						e, err := r.Eval(expr)
						if err != nil {
							t.Errorf("eval %s: %v", expr, err)
							continue
						}
						if w, err := word(r.Target, e, 0); err != nil || w != want || e.Type.Name != "map[string]int" {
							t.Errorf("eval %s: %#x of type %v, want %#x; %v", expr, w, e.Type, want, err)
						}
					}
					for _, bad := range []string{"nosuch", "a[", "1+", "main.nosuch", "srv.nosuch", "local.x", "7", "", "len(a)"} {
						if e, err := r.Eval(bad); err == nil {
							t.Errorf("eval %q: %+v", bad, e)
						}
					}
					gs, err := r.Goroutines()
					if err != nil || len(gs) < 5 {
						t.Errorf("%d goroutines, %v", len(gs), err)
					}
				})
			}
		})
	}
}
