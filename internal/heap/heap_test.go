package heap_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hmaptools/internal/heap"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// stopped runs a program to the return of main.main, and returns what it printed on its
// standard error.
func stopped(t *testing.T, tc testenv.Toolchain, prog string, flags ...testenv.BuildFlag) (*target.Target, string) {
	t.Helper()
	stderr := filepath.Join(t.TempDir(), "stderr")
	tg, err := target.Launch(testenv.Build(t, tc, prog, flags...), nil, target.LaunchOptions{Stdin: os.DevNull, Stdout: os.DevNull, Stderr: stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if stop, err := tg.Continue(ctx, target.Until{}); err != nil || stop.Reason != target.MainReturn {
		t.Fatalf("stop %+v: %v", stop, err)
	}
	return tg, stderr
}

// TestPlaces holds the heap against what program places says of its maps: the headers of
// those that are held are allocated, each an object of its own; of those that the
// program's garbage collection freed, none is, unless its memory was used again.
func TestPlaces(t *testing.T) {
	everFree := 0 // in some builds all of them are used again
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range testenv.Modes() {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				tg, stderr := stopped(t, tc, "places", mode.Flags...)
				h, err := heap.Read(tg.Memory(), tg.Types())
				if err != nil {
					t.Fatal(err)
				}
				f, err := os.Open(stderr)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				used := map[hmap.Addr]bool{}
				var freed []hmap.Addr // in the order of their making
				for lines := bufio.NewScanner(f); lines.Scan(); {
					var kind string
					var header, word uint64
					if n, _ := fmt.Sscanf(lines.Text(), "place %s %v %v", &kind, &header, &word); n == 3 {
						used[hmap.Addr(header)] = true
						if o, place := h.Find(hmap.Addr(header)); place != heap.Object || o.Start != hmap.Addr(header) || o.Size < 48 || o.Size > 64 {
							t.Errorf("the header at %#x is of place %d, object %+v", header, place, o)
						}
						if o, place := h.Find(hmap.Addr(header + 40)); place != heap.Object || o.Start != hmap.Addr(header) {
							t.Errorf("the last word of the header at %#x is of place %d, object %+v", header, place, o)
						}
					} else if n, _ := fmt.Sscanf(lines.Text(), "garbage %v", &header); n == 1 {
						freed = append(freed, hmap.Addr(header))
					}
				}
				if len(used) < 5000 || len(freed) != 2000 {
					t.Fatalf("%d headers, %d of garbage", len(used), len(freed))
				}
				// The second half was made after the collection: it is there still.
				for _, a := range freed[1000:] {
					used[a] = true
					if _, place := h.Find(a); place != heap.Object {
						t.Errorf("%s, which nothing has freed, is of place %d", a, place)
					}
				}
				free, reused := 0, 0
				for _, a := range freed[:1000] {
					_, place := h.Find(a)
					switch {
					case place == heap.Free:
						free++
					case place == heap.Object && !used[a]:
						reused++ // by something else of that size
					}
				}
				// Closures, nodes and records of the program are of that size too.
				if reused > 600 {
					t.Errorf("of 1000 headers that were freed %d seem to be allocated", reused)
				}
				everFree += free
				outside(t, h)
			})
		}
	}
	if everFree == 0 {
		t.Error("no header that was freed is free")
	}
}

// outside asks for addresses that are none of the heap's, and for the ends of spans.
func outside(t *testing.T, h *heap.Heap) {
	t.Helper()
	for _, a := range []hmap.Addr{0, 1, 4096, 1 << 63, ^hmap.Addr(0)} {
		if o, place := h.Find(a); place != heap.Outside || o != (heap.Obj{}) {
			t.Errorf("%s is of place %d, object %+v", a, place, o)
		}
	}
	for k := range h.Spans {
		s := &h.Spans[k]
		if h.SpanOf(s.Start) != k || h.SpanOf(s.Start+hmap.Addr(s.Bytes)-1) != k {
			t.Fatalf("span %d at %s, %d bytes, is not found at both ends", k, s.Start, s.Bytes)
		}
		if s.Manual {
			continue
		}
		// The multiplication is a division, for each byte of a few objects and for the
		// last byte of all.
		for slot := uint64(0); slot < s.N; slot++ {
			at := s.Start + hmap.Addr(slot*s.ElemSize)
			if got, last := s.Slot(at), s.Slot(at+hmap.Addr(s.ElemSize)-1); got != slot || last != slot {
				t.Fatalf("span of objects of %d bytes: slot %d begins at slot %d and ends at slot %d", s.ElemSize, slot, got, last)
			}
		}
	}
}
