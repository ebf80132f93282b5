package report

import (
	"bytes"
	"encoding/json"

	"hmaptools/internal/hmap"
)

// Document is a dump: what one stop of one target showed.
type Document struct {
	Schema  int     `json:"schema"`
	Tool    string  `json:"tool"`
	Target  Target  `json:"target"`
	Summary Summary `json:"summary"`
	Maps    []Map   `json:"maps"`
	// SyncMaps have the fields of a map, and Sync; their generation is their design.
	SyncMaps []Map    `json:"sync_maps,omitempty"`
	Autopsy  *Autopsy `json:"autopsy,omitempty"`
	Lost     []Lost   `json:"lost,omitempty"`
	Errors   []string `json:"errors,omitempty"`

	items   []item   // what is listed and not described yet
	content *content // of maps, if that is wanted
	order   []bool   // of those that are described: a sync.Map
}

// Target is what was looked at.
type Target struct {
	Path       string `json:"path"`
	PID        int    `json:"pid,omitempty"`
	Go         string `json:"go"`
	Arch       string `json:"arch"`
	Generation string `json:"generation"`  // of the maps that were found: classic, swiss
	LayoutFrom string `json:"layout_from"` // dwarf, runtime-types
	Stop       Stop   `json:"stop"`
}

// Stop is where it stood still.
type Stop struct {
	Reason     string `json:"reason"`
	Message    string `json:"message,omitempty"`
	Goroutine  int64  `json:"goroutine,omitempty"`
	Func       string `json:"func,omitempty"`
	File       string `json:"file,omitempty"`
	Line       int    `json:"line,omitempty"`
	ExitStatus *int   `json:"exit_status,omitempty"`
}

// Summary adds up the maps that are listed.
type Summary struct {
	Maps      int   `json:"maps"`
	Listed    int   `json:"listed"` // after selection and --top
	Shared    int   `json:"shared"`
	Growing   int   `json:"growing"`
	Nil       int   `json:"nil"` // variables, fields and elements of a map type that are nil
	Entries   int64 `json:"entries"`
	Bytes     int64 `json:"bytes"`
	Wasted    int64 `json:"wasted_bytes"`
	Unread    int   `json:"unreadable"` // maps of which some memory could not be read
	Broken    int   `json:"broken"`     // maps that break an invariant
	Cut       int   `json:"cut"`        // references beyond --depth, not followed
	PauseNS   int64 `json:"pause_ns"`   // how long the target stood still
	ElapsedNS int64 `json:"elapsed_ns"`

	// What was looked at, whatever is listed.
	Scanned     uint64 `json:"scanned_bytes"`
	Objects     int    `json:"objects"` // values that were looked at under their types
	Headers     int    `json:"headers"` // of maps that were found
	SyncMaps    int    `json:"sync_maps"`
	SyncBytes   int64  `json:"sync_bytes"`  // without the maps inside them
	Unexplained int    `json:"unexplained"` // words that hold a header and that no type explains
	Goroutines  int    `json:"goroutines"`  // whose stacks were looked at
	Stale       int    `json:"stale"`       // pointers that cannot be what their type says
}

// Map is one header with everything behind it.
type Map struct {
	Addr       hmap.Addr   `json:"addr"`
	Type       string      `json:"type"`
	Generation string      `json:"generation"`
	Variant    string      `json:"variant"`
	Len        int64       `json:"len"`
	Slots      int64       `json:"slots"`
	Load       float64     `json:"load"`
	Tombstones int64       `json:"tombstones"`
	Bytes      int64       `json:"bytes"`
	Wasted     int64       `json:"wasted_bytes"`
	GrowIn     int64       `json:"grow_in"`
	Header     Fields      `json:"header"`
	Growth     *Growth     `json:"growth,omitempty"`
	Overflow   *Overflow   `json:"overflow,omitempty"`
	Tables     []Table     `json:"tables,omitempty"`
	Sync       *Sync       `json:"sync,omitempty"` // of a sync.Map
	Holders    []Holder    `json:"holders"`
	Goroutines []int64     `json:"goroutines"`
	Notes      []Note      `json:"notes"`
	Slot       []SlotBlock `json:"slots_detail,omitempty"`
	Broken     []string    `json:"broken,omitempty"`
	Errors     []string    `json:"errors,omitempty"`

	found found
}

// Growth is the state of a Classic map's growth.
type Growth struct {
	State      string `json:"state"` // idle, double, same-size
	Evacuated  int64  `json:"evacuated"`
	OldBuckets int64  `json:"old_buckets"`
	X          int64  `json:"x_entries"` // in the lower half of the new array
	Y          int64  `json:"y_entries"` // in the upper half
	Next       int64  `json:"next_evacuate"`
}

// Overflow describes a Classic map's overflow buckets.
type Overflow struct {
	Buckets      int64  `json:"buckets"`
	LongestChain int64  `json:"longest_chain"`
	NOverflow    uint16 `json:"noverflow"`
}

// Table is a table of a Swiss map.
type Table struct {
	Addr       hmap.Addr `json:"addr"`
	Index      int64     `json:"index"`
	Entries    int64     `json:"directory_entries"`
	LocalDepth uint8     `json:"local_depth"`
	Used       uint16    `json:"used"`
	Capacity   uint16    `json:"capacity"`
	GrowthLeft uint16    `json:"growth_left"`
	Tombstones int64     `json:"tombstones"`
	Groups     hmap.Addr `json:"groups"`
}

// Holder is a word that holds the header.
type Holder struct {
	Kind      string    `json:"kind"`
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Type      string    `json:"type"`
	Addr      hmap.Addr `json:"addr,omitzero"`
	Goroutine int64     `json:"goroutine,omitempty"`
	Func      string    `json:"func,omitempty"`
	File      string    `json:"file,omitempty"`
	Line      int       `json:"line,omitempty"`
}

// Note is a fact worth knowing, with a code for scripts.
type Note struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// SlotBlock is the content of one bucket or group.
type SlotBlock struct {
	Table int64     `json:"table,omitempty"`
	Block int64     `json:"block"`
	Chain int       `json:"chain,omitempty"` // Classic: 0 in the array, n in the n-th overflow bucket
	Old   bool      `json:"old,omitempty"`   // Classic: in the old array
	Addr  hmap.Addr `json:"addr"`
	Meta  string    `json:"meta"` // control bytes or tophashes in hexadecimal
	Slots []Slot    `json:"slots"`
}

// Slot is one full slot.
type Slot struct {
	Slot int    `json:"slot"`
	Key  string `json:"key"`
	Elem string `json:"elem"`
}

// Lost is a variable of a map type that cannot be shown.
type Lost struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Func      string `json:"func,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Goroutine int64  `json:"goroutine,omitempty"`
	Why       string `json:"why"`
}

// Fields are the fields of a real header in the order of memory.
type Fields []Field

// Field is one of them: a number, or an address as a string, or a list of names.
type Field struct {
	Name  string
	Value any
}

// MarshalJSON writes an object whose members stand in the order of the fields.
func (fs Fields) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, f := range fs {
		if i > 0 {
			out = append(out, ',')
		}
		k, err := json.Marshal(f.Name)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(f.Value)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, k...), ':'), v...)
	}
	return append(out, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote; numbers stay json.Number.
func (fs *Fields) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		f := Field{}
		f.Name, _ = name.(string)
		if err := dec.Decode(&f.Value); err != nil {
			return err
		}
		*fs = append(*fs, f)
	}
	return nil
}
