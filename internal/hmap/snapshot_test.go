package hmap

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"
)

// record has TestRecordSnapshots write those of the generation that the test is
// built with. For all of them:
//
//	go test ./internal/hmap -run TestRecordSnapshots -record
//	GOTOOLCHAIN=go1.25.9 GOEXPERIMENT=noswissmap go test ./internal/hmap -run TestRecordSnapshots -record
//	GOTOOLCHAIN=go1.27.2 GOEXPERIMENT=mapsplitgroup go test ./internal/hmap -run TestRecordSnapshots -record
var record = flag.Bool("record", false, "write snapshots into testdata")

// snapshot is a map's memory with the layout that it is read with: decoding it
// needs no toolchain. The files in testdata hold one each, a member of the
// outermost object on a line, and a range of memory on a line.
type snapshot struct {
	About  string        `json:"about"`
	Go     string        `json:"go"`
	Type   typeRecord    `json:"type"`
	Layout layoutRecord  `json:"layout"`
	Header Addr          `json:"header"`
	Want   snapshotWant  `json:"want"`
	Memory []frozenRange `json:"memory"`
}

// snapshotWant is what decoding yields. Len and Entries are what len and range
// said when the map was alive; the rest was checked against the allocator and
// against the map's later growth by the tests of live maps.
type snapshotWant struct {
	Len        int64
	Entries    []string // sorted texts
	Fields     map[string]uint64
	Slots      int64
	Tombstones int64
	Bytes      int64
	Wasted     int64
	GrowIn     int64
	Groups     int64
	Growth     *Growth
	Overflow   *Overflow
	Tables     []Table
}

type layoutRecord struct {
	Generation           string
	Variant              string
	PtrSize              int
	Header, Table, Extra Record
	Block                Block
	Consts               *Consts
	Alloc                *SizeClasses
}

type typeRecord struct {
	Name   string
	Kind   string
	Size   int64
	Len    int64         `json:",omitempty"`
	Key    *typeRecord   `json:",omitempty"`
	Elem   *typeRecord   `json:",omitempty"`
	Fields []fieldRecord `json:",omitempty"`
}

type fieldRecord struct {
	Name string
	Off  int64
	Type typeRecord
}

func recordType(t *Type) *typeRecord {
	if t == nil {
		return nil
	}
	r := &typeRecord{Name: t.Name, Kind: t.Kind.String(), Size: t.Size, Len: t.Len, Key: recordType(t.Key()), Elem: recordType(t.Elem())}
	for _, f := range t.Fields() {
		r.Fields = append(r.Fields, fieldRecord{f.Name, f.Off, *recordType(f.Type)})
	}
	return r
}

func (r *typeRecord) typ() *Type {
	if r == nil {
		return nil
	}
	t := &Type{Name: r.Name, Size: r.Size, Len: r.Len, elem: lazyType{t: r.Elem.typ()}, key: lazyType{t: r.Key.typ()}}
	for k := reflect.Invalid; k <= reflect.UnsafePointer; k++ {
		if k.String() == r.Kind {
			t.Kind = k
		}
	}
	var fields []Field
	for _, f := range r.Fields {
		fields = append(fields, Field{Name: f.Name, Off: f.Off, Type: f.Type.typ()})
	}
	t.fields = func() []Field { return fields }
	return t
}

// mapType is the map type of a snapshot, with its layout.
func (s *snapshot) mapType(t testing.TB) *Type {
	t.Helper()
	typ := s.Type.typ()
	r := &s.Layout
	l := &Layout{
		PtrSize: r.PtrSize, Key: typ.Key(), Elem: typ.Elem(), Header: r.Header, Table: r.Table, Extra: r.Extra,
		Block: r.Block, Consts: r.Consts, Alloc: r.Alloc,
	}
	for g := Classic; g <= Swiss; g++ {
		if g.String() == r.Generation {
			l.Generation = g
		}
	}
	for v := Bucket; v <= SplitGroup; v++ {
		if v.String() == r.Variant {
			l.Variant = v
		}
	}
	if err := l.finish(typ.Name); err != nil {
		t.Fatal(err)
	}
	typ.layout = l
	return typ
}

// wantOf is what decoding yields, but for Len and Entries as the decoder says.
func wantOf(t testing.TB, mem Memory, m *Map) snapshotWant {
	t.Helper()
	w := snapshotWant{
		Len: m.Len, Fields: map[string]uint64{}, Slots: m.Slots, Tombstones: m.Tombstones, Bytes: m.Bytes, Wasted: m.Wasted,
		GrowIn: m.GrowIn, Groups: m.Groups, Growth: m.Growth, Overflow: m.Overflow, Tables: slices.Clone(m.Tables),
		Entries: entries(t, mem, m),
	}
	for _, f := range m.Fields() {
		w.Fields[f.Name] = f.Bits
	}
	sort.Strings(w.Entries)
	for i := range w.Tables {
		w.Tables[i].groups = 0 // is not in the file
	}
	return w
}

// snapshots reads all files of testdata.
func snapshots(t testing.TB) map[string]*snapshot {
	t.Helper()
	files, err := filepath.Glob("testdata/snapshots/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d snapshots in testdata (%v)", len(files), err)
	}
	all := map[string]*snapshot{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s := &snapshot{}
		if err := json.Unmarshal(data, s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".json")] = s
	}
	return all
}

// TestSnapshots decodes recorded memory of every generation and variant.
func TestSnapshots(t *testing.T) {
	seen := map[string]bool{}
	for name, s := range snapshots(t) {
		t.Run(name, func(t *testing.T) {
			typ := s.mapType(t)
			seen[s.Layout.Variant] = true
			mem := frozen(s.Memory)
			got, err := Inspect(mem, typ, s.Header, Options{})
			if err != nil || !got.Complete || got.Busy || len(got.Broken) > 0 {
				t.Fatalf("error %v, complete %t, busy %t, broken %v", err, got.Complete, got.Busy, got.Broken)
			}
			want, have := s.Want, wantOf(t, mem, got)
			if !slices.Equal(want.Entries, have.Entries) {
				t.Errorf("entries: %s", firstDiff(want.Entries, have.Entries))
			}
			if allSlots(t, mem, got) != got.Slots+overflowSlots(got) {
				t.Errorf("not all of %d slots are visited", got.Slots+overflowSlots(got))
			}
			want.Entries, have.Entries = nil, nil
			if !reflect.DeepEqual(want, have) {
				t.Errorf("got %s\nwant %s", compact(t, have), compact(t, want))
			}
		})
	}
	for v := Bucket; v <= SplitGroup; v++ {
		if !seen[v.String()] {
			t.Errorf("there is no snapshot of a map whose variant is %s", v)
		}
	}
}

func compact(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// lines writes a struct as JSON with a member on a line, and slices of structs
// with an element on a line.
func lines(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	rv := reflect.ValueOf(v)
	for i := range rv.NumField() {
		fmt.Fprintf(&b, "%s%q: ", map[bool]string{true: "{", false: ",\n"}[i == 0], rv.Type().Field(i).Tag.Get("json"))
		if ranges, ok := rv.Field(i).Interface().([]frozenRange); ok {
			for k, r := range ranges {
				fmt.Fprintf(&b, "%s%s", map[bool]string{true: "[", false: ",\n"}[k == 0], compact(t, r))
			}
			b.WriteString("]")
			continue
		}
		b.Write(compact(t, rv.Field(i).Interface()))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// TestRecordSnapshots records the maps of this process's generation.
func TestRecordSnapshots(t *testing.T) {
	if !*record {
		t.Skip("-record is not set")
	}
	for name, r := range recordings(t) {
		rv := reflect.ValueOf(r.m)
		agree(t, rv) // ranging over a Classic map leaves flags in its header
		got := inspectSelf(t, rv)
		mem := freeze(t, SelfMemory{}, got)
		s := snapshot{
			About: r.about, Go: runtime.Version(), Type: *recordType(got.Type), Header: got.Header.Addr, Memory: mem,
			Want: wantOf(t, mem, got),
		}
		s.Want.Len, s.Want.Entries = int64(rv.Len()), nil
		for it := rv.MapRange(); it.Next(); {
			s.Want.Entries = append(s.Want.Entries, render(it.Key())+": "+render(it.Value()))
		}
		sort.Strings(s.Want.Entries)
		l := got.Layout
		s.Layout = layoutRecord{
			Generation: l.Generation.String(), Variant: l.Variant.String(), PtrSize: l.PtrSize, Header: l.Header,
			Table: l.Table, Extra: l.Extra, Block: l.Block, Consts: l.Consts, Alloc: l.Alloc,
		}
		file := filepath.Join("testdata", "snapshots", l.Variant.String()+"-"+name+".json")
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, lines(t, s), 0o666); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d entries, %d ranges of memory", file, rv.Len(), len(mem))
	}
}

type recording struct {
	about string
	m     any
}

// recordings are the maps that are recorded of this process's generation.
func recordings(t *testing.T) map[string]recording {
	indirect := map[[17]int64][33]int32{}
	for i := range 5 {
		indirect[[17]int64{int64(i)}] = [33]int32{32: int32(-i)}
	}
	all := map[string]recording{
		"empty":    {"a map without an entry ever", map[string]int{}},
		"indirect": {"keys and elems over 128 bytes", indirect},
	}
	if s := self(); s.generation == Classic {
		classicRecordings(t, all)
	} else {
		swissRecordings(t, all)
	}
	return all
}

func classicRecordings(t *testing.T, all map[string]recording) {
	idle, growing, chained := map[string]uint8{}, map[int32]int16{}, classicMaps(t)["chained"].Interface()
	for i := range 20 {
		idle[fmt.Sprint("key ", i)] = uint8(i)
	}
	for i := range int32(105) {
		growing[i] = int16(-i)
	}
	delete(growing, -1)
	delete(growing, -2)
	same := sameSize(t, 92)
	delete(same, -1)
	delete(same, -2)
	all["idle"] = recording{"strings in four buckets", idle}
	all["growing"] = recording{"in the middle of an evacuation of 16 buckets into 32", growing}
	all["samesize"] = recording{"in the middle of a growth to the same 16 buckets", same}
	all["chained"] = recording{"a bucket with an overflow bucket behind it, among others", chained}
}

func swissRecordings(t *testing.T, all map[string]recording) {
	small, table, split := map[string]uint8{}, map[int32]int16{}, map[[2]uint8]struct{}{}
	for i := range 5 {
		small[fmt.Sprint("key ", i)] = uint8(i)
	}
	for i := range int32(112) {
		table[i] = int16(-i)
	}
	for i := range int32(112) {
		if i%9 > 3 {
			delete(table, i)
		}
	}
	for i := 0; ; i++ {
		split[[2]uint8{uint8(i), uint8(i >> 8)}] = struct{}{}
		if h, err := Of(split); err != nil {
			t.Fatal(err)
		} else if h.GlobalDepth == 2 {
			break
		}
	}
	for k := range split {
		if k[0]%32 != 0 {
			delete(split, k)
		}
	}
	all["small"] = recording{"strings in one group", small}
	all["tombstones"] = recording{"one table with tombstones", table}
	all["split"] = recording{"tables that were split, one of them with two entries of the directory, and nearly emptied", split}
}
