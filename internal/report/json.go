package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"runtime"
	"strconv"
	"sync"

	"hmaptools/internal/hmap"
)

// JSON writes the document as one line, map by map.
func (d *Document) JSON(w io.Writer) error {
	out := &jsonWriter{w: bufio.NewWriterSize(w, 1<<16)}
	head := struct {
		Schema  int     `json:"schema"`
		Tool    string  `json:"tool"`
		Target  Target  `json:"target"`
		Summary Summary `json:"summary"`
	}{d.Schema, d.Tool, d.Target, d.Summary}
	out.buf = bytes.TrimSuffix(out.value(nil, head), []byte("}"))
	out.maps(d, "maps", false)
	if d.Summary.SyncMaps > 0 {
		out.maps(d, "sync_maps", true)
	}
	tail := out.value(nil, struct {
		Autopsy *Autopsy `json:"autopsy,omitempty"`
		Lost    []Lost   `json:"lost,omitempty"`
		Errors  []string `json:"errors,omitempty"`
	}{d.Autopsy, d.Lost, d.Errors})
	if len(tail) > len("{}") {
		out.buf = append(append(out.buf, ','), tail[1:]...)
	} else {
		out.buf = append(out.buf, '}')
	}
	out.buf = append(out.buf, '\n')
	out.flush()
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

// jsonWriter writes a document. A dump may have a million maps, so what every map has
// is written by hand, and only what is rare by encoding/json.
type jsonWriter struct {
	w   *bufio.Writer
	buf []byte
	err error
}

func (o *jsonWriter) flush() {
	if o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	o.buf = o.buf[:0]
}

// maps writes the maps, or the sync.Maps, as a member of the document.
func (o *jsonWriter) maps(d *Document, name string, syncs bool) {
	o.buf = append(strconv.AppendQuote(append(o.buf, ','), name), ':', '[')
	o.flush()
	first := true
	put := func(b []byte) {
		if len(b) > 0 && first {
			b, first = b[1:], false // the comma
		}
		if o.err == nil {
			_, o.err = o.w.Write(b)
		}
	}
	o.items(d, syncs, put)
	kept := d.Maps
	if syncs {
		kept = d.SyncMaps
	}
	for i := range kept {
		put(o.object([]byte{','}, &kept[i]))
	}
	o.buf = append(o.buf, ']')
}

// itemsPerTurn is how many items a goroutine describes at a time.
const itemsPerTurn = 1 << 7

// items describes what is not described yet and hands it on, each map behind a comma. The
// paths are made by one goroutine, all else by several.
func (o *jsonWriter) items(d *Document, syncs bool, put func([]byte)) {
	type turn struct {
		items []item
		paths [][]string
		out   chan []byte
	}
	workers := runtime.GOMAXPROCS(0)
	if d.content != nil {
		workers = 1 // it has one formatter, as paths have
	}
	var written sync.Pool                           // of *[]byte
	encode := func(o *jsonWriter, t *turn) []byte { // o of its own: each notes errors
		var b []byte
		if old, ok := written.Get().(*[]byte); ok {
			b = (*old)[:0]
		}
		var m Map
		for i, r := range t.items {
			d.describe(&m, r, t.paths[i])
			b = o.object(append(b, ','), &m)
		}
		return b
	}
	work, order := make(chan *turn, workers), make(chan *turn, 2*workers)
	errs := make(chan error, workers)
	single := &jsonWriter{}
	if workers > 1 {
		for range workers {
			go func() {
				own := &jsonWriter{}
				for t := range work {
					t.out <- encode(own, t)
				}
				errs <- own.err
			}()
		}
	}
	all := make(chan struct{})
	go func() {
		for t := range order {
			b := <-t.out
			put(b)
			written.Put(&b)
		}
		close(all)
	}()
	for at := 0; at < len(d.items); {
		t := &turn{out: make(chan []byte, 1)}
		for ; at < len(d.items) && len(t.items) < itemsPerTurn; at++ {
			if r := d.items[at]; (r.s != nil) == syncs {
				t.items = append(t.items, r)
				t.paths = append(t.paths, r.paths())
			}
		}
		if order <- t; workers > 1 {
			work <- t
		} else {
			t.out <- encode(single, t)
		}
	}
	close(order)
	close(work)
	<-all
	if workers == 1 {
		errs <- single.err
	}
	for range workers {
		if err := <-errs; err != nil && o.err == nil {
			o.err = err
		}
	}
}

// value appends what encoding/json makes of a value.
func (o *jsonWriter) value(b []byte, v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && o.err == nil {
		o.err = err
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// text appends a string.
func (o *jsonWriter) text(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return o.value(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func (o *jsonWriter) addr(b []byte, a hmap.Addr) []byte {
	return append(strconv.AppendUint(append(b, `"0x`...), uint64(a), 16), '"')
}

// object appends a map: what encoding/json would write.
func (o *jsonWriter) object(b []byte, m *Map) []byte {
	text := func(name, s string) { b = o.text(append(append(append(b, ',', '"'), name...), '"', ':'), s) }
	number := func(name string, n int64) {
		b = strconv.AppendInt(append(append(append(b, ',', '"'), name...), '"', ':'), n, 10)
	}
	member := func(name string, v any) { b = o.value(append(append(append(b, ',', '"'), name...), '"', ':'), v) }
	b = o.addr(append(b, `{"addr":`...), m.Addr)
	text("type", m.Type)
	text("generation", m.Generation)
	text("variant", m.Variant)
	number("len", m.Len)
	number("slots", m.Slots)
	if m.Load >= 0 && (m.Load == 0 || m.Load >= 1e-3) && m.Load < 1e9 {
		b = strconv.AppendFloat(append(b, `,"load":`...), m.Load, 'f', -1, 64)
	} else {
		member("load", m.Load)
	}
	number("tombstones", m.Tombstones)
	number("bytes", m.Bytes)
	number("wasted_bytes", m.Wasted)
	number("grow_in", m.GrowIn)
	b = o.fields(append(b, `,"header":`...), m.Header)
	if m.Growth != nil {
		member("growth", m.Growth)
	}
	if m.Overflow != nil {
		member("overflow", m.Overflow)
	}
	if len(m.Tables) > 0 {
		member("tables", m.Tables)
	}
	if m.Sync != nil {
		member("sync", m.Sync)
	}
	b = append(b, `,"holders":[`...)
	for i := range m.Holders {
		if i > 0 {
			b = append(b, ',')
		}
		b = o.holder(b, &m.Holders[i])
	}
	b = append(b, `],"goroutines":[`...)
	for i, g := range m.Goroutines {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, g, 10)
	}
	b = append(b, `],"notes":[`...)
	for i, n := range m.Notes {
		if i > 0 {
			b = append(b, ',')
		}
		b = o.text(append(b, `{"code":`...), n.Code)
		b = append(o.text(append(b, `,"text":`...), n.Text), '}')
	}
	b = append(b, ']')
	if len(m.Slot) > 0 {
		member("slots_detail", m.Slot)
	}
	if len(m.Broken) > 0 {
		member("broken", m.Broken)
	}
	if len(m.Errors) > 0 {
		member("errors", m.Errors)
	}
	return append(b, '}')
}

func (o *jsonWriter) holder(b []byte, h *Holder) []byte {
	b = o.text(append(b, `{"kind":`...), h.Kind)
	b = o.text(append(b, `,"name":`...), h.Name)
	b = o.text(append(b, `,"path":`...), h.Path)
	b = o.text(append(b, `,"type":`...), h.Type)
	if h.Addr != 0 {
		b = o.addr(append(b, `,"addr":`...), h.Addr)
	}
	if h.Goroutine != 0 {
		b = strconv.AppendInt(append(b, `,"goroutine":`...), h.Goroutine, 10)
	}
	if h.Func != "" {
		b = o.text(append(b, `,"func":`...), h.Func)
	}
	if h.File != "" {
		b = o.text(append(b, `,"file":`...), h.File)
	}
	if h.Line != 0 {
		b = strconv.AppendInt(append(b, `,"line":`...), int64(h.Line), 10)
	}
	return append(b, '}')
}

func (o *jsonWriter) fields(b []byte, fs Fields) []byte {
	b = append(b, '{')
	for i, f := range fs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(o.text(b, f.Name), ':')
		switch v := f.Value.(type) {
		case hmap.Addr:
			b = o.addr(b, v)
		case uint64:
			b = strconv.AppendUint(b, v, 10)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case bool:
			b = strconv.AppendBool(b, v)
		default:
			b = o.value(b, v)
		}
	}
	return append(b, '}')
}
