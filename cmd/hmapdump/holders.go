package main

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/probe"
	"hmaptools/internal/target"
)

// holders names what holds a map, as it is when it is asked: a package variable, or a field
// or an element behind one, or with breakpoints a variable of the goroutine that uses the
// map. It is no census: slices, maps and interfaces are not followed.
type holders struct {
	word    func(addr uint64) uint64
	load    func() []holder               // the package variables
	locals  func(e *event.Event) []holder // nil: not known
	globals []holder
	known   map[hmap.Addr]found
	start   time.Time
	spent   time.Duration
}

// holder is a variable.
type holder struct {
	name string
	addr uint64
	typ  *hmap.Type
}

// found is a word that has held a map, and its name; "" if none was found.
type found struct {
	name string
	word uint64
	at   time.Time
}

// Limits of a search: it looks at so many words, follows so many pointers one behind the
// other, and looks at so many elements of an array. All searches together may take a share
// of the time.
const (
	holderWords    = 20_000
	holderPointers = 4
	holderElements = 16
	holderShare    = 5 // one part in
	holderAgain    = 100 * time.Millisecond
)

func targetHolders(t *target.Target) *holders {
	h := &holders{word: t.Word, known: map[hmap.Addr]found{}, start: time.Now()}
	if t.Stripped() {
		h.load = func() []holder { return nil }
		return h
	}
	h.load = func() (all []holder) {
		globals, _ := t.Globals() // what cannot be listed has no name
		for _, g := range globals {
			all = append(all, holder{g.Name, g.Addr, g.Type})
		}
		return all
	}
	h.locals = func(e *event.Event) (all []holder) {
		roots, _ := t.LocalsOf(e.Thread)
		for _, r := range roots {
			if strings.HasPrefix(r.Func, "runtime.") || strings.HasPrefix(r.Func, "internal/runtime/") {
				continue // what the program calls the map
			}
			name := r.Name + " in " + r.Func[strings.LastIndexByte(r.Func, '/')+1:]
			switch {
			case r.Addr != 0:
				all = append(all, holder{name, r.Addr, r.Type})
			case len(r.Raw) == 8 && r.Type != nil && r.Type.Kind == reflect.Map && hmap.Addr(wordOf(r.Raw)) == e.Map:
				all = append(all, holder{name: name})
			}
		}
		return all
	}
	return h
}

func wordOf(b []byte) (w uint64) {
	for i, c := range b {
		w |= uint64(c) << (8 * i)
	}
	return w
}

func probeHolders(s *probe.Session) *holders {
	h := &holders{word: s.Word, known: map[hmap.Addr]found{}, start: time.Now()}
	h.load = func() (all []holder) {
		for _, v := range s.Variables() {
			all = append(all, holder{v.Name, v.Addr, v.Type})
		}
		return all
	}
	return h
}

// of is the name of what holds the map of an event, "" if that was not found.
func (h *holders) of(e *event.Event) string {
	if e.Map == 0 || e.Func.Op == event.Make {
		return "" // nobody holds it yet
	}
	now := time.Now()
	f, ok := h.known[e.Map]
	switch {
	case ok && f.name != "" && (f.word == 0 || h.word(f.word) == uint64(e.Map)):
		return f.name
	case ok && f.name == "" && now.Sub(f.at) < holderAgain,
		h.spent > now.Sub(h.start)/holderShare+holderAgain:
		return ""
	}
	if len(h.known) > maxMade {
		clear(h.known)
	}
	if h.globals == nil {
		h.globals = h.load()
		own := func(name string) int { // the program's first
			switch {
			case strings.HasPrefix(name, "main."):
				return 0
			case strings.Contains(strings.Split(name, "/")[0], "."):
				return 1
			}
			return 2
		}
		slices.SortStableFunc(h.globals, func(a, b holder) int { return cmp.Compare(own(a.name), own(b.name)) })
		h.spent = -time.Since(now) // once
	}
	s := &holderSearch{holders: h, addr: uint64(e.Map), seen: map[uint64]bool{}}
	for _, g := range h.globals {
		if s.look(g.name, g.addr, g.typ, 0) {
			break
		}
	}
	if s.name == "" && h.locals != nil {
		for _, l := range h.locals(e) {
			if l.addr == 0 {
				s.name = l.name
				break
			}
			name, in, _ := strings.Cut(l.name, " in ")
			if s.look(name, l.addr, l.typ, 0) {
				s.name += " in " + in
				s.word = 0 // a stack moves
				break
			}
		}
	}
	if s.name == "" && f.name != "" {
		s.name, s.word = f.name, f.word // who held it last; the program may have ended
	}
	h.known[e.Map] = found{s.name, s.word, now}
	h.spent += time.Since(now)
	return s.name
}

// holderSearch looks for a word that is the address of a map.
type holderSearch struct {
	*holders
	addr  uint64
	seen  map[uint64]bool // what pointers led to
	words int
	name  string
	word  uint64
}

// look reports whether the map is held by what lies at an address.
func (s *holderSearch) look(name string, at uint64, t *hmap.Type, depth int) bool {
	if t == nil || at == 0 || s.words > holderWords {
		return false
	}
	switch t.Kind {
	case reflect.Map:
		s.words++
		if s.holders.word(at) == s.addr {
			s.name, s.word = name, at
			return true
		}
	case reflect.Pointer:
		elem := t.Elem()
		if depth == holderPointers || elem == nil || elem.Kind != reflect.Struct && elem.Kind != reflect.Map && elem.Kind != reflect.Array && elem.Kind != reflect.Pointer {
			return false
		}
		s.words++
		to := s.holders.word(at)
		if to == 0 || s.seen[to] {
			return false
		}
		s.seen[to] = true
		if elem.Kind != reflect.Struct {
			name = "*" + name
		}
		return s.look(name, to, elem, depth+1)
	case reflect.Struct:
		for _, f := range t.Fields() {
			if s.look(name+"."+f.Name, at+uint64(f.Off), f.Type, depth) {
				return true
			}
		}
	case reflect.Array:
		elem := t.Elem()
		for i := range min(t.Len, holderElements) {
			if s.look(name+"["+strconv.FormatInt(i, 10)+"]", at+uint64(i*elem.Size), elem, depth) {
				return true
			}
		}
	}
	return false
}
