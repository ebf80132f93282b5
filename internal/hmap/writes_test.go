package hmap

import (
	"reflect"
	"testing"
)

// TestWritesToGo writes to a map until its evacuation ends, and holds what was said of
// that before against the number of writes that it took. A Swiss map never evacuates.
func TestWritesToGo(t *testing.T) {
	m := map[int64]int64{}
	seen := 0
	for i := int64(0); i < 2500; i++ {
		m[i] = i
		got := inspectSelf(t, reflect.ValueOf(m))
		if got.Layout.Generation == Swiss {
			if got.Growth != nil {
				t.Fatalf("growth %+v of a Swiss map", got.Growth)
			}
			continue
		}
		g := *got.Growth
		if g.State == Idle || g.OldBuckets < 16 {
			continue
		}
		seen++
		least, most := g.Writes()
		if g.X < 0 || g.Y < 0 || g.X+g.Y > got.Len || g.Evacuated == 0 && g.X+g.Y > 0 {
			t.Fatalf("%+v, %d entries", g, got.Len)
		}
		moved := int64(0)
		err := Slots(SelfMemory{}, got, false, func(e *Entry) error {
			if e.Full && !e.Old {
				moved++
			}
			return nil
		})
		if err != nil || g.State == Double && moved != g.X+g.Y {
			t.Fatalf("x %d, y %d, but %d entries in the new array: %v", g.X, g.Y, moved, err)
		}
		n := int64(0)
		for ; inspectSelf(t, reflect.ValueOf(m)).Growth.State != Idle; n++ {
			m[n%i]++ // no new key
		}
		if n < least || n > most {
			t.Fatalf("%+v: %d writes ended it, want %d to %d", g, n, least, most)
		}
	}
	if seen == 0 && inspectSelf(t, reflect.ValueOf(m)).Layout.Generation == Classic {
		t.Error("it never grew")
	}
}
