package testenv

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// A Truth is what a target said of its maps, in the order in which it said it.
type Truth struct {
	Go         string // runtime.Version of the target
	Generation string // classic or swiss, as the target thinks by its version
	Maps       []*Map
}

// A Map is one opened name. Another Map may have the same address if the target
// opened it under several names instead of printing aliases.
type Map struct {
	Name    string
	Addr    uint64 // of the header, 0 for a nil map
	Len     int
	Type    string
	Words   []uint64 // of the header; none for a nil map
	Entries []Entry  // sorted by key, then elem; nil if there is a Sum, or neither
	Sum     *Sum
	Aliases []string // other holders of this header
	Only    string   // function, at a stop in which the name is in scope; "" if it is at the program's end
	Fresh   string   // name of the freshly made map with the same entries

	Growth   *Growth   // Classic, if the target printed it
	Overflow *Overflow // Classic, if the target printed it
	Group    *Group    // Swiss small map, if the target printed it
	Tables   []Table   // Swiss, if the target printed them; each table once
}

// An Entry holds canonical texts, as the package comment defines them.
type Entry struct{ Key, Elem string }

// A Sum holds the checksums of all keys and all elems.
type Sum struct{ Keys, Elems uint64 }

// A Growth is the state of a Classic map's growth.
type Growth struct {
	State      string // idle, double or same-size
	NEvacuate  uint64
	Evacuated  int // old buckets that are evacuated, those beyond NEvacuate included
	OldBuckets int
}

// An Overflow says what hangs at the buckets of a Classic map.
type Overflow struct {
	Buckets      int // overflow buckets that are linked into a chain of hmap.buckets
	LongestChain int // overflow buckets behind one bucket, at most
	NOverflow    int // as the header has it
}

// A Group is the only group of a small Swiss map.
type Group struct {
	Addr       uint64
	Tombstones int
}

// A Table is a table of a Swiss map.
type Table struct {
	Index      int
	Addr       uint64
	LocalDepth int
	Used       int
	Capacity   int
	GrowthLeft int
	Tombstones int
}

// Map returns the one map of that name and fails the test if there is none or
// if there are several.
func (tr *Truth) Map(t testing.TB, name string) *Map {
	t.Helper()
	var found []*Map
	for _, m := range tr.Maps {
		if m.Name == name {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the target told of %d maps called %s", len(found), name)
	}
	return found[0]
}

// At returns the maps whose header is at addr, which are one map under several
// names.
func (tr *Truth) At(addr uint64) []*Map {
	var found []*Map
	for _, m := range tr.Maps {
		if m.Addr == addr {
			found = append(found, m)
		}
	}
	return found
}

// ParseTruth parses what a target has written to standard error, in which other
// lines may stand. It fails if a truth line is not as the package comment says,
// or if there is none at all.
func ParseTruth(stderr []byte) (*Truth, error) {
	p := parser{truth: &Truth{}, open: map[string]*Map{}}
	for n, line := range bytes.Split(stderr, []byte("\n")) {
		if text, ok := strings.CutPrefix(string(line), "truth "); ok {
			if err := p.line(text); err != nil {
				return nil, fmt.Errorf("truth: line %d: %q: %w", n+1, line, err)
			}
		}
	}
	if p.truth.Go == "" {
		return nil, fmt.Errorf("truth: the target told none:\n%s", stderr)
	}
	for _, m := range p.truth.Maps {
		sort.Slice(m.Entries, func(i, j int) bool {
			a, b := m.Entries[i], m.Entries[j]
			return a.Key < b.Key || a.Key == b.Key && a.Elem < b.Elem
		})
	}
	return p.truth, nil
}

type parser struct {
	truth  *Truth
	open   map[string]*Map // the map that was last opened by each name
	fields []string
	err    error // the first that took met
}

func (p *parser) line(text string) error {
	item, rest, _ := strings.Cut(text, " ")
	want, known := map[string]int{
		"go": 2, "map": 4, "entry": 3, "sum": 3, "word": 3, "alias": 2, "fresh": 2, "only": 2,
		"growth": 5, "overflow": 4, "group": 3, "table": 8,
	}[item]
	if !known {
		return fmt.Errorf("unknown item %q", item)
	}
	// Only the type of a map holds spaces, and it is the last of four.
	p.fields = strings.SplitN(rest, " ", want)
	if len(p.fields) != want || item != "map" && strings.Contains(p.fields[want-1], " ") {
		return fmt.Errorf("want %d fields", want)
	}
	p.err = nil
	switch item {
	case "go":
		p.truth.Go, p.err = strconv.Unquote(p.fields[0])
		p.truth.Generation = p.fields[1]
		return p.err
	case "map":
		m := &Map{Name: p.fields[0], Addr: p.number(1), Len: int(p.number(2)), Type: p.fields[3]}
		p.truth.Maps = append(p.truth.Maps, m)
		p.open[m.Name] = m
		return p.err
	}
	m := p.open[p.fields[0]]
	if m == nil {
		return fmt.Errorf("no map called %s before", p.fields[0])
	}
	switch item {
	case "entry":
		m.Entries = append(m.Entries, Entry{p.fields[1], p.fields[2]})
	case "sum":
		m.Sum = &Sum{p.number(1), p.number(2)}
	case "word":
		if int(p.number(1)) != len(m.Words) {
			return fmt.Errorf("want word %d", len(m.Words))
		}
		m.Words = append(m.Words, p.number(2))
	case "alias":
		m.Aliases = append(m.Aliases, p.fields[1])
	case "fresh":
		m.Fresh = p.fields[1]
	case "only":
		m.Only = p.fields[1]
	case "growth":
		m.Growth = &Growth{p.fields[1], p.number(2), int(p.number(3)), int(p.number(4))}
	case "overflow":
		m.Overflow = &Overflow{int(p.number(1)), int(p.number(2)), int(p.number(3))}
	case "group":
		m.Group = &Group{p.number(1), int(p.number(2))}
	case "table":
		m.Tables = append(m.Tables, Table{int(p.number(1)), p.number(2), int(p.number(3)), int(p.number(4)),
			int(p.number(5)), int(p.number(6)), int(p.number(7))})
	}
	return p.err
}

// number returns field i, decimal or hex. The first failure stays in p.err.
func (p *parser) number(i int) uint64 {
	v, err := strconv.ParseUint(p.fields[i], 0, 64)
	if err != nil && p.err == nil {
		p.err = err
	}
	return v
}
