package hmap

import "testing"

func TestOf(t *testing.T) {
	m := map[int]string{1: "a", 2: "b"}
	h, err := Of(m)
	if err != nil {
		t.Fatal(err)
	}
	if h.Len() != 2 {
		t.Errorf("len %d", h.Len())
	}
	if n := testing.AllocsPerRun(100, func() { h, _ = Of(m) }); n != 0 {
		t.Errorf("Of allocates %v times", n)
	}
}
