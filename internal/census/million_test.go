package census_test

import (
	"testing"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/testenv"
)

// TestMillion: a million small maps, each held by a list and through a map, and one map
// of ten million entries.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it takes some 2 GB and half a minute")
	}
	const small, large = 2670 * 375, 10_000_000
	classic := false // one is enough
	for _, tc := range testenv.Toolchains(t) {
		if tc.Name != "host" && classic {
			continue
		}
		t.Run(tc.Name, func(t *testing.T) {
			bin := testenv.Build(t, tc, "sessions")
			tg, _ := atReturn(t, bin, "375", "100")
			res := census.Take(source(t, tg), census.Options{Depth: -1})
			for _, err := range res.Errors {
				t.Errorf("census: %v", err)
			}
			n := map[string]int64{}
			entries := int64(0)
			for _, f := range res.Maps {
				classic = classic || f.Layout.Generation == hmap.Classic
				n[f.Type.Name]++
				if len(f.Broken)+len(f.Errors) > 0 {
					t.Fatalf("%s, held by %q: %v %v", f.Header.Addr, paths(f), f.Broken, f.Errors)
				}
				switch f.Type.Name {
				case "map[string]int":
					entries += f.Len
				case "map[int64]int64":
					if f.Len != large {
						t.Errorf("the large map has %d entries, want %d", f.Len, large)
					}
				case "map[int]*main.session":
					if f.Len != small {
						t.Errorf("byID has %d entries, want %d", f.Len, small)
					}
				}
			}
			// Session i has i%8 attributes.
			want := int64(0)
			for i := range small {
				want += int64(i % 8)
			}
			if n["map[string]int"] != small || n["map[int64]int64"] != 1 || n["map[int]*main.session"] != 1 || entries != want {
				t.Errorf("maps by type %v, with %d attributes; want %d small ones with %d", n, entries, small, want)
			}
		})
	}
}
