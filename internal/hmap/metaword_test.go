package hmap

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestMetaWord holds the tricks with words against the table of classes, byte by
// byte.
func TestMetaWord(t *testing.T) {
	classic := &Layout{Generation: Classic, Consts: &Consts{
		EmptyOne: 1, EvacuatedX: 2, EvacuatedY: 3, EvacuatedEmpty: 4, MinTopHash: 5,
	}}
	swiss := &Layout{Generation: Swiss, Consts: &Consts{CtrlEmpty: 0x80, CtrlDeleted: 0xfe}}
	likely := map[*Layout][]byte{classic: {0, 0, 1, 2, 4, 5, 6, 127, 128, 255}, swiss: {0x80, 0x80, 0xfe, 0, 1, 0x7f, 0x81, 0xff, 0x7e}}
	r := rand.New(rand.NewPCG(3, 4))
	for l, bytes := range likely {
		l.classify()
		l.meta = newMetaWord(l)
		accepted := 0
		for i := range 200_000 {
			var meta [8]byte
			for k := range meta {
				meta[k] = bytes[r.IntN(len(bytes))]
				if i%4 == 0 {
					meta[k] = byte(r.Uint32())
				}
			}
			if i%3 == 0 { // in order
				for k := r.IntN(9); k < 8; k++ {
					meta[k] = 0
				}
			}
			var n [slotClasses]int
			l.tally(meta[:], &n)
			x := binary.LittleEndian.Uint64(meta[:])
			if l == swiss {
				if f, e, d := l.meta.swiss(x); f != n[slotFull] || e != n[slotEmpty] || f+e+d == 8 && d != n[slotDeleted] || f+e+d == 8 != (n[slotInvalid] == 0) {
					t.Fatalf("% x: full %d, empty %d, deleted %d; the table says %v", meta, f, e, d, n)
				}
				continue
			}
			order, rest := true, false
			for _, m := range meta {
				order, rest = order && (!rest || m == 0), rest || m == 0
			}
			want := order && n[slotMoved]+n[slotInvalid] == 0
			if f, ok := l.meta.classic(x); f != n[slotFull] || ok != want {
				t.Fatalf("% x: full %d, ok %t; the table says %v, in order %t", meta, f, ok, n, order)
			} else if ok {
				accepted++
			}
		}
		if l == classic && accepted < 1000 {
			t.Errorf("only %d buckets in order", accepted)
		}
	}
}
