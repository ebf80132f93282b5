package report

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// TraceLine is an event in the JSON Lines of hmapdump trace.
type TraceLine struct {
	TNS        int64          `json:"t_ns"`
	Op         string         `json:"op"`
	Sym        string         `json:"sym"`
	Map        hmap.Addr      `json:"map"`
	Type       string         `json:"type"`
	Holder     string         `json:"holder,omitempty"`
	Goroutine  int64          `json:"goroutine"`
	Thread     int            `json:"thread"`
	Caller     Place          `json:"caller"`
	Key        string         `json:"key,omitempty"`
	Hint       *int64         `json:"hint,omitempty"`
	Len        int64          `json:"len"`
	Header     map[string]any `json:"header,omitempty"`
	OldSlots   int64          `json:"old_slots,omitempty"`
	NewSlots   int64          `json:"new_slots,omitempty"`
	Tombstones int64          `json:"tombstones,omitempty"`
	Bucket     *int64         `json:"bucket,omitempty"` // that is evacuated
	Evacuated  int64          `json:"evacuated,omitempty"`
	OldBuckets int64          `json:"old_buckets,omitempty"`
	Concurrent bool           `json:"concurrent"`
}

// NewTraceLine describes an event; evacuated is how many old buckets of the growth
// that is going on have been evacuated, this one included.
func NewTraceLine(e *event.Event, holder string, evacuated int64) *TraceLine {
	l := &TraceLine{
		TNS: e.T, Op: e.Func.Op.String(), Sym: e.Func.Sym, Map: e.Map, Type: typeName(e.Type), Holder: holder, Goroutine: e.Goroutine, Thread: e.Thread,
		Caller: place(e.Site), Key: e.KeyText(), Len: e.Header.Len(), Tombstones: int64(e.Table.Tombstones()), Concurrent: e.Concurrent(),
	}
	l.OldSlots, l.NewSlots = e.Slots()
	arg := int64(e.Arg)
	switch e.Func.Op {
	case event.Make:
		l.Hint = &arg
	case event.Evacuate:
		l.Bucket, l.Evacuated, l.OldBuckets = &arg, evacuated, e.OldBuckets()
	}
	h := &e.Header
	switch {
	case h.Addr == 0:
	case h.Generation == hmap.Classic:
		l.Header = map[string]any{"count": h.Count, "flags": h.Flags, "B": h.B, "noverflow": h.NOverflow, "hash0": h.Hash0, "buckets": h.Buckets, "oldbuckets": h.OldBuckets, "nevacuate": h.NEvacuate}
	default:
		l.Header = map[string]any{"used": h.Used, "seed": hmap.Addr(h.Seed), "dirPtr": h.DirPtr, "dirLen": h.DirLen, "globalDepth": h.GlobalDepth, "globalShift": h.GlobalShift, "writing": h.Writing, "clearSeq": h.ClearSeq}
	}
	return l
}

// JSON returns the line without its end.
func (l *TraceLine) JSON() ([]byte, error) { return json.Marshal(l) }

// Text returns the line for people, without its end.
func (l *TraceLine) Text() string {
	s := fmt.Sprintf("%12v  %-8s %v %s", time.Duration(l.TNS).Round(time.Microsecond), l.Op, l.Map, l.Type)
	if l.Holder != "" {
		s += " " + l.Holder
	}
	switch {
	case l.Hint != nil:
		s += fmt.Sprintf("  for %d", *l.Hint)
	case l.OldBuckets > 0:
		s += fmt.Sprintf("  evacuated %d of %d", l.Evacuated, l.OldBuckets)
	case l.NewSlots > 0:
		s += fmt.Sprintf("  len %d, slots %d -> %d", l.Len, l.OldSlots, l.NewSlots)
		if l.Tombstones > 0 {
			s += fmt.Sprintf(", %d tombstones", l.Tombstones)
		}
	default:
		if l.Key != "" {
			s += " [" + l.Key + "]"
		}
		s += fmt.Sprintf("  len %d", l.Len)
	}
	if l.Concurrent {
		s += "  CONCURRENT"
	}
	return s + fmt.Sprintf("  goroutine %s  %s", goroutineText(l.Goroutine), l.Caller)
}

// goroutineText is a goroutine's id or, of a stripped binary, the address of its g.
func goroutineText(g int64) string {
	const addresses = 1 << 32 // no heap is below
	if g < addresses {
		return strconv.FormatInt(g, 10)
	}
	return fmt.Sprintf("%#x", g)
}
