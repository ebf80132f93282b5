package event

import (
	"bytes"
	"testing"
)

// SeedBlock adds the payload of the first block of events of a file to the corpus.
func SeedBlock(f *testing.F, m *Meta, file []byte) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := r.block(); err != nil { // of symbols
		f.Fatal(err)
	}
	fr, err := r.block()
	if err != nil || fr.kind != blockEvents {
		f.Fatalf("block of kind %d: %v", fr.kind, err)
	}
	f.Add(bytes.Clone(r.raw), fr.events)
}

// DecodeBlock decodes the payload of a block of events.
func DecodeBlock(m *Meta, payload []byte, events uint32, visit func(e *Event)) error {
	r := &Reader{meta: m, raw: payload, names: *NewInterner(), headers: newHeaderDecoder(&m.Layout)}
	_, err := r.decode(frame{events: events}, func(e *Event) error { visit(e); return nil })
	return err
}
