package census_test

import (
	"context"
	"path/filepath"
	"testing"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// TestHashes has hmapdump's hash of every key judged by where the target's own
// runtime put it: control byte or tophash, group or bucket. A wrong seed is the
// control: the same check must then break in every map.
func TestHashes(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			for _, prog := range []string{"hashes", "large", "kinds", "tombstones", "evacuating"} {
				tgt, err := target.Launch(testenv.Build(t, tc, prog), nil, target.LaunchOptions{Stderr: filepath.Join(t.TempDir(), "stderr")})
				if err != nil {
					t.Fatal(err)
				}
				defer tgt.Close()
				if _, err := tgt.Continue(context.Background(), target.Until{}); err != nil {
					t.Fatal(err)
				}
				roots, err := tgt.Globals()
				if err != nil {
					t.Fatal(err)
				}
				src := census.Source{Memory: tgt.Memory(), Types: tgt.Types(), Arch: tgt.Arch(), Roots: roots}
				hashed := 0
				for _, f := range census.Take(src, census.Options{Depth: 3, Hashes: true}).Maps {
					for _, b := range f.Broken {
						t.Errorf("%s: %s: %v", prog, f.Holders[0].Path(), b)
					}
					hash := src.Types.Hash(src.Arch, f.Type.Key())
					if hash == nil || f.Header.Len() == 0 || f.Type.Key().Size == 0 {
						continue
					}
					hashed++
					if !wrongSeedBreaks(t, src, f) {
						t.Errorf("%s: %s: the check passes with a wrong seed", prog, f.Holders[0].Path())
					}
				}
				if hashed < 4 {
					t.Errorf("%s: only %d maps were hashed", prog, hashed)
				}
			}
		})
	}
}

// wrongSeedBreaks inspects f's map with another seed. A map of very few keys may
// pass by chance (one in 128 for each): those count as broken.
func wrongSeedBreaks(t *testing.T, src census.Source, f *census.Found) bool {
	t.Helper()
	if f.Header.Len() < 4 {
		return true
	}
	hash := src.Types.Hash(src.Arch, f.Type.Key())
	known := 0
	m, err := hmap.Inspect(src.Memory, f.Type, f.Header.Addr, hmap.Options{
		Hash: func(key []byte, seed uint64) (uint64, bool) {
			h, ok := hash(key, seed^0x5a5a5a5a)
			if ok {
				known++
			}
			return h, ok
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(m.Broken) > 0 || known < 4 // NaN keys have no hash
}
