package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// perfetto writes the trace event format of Chromium, in JSON, which ui.perfetto.dev
// and chrome://tracing open: a track for each goroutine, on which what it did
// without a pause is one slice that counts operations by kind, and a track for each map, with its growth as
// slices and its len and slots as counters.
type perfetto struct {
	w      io.Writer
	err    error
	first  bool
	runs   map[int64]*run
	ids    map[int64]int64 // of goroutines whose number is an address: tracks have 32 bits
	tracks map[hmap.Addr]*track
	last   map[int64]*pendingGrowth // Swiss growth, by goroutine: it ends before its next operation
	lastT  int64
}

// run is what a goroutine does without a pause of runPause, runMax at most.
type run struct {
	begin, end int64
	ops        [event.NumOps]int
	maps       map[hmap.Addr]bool
}

type track struct {
	id      int
	name    string
	sampled int64
	len     int64
	slots   int64
	open    bool // Classic: a growth goes on
	left    map[uint64]bool
}

type pendingGrowth struct {
	track *track
	name  string
	begin int64
	args  map[string]any
}

const (
	runPause    = 100_000   // ns
	runMax      = 1_000_000 // ns
	sampleEvery = 50_000    // ns, of a map's counters
	pidOps      = 1
	pidMaps     = 2
)

type traceEvent struct {
	Name string         `json:"name"`
	Ph   string         `json:"ph"`
	TS   float64        `json:"ts"` // microseconds
	Dur  *float64       `json:"dur,omitempty"`
	PID  int            `json:"pid"`
	TID  int64          `json:"tid"`
	Cat  string         `json:"cat,omitempty"`
	S    string         `json:"s,omitempty"`
	Args map[string]any `json:"args,omitempty"`
}

// Perfetto writes a timeline.
func Perfetto(w io.Writer, meta *event.Meta) (Exporter, error) {
	x := &perfetto{w: w, first: true, runs: map[int64]*run{}, ids: map[int64]int64{}, tracks: map[hmap.Addr]*track{}, last: map[int64]*pendingGrowth{}}
	x.write(`{"displayTimeUnit":"ns","otherData":`)
	data := map[string]string{"binary": meta.Path, "go": meta.Go, "tool": meta.Tool}
	if !meta.Started.IsZero() {
		data["started"] = meta.Started.Format(time.RFC3339Nano) // when ts is 0
	}
	b, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	x.write(string(b) + `,"traceEvents":[`)
	x.name("process_name", pidOps, 0, "goroutines of "+meta.Path)
	x.name("process_name", pidMaps, 0, "maps of "+meta.Path)
	return x, x.err
}

func (x *perfetto) write(s string) {
	if x.err == nil {
		_, x.err = io.WriteString(x.w, s)
	}
}

func (x *perfetto) emit(e traceEvent) {
	b, err := json.Marshal(e)
	if err != nil && x.err == nil {
		x.err = err
	}
	if x.first {
		x.first = false
	} else {
		x.write(",")
	}
	x.write("\n" + string(b))
}

func (x *perfetto) name(what string, pid int, tid int64, name string) {
	x.emit(traceEvent{Name: what, Ph: "M", PID: pid, TID: tid, Args: map[string]any{"name": name}})
}

func micros(ns int64) float64 { return float64(ns) / 1e3 }

func (x *perfetto) slice(name, cat string, pid int, tid, begin, end int64, args map[string]any) {
	d := micros(max(end-begin, 1))
	x.emit(traceEvent{Name: name, Ph: "X", TS: micros(begin), Dur: &d, PID: pid, TID: tid, Cat: cat, Args: args})
}

func (x *perfetto) Add(e *event.Event) error {
	x.lastT = e.T
	if p := x.last[e.Goroutine]; p != nil {
		delete(x.last, e.Goroutine)
		x.slice(p.name, "growth", pidMaps, int64(p.track.id), p.begin, e.T, p.args)
	}
	t := x.tracks[e.Map]
	if e.Func.Op == event.Make {
		t = nil // another map at this address
	}
	if t == nil {
		t = &track{id: len(x.tracks) + 1, name: fmt.Sprintf("%v %s", e.Map, typeName(e.Type)), len: -1}
		if old := x.tracks[e.Map]; old != nil {
			t.id = old.id
		} else {
			x.name("thread_name", pidMaps, int64(t.id), t.name)
		}
		x.tracks[e.Map] = t
	}
	switch {
	case e.Func.Op == event.Evacuate:
		x.evacuate(t, e)
	case e.Func.Op.Growth():
		x.grow(t, e)
	default:
		x.operation(e)
		x.counters(t, e, false)
	}
	return x.err
}

func (x *perfetto) operation(e *event.Event) {
	r := x.runs[e.Goroutine]
	switch {
	case r == nil:
		x.name("thread_name", pidOps, x.id(e.Goroutine), "goroutine "+goroutineText(e.Goroutine))
		r = &run{begin: e.T, maps: map[hmap.Addr]bool{}}
		x.runs[e.Goroutine] = r
	case e.T-r.end > runPause || e.T-r.begin > runMax:
		x.close(e.Goroutine, r)
		clear(r.maps)
		*r = run{begin: e.T, maps: r.maps}
	}
	r.end = e.T
	r.ops[e.Func.Op]++
	r.maps[e.Map] = true
}

// id is the number of a goroutine's track.
func (x *perfetto) id(g int64) int64 {
	if g >= 0 && g <= math.MaxInt32/2 {
		return g
	}
	id, ok := x.ids[g]
	if !ok {
		id = math.MaxInt32/2 + 1 + int64(len(x.ids))
		x.ids[g] = id
	}
	return id
}

func (x *perfetto) close(g int64, r *run) {
	n := 0
	args := map[string]any{"maps": len(r.maps)}
	if len(r.maps) == 1 {
		for m := range r.maps {
			args["map"] = x.tracks[m].name
		}
	}
	for op, k := range r.ops {
		if k > 0 {
			args[event.Op(op).String()] = k
			n += k
		}
	}
	x.slice(fmt.Sprintf("%d operations", n), "operations", pidOps, x.id(g), r.begin, r.end, args)
}

func (x *perfetto) counters(t *track, e *event.Event, always bool) {
	if e.Header.Addr == 0 || !always && (e.T-t.sampled < sampleEvery && t.len >= 0 || e.Header.Len() == t.len) {
		return
	}
	t.sampled, t.len = e.T, e.Header.Len()
	if e.Header.Generation == hmap.Classic && e.Header.Buckets != 0 {
		t.slots = 8 << min(e.Header.B, 48)
	}
	for name, v := range map[string]int64{"len": t.len, "slots": t.slots} {
		x.emit(traceEvent{Name: name + " of " + t.name, Ph: "C", TS: micros(e.T), PID: pidMaps, TID: int64(t.id), Args: map[string]any{name: v}})
	}
}

func (x *perfetto) grow(t *track, e *event.Event) {
	old, new := e.Slots()
	args := map[string]any{"len": e.Header.Len(), "old_slots": old, "new_slots": new, "goroutine": e.Goroutine, "site": place(e.Site).String()}
	name := fmt.Sprintf("%v %d to %d slots", e.Func.Op, old, new)
	if e.Header.Generation == hmap.Classic {
		if t.open {
			x.emit(traceEvent{Name: "", Ph: "E", TS: micros(e.T), PID: pidMaps, TID: int64(t.id)})
		}
		t.open, t.left = true, map[uint64]bool{}
		x.emit(traceEvent{Name: name, Ph: "B", TS: micros(e.T), PID: pidMaps, TID: int64(t.id), Cat: "growth", Args: args})
		x.counters(t, e, true)
		return
	}
	if n := int64(e.Table.Tombstones()); n > 0 {
		args["tombstones"] = n
	}
	t.slots += new - old
	// Slices of a track must not overlap: another goroutine may grow the map before the
	// one that did so last is seen again.
	for g, p := range x.last {
		if p.track == t {
			delete(x.last, g)
			x.slice(p.name, "growth", pidMaps, int64(t.id), p.begin, e.T, p.args)
		}
	}
	x.last[e.Goroutine] = &pendingGrowth{t, name, e.T, args}
	x.counters(t, e, true)
}

// evacuate ends the slice of a growth with its last bucket.
func (x *perfetto) evacuate(t *track, e *event.Event) {
	if !t.open {
		return
	}
	t.left[e.Arg] = true
	if int64(len(t.left)) >= e.OldBuckets() {
		t.open = false
		x.emit(traceEvent{Name: "", Ph: "E", TS: micros(e.T), PID: pidMaps, TID: int64(t.id)})
	}
}

func (x *perfetto) Close() error {
	for g, r := range x.runs {
		x.close(g, r)
	}
	for _, p := range x.last {
		x.slice(p.name, "growth", pidMaps, int64(p.track.id), p.begin, x.lastT, p.args)
	}
	for _, t := range x.tracks {
		if t.open {
			x.emit(traceEvent{Name: "", Ph: "E", TS: micros(x.lastT), PID: pidMaps, TID: int64(t.id)})
		}
	}
	x.write("\n]}\n")
	return x.err
}
