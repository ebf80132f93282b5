package syncmap_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"hmaptools/internal/hmap"
	"hmaptools/internal/syncmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// row is a toolchain, and the design that it gives a sync.Map: the oracle.
type row struct {
	testenv.Toolchain
	design syncmap.Design
}

// rows are those of testenv, and those of which only a sync.Map is another.
func rows(t testing.TB) []row {
	var rs []row
	for _, tc := range testenv.Toolchains(t) {
		design := syncmap.HashTrie
		if strings.HasPrefix(tc.Go, "go1.18") || strings.HasPrefix(tc.Go, "go1.21") || strings.HasPrefix(tc.Go, "go1.23") {
			design = syncmap.ReadDirty
		}
		rs = append(rs, row{tc, design})
	}
	if testing.Short() {
		return rs
	}
	// The experiment exists in two releases.
	add := func(name, version string) {
		rs = append(rs, row{testenv.Toolchain{Name: name, Go: version, Experiment: "nosynchashtriemap", Generation: "swiss", Variant: "interleaved"}, syncmap.ReadDirty})
	}
	if add("go1.25-nosynchashtriemap", "go1.25.9"); os.Getenv("HMAPTOOLS_ALL_TOOLCHAINS") == "1" {
		add("go1.24-nosynchashtriemap", "go1.24.13")
	}
	return rs
}

// told is what the program has said of one map.
type told struct {
	name, typ string
	addr      hmap.Addr
	len       int64
	busy      bool
	entries   [][4]uint64 // words of key and value
	sum       uint64      // of all words; where entries are nil
	maps      *[8]uint64  // read, dirty, their lengths, amended, misses, deleted, expunged
	trie      *[6]uint64  // root, indirects, entries, overflow, longest, depth
	bytes     int64
}

// stopped is a target at its end.
type stopped struct {
	*target.Target
	maps        []*told
	unique      int64 // handles of type main.tag
	uniqueTypes int64 // types with handles
}

func stop(t testing.TB, bin string, args ...string) *stopped {
	t.Helper()
	stderr := filepath.Join(t.TempDir(), "stderr")
	tg, err := target.Launch(bin, args, target.LaunchOptions{Stdin: os.DevNull, Stdout: os.DevNull, Stderr: stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	at, err := tg.Continue(ctx, target.Until{})
	if err != nil || at.Reason != target.MainReturn {
		text, _ := os.ReadFile(stderr)
		t.Fatalf("stop %+v, %v\n%s", at, err, text)
	}
	text, err := os.ReadFile(stderr)
	if err != nil {
		t.Fatal(err)
	}
	s := &stopped{Target: tg}
	byName := map[string]*told{}
	bytes := map[string]int64{}
	scan := func(line string, into ...any) {
		if n, err := fmt.Sscan(line, into...); err != nil || n != len(into) {
			t.Fatalf("%q: %v", line, err)
		}
	}
	for line := range strings.Lines(string(text)) {
		item, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name, values, _ := strings.Cut(rest, " ")
		m := byName[name]
		switch item {
		case "syncmap":
			m = &told{name: name, bytes: bytes[name]}
			scan(values, &m.addr, &m.len, &m.busy, &m.typ)
			byName[name] = m
			s.maps = append(s.maps, m)
		case "bytes":
			var n int64
			scan(values, &n)
			bytes[name] = n
		case "entry":
			var e [4]uint64
			scan(values, &e[0], &e[1], &e[2], &e[3])
			m.entries = append(m.entries, e)
		case "sum":
			scan(values, &m.sum)
		case "maps":
			x := &[8]uint64{}
			var amended bool
			scan(values, &x[0], &x[1], &x[2], &x[3], &amended, &x[5], &x[6], &x[7])
			if amended {
				x[4] = 1
			}
			m.maps = x
		case "trie":
			x := &[6]uint64{}
			scan(values, &x[0], &x[1], &x[2], &x[3], &x[4], &x[5])
			m.trie = x
		case "unique":
			scan(rest, &s.unique, &s.uniqueTypes)
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	return s
}

func (s *stopped) layout(t testing.TB, typ string) *syncmap.Layout {
	t.Helper()
	ht := s.Types().Named(typ)
	if ht == nil {
		t.Fatalf("no type %s", typ)
	}
	if !syncmap.Is(ht) {
		t.Fatalf("%s is not seen as a sync.Map", typ)
	}
	l, err := syncmap.LayoutOf(s.Types(), ht)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// counted counts what a hash function answers.
type counted struct {
	hash      func([]byte, uint64) (uint64, bool)
	can, cant int
}

func (c *counted) sum(key []byte, seed uint64) (uint64, bool) {
	h, ok := c.hash(key, seed)
	if ok {
		c.can++
	} else {
		c.cant++
	}
	return h, ok
}

// TestTruth compares every map of the program, built by every toolchain, with what
// the program has printed in the same run.
func TestTruth(t *testing.T) {
	for _, tc := range rows(t) {
		for i, mode := range testenv.Modes() {
			if i > 1 && (testing.Short() || tc.Name != testenv.Host().Name) {
				continue
			}
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				s := stop(t, testenv.Build(t, tc.Toolchain, "syncmaps", mode.Flags...))
				if len(s.maps) < 35 {
					t.Fatalf("the program has told of %d maps", len(s.maps))
				}
				for _, m := range s.maps {
					t.Run(m.name, func(t *testing.T) { s.check(t, tc, m) })
				}
				s.checkUnique(t)
			})
		}
	}
}

func (s *stopped) check(t *testing.T, tc row, want *told) {
	l := s.layout(t, want.typ)
	if l.Design != tc.design {
		t.Fatalf("design %s, want %s", l.Design, tc.design)
	}
	if name, ok := strings.CutPrefix(want.name, "main."); ok && !strings.Contains(name, ".") && !strings.Contains(name, "[") {
		if addr, typ, ok := s.Types().Var(want.name); !ok || addr != want.addr || typ.Name != want.typ {
			t.Errorf("the variable %s is at %s, of type %v; the program says %s", want.name, addr, typ, want.addr)
		}
	}
	mem := s.Memory()
	hash := &counted{hash: syncmap.Hash(mem, s.Types(), s.Arch(), l.Key)}
	if hash.hash == nil {
		t.Fatal("no hash function")
	}
	m, err := syncmap.Inspect(mem, l, want.addr, syncmap.Options{Hash: hash.sum})
	if err != nil || !m.Complete {
		t.Errorf("complete %t, error %v", m.Complete, err)
	}
	if len(m.Broken) > 0 {
		t.Errorf("broken: %v", m.Broken)
	}
	if m.Addr != want.addr || m.Layout != l || m.Len != want.len || m.Busy != want.busy {
		t.Errorf("at %s, len %d, busy %t, want %s, %d, %t", m.Addr, m.Len, m.Busy, want.addr, want.len, want.busy)
	}
	keys := m.Len
	if tc.design == syncmap.ReadDirty {
		s.checkMaps(t, m, want)
		keys = m.Maps.Read.Len + m.Maps.Dirty.Len
	} else {
		s.checkTrie(t, m, want)
	}
	// The hash of a NaN is random; what holds a value that has no type in the debug
	// information cannot be hashed.
	if hash.can+hash.cant < int(keys) || hash.cant > 3 && want.name != "main.nan" {
		t.Errorf("%d of %d hashes were known", hash.can, hash.can+hash.cant)
	}
	if want.bytes != 0 {
		// The heap holds all but the map itself.
		got := m.Bytes - l.Type.Size
		if math.Abs(float64(got-want.bytes)) > float64(want.bytes)/200+512 {
			t.Errorf("%d bytes, the heap has grown by %d", got, want.bytes)
		}
		t.Logf("%d entries: %d bytes, the heap has grown by %d", m.Len, got, want.bytes)
	}
	s.checkEntries(t, m, want)
}

func (s *stopped) checkMaps(t *testing.T, m *syncmap.Map, want *told) {
	t.Helper()
	if m.Maps == nil || m.Trie != nil || want.maps == nil {
		t.Fatalf("maps %v, trie %v, told %v", m.Maps, m.Trie, want.maps)
	}
	g := m.Maps
	got := [8]uint64{
		uint64(g.Read.Header.Addr), uint64(g.Dirty.Header.Addr), uint64(g.Read.Len), uint64(g.Dirty.Len), 0,
		uint64(g.Misses), uint64(g.Deleted), uint64(g.Expunged),
	}
	if g.Amended {
		got[4] = 1
	}
	if got != *want.maps {
		t.Errorf("maps %d, want %d", got, *want.maps)
	}
	for _, x := range []*hmap.Map{g.Read, g.Dirty} {
		if x.Type == nil || x.Type.Name != "map[interface {}]*sync.entry" {
			t.Errorf("an inner map of type %v", x.Type)
		}
	}
}

func (s *stopped) checkTrie(t *testing.T, m *syncmap.Map, want *told) {
	t.Helper()
	if m.Trie == nil || m.Maps != nil || want.trie == nil {
		t.Fatalf("maps %v, trie %v, told %v", m.Maps, m.Trie, want.trie)
	}
	g := m.Trie
	got := [6]uint64{uint64(g.Root), uint64(g.Indirects), uint64(g.Entries), uint64(g.Overflow), uint64(g.LongestChain), uint64(g.Depth())}
	if got != *want.trie {
		t.Errorf("trie %d, want %d", got, *want.trie)
	}
	var sum syncmap.Level
	for _, l := range g.Levels {
		sum.Indirects += l.Indirects
		sum.Entries += l.Entries
	}
	if sum.Indirects != g.Indirects || sum.Entries != g.Entries {
		t.Errorf("levels %v, in all %d indirect nodes and %d entries", g.Levels, g.Indirects, g.Entries)
	}
}

// checkEntries compares the words of all keys and values.
func (s *stopped) checkEntries(t *testing.T, m *syncmap.Map, want *told) {
	t.Helper()
	var got [][4]uint64
	sum := uint64(0)
	chained, deep := 0, 0
	l := m.Layout
	if l.Key.Name != "interface {}" || l.Value.Name != "interface {}" || l.Key.Kind != reflect.Interface {
		t.Errorf("keys are %s, values %s", l.Key, l.Value)
	}
	err := syncmap.Entries(s.Memory(), m, func(e *syncmap.Entry) error {
		w := [4]uint64{le(e.Key), le(e.Key[8:]), le(e.Value), le(e.Value[8:])}
		got = append(got, w)
		sum += w[0]*3 + w[1]*5 + w[2]*7 + w[3]*11
		if e.Chain > 0 {
			chained++
		}
		deep = max(deep, e.Level)
		for at, words := range map[hmap.Addr][]byte{e.KeyAt: e.Key, e.ValueAt: e.Value} {
			if len(words) != 16 {
				t.Fatalf("%d bytes at %s", len(words), at)
			}
			if mem := s.read(t, at, 16); string(mem) != string(words) {
				t.Errorf("%x at %s, told %x", mem, at, words)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if int64(len(got)) != want.len {
		t.Errorf("%d entries, want %d", len(got), want.len)
	}
	if want.trie != nil && (chained != int(want.trie[3]) || len(got) > 0 && deep > int(want.trie[5])) {
		t.Errorf("%d entries in overflow chains, %d nodes above one; told %d", chained, deep, *want.trie)
	}
	if want.entries == nil {
		if sum != want.sum {
			t.Errorf("sum %d, want %d", sum, want.sum)
		}
		return
	}
	for _, list := range [][][4]uint64{got, want.entries} {
		slices.SortFunc(list, func(a, b [4]uint64) int { return slices.Compare(a[:], b[:]) })
	}
	if !slices.Equal(got, want.entries) {
		t.Errorf("entries\n%x\nwant\n%x", got, want.entries)
	}
}

func (s *stopped) read(t testing.TB, addr hmap.Addr, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := s.Memory().ReadMemory(b, uint64(addr)); err != nil {
		t.Fatal(err)
	}
	return b
}

func le(b []byte) uint64 {
	var x uint64
	for i := range 8 {
		x |= uint64(b[i]) << (8 * i)
	}
	return x
}

// checkUnique reads the tries of package unique, since Go 1.23: one from types to the
// maps of their handles, and, up to Go 1.24, such a map.
func (s *stopped) checkUnique(t *testing.T) {
	t.Helper()
	if s.unique == 0 {
		return
	}
	addr, typ, ok := s.Types().Var("unique.uniqueMaps")
	if !ok {
		t.Fatal("no unique.uniqueMaps")
	}
	if typ.Kind == reflect.Pointer {
		typ, addr = typ.Elem(), hmap.Addr(le(s.read(t, addr, 8)))
	}
	inner, _ := s.inspectTrie(t, typ, addr)
	if int64(len(inner)) != s.uniqueTypes {
		t.Errorf("%d types in unique.uniqueMaps, want %d", len(inner), s.uniqueTypes)
	}
	// The debug information has the types' shapes alone: tag is the one string.
	typ = s.Types().Named("unique.uniqueMap[go.shape.string]")
	if typ == nil {
		t.Fatal("no unique.uniqueMap[go.shape.string]")
	}
	tries, found := 0, 0
	for _, f := range typ.Fields() {
		trie, ptr := f.Type, f.Type.Kind == reflect.Pointer
		if ptr {
			trie = trie.Elem()
		}
		if !syncmap.Is(trie) {
			continue
		}
		tries++
		for _, e := range inner {
			at := hmap.Addr(le(e[1][8:]) + uint64(f.Off))
			if ptr {
				at = hmap.Addr(le(s.read(t, at, 8)))
			}
			all, m := s.inspectTrie(t, trie, at)
			if int64(len(all)) != s.unique {
				continue // of another type
			}
			found++
			tags := map[string]bool{}
			for _, e := range all {
				tags[string(s.read(t, hmap.Addr(le(e[0])), int(le(e[0][8:]))))] = true
			}
			if !tags["t0"] || !tags["t999"] || len(tags) != len(all) || m.Layout.Key.Kind != reflect.String {
				t.Errorf("%d tags in %s, keys are %s", len(tags), trie, m.Layout.Key)
			}
		}
	}
	// Since Go 1.25 the handles of a type are in a unique.canonMap.
	if canon := s.Types().Named("unique.canonMap[go.shape.string]") != nil; canon == (tries == 1) || tries != found {
		t.Errorf("%d HashTrieMaps in %s, %d found; canonMap %t", tries, typ, found, canon)
	}
}

// inspectTrie returns the bytes of the keys and values.
func (s *stopped) inspectTrie(t *testing.T, typ *hmap.Type, addr hmap.Addr) ([][2][]byte, *syncmap.Map) {
	t.Helper()
	if !syncmap.Is(typ) {
		t.Fatalf("%s is not seen as a HashTrieMap", typ)
	}
	l, err := syncmap.LayoutOf(s.Types(), typ)
	if err != nil {
		t.Fatal(err)
	}
	m, err := syncmap.Inspect(s.Memory(), l, addr, syncmap.Options{Hash: syncmap.Hash(s.Memory(), s.Types(), s.Arch(), l.Key)})
	if err != nil || len(m.Broken) > 0 || m.Trie == nil {
		t.Errorf("%s: broken %v, error %v", typ, m.Broken, err)
	}
	var all [][2][]byte
	err = syncmap.Entries(s.Memory(), m, func(e *syncmap.Entry) error {
		all = append(all, [2][]byte{slices.Clone(e.Key), slices.Clone(e.Value)})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return all, m
}
