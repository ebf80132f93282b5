package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// Recording is what a recording shows: the JSON of hmapdump show.
type Recording struct {
	Schema  int              `json:"schema"`
	Tool    string           `json:"tool"`
	Target  RecordingTarget  `json:"target"`
	Summary RecordingSummary `json:"summary"`
	Maps    []MapLife        `json:"maps"`
	Sites   []SiteOps        `json:"sites"`
	Errors  []string         `json:"errors,omitempty"`
}

// RecordingTarget is what was recorded.
type RecordingTarget struct {
	Path       string `json:"path"`
	PID        int    `json:"pid"`
	Go         string `json:"go"`
	BuildID    string `json:"build_id,omitempty"`
	Arch       string `json:"arch"`
	Generation string `json:"generation"`
	LayoutFrom string `json:"layout_from"`
	Engine     string `json:"engine"`
	// Started is when t_ns is 0, by the clock on the wall; to be joined with what
	// others have taken down. It is left out where it was not recorded.
	Started time.Time `json:"started,omitzero"`
	End     string    `json:"end"`
}

// RecordingSummary adds all maps up, those that are not listed included.
type RecordingSummary struct {
	Events     uint64            `json:"events"`
	Lost       uint64            `json:"lost"`
	LostBy     []event.Lost      `json:"lost_by,omitempty"`
	Unfinished uint64            `json:"unfinished,omitempty"`
	DurationNS int64             `json:"duration_ns"`
	Goroutines int               `json:"goroutines"`
	Maps       int               `json:"maps"`
	Folded     uint64            `json:"folded,omitempty"`
	Ops        map[string]uint64 `json:"ops"`
	Concurrent uint64            `json:"concurrent"`
	Skipped    []SkippedFunc     `json:"skipped,omitempty"`
}

// SkippedFunc is a function in which no events were taken.
type SkippedFunc struct {
	Sym string `json:"sym"`
	Why string `json:"why"`
}

// Place is a place in the source.
type Place struct {
	Func string `json:"func"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// MapLife is a map from the first to the last operation on it.
type MapLife struct {
	Addr        hmap.Addr         `json:"addr"`
	Type        string            `json:"type"`
	MadeAt      *Place            `json:"made_at,omitempty"`
	Hint        int64             `json:"hint"`
	Len         int64             `json:"len"`
	MaxLen      int64             `json:"max_len"`
	FirstNS     int64             `json:"first_ns"`
	LastNS      int64             `json:"last_ns"`
	Ops         map[string]uint64 `json:"ops"`
	Goroutines  []GoroutineShare  `json:"goroutines"`
	Grown       uint64            `json:"grown"`
	Churn       uint64            `json:"churn,omitempty"`
	Evacuations uint64            `json:"evacuations,omitempty"`
	Growth      []GrowthEvent     `json:"growth"`
	Sites       []SiteOps         `json:"sites"`
	Concurrent  []ConflictPair    `json:"concurrent"`
	Conflicts   uint64            `json:"conflicts,omitempty"`
	Folded      uint64            `json:"folded,omitempty"`
	Moved       uint64            `json:"moved,omitempty"` // with a goroutine's stack
	Notes       []Note            `json:"notes"`
}

// GoroutineShare is what a goroutine did with a map.
type GoroutineShare struct {
	ID     int64  `json:"id"`
	Reads  uint64 `json:"reads"`
	Writes uint64 `json:"writes"`
}

// GrowthEvent is a growth of a map or of one of its tables.
type GrowthEvent struct {
	TNS        int64  `json:"t_ns"`
	Op         string `json:"op"`
	Len        int64  `json:"len"`
	OldSlots   int64  `json:"old_slots"`
	NewSlots   int64  `json:"new_slots"`
	Tombstones int64  `json:"tombstones,omitempty"`
	SameSize   bool   `json:"same_size,omitempty"`
	Evacuated  int64  `json:"evacuated,omitempty"`
	OldBuckets int64  `json:"old_buckets,omitempty"`
	EndNS      int64  `json:"end_ns,omitempty"`
	Place
}

// SiteOps is how often an operation was done at a place.
type SiteOps struct {
	Place
	Op    string `json:"op"`
	N     uint64 `json:"n"`
	Bytes int64  `json:"bytes,omitempty"` // that growth allocated
}

// ConflictPair is a proven concurrent access: B entered while a writer was inside.
type ConflictPair struct {
	TNS int64         `json:"t_ns"`
	A   *ConflictSide `json:"a,omitempty"` // not known where no write was recorded
	B   ConflictSide  `json:"b"`
}

// ConflictSide is one side of a ConflictPair.
type ConflictSide struct {
	Goroutine int64  `json:"goroutine"`
	Op        string `json:"op"`
	Place
}

// RecordingSelection says which maps are listed.
type RecordingSelection struct {
	Type *regexp.Regexp
	Addr hmap.Addr // 0: all
	Top  int       // 0: all
}

// shown are the operations in the order of columns.
var shown = []event.Op{event.Make, event.Assign, event.Access, event.Delete, event.Iter, event.Clear}

// BuildRecording describes an analysis.
func BuildRecording(meta *event.Meta, end event.End, a *event.Analysis, sel RecordingSelection) *Recording {
	a.Close()
	r := &Recording{Schema: 1, Tool: meta.Tool, Target: RecordingTarget{
		Path: meta.Path, PID: meta.Pid, Go: meta.Go, BuildID: meta.BuildID, Arch: meta.Arch,
		Generation: meta.Layout.Generation.String(), LayoutFrom: meta.Layout.From, Engine: meta.Engine, Started: meta.Started, End: end.Reason,
	}}
	r.Summary = RecordingSummary{
		Events: a.Events, Lost: end.Lost, LostBy: end.LostBy, Unfinished: end.Unfinished, DurationNS: end.DurationNS,
		Goroutines: len(a.Goroutines), Maps: len(a.Lives), Folded: a.Folded, Ops: opCounts(&a.Ops),
	}
	for _, f := range meta.Funcs {
		if f.Skipped != "" {
			r.Summary.Skipped = append(r.Summary.Skipped, SkippedFunc{f.Sym, f.Skipped})
		}
	}
	for _, l := range a.Lives {
		r.Summary.Concurrent += l.Conflicting
	}
	r.Maps = []MapLife{}
	for _, l := range a.Hottest() {
		if sel.Addr != 0 && l.Addr != sel.Addr || sel.Type != nil && !sel.Type.MatchString(typeName(l.Type)) {
			continue
		}
		if sel.Top > 0 && len(r.Maps) == sel.Top {
			break
		}
		r.Maps = append(r.Maps, describeLife(l))
	}
	r.Sites = siteOps(a.Sites)
	return r
}

func typeName(t *event.Type) string {
	if t == nil || t.Name == "" {
		return "map[?]?"
	}
	return t.Name
}

func opCounts(ops *[event.NumOps]uint64) map[string]uint64 {
	m := map[string]uint64{}
	for _, op := range shown {
		m[op.String()] = ops[op]
	}
	for op, n := range ops {
		if n > 0 && op > 0 {
			m[event.Op(op).String()] = n
		}
	}
	return m
}

func place(s *event.Site) Place {
	if s == nil {
		return Place{}
	}
	f := s.Caller()
	return Place{f.Func, f.File, f.Line}
}

// siteOps merges what has the same place in the source: a line may call from several
// instructions, and come from several callers.
func siteOps(sites map[event.SiteOp]*event.SiteCount) []SiteOps {
	type key struct {
		Place
		op event.Op
	}
	sums := map[key]*SiteOps{}
	for so, c := range sites {
		k := key{place(so.Site), so.Op}
		s := sums[k]
		if s == nil {
			s = &SiteOps{Place: k.Place, Op: so.Op.String()}
			sums[k] = s
		}
		s.N += c.N
		s.Bytes += c.Bytes
	}
	all := make([]SiteOps, 0, len(sums))
	for _, s := range sums {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(x, y SiteOps) int {
		return cmp.Or(cmp.Compare(y.N, x.N), cmp.Compare(x.Func, y.Func), cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Op, y.Op))
	})
	return all
}

func describeLife(l *event.Life) MapLife {
	m := MapLife{
		Addr: l.Addr, Type: typeName(l.Type), Hint: l.Hint, Len: l.Len, MaxLen: l.MaxLen, FirstNS: l.FirstT, LastNS: l.LastT,
		Ops: opCounts(&l.Ops), Grown: l.Grown, Churn: l.Churn, Evacuations: l.Evacuations, Conflicts: l.Conflicting, Folded: l.Folded, Moved: l.Moved,
		Goroutines: []GoroutineShare{}, Growth: []GrowthEvent{}, Concurrent: []ConflictPair{}, Notes: []Note{},
		Sites: siteOps(l.Sites),
	}
	if l.Made != nil {
		p := place(l.Made)
		m.MadeAt = &p
	}
	for g, s := range l.Goroutines {
		if s.Reads+s.Writes > 0 {
			m.Goroutines = append(m.Goroutines, GoroutineShare{g, s.Reads, s.Writes})
		}
	}
	slices.SortFunc(m.Goroutines, func(x, y GoroutineShare) int {
		return cmp.Or(cmp.Compare(y.Reads+y.Writes, x.Reads+x.Writes), cmp.Compare(x.ID, y.ID))
	})
	for _, g := range l.Growths {
		m.Growth = append(m.Growth, GrowthEvent{
			TNS: g.T, Op: g.Op.String(), Len: g.Len, OldSlots: g.OldSlots, NewSlots: g.NewSlots, Tombstones: g.Tombstones,
			SameSize: g.SameSize, Evacuated: g.Evacuated, OldBuckets: g.OldBuckets, EndNS: g.EndT, Place: place(g.Site),
		})
	}
	for _, c := range l.Conflicts {
		p := ConflictPair{TNS: c.B.T, B: ConflictSide{c.B.Goroutine, c.B.Op.String(), place(c.B.Site)}}
		if c.A.Site != nil {
			p.A = &ConflictSide{c.A.Goroutine, c.A.Op.String(), place(c.A.Site)}
		}
		m.Concurrent = append(m.Concurrent, p)
	}
	m.note(l)
	return m
}

// note says what deserves attention.
func (m *MapLife) note(l *event.Life) {
	add := func(code, format string, args ...any) {
		m.Notes = append(m.Notes, Note{Code: code, Text: fmt.Sprintf(format, args...)})
	}
	if l.Conflicting > 0 {
		add("concurrent", "%d operations entered while a writer was inside", l.Conflicting)
	}
	if n := l.Size(); m.MadeAt != nil && l.Grown > 1 && l.Hint < n && n > 8 {
		add("no-size", "made for %d entries, grew %d times to hold %d: make(%s, %d)", l.Hint, l.Grown, n, m.Type, n)
	}
	if l.Churn > 0 {
		add("churn", "grew %d times without having more entries than before", l.Churn)
	}
	writers, readers := 0, 0
	for _, g := range m.Goroutines {
		if g.Writes > 0 {
			writers++
		} else {
			readers++
		}
	}
	if writers+readers > 1 && m.Addr != 0 {
		add("shared-across-goroutines", "%d goroutines write it, %d more read it", writers, readers)
	}
}

// JSON writes the recording as one document.
func (r *Recording) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}

func (p Place) String() string {
	if p.Func == "" {
		return "-"
	}
	if p.File == "" {
		return p.Func
	}
	return fmt.Sprintf("%s %s:%d", p.Func, p.File[strings.LastIndexByte(p.File, '/')+1:], p.Line)
}
