package event_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// source is what a Writer asks; its clock ticks four times a nanosecond.
type source struct{ clock uint64 }

func (s *source) Now() (uint64, int64) { return s.clock, int64(s.clock-clock0) / 4 }
func (s *source) Lost() uint64         { return 7 }
func (s *source) Symbolize(pcs, types []uint64) event.Symbols {
	sym := event.Symbols{Frames: map[uint64][]event.Frame{}}
	for _, pc := range pcs {
		sym.Frames[pc] = []event.Frame{{Func: fmt.Sprintf("main.f%d", pc), File: "main.go", Line: int(pc)}}
	}
	for _, t := range types {
		sym.Types = append(sym.Types, &event.Type{Addr: hmap.Addr(t), Name: "map[int]int", Key: reflect.Int, Size: 8, Block: 136})
	}
	return sym
}

const clock0 = 1 << 40

func meta(gen hmap.Generation) *event.Meta {
	m := &event.Meta{Tool: "test", Layout: event.DefaultLayout(gen), Clock: clock0}
	for _, s := range event.Specs() {
		m.Funcs = append(m.Funcs, event.NewFunc(s, 0x1000))
	}
	return m
}

func fn(t testing.TB, m *event.Meta, sym string) uint32 {
	for i, f := range m.Funcs {
		if f.Sym == sym {
			return uint32(i)
		}
	}
	t.Fatalf("no function %s", sym)
	return 0
}

// raws makes n events of five maps, with everything that a Raw may have.
func raws(t testing.TB, m *event.Meta, n int) []event.Raw {
	assign, access, mk := fn(t, m, "runtime.mapassign_fast64"), fn(t, m, "runtime.mapaccess1_faststr"), fn(t, m, "runtime.makemap")
	grow := fn(t, m, "internal/runtime/maps.(*table).grow")
	all := make([]event.Raw, n)
	for i := range all {
		r := &all[i]
		r.Clock = clock0 + 40*uint64(i+1) - uint64(i%3) // now and then out of order
		r.Thread, r.Goroutine = uint32(i%2+100), uint64(i%7)
		r.Type, r.Map, r.Caller = 0x500000, 0xc000000000+uint64(i%5)*64, uint64(10+i%4)
		binary.LittleEndian.PutUint64(r.Header[:], uint64(i))
		binary.LittleEndian.PutUint64(r.Header[8:], uint64(i%5)+77)
		r.Header[34] = byte(i % 11 / 10)
		switch i % 10 {
		case 0:
			r.Func, r.Arg = mk, uint64(i)
		case 1:
			r.Func, r.Arg, r.Arg2 = access, 0xdead, 5
		case 2:
			r.Func, r.Arg, r.Arg2 = grow, 32, 12|16<<16|2<<32|3<<48
		case 3:
			r.Func, r.Map = access, 0
		default:
			r.Func, r.Arg = assign, uint64(i)
		}
	}
	return all
}

func key(i int) []byte {
	if i%10 == 1 {
		return []byte("hello")
	}
	return nil
}

func stack(i int) []uint64 {
	if i%6 == 0 {
		return []uint64{20, 21}
	}
	return nil
}

func record(t testing.TB, m *event.Meta, all []event.Raw) []byte {
	t.Helper()
	var buf bytes.Buffer
	src := &source{}
	w, err := event.NewWriter(&buf, m, src)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		src.clock = all[i].Clock
		w.Add(&all[i], stack(i), key(i))
	}
	if err := w.Close(event.End{Lost: 7, Reason: "exit status 0"}); err != nil {
		t.Fatal(err)
	}
	if w.Written() != int64(buf.Len()) {
		t.Errorf("Written() = %d, the file has %d bytes", w.Written(), buf.Len())
	}
	return buf.Bytes()
}

func TestRoundTrip(t *testing.T) {
	m := meta(hmap.Swiss)
	all := raws(t, m, 150_000) // three blocks
	file := record(t, m, all)
	r, err := event.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r.Meta(), m) {
		t.Errorf("meta: got %+v, want %+v", r.Meta(), m)
	}
	i := 0
	err = r.Read(func(e *event.Event) error {
		w := &all[i]
		if d := e.T - int64(w.Clock-clock0)/4; d < -2 || d > 2 {
			t.Fatalf("event %d: at %d ns, want %d", i, e.T, (w.Clock-clock0)/4)
		}
		if e.Func.Sym != m.Funcs[w.Func].Sym || uint64(e.Map) != w.Map || uint64(e.Goroutine) != w.Goroutine || e.Thread != int(w.Thread) {
			t.Fatalf("event %d: got %+v, want %+v", i, e, w)
		}
		if want := append([]uint64{w.Caller}, stack(i)...); !reflect.DeepEqual(e.Site.PCs, want) {
			t.Fatalf("event %d: site %v, want %v", i, e.Site.PCs, want)
		}
		if w.Map == 0 {
			if e.Header != (hmap.Header{}) {
				t.Fatalf("event %d: a header of a nil map", i)
			}
		} else if h := e.Header; h.Len() != int64(i) || h.Seed != uint64(i%5)+77 || h.Writing != byte(i%11/10) || uint64(h.Addr) != w.Map {
			t.Fatalf("event %d: header %+v", i, h)
		}
		switch i % 10 {
		case 1:
			if e.Arg != 5 || e.KeyText() != `"hello"` {
				t.Fatalf("event %d: key %s, %d bytes", i, e.KeyText(), e.Arg)
			}
		case 2:
			if old, new := e.Slots(); e.Table != (event.Table{Used: 12, Capacity: 16, GrowthLeft: 2, LocalDepth: 3}) || old != 16 || new != 32 {
				t.Fatalf("event %d: table %+v, slots %d to %d", i, e.Table, old, new)
			}
		case 4:
			if e.KeyText() != fmt.Sprint(i) && e.Type.Name != "" {
				t.Fatalf("event %d: key %s", i, e.KeyText())
			}
		}
		i++
		return nil
	})
	if err != nil || i != len(all) {
		t.Errorf("%d events, want %d; error %v", i, len(all), err)
	}
	if end := r.End(); end.Events != uint64(len(all)) || end.Lost != 7 || end.Reason != "exit status 0" {
		t.Errorf("end: %+v", end)
	}
	if e := r.End(); e.Events == 0 {
		t.Error("no events in the end")
	}
}

// TestNames: sites and types are named, also those that came before their names.
func TestNames(t *testing.T) {
	m := meta(hmap.Swiss)
	file := record(t, m, raws(t, m, 100))
	r, err := event.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	a := event.NewAnalysis()
	if err := r.Read(func(e *event.Event) error { a.Add(e); return nil }); err != nil {
		t.Fatal(err)
	}
	for so := range a.Sites {
		f := so.Site.Caller()
		if want := fmt.Sprintf("main.f%d", so.Site.PCs[0]); f.Func != want {
			t.Errorf("caller %q, want %q", f.Func, want)
		}
	}
	for _, l := range a.Lives {
		if l.Type != nil && l.Type.Name != "map[int]int" {
			t.Errorf("type %+v", l.Type)
		}
	}
}

// TestCutAndDamaged: whatever is cut off, all complete blocks are read.
func TestCutAndDamaged(t *testing.T) {
	m := meta(hmap.Swiss)
	file := record(t, m, raws(t, m, 150_000))
	read := func(file []byte) (n uint64, err error) {
		r, err := event.NewReader(bytes.NewReader(file))
		if err != nil {
			return 0, err
		}
		err = r.Read(func(*event.Event) error { n++; return nil })
		if end := r.End(); end.Events < n && err != nil {
			t.Errorf("the end tells of %d events, %d were read", end.Events, n)
		}
		return n, err
	}
	most := uint64(0)
	for cut := 1; cut < len(file); cut += 1 + cut/50 {
		n, err := read(file[:cut])
		var truncated *event.TruncatedError
		if !errors.As(err, &truncated) {
			t.Fatalf("cut at %d of %d: %v, want a TruncatedError", cut, len(file), err)
		}
		if n < most {
			t.Fatalf("cut at %d: %d events, a shorter file had %d", cut, n, most)
		}
		most = n
	}
	if most < 131_072 {
		t.Errorf("at most %d events of a file that was cut, want two whole blocks", most)
	}
	damaged := bytes.Clone(file)
	damaged[len(file)/2] ^= 0x10
	n, err := read(damaged)
	var d *event.DamagedError
	if !errors.As(err, &d) || n < 84_464-1 || n > 100_000 {
		t.Errorf("damaged: %d events, error %v; want those of two of three blocks", n, err)
	}
	for _, bad := range []string{"", "hello", "\x7fELF and more", "hmaprec\x01"} {
		var not *event.NotRecordingError
		if _, err := read([]byte(bad)); !errors.As(err, &not) {
			t.Errorf("%q: %v, want a NotRecordingError", bad, err)
		}
	}
}

// fullDisk fails when n bytes have been written.
type fullDisk struct{ n int }

func (f *fullDisk) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(b), nil
}

func TestFullDisk(t *testing.T) {
	m := meta(hmap.Swiss)
	src := &source{}
	w, err := event.NewWriter(&fullDisk{n: 100_000}, m, src)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range raws(t, m, 500_000) {
		src.clock = r.Clock
		w.Add(&r, nil, nil) // must not block
	}
	if err := w.Close(event.End{}); err == nil || w.Err() == nil {
		t.Error("no error on a full disk")
	}
	if _, err := event.NewWriter(&fullDisk{}, m, src); err == nil {
		t.Error("no error when not even the beginning can be written")
	}
}

// TestAssembler: an Assembler makes the events that a Reader reads.
func TestAssembler(t *testing.T) {
	m := meta(hmap.Swiss)
	all := raws(t, m, 1000)
	r, err := event.NewReader(bytes.NewReader(record(t, m, all)))
	if err != nil {
		t.Fatal(err)
	}
	as := event.NewAssembler(m)
	i := 0
	err = r.Read(func(e *event.Event) error {
		got := as.Event(&all[i], stack(i), key(i), e.T)
		if got.Func.Sym != e.Func.Sym || got.Header != e.Header || got.Arg != e.Arg || got.Table != e.Table ||
			got.Map != e.Map || got.Type.Addr != e.Type.Addr || !reflect.DeepEqual(got.Site.PCs, e.Site.PCs) || string(got.KeyBytes) != string(e.KeyBytes) {
			t.Fatalf("event %d: assembled %+v, read %+v", i, got, e)
		}
		i++
		return nil
	})
	if err != nil || i != len(all) {
		t.Errorf("%d events, error %v", i, err)
	}
}

// TestAddAll: events that come many at a time are recorded and analysed as they are one
// by one.
func TestAddAll(t *testing.T) {
	for _, gen := range []hmap.Generation{hmap.Swiss, hmap.Classic} {
		m := meta(gen)
		all := append(raws(t, m, 3000), loop(t, m, 150_000)...)
		src := &source{clock: clock0}
		var files [2]bytes.Buffer
		var analyses [2]*event.Analysis
		ns := func(clock uint64) int64 { return int64(clock-clock0) / 4 }
		for i := range files {
			w, err := event.NewWriter(&files[i], m, src)
			if err != nil {
				t.Fatal(err)
			}
			as := event.NewAssembler(m)
			analyses[i] = event.NewAnalysis()
			if i == 0 {
				for j := range all {
					w.Add(&all[j], nil, nil)
					analyses[i].Add(as.Event(&all[j], nil, nil, ns(all[j].Clock)))
				}
			} else {
				for rest := all; len(rest) > 0; {
					n := min(len(rest), 1+len(rest)%1000)
					w.AddAll(rest[:n])
					as.AddAll(analyses[i], rest[:n], ns)
					rest = rest[n:]
				}
			}
			if err := w.Close(event.End{}); err != nil {
				t.Fatal(err)
			}
			analyses[i].Close()
		}
		var events [2][]string
		for i := range files {
			r, err := event.NewReader(&files[i])
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Read(func(e *event.Event) error {
				events[i] = append(events[i], fmt.Sprint(e.T, e.Func.Sym, e.Map, e.Type, e.Goroutine, e.Thread, e.Site.PCs, e.Header, e.Arg, e.Table))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if len(events[0]) != len(all) || !slices.Equal(events[0], events[1]) {
			t.Errorf("%v: %d and %d events, not the same", gen, len(events[0]), len(events[1]))
		}
		one, many := analyses[0], analyses[1]
		if one.Events != many.Events || one.Ops != many.Ops || one.LastT != many.LastT || len(one.Lives) != len(many.Lives) || len(one.Sites) != len(many.Sites) {
			t.Fatalf("%v: %+v, want %+v", gen, many, one)
		}
		for i, l := range one.Lives {
			k := many.Lives[i]
			if l.Addr != k.Addr || l.Ops != k.Ops || l.Len != k.Len || l.MaxLen != k.MaxLen || l.LastT != k.LastT || l.Grown != k.Grown || l.Conflicting != k.Conflicting ||
				!reflect.DeepEqual(l.Goroutines, k.Goroutines) || len(l.Sites) != len(k.Sites) {
				t.Errorf("%v: life %d: %+v, want %+v", gen, i, k, l)
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	m := meta(hmap.Swiss)
	f.Add(record(f, m, raws(f, m, 300)))
	f.Add(record(f, meta(hmap.Classic), raws(f, m, 10)))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := event.NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		a := event.NewAnalysis()
		n := 0
		_ = r.Read(func(e *event.Event) error {
			_ = e.KeyText()
			_, _ = e.Slots()
			_ = e.OldBuckets()
			a.Add(e)
			if n++; n > 1<<18 {
				return io.EOF
			}
			return nil
		})
		a.Close()
	})
}

// FuzzBlock lets the fuzzer at the payload of a block of events, behind the
// checksum and the compression.
func FuzzBlock(f *testing.F) {
	m := meta(hmap.Swiss)
	event.SeedBlock(f, m, record(f, m, raws(f, m, 100)))
	f.Fuzz(func(t *testing.T, payload []byte, events uint32) {
		_ = event.DecodeBlock(m, payload, events%(1<<16), func(e *event.Event) { _ = e.KeyText(); _, _ = e.Slots() })
	})
}

// loop is what a loop of assignments to one map leaves.
func loop(t testing.TB, m *event.Meta, n int) []event.Raw {
	all := make([]event.Raw, n)
	for i := range all {
		r := &all[i]
		*r = event.Raw{Clock: clock0 + 40*uint64(i), Func: fn(t, m, "runtime.mapassign_fast64"), Thread: 5, Goroutine: 1, Type: 0x5000, Map: 0xc000000, Caller: 77, Arg: uint64(i & 1023)}
		binary.LittleEndian.PutUint64(r.Header[:], uint64(min(i, 1024)))
	}
	return all
}

func BenchmarkAddLoop(b *testing.B) {
	m := meta(hmap.Swiss)
	all := loop(b, m, 1<<16)
	w, err := event.NewWriter(io.Discard, m, &source{clock: clock0 + 1})
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		w.Add(&all[i&(1<<16-1)], nil, nil)
	}
	b.StopTimer()
	if err := w.Close(event.End{}); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAddAllLoop(b *testing.B) {
	m := meta(hmap.Swiss)
	all := loop(b, m, 1<<11)
	w, err := event.NewWriter(io.Discard, m, &source{clock: clock0 + 1})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < b.N; i += 1 << 10 {
		w.AddAll(all[i&(1<<11-1):][:1<<10])
	}
	b.StopTimer()
	if err := w.Close(event.End{}); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAnalysisLoop(b *testing.B) {
	m := meta(hmap.Swiss)
	all := loop(b, m, 1<<11)
	as, a := event.NewAssembler(m), event.NewAnalysis()
	ns := func(clock uint64) int64 { return int64(clock) }
	for i := 0; i < b.N; i += 1 << 10 {
		as.AddAll(a, all[i&(1<<11-1):][:1<<10], ns)
	}
}

func BenchmarkAdd(b *testing.B) {
	m := meta(hmap.Swiss)
	all := raws(b, m, 1<<16)
	src := &source{clock: clock0 + 1}
	w, err := event.NewWriter(io.Discard, m, src)
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		w.Add(&all[i&(1<<16-1)], nil, nil)
	}
	b.StopTimer()
	if err := w.Close(event.End{}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(w.Written())/float64(b.N), "B/event")
}

func BenchmarkAnalysis(b *testing.B) {
	m := meta(hmap.Swiss)
	all := raws(b, m, 1<<16)
	as, a := event.NewAssembler(m), event.NewAnalysis()
	for i := range b.N {
		a.Add(as.Event(&all[i&(1<<16-1)], nil, nil, int64(i)))
	}
}

func BenchmarkRead(b *testing.B) {
	m := meta(hmap.Swiss)
	file := record(b, m, raws(b, m, 1<<18))
	for n := 0; n < b.N; n += 1 << 18 {
		r, err := event.NewReader(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Read(func(*event.Event) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
