package census_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// damaged is a target's memory of which words are wrong, and pages missing, here and
// there: always the same ones for a seed.
type damaged struct {
	hmap.Memory
	seed         uint64
	words, pages uint64 // of a million, how many are damaged
}

const damagedPage = 4096

// draw is a number that an address always has.
func (d *damaged) draw(x, salt uint64) *rand.Rand { return rand.New(rand.NewPCG(d.seed+salt, x)) }

func (d *damaged) ReadMemory(buf []byte, addr uint64) (int, error) {
	n, err := d.Memory.ReadMemory(buf, addr)
	if n == 0 || addr+uint64(len(buf))+8 < addr {
		return n, err
	}
	for p := addr / damagedPage; p <= (addr+uint64(n))/damagedPage; p++ {
		if d.pages > 0 && d.draw(p, 1).Uint64N(1e6) < d.pages {
			if hole := p * damagedPage; hole >= addr {
				return int(min(hole-addr, uint64(n))), errors.New("a hole")
			}
			return 0, errors.New("a hole")
		}
	}
	if d.words == 0 {
		return n, err
	}
	for w := (addr + 7) &^ 7; w+8 <= addr+uint64(n); w += 8 {
		// One draw in a line of 64 words is quick enough.
		r := d.draw(w/512, 2)
		if w/8%64 != r.Uint64N(64) || r.Uint64N(1e6) >= 64*d.words {
			continue
		}
		word := buf[w-addr : w-addr+8]
		switch r.IntN(4) {
		case 0: // anything
			for i := range word {
				word[i] = byte(r.Uint32())
			}
		case 1: // a pointer to nearby
			for i, x := 0, w+r.Uint64N(1<<20)-1<<19; i < 8; i++ {
				word[i] = byte(x >> (8 * i))
			}
		case 2: // huge
			copy(word, "\xff\xff\xff\xff\xff\xff\xff\x7f")
		case 3: // itself: a cycle
			for i := range word {
				word[i] = byte(w >> (8 * i))
			}
		}
	}
	return n, err
}

// TestDamaged: whatever is in the target's memory, the census ends, and says what it has
// found. The limit on time is for a hang alone.
func TestDamaged(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			bin := testenv.Build(t, tc, "places")
			tg, _ := atReturn(t, bin)
			src := source(t, tg)
			whole := census.Take(src, census.Options{Depth: -1})
			found := 0
			for seed := range uint64(12) {
				bad := src
				d := &damaged{Memory: tg.Memory(), seed: seed}
				switch seed % 3 {
				case 0:
					d.words = 200
				case 1:
					d.pages = 20000
				case 2:
					d.words, d.pages = 5000, 5000
				}
				bad.Memory = d
				bad.Types = hmap.NewTypes(tg.DebugInfo(), d)
				bad.Roots = nil
				for _, r := range src.Roots { // their types belong to the Types of before
					if r.Type != nil && r.Kind == target.Global {
						if r.Type = bad.Types.Named(r.Type.Name); r.Type != nil {
							bad.Roots = append(bad.Roots, r)
						}
					}
				}
				done := make(chan *census.Result, 1)
				go func() { done <- census.Take(bad, census.Options{Depth: -1, Hashes: seed%2 == 0}) }()
				select {
				case res := <-done:
					found += len(res.Maps)
					if d.pages > 10000 && len(res.Errors) == 0 {
						t.Errorf("seed %d: %d maps without an error, though pages are missing", seed, len(res.Maps))
					}
				case <-time.After(2 * time.Minute):
					t.Fatalf("seed %d: the census does not end", seed)
				}
			}
			if found == 0 || len(whole.Maps) == 0 {
				t.Errorf("%d maps in all that was damaged, %d in what was not", found, len(whole.Maps))
			}
			t.Logf("%d maps a run on average, of %d", found/12, len(whole.Maps))
		})
	}
}
