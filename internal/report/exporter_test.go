package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// story makes n events of three maps and four goroutines, one of which is known by an
// address alone.
func story(gen hmap.Generation, n int) (*event.Meta, []*event.Event) {
	m := &event.Meta{Tool: "test", Path: "./prog", Layout: event.DefaultLayout(gen)}
	bySym := map[string]*event.Func{}
	for _, s := range event.Specs() {
		f := event.NewFunc(s, 0x1000)
		m.Funcs = append(m.Funcs, f)
		bySym[s.Sym] = f
	}
	grow := "internal/runtime/maps.(*table).grow"
	if gen == hmap.Classic {
		grow = "runtime.hashGrow"
	}
	in := event.NewInterner()
	in.Add(event.Symbols{
		Frames: map[uint64][]event.Frame{10: {{Func: "main.fill", File: "/src/main.go", Line: 7}}},
		Types:  []*event.Type{{Addr: 0x500, Name: "map[int]int"}},
	})
	var all []*event.Event
	for i := range n {
		e := &event.Event{T: int64(i) * 1000, Map: hmap.Addr(0xc000 + i%3*64), Type: in.Type(0x500), Goroutine: int64(i%4 + 1), Thread: 7, Site: in.Site(10)}
		if i%4 == 3 {
			e.Goroutine = 0xc000_0010_0000
		}
		e.Header = hmap.Header{Addr: e.Map, Generation: gen, Count: int64(i), Used: uint64(i), B: 2, Buckets: 1}
		switch {
		case i%50 == 20:
			e.Func = bySym[grow]
			e.Arg, e.Table = 64, event.Table{Used: 20, Capacity: 32, GrowthLeft: 2}
			if gen == hmap.Classic {
				e.Header.Count = 100
			}
		case gen == hmap.Classic && i%50 > 20 && i%50 < 45:
			e.Func, e.Arg = bySym["runtime.evacuate"], uint64(i%50-21)/6
			e.Header.B = 3
		case i < 3:
			e.Func, e.Arg = bySym["runtime.makemap"], uint64(100+i)
		default:
			e.Func, e.Arg = bySym["runtime.mapassign_fast64"], uint64(i)
		}
		all = append(all, e)
	}
	return m, all
}

func export(t *testing.T, open func(*bytes.Buffer) (Exporter, error), all []*event.Event) []byte {
	t.Helper()
	var buf bytes.Buffer
	x, err := open(&buf)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if err := x.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestParquet: there is a row for each event, and it says what the event does.
func TestParquet(t *testing.T) {
	m, all := story(hmap.Swiss, 10_000)
	file := export(t, func(b *bytes.Buffer) (Exporter, error) { return Parquet(b, m) }, all)
	rows, err := parquet.Read[row](bytes.NewReader(file), int64(len(file)))
	if err != nil || len(rows) != len(all) {
		t.Fatalf("%d rows, want %d; %v", len(rows), len(all), err)
	}
	for i, r := range rows {
		e := all[i]
		old, new := e.Slots()
		want := row{
			TNS: e.T, Op: e.Func.Op.String(), Sym: e.Func.Sym, Map: int64(e.Map), Type: "map[int]int", Goroutine: e.Goroutine, Thread: 7, Func: "main.fill", File: "/src/main.go",
			Line: 7, Key: e.KeyText(), Len: int64(e.Header.Used), OldSlots: old, NewSlots: new,
		}
		switch e.Func.Op {
		case event.Make:
			want.Hint = int64(100 + i)
		case event.Grow:
			want.Tombstones = 32*7/8 - 20 - 2
		}
		if r != want {
			t.Fatalf("row %d: %+v, want %+v", i, r, want)
		}
	}
}

// TestParquetGrowth: growth is told of the operation that brought it about, and not of the
// runtime.
func TestParquetGrowth(t *testing.T) {
	m, all := story(hmap.Swiss, 30)
	in := event.NewInterner()
	in.Add(event.Symbols{Frames: map[uint64][]event.Frame{99: {{Func: "runtime.mapassign", File: "map.go", Line: 1}}}})
	grown := all[20]
	before := *all[10]
	before.Map, before.Goroutine = grown.Map, grown.Goroutine
	grown.Site = in.Site(99)
	file := export(t, func(b *bytes.Buffer) (Exporter, error) { return Parquet(b, m) }, []*event.Event{&before, grown})
	rows, err := parquet.Read[row](bytes.NewReader(file), int64(len(file)))
	if err != nil || len(rows) != 2 || rows[1].Op != "grow" || rows[1].Func != "main.fill" || rows[1].Line != 7 {
		t.Errorf("%+v, %v", rows, err)
	}
}

// TestPerfetto holds a timeline against what the format asks for (Trace Event Format, and
// the importer of Perfetto): tracks are numbers of 32 bits with a name, times are not
// negative, slices of a track lie in one another or apart, each begin has an end, counters
// are numbers; and the operations on all tracks are those that there were.
func TestPerfetto(t *testing.T) {
	for _, gen := range []hmap.Generation{hmap.Swiss, hmap.Classic} {
		m, all := story(gen, 3000)
		file := export(t, func(b *bytes.Buffer) (Exporter, error) { return Perfetto(b, m) }, all)
		var doc struct {
			TraceEvents []struct {
				Name, Ph string
				TS, Dur  *float64
				PID, TID *uint32
				Args     map[string]any
			}
		}
		d := json.NewDecoder(bytes.NewReader(file))
		if err := d.Decode(&doc); err != nil {
			t.Fatalf("%v: %v", gen, err)
		}
		type track struct{ pid, tid uint32 }
		type slice struct{ begin, end float64 }
		named, slices_, open := map[track]bool{}, map[track][]slice{}, map[track][]float64{}
		counted, counters, growths := 0.0, 0, 0
		for i, e := range doc.TraceEvents {
			if e.PID == nil || e.TID == nil || e.TS == nil || *e.TS < 0 {
				t.Fatalf("%v: event %d has no track or no time: %+v", gen, i, e)
			}
			k := track{*e.PID, *e.TID}
			switch e.Ph {
			case "M":
				named[k] = e.Args["name"] != ""
			case "X":
				if e.Dur == nil || *e.Dur < 0 {
					t.Fatalf("%v: event %d has no duration", gen, i)
				}
				slices_[k] = append(slices_[k], slice{*e.TS, *e.TS + *e.Dur})
				for name, v := range e.Args {
					if n, ok := v.(float64); ok && (name == "assign" || name == "make") {
						counted += n
					}
				}
				if e.Args["new_slots"] != nil {
					growths++
				}
			case "B":
				open[k] = append(open[k], *e.TS)
				growths++
			case "E":
				n := len(open[k])
				if n == 0 {
					t.Fatalf("%v: event %d ends nothing", gen, i)
				}
				slices_[k] = append(slices_[k], slice{open[k][n-1], *e.TS})
				open[k] = open[k][:n-1]
			case "C":
				for _, v := range e.Args {
					if _, ok := v.(float64); !ok {
						t.Errorf("%v: counter %v", gen, v)
					}
				}
				counters++
			default:
				t.Errorf("%v: phase %q", gen, e.Ph)
			}
		}
		for k, all := range slices_ {
			if !named[k] {
				t.Errorf("%v: track %v has no name", gen, k)
			}
			if len(open[k]) > 0 {
				t.Errorf("%v: %d slices of track %v have no end", gen, len(open[k]), k)
			}
			slices.SortFunc(all, func(a, b slice) int {
				if a.begin != b.begin {
					return int(a.begin*1000 - b.begin*1000)
				}
				return int(b.end*1000 - a.end*1000)
			})
			for i := 1; i < len(all); i++ {
				if a, b := all[i-1], all[i]; b.begin < a.end && b.end > a.end {
					t.Errorf("%v: track %v: a slice from %v to %v, and one from %v to %v", gen, k, a.begin, a.end, b.begin, b.end)
				}
			}
		}
		want, grown := 0.0, 0
		for _, e := range all {
			switch {
			case e.Func.Op == event.Assign, e.Func.Op == event.Make:
				want++
			case e.Func.Op == event.Grow:
				grown++
			}
		}
		if counted != want || growths != grown || counters == 0 {
			t.Errorf("%v: %v operations, %d growths, %d counters; want %v, %d and some", gen, counted, growths, counters, want, grown)
		}
	}
}
