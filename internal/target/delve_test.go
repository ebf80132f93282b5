package target_test

import (
	"fmt"
	"go/constant"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-delve/delve/pkg/proc"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// TestDelve compares the entries of every map with those that Delve's own
// iterator yields: they must lie at the same addresses and print alike.
func TestDelve(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range testenv.Modes()[:2] {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				for _, prog := range testenv.Programs(t) {
					switch prog {
					case "bigmap", "large", "fresh": // minutes, at 60 microseconds an entry
						continue
					}
					t.Run(prog, func(t *testing.T) {
						r := launch(t, testenv.Build(t, tc, prog, mode.Flags...))
						r.cont(target.Until{})
						// The compiler need not keep the maps of onstack.
						if n := compare(t, r.Target); n == 0 && prog != "onstack" {
							t.Error("no map was compared")
						}
					})
				}
			})
		}
	}
}

// TestDelveGrowing stops in the middle of evacuations, at the functions that
// evacuate.
func TestDelveGrowing(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		if !tc.Classic() {
			continue
		}
		t.Run(tc.Name, func(t *testing.T) {
			for _, at := range []struct {
				fn    string
				hit   int
				state hmap.GrowthState
			}{
				{"runtime.evacuate_fast64", 1, hmap.Double}, {"runtime.evacuate_fast64", 40, hmap.Double},
				{"runtime.growWork_fast64", 100, hmap.Double}, {"runtime.evacuate_faststr", 30, hmap.Double},
				{"runtime.evacuate", 77, hmap.Double},
			} {
				t.Run(at.fn+strconv.Itoa(at.hit), func(t *testing.T) {
					r := launch(t, testenv.Build(t, tc, "evacuating"))
					stop := r.cont(target.Until{At: at.fn, Hit: at.hit})
					if stop.Reason != target.At || stop.Func != at.fn {
						t.Fatalf("stop %+v", stop)
					}
					checkGrowing(t, r.Target, at.state)
				})
			}
			t.Run("same-size", func(t *testing.T) {
				r := launch(t, testenv.Build(t, tc, "samesize"))
				stop := r.cont(target.Until{At: "samesize/main.go:" + lineOf(t, "samesize", "\t\t\ti++")})
				if stop.Reason != target.At {
					t.Fatalf("stop %+v", stop)
				}
				checkGrowing(t, r.Target, hmap.SameSize)
				stop = r.cont(target.Until{At: "runtime.evacuate_fast64", Hit: 3})
				if stop.Reason != target.At {
					t.Fatalf("stop %+v", stop)
				}
				checkGrowing(t, r.Target, hmap.SameSize)
			})
		})
	}
}

// checkGrowing checks that a map grows and that all maps are as Delve reads them.
func checkGrowing(t *testing.T, tg *target.Target, state hmap.GrowthState) {
	t.Helper()
	compare(t, tg)
	n := 0
	for _, f := range takeCensus(t, tg).Maps {
		if f.Growing() {
			n++
			if f.Growth.State != state || f.Len != f.Header.Len() || f.Growth.Evacuated >= f.Growth.OldBuckets {
				t.Errorf("%s at %s: growth %+v, %d entries of %d", f.Type, f.Header.Addr, *f.Growth, f.Len, f.Header.Len())
			}
		}
	}
	if n == 0 {
		t.Error("no map is growing")
	}
}

func takeCensus(t *testing.T, tg *target.Target) *census.Result {
	t.Helper()
	return census.Take(census.Source{Memory: tg.Memory(), Types: tg.Types(), Roots: roots(t, tg)}, census.Options{Depth: 10})
}

// compare reads every map that the program's variables lead to by Delve and by
// hmap, and returns how many it was able to compare.
func compare(t *testing.T, tg *target.Target) int {
	t.Helper()
	n := 0
	for _, f := range takeCensus(t, tg).Maps {
		i := slices.IndexFunc(f.Holders, func(h census.Holder) bool {
			_, fn, _, _ := h.Frame()
			return h.Addr != 0 && (strings.HasPrefix(h.Name(), "main.") || strings.HasPrefix(fn, "main."))
		})
		if i < 0 {
			continue
		}
		h := f.Holders[i]
		v, err := tg.DelveMap(h.Type.Name, uint64(h.Addr))
		if err != nil && strings.Contains(h.Type.Name, "go.shape.") {
			continue // Delve does not find such a type by its name
		}
		if b := &f.Layout.Block; b.KeySize == 0 && f.Layout.Generation == hmap.Classic && v.Unreadable != nil {
			continue // Delve 1.27.2 takes keys of no size for "inconsistent array length in bucket"
		}
		if err != nil || v.Unreadable != nil {
			t.Errorf("%s: Delve cannot read it: %v, %+v", h.Path(), err, v)
			continue
		}
		n++
		if v.Len != f.Header.Len() {
			t.Errorf("%s: len %d, Delve says %d", h.Path(), f.Header.Len(), v.Len)
		}
		var want []string
		for i := 0; i+1 < len(v.Children); i += 2 {
			k, e := &v.Children[i], &v.Children[i+1]
			want = append(want, place(f.Layout.Key, k.Addr)+delveText(k)+" "+place(f.Layout.Elem, e.Addr)+delveText(e))
		}
		var got []string
		text := hmap.NewFormatter(tg.Memory(), tg.Types())
		err = hmap.Slots(tg.Memory(), f.Map, true, func(e *hmap.Entry) error {
			l := f.Layout
			got = append(got, place(l.Key, uint64(e.KeyAt))+ourText(text, l.Key, e.Key)+" "+place(l.Elem, uint64(e.ElemAt))+ourText(text, l.Elem, e.Elem))
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", h.Path(), err)
		}
		slices.Sort(got)
		slices.Sort(want)
		if f.Growing() && f.Growth.State == hmap.SameSize {
			// Delve 1.27.2 takes every growth for one to twice the size, and
			// looks into the wrong half of the old buckets: what it does yield
			// must be there.
			missing := slices.DeleteFunc(slices.Clone(want), func(e string) bool {
				_, ok := slices.BinarySearch(got, e)
				return ok
			})
			if len(want) == 0 || len(missing) > 0 || int64(len(got)) != v.Len {
				t.Errorf("%s: %d entries of %d, without %.2000q, which Delve yields", h.Path(), len(got), v.Len, missing)
			}
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d entries\n%.2000q\nDelve yields %d\n%.2000q", h.Path(), len(got), got, len(want), want)
		}
	}
	return n
}

// place is where a value lies; one without a size lies anywhere.
func place(t *hmap.Type, addr uint64) string {
	if t.Size == 0 {
		return "-"
	}
	return fmt.Sprintf("%#x", addr)
}

// delveText and ourText print the kinds of which there is but one way to print.
func delveText(v *proc.Variable) string {
	if v.Value == nil {
		return ""
	}
	switch v.Kind {
	case reflect.String:
		s := strconv.Quote(constant.StringVal(v.Value))
		if more := v.Len - int64(len(constant.StringVal(v.Value))); more > 0 {
			s += fmt.Sprintf("...+%d", more)
		}
		return s
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Bool,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return v.Value.ExactString()
	}
	return ""
}

func ourText(f *hmap.Formatter, t *hmap.Type, b []byte) string {
	switch t.Kind {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Bool,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return f.Format(t, b)
	}
	return ""
}
