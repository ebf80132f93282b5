// Program nested holds maps of maps of maps, and maps behind structs, pointers,
// slices and other maps' keys.
package main

import "hmaptools/testdata/progs/truth"

type session struct {
	ID    int
	Attrs map[string]string
	next  *session
}

type base struct{ Index map[int]int }

type holder struct {
	base          // embedded
	*session      // embedded pointer
	sessions      map[int]*session
	byValue       map[int]session
	list          []*session
	keyed         map[*session]int
	inKey         map[interface{}]int
	unused        map[string]int
	deeper        struct{ inner struct{ m map[int]int } }
	pointerToMap  *map[int]int
	arrayOfArrays [2][2]map[int]int
}

var (
	tree = map[string]map[string]map[string]int{
		"a": {"b": {"c": 1, "d": 2}, "e": {}},
		"f": {"g": {"h": 3}, "i": nil},
		"j": nil,
	}
	h    holder
	self = map[string]interface{}{}
)

func main() {
	s1 := &session{ID: 1, Attrs: map[string]string{"user": "ann"}}
	s2 := &session{ID: 2, Attrs: map[string]string{"user": "bob"}, next: s1}
	s1.next = s2 // a cycle
	h.Index = map[int]int{1: 10}
	h.session = s1
	h.sessions = map[int]*session{1: s1, 2: s2}
	h.byValue = map[int]session{7: {ID: 7, Attrs: map[string]string{"by": "value"}}}
	h.list = []*session{s1, s2}
	h.keyed = map[*session]int{s1: 1, s2: 2}
	h.inKey = map[interface{}]int{s2: 2, "text": 1}
	h.deeper.inner.m = map[int]int{3: 30}
	m := map[int]int{4: 40}
	h.pointerToMap = &m
	h.arrayOfArrays[1][0] = map[int]int{5: 50}
	self["self"] = self
	self["n"] = 1

	truth.Generation()
	truth.Map("main.tree", "map[string]map[string]map[string]int", tree, truth.Str[string], truth.Word[map[string]map[string]int])
	for _, k := range []string{"a", "f", "j"} {
		name := `main.tree["` + k + `"]`
		truth.Map(name, "map[string]map[string]int", tree[k], truth.Str[string], truth.Word[map[string]int])
		for _, l := range []string{"b", "e", "g", "i"} {
			if v, ok := tree[k][l]; ok {
				truth.Map(name+`["`+l+`"]`, "map[string]int", v, truth.Str[string], truth.Int[int])
			}
		}
	}
	truth.Map("main.h.base.Index", "map[int]int", h.Index, truth.Int[int], truth.Int[int])
	truth.Map("main.h.sessions", "map[int]*main.session", h.sessions, truth.Int[int], truth.Word[*session])
	truth.Map("main.h.sessions[1].Attrs", "map[string]string", s1.Attrs, truth.Str[string], truth.Str[string])
	truth.Alias("main.h.sessions[1].Attrs", s1.Attrs, "main.h.session.Attrs", h.session.Attrs)
	truth.Alias("main.h.sessions[1].Attrs", s1.Attrs, "main.h.list[0].Attrs", h.list[0].Attrs)
	truth.Map("main.h.sessions[2].Attrs", "map[string]string", s2.Attrs, truth.Str[string], truth.Str[string])
	truth.Alias("main.h.sessions[2].Attrs", s2.Attrs, "main.h.list[1].Attrs", h.list[1].Attrs)
	truth.Map("main.h.byValue", "map[int]main.session", h.byValue, truth.Int[int], sessionText)
	truth.Map("main.h.byValue[7].Attrs", "map[string]string", h.byValue[7].Attrs, truth.Str[string], truth.Str[string])
	truth.Map("main.h.keyed", "map[*main.session]int", h.keyed, truth.Word[*session], truth.Int[int])
	truth.Begin("main.h.inKey", "map[interface {}]int", truth.Ptr(h.inKey), len(h.inKey))
	for k, v := range h.inKey {
		truth.Entry("main.h.inKey", ifaceText(k), truth.Int(v))
	}
	truth.End("main.h.inKey", truth.Ptr(h.inKey))
	truth.Map("main.h.unused", "map[string]int", h.unused, truth.Str[string], truth.Int[int])
	truth.Map("main.h.deeper.inner.m", "map[int]int", h.deeper.inner.m, truth.Int[int], truth.Int[int])
	truth.Map("*main.h.pointerToMap", "map[int]int", *h.pointerToMap, truth.Int[int], truth.Int[int])
	truth.Map("main.h.arrayOfArrays[1][0]", "map[int]int", h.arrayOfArrays[1][0], truth.Int[int], truth.Int[int])
	truth.Map("main.self", "map[string]interface {}", self, truth.Str[string], ifaceText)
	truth.Alias("main.self", self, `main.self["self"]`, self["self"].(map[string]interface{}))
}

func sessionText(s session) string {
	return "{" + truth.Int(s.ID) + "," + truth.Word(s.Attrs) + "," + truth.Word(s.next) + "}"
}

func ifaceText(v interface{}) string {
	switch v := v.(type) {
	case string:
		return "iface(string," + truth.Str(v) + ")"
	case int:
		return "iface(int," + truth.Int(v) + ")"
	case *session:
		return "iface(*main.session," + truth.Word(v) + ")"
	case map[string]interface{}:
		return "iface(map[string]interface{}," + truth.Word(v) + ")"
	}
	return "nil"
}
