package report

import (
	"io"

	"github.com/google/pprof/profile"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// Exporter writes events in the format of another tool, as they come.
type Exporter interface {
	Add(e *event.Event) error
	Close() error
}

// row is an operation in a Parquet file.
type row struct {
	TNS        int64  `parquet:"t_ns,delta"`
	Op         string `parquet:"op,dict"`
	Sym        string `parquet:"sym,dict"`
	Map        int64  `parquet:"map,dict"`
	Type       string `parquet:"type,dict"`
	Goroutine  int64  `parquet:"goroutine,dict"`
	Thread     int32  `parquet:"thread,dict"`
	Func       string `parquet:"func,dict"`
	File       string `parquet:"file,dict"`
	Line       int32  `parquet:"line,dict"`
	Key        string `parquet:"key,optional"`
	Len        int64  `parquet:"len"`
	Hint       int64  `parquet:"hint"`
	OldSlots   int64  `parquet:"old_slots"`
	NewSlots   int64  `parquet:"new_slots"`
	Tombstones int64  `parquet:"tombstones"`
	Concurrent bool   `parquet:"concurrent"`
}

type parquetExporter struct {
	w    *parquet.GenericWriter[row]
	rows []row
	at   map[*event.Site]Place
	last map[int64]lastOp // by goroutine
}

// lastOp is the last operation of a goroutine: growth is a part of it.
type lastOp struct {
	addr hmap.Addr
	at   Place
}

// parquetRows is how many rows make a group: what a reader has to hold at once.
const parquetRows = 1 << 18

// Parquet writes a row for each operation.
func Parquet(w io.Writer, meta *event.Meta) (Exporter, error) {
	return &parquetExporter{
		w: parquet.NewGenericWriter[row](w, parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.MaxRowsPerRowGroup(parquetRows),
			parquet.CreatedBy(meta.Tool, "", ""), parquet.KeyValueMetadata("hmaptools.binary", meta.Path), parquet.KeyValueMetadata("hmaptools.build_id", meta.BuildID)),
		at: map[*event.Site]Place{}, last: map[int64]lastOp{},
	}, nil
}

func (x *parquetExporter) Add(e *event.Event) error {
	p, ok := x.at[e.Site]
	if !ok {
		p = place(e.Site)
		x.at[e.Site] = p
	}
	if !e.Func.Op.Growth() {
		x.last[e.Goroutine] = lastOp{e.Map, p}
	} else if l := x.last[e.Goroutine]; l.addr == e.Map && len(e.Site.PCs) == 1 {
		p = l.at // the runtime called it
	}
	r := row{
		TNS: e.T, Op: e.Func.Op.String(), Sym: e.Func.Sym, Map: int64(e.Map), Type: typeName(e.Type), Goroutine: e.Goroutine, Thread: int32(e.Thread),
		Func: p.Func, File: p.File, Line: int32(p.Line), Key: e.KeyText(), Len: e.Header.Len(), Tombstones: int64(e.Table.Tombstones()), Concurrent: e.Concurrent(),
	}
	if e.Func.Op == event.Make {
		r.Hint = int64(e.Arg)
	}
	r.OldSlots, r.NewSlots = e.Slots()
	x.rows = append(x.rows, r)
	if len(x.rows) < 1<<12 {
		return nil
	}
	return x.flush()
}

func (x *parquetExporter) flush() error {
	_, err := x.w.Write(x.rows)
	x.rows = x.rows[:0]
	return err
}

func (x *parquetExporter) Close() error {
	if err := x.flush(); err != nil {
		return err
	}
	return x.w.Close()
}

// OpsPprof writes operations and bytes of growth by call stack, for go tool pprof.
// The outermost frames of a stack are those that were recorded.
func OpsPprof(w io.Writer, meta *event.Meta, end event.End, a *event.Analysis) error {
	p := &profile.Profile{
		SampleType:        []*profile.ValueType{{Type: "growth", Unit: "bytes"}, {Type: "operations", Unit: "count"}},
		DefaultSampleType: "operations",
		PeriodType:        &profile.ValueType{Type: "operations", Unit: "count"},
		Period:            1,
		TimeNanos:         meta.Started.UnixNano(),
		DurationNanos:     end.DurationNS,
		Comments:          []string{"map operations of " + meta.Path + ", " + meta.Go},
	}
	type line struct {
		fn   *profile.Function
		line int
	}
	funcs := map[[2]string]*profile.Function{}
	locations := map[line]*profile.Location{}
	location := func(f event.Frame) *profile.Location {
		fn := funcs[[2]string{f.Func, f.File}]
		if fn == nil {
			fn = &profile.Function{ID: uint64(len(p.Function) + 1), Name: f.Func, SystemName: f.Func, Filename: f.File}
			p.Function = append(p.Function, fn)
			funcs[[2]string{f.Func, f.File}] = fn
		}
		k := line{fn, f.Line}
		l := locations[k]
		if l == nil {
			l = &profile.Location{ID: uint64(len(p.Location) + 1), Line: []profile.Line{{Function: fn, Line: int64(f.Line)}}}
			p.Location = append(p.Location, l)
			locations[k] = l
		}
		return l
	}
	for so, c := range a.Sites {
		s := &profile.Sample{Value: []int64{c.Bytes, int64(c.N)}, Label: map[string][]string{"op": {so.Op.String()}}}
		s.Location = append(s.Location, location(event.Frame{Func: "map " + so.Op.String()}))
		for _, f := range so.Site.Frames() {
			s.Location = append(s.Location, location(f))
		}
		p.Sample = append(p.Sample, s)
	}
	if err := p.CheckValid(); err != nil {
		return err
	}
	return p.Write(w)
}
