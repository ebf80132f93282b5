package hmap

import (
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// corruption is a change of a few bytes of an intact map that breaks a rule.
type corruption struct {
	rule, detail string // the rule, and a part of what is said of it
	of           string // name of the map
	do           func(c *corrupted)
	fails        bool // Inspect cannot go on
}

// corrupted is the copy of a map that a corruption changes.
type corrupted struct {
	frozen
	m *Map
	t *testing.T
}

// header writes a field of the header.
func (c *corrupted) header(name string, x uint64) {
	f := c.m.Layout.Header.Field(name)
	if f.Size == 0 {
		c.t.Fatalf("the header has no field %s", name)
	}
	c.put(c.m.Header.Addr+Addr(f.Off), f.Size, x)
}

// table writes a field of table i.
func (c *corrupted) table(i int, name string, x uint64) {
	f := c.m.Layout.Table.Field(name)
	if f.Size == 0 {
		c.t.Fatalf("a table has no field %s", name)
	}
	c.put(c.m.Tables[i].Addr+Addr(f.Off), f.Size, x)
}

// slot finds the first slot that fits.
func (c *corrupted) slot(fits func(e *Entry) bool) (found Entry) {
	err := Slots(c.frozen, c.m, false, func(e *Entry) error {
		if fits(e) {
			found = *e
			return ErrStop
		}
		return nil
	})
	if err != nil || found.At == 0 {
		c.t.Fatalf("no such slot (%v)", err)
	}
	return found
}

// meta writes the control byte or tophash of a slot.
func (c *corrupted) meta(e Entry, x uint8) {
	c.put(e.At+Addr(c.m.Layout.Block.Meta+e.Slot), 1, uint64(x))
}

func full(e *Entry) bool { return e.Full }

// classicCorruptions are of maps of classicMaps.
func classicCorruptions() []corruption {
	link := func(c *corrupted, at, to Addr) {
		c.put(at+Addr(c.m.Layout.Block.Overflow), c.m.Layout.PtrSize, uint64(to))
	}
	return []corruption{
		{"count", "the header says", "idle", func(c *corrupted) { c.header("count", 19) }, false},
		{"count", "count is -1", "idle", func(c *corrupted) { c.header("count", 1<<64-1) }, false},
		{"B", "B is 41, above", "idle", func(c *corrupted) { c.header("B", 41) }, true},
		{"B", "with B 0", "idle", func(c *corrupted) { c.header("B", 0); c.header("oldbuckets", uint64(c.m.Header.Buckets)) }, true},
		{"flags", "0x10", "idle", func(c *corrupted) { c.header("flags", 0x10) }, false},
		{"flags", "without oldbuckets", "idle", func(c *corrupted) { c.header("flags", 8) }, false},
		{"buckets", "buckets is nil", "idle", func(c *corrupted) { c.header("buckets", 0) }, true},
		{"nevacuate", "of 64 old buckets", "growing", func(c *corrupted) { c.header("nevacuate", 65) }, false},
		{"nevacuate", "has not been evacuated", "growing", func(c *corrupted) { c.header("nevacuate", 64) }, false},
		{"evacuation", "is in use, but", "growing", func(c *corrupted) {
			// A slot in the new bucket of an old bucket that still has its entries.
			old := c.slot(func(e *Entry) bool { return e.Old && e.Full })
			c.put(c.m.Header.Buckets+Addr(old.Block*int64(c.m.Layout.Block.Size)), 1, 99)
		}, false},
		{"evacuation", "in part", "growing", func(c *corrupted) {
			for i := range c.m.Growth.OldBuckets {
				at := c.m.Growth.Old + Addr(i*int64(c.m.Layout.Block.Size))
				if c.m.Layout.classes[c.at(at)[0]] == slotMoved {
					c.put(at+3, 1, 99)
					return
				}
			}
			c.t.Fatal("nothing has been evacuated")
		}, false},
		{"noverflow", "noverflow is", "chained", func(c *corrupted) { c.header("noverflow", 7) }, false},
		{"tophash-order", "behind emptyRest", "idle", func(c *corrupted) {
			e := c.slot(func(e *Entry) bool { return e.Full && e.Slot > 0 })
			e.Slot--
			c.meta(e, 0)
		}, false},
		{"tophash-order", "behind emptyRest", "chained", func(c *corrupted) {
			// The last slot of a bucket says that its overflow bucket is empty.
			e := c.slot(func(e *Entry) bool { return e.Full && e.Chain == 1 })
			c.put(c.m.Header.Buckets+Addr(e.Block*int64(c.m.Layout.Block.Size)+7), 1, 0)
		}, false},
		{"tophash", "evacuated or unknown", "idle", func(c *corrupted) { c.meta(c.slot(full), 3) }, false},
		{"overflow", "into the bucket array", "idle", func(c *corrupted) { link(c, c.slot(full).At, c.m.Header.Buckets) }, false},
		{"overflow", "cycle", "chained", func(c *corrupted) {
			e := c.slot(func(e *Entry) bool { return e.Chain == 1 })
			link(c, e.At, e.At)
		}, true},
		{"hash", "the tophash is", "idle", func(c *corrupted) { e := c.slot(full); c.meta(e, max(e.Meta+1, 5)) }, false}, // another one of a full slot
		{"place", "belongs into bucket", "idle", func(c *corrupted) {
			// The seed is of no matter to the tophash alone: exchange two buckets.
			b := c.m.Layout.Block
			array := c.at(c.m.Header.Buckets)
			for i := range b.Size {
				array[i], array[b.Size+i] = array[b.Size+i], array[i]
			}
		}, false},
	}
}

// classicMaps are intact Classic maps.
func classicMaps(t *testing.T) map[string]reflect.Value {
	idle, growing, chained := map[int64]string{}, map[string]int32{}, map[int64]int64{}
	for i := range int64(20) {
		idle[i] = "x"
	}
	for i := range 417 {
		growing[string(rune('a'+i))] = int32(i)
	}
	for i := range 40 {
		delete(growing, string(rune(-i)))
	}
	hash, err := SelfHash(reflect.TypeOf(chained))
	if err != nil {
		t.Fatal(err)
	}
	// Nine keys of one bucket of 16.
	chained[-1] = 0
	for i := int64(0); len(chained) < 60; i++ {
		chained[i] = i
	}
	h, err := Of(chained)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := int64(1000), 0; n < 9; i++ {
		if x, _ := hash(wordBytes(uint64(i)), uint64(h.Hash0)); x%16 == 3 {
			chained[i] = i
			n++
		}
	}
	return map[string]reflect.Value{"idle": reflect.ValueOf(idle), "growing": reflect.ValueOf(growing), "chained": reflect.ValueOf(chained)}
}

func wordBytes(x uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(x >> (8 * i))
	}
	return b
}

// swissCorruptions are of maps of swissMaps.
func swissCorruptions() []corruption {
	entry := func(c *corrupted, i int, addr Addr) {
		ptr := c.m.Layout.PtrSize
		c.put(c.m.Header.DirPtr+Addr(i*ptr), ptr, uint64(addr))
	}
	return []corruption{
		{"count", "the header says", "small", func(c *corrupted) { c.header("used", 4) }, false},
		{"directory", "dirPtr is nil", "split", func(c *corrupted) { c.header("dirPtr", 0) }, true},
		{"directory", "not a power of two", "split", func(c *corrupted) { c.header("dirLen", 3) }, true},
		{"directory", "but globalDepth is", "table", func(c *corrupted) { c.header("globalDepth", 1) }, false},
		{"directory", "globalShift is", "split", func(c *corrupted) { c.header("globalShift", 5) }, false},
		{"directory", "a small map has globalDepth", "small", func(c *corrupted) { c.header("globalDepth", 1) }, false},
		{"directory", "is nil", "split", func(c *corrupted) { entry(c, 0, 0) }, true},
		{"directory", "with others between", "split", func(c *corrupted) { entry(c, int(c.m.Header.DirLen)-1, c.m.Tables[0].Addr) }, false},
		{"directory", "index is 5, but", "split", func(c *corrupted) { c.table(1, "index", 5) }, false},
		{"depth", "above globalDepth", "table", func(c *corrupted) { c.table(0, "localDepth", 1) }, false},
		{"depth", "directory entries", "split", func(c *corrupted) { c.table(0, "localDepth", 0) }, false},
		{"capacity", "capacity is 136", "table", func(c *corrupted) { c.table(0, "capacity", 136) }, false},
		{"capacity", "lengthMask is 0xe", "table", func(c *corrupted) { c.table(0, "groups.lengthMask", 14) }, false},
		{"tombstones", "tombstonePossible is false", "table", func(c *corrupted) { c.header("tombstonePossible", 0) }, false},
		{"tombstones", "a small map has", "small", func(c *corrupted) {
			c.meta(c.slot(func(e *Entry) bool { return !e.Full }), 0xfe)
		}, false},
		{"control", "never writes", "table", func(c *corrupted) {
			c.meta(c.slot(func(e *Entry) bool { return e.Meta == 0x80 }), 0xff)
		}, false},
		{"used", "used is 9", "table", func(c *corrupted) { c.table(0, "used", 9) }, false},
		{"growth-left", "growthLeft is 90", "table", func(c *corrupted) { c.table(0, "growthLeft", 90) }, false},
		{"empty-slot", "no slot is empty", "table", func(c *corrupted) {
			b := c.m.Layout.Block
			for i := range c.m.Groups {
				at := c.m.Tables[0].Groups + Addr(i*int64(b.Size)+int64(b.Meta))
				for k, meta := range c.at(at)[:b.Slots] {
					if meta == 0x80 {
						c.put(at+Addr(k), 1, 0xfe)
					}
				}
			}
		}, false},
		{"hash", "the key's H2 is", "small", func(c *corrupted) { e := c.slot(full); c.meta(e, e.Meta^1) }, false},
		{"place", "which is not its table's", "split", func(c *corrupted) {
			// Exchange the groups of two tables.
			c.table(0, "groups.data", uint64(c.m.Tables[1].Groups))
			c.table(1, "groups.data", uint64(c.m.Tables[0].Groups))
		}, false},
		{"probe", "a lookup begins at group", "table", func(c *corrupted) {
			// Exchange two groups: few of their keys were there by probing on.
			b := c.m.Layout.Block
			groups := c.at(c.m.Tables[0].Groups)
			for i := range b.Size {
				groups[i], groups[b.Size+i] = groups[b.Size+i], groups[i]
			}
		}, false},
	}
}

// swissMaps are intact Swiss maps.
func swissMaps(t *testing.T) map[string]reflect.Value {
	small, table, split := map[string]int{}, map[int64]int32{}, map[uint16]struct{}{}
	for i := range 5 {
		small[string(rune('a'+i))] = i
	}
	for i := range int64(112) {
		table[i] = int32(i)
	}
	for i := range int64(112) {
		if i%9 > 3 {
			delete(table, i)
		}
	}
	if got := inspectSelf(t, reflect.ValueOf(table)); got.Tombstones == 0 || len(got.Tables) != 1 {
		t.Fatalf("%d tables with %d tombstones", len(got.Tables), got.Tombstones)
	}
	for i := uint16(0); ; i++ {
		split[i] = struct{}{}
		// Three tables, of which one has two entries of the directory.
		if got := inspectSelf(t, reflect.ValueOf(split)); got.Header.GlobalDepth == 2 && len(got.Tables) == 3 {
			break
		}
	}
	return map[string]reflect.Value{"small": reflect.ValueOf(small), "table": reflect.ValueOf(table), "split": reflect.ValueOf(split)}
}

// TestInvariants breaks every rule once in a copy of an intact map.
func TestInvariants(t *testing.T) {
	s := self()
	if s.err != nil {
		t.Fatal(s.err)
	}
	cases, maps := swissCorruptions(), map[string]reflect.Value(nil)
	files := []string{"inspect.go", "swiss.go"}
	if s.generation == Classic {
		cases, maps = classicCorruptions(), classicMaps(t)
		files[1] = "classic.go"
	} else {
		maps = swissMaps(t)
	}
	calls := rules(t, files)
	for _, c := range cases {
		t.Run(c.rule+"/"+strings.ReplaceAll(c.detail, " ", "-"), func(t *testing.T) {
			rv := maps[c.of]
			defer runtime.KeepAlive(rv.Interface())
			intact := inspectSelf(t, rv)
			hash, err := SelfHash(rv.Type())
			if err != nil {
				t.Fatal(err)
			}
			copied := freeze(t, SelfMemory{}, intact)
			inspect := func() (*Map, error) {
				return Inspect(copied, intact.Type, intact.Header.Addr, Options{Hash: hash})
			}
			if got, err := inspect(); err != nil || len(got.Broken) > 0 || !got.Complete {
				t.Fatalf("the intact copy: error %v, broken %v", err, got.Broken)
			}
			c.do(&corrupted{copied, intact, t})
			got, err := inspect()
			if (err != nil) != c.fails || got.Complete == c.fails {
				t.Errorf("complete is %t, error %v", got.Complete, err)
			}
			found := false
			for _, b := range got.Broken {
				found = found || b.Rule == c.rule && strings.Contains(b.Detail, c.detail)
			}
			if !found {
				t.Errorf("%s is not reported, but %v", c.rule, got.Broken)
			}
		})
		calls[c.rule]--
	}
	for rule, n := range calls {
		if n > 0 {
			t.Errorf("rule %s: %d calls of broken have no corruption here", rule, n)
		}
	}
}

// rules counts the calls of broken in some files of this package, by rule.
func rules(t *testing.T, files []string) map[string]int {
	t.Helper()
	calls := map[string]int{}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.broken\("([^"]+)"`).FindAllSubmatch(src, -1) {
			calls[string(m[1])]++
		}
	}
	if len(calls) < 5 {
		t.Fatalf("only %d rules were found in %v", len(calls), files)
	}
	return calls
}
