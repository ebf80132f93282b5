package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func TestPathSteps(t *testing.T) {
	for _, tt := range []struct {
		h    Holder
		want string // steps separated by spaces
	}{
		{Holder{Name: "main.cache", Path: "main.cache"}, "main.cache"},
		{Holder{Name: "main.srv", Path: "main.srv.sessions[42].Attrs"}, "main.srv .sessions [] .Attrs"},
		{Holder{Name: "m", Path: `m["a.b[c]"][3].x`, Func: "main.f"}, "main.f m [] [] .x"},
		{Holder{Name: "m", Path: `m["\""].x`}, "m [] .x"},
		{Holder{Name: "m", Path: "m[main.key{A: 1, B: [2]int{3, 4}}].x"}, "m [] .x"},
		{Holder{Name: "main.any", Path: "main.any.(map[string]main.T)[1]"}, "main.any .(map[string]main.T) []"},
		{Holder{Name: "main.p", Path: "(*main.p)[3]"}, "(*main.p)[3]"},
	} {
		got := strings.Join(pathSteps(&Map{Holders: []Holder{tt.h}}), " ")
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.h.Path, got, tt.want)
		}
	}
}

func TestPprof(t *testing.T) {
	d := &Document{Maps: []Map{
		{Type: "map[int]int", Len: 3, Bytes: 100, Wasted: 10, Holders: []Holder{{Name: "main.a", Path: "main.a[1].m"}}},
		{Type: "map[int]int", Len: 4, Bytes: 200, Wasted: 20, Holders: []Holder{{Name: "main.a", Path: "main.a[2].m"}}},
		{Type: "map[int]int", Len: 5, Bytes: 400},
	}}
	var buf bytes.Buffer
	if err := d.Pprof(&buf); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Sample) != 2 {
		t.Fatalf("%d samples, want the elements of main.a in one and the map without a holder in another", len(p.Sample))
	}
	if got, want := p.Sample[0].Value, []int64{2, 7, 30, 300}; !slices.Equal(got, want) {
		t.Errorf("main.a[].m: %v, want %v", got, want)
	}
	var stack []string
	for _, l := range p.Sample[0].Location {
		stack = append(stack, l.Line[0].Function.Name)
	}
	if got, want := strings.Join(stack, " "), "map[int]int .m [] main.a"; got != want {
		t.Errorf("stack, leaf first: %q, want %q", got, want)
	}
}

func TestConditions(t *testing.T) {
	d := &Diff{
		Total: Change{Old: &Figures{Bytes: 1000, Len: 10, Maps: 2}, New: &Figures{Bytes: 1100, Len: 12, Maps: 2}},
		Maps:  []Change{{Path: "main.m", Old: &Figures{Bytes: 0, Len: 4}, New: &Figures{Bytes: 1, Len: 9}}},
	}
	for _, tt := range []struct {
		cond, met string
	}{
		{"bytes>9%", "bytes>9% in total: 1000 -> 1100"},
		{"bytes>10%", "bytes>10% for main.m: 0 -> 1"}, // of nothing, anything is more
		{"bytes>100", ""},
		{"len>2", "len>2 for main.m: 4 -> 9"},
		{"len > 5", ""},
		{"maps>0", ""},
	} {
		c, err := ParseCondition(tt.cond)
		if err != nil {
			t.Errorf("%s: %v", tt.cond, err)
		} else if got := c.Met(d); got != tt.met {
			t.Errorf("%s: %q, want %q", tt.cond, got, tt.met)
		}
	}
	for _, bad := range []string{"", "bytes", "bytes<3", "weight>3", "bytes>x", "bytes>-1", "bytes>NaN%"} {
		if _, err := ParseCondition(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestCompareMatches has maps whose addresses were swapped between two runs: paths
// decide.
func TestCompareMatches(t *testing.T) {
	h := func(path string) []Holder { return []Holder{{Name: path, Path: path}} }
	old := &Document{Maps: []Map{
		{Addr: 1, Type: "map[int]int", Bytes: 10, Holders: h("a")},
		{Addr: 2, Type: "map[int]int", Bytes: 20, Holders: h("b")},
		{Addr: 3, Type: "map[int]int", Bytes: 30},
		{Addr: 4, Type: "map[int]int", Bytes: 40, Holders: h("gone")},
	}}
	new := &Document{Maps: []Map{
		{Addr: 2, Type: "map[int]int", Bytes: 11, Holders: h("a")},
		{Addr: 1, Type: "map[int]int", Bytes: 20, Holders: h("b")},
		{Addr: 3, Type: "map[int]int", Bytes: 29},
		{Addr: 5, Type: "map[string]int", Bytes: 50, Holders: h("gone")},
	}}
	var got []string
	for _, c := range Compare(old, new).Maps {
		got = append(got, c.State+" "+c.Path)
	}
	want := []string{"came gone", "went gone", "shrank ", "grew a"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFieldsKeepTheirOrder(t *testing.T) {
	in := `{"used":3,"seed":"0x1f","B":18446744073709551615,"flag_names":["iterator"]}`
	var fs Fields
	if err := json.Unmarshal([]byte(in), &fs); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(fs)
	if err != nil || string(out) != in {
		t.Errorf("%s, %v; want %s", out, err, in)
	}
}

func TestWrap(t *testing.T) {
	got := wrap([]string{"aa", "bb", "a.long.word.that.is.cut", "cc"}, 10)
	for _, l := range got {
		if len(l) > 10 {
			t.Errorf("line of %d bytes: %q", len(l), l)
		}
	}
	if s := strings.ReplaceAll(strings.Join(got, ""), " ", ""); s != "aabba.long.word.that.is.cutcc" {
		t.Errorf("text was lost: %q", got)
	}
}
