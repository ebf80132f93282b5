package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/report"
)

// diff compares two dumps, the maps of two core dumps, or two recordings.
func (d *dump) diff() (status int, err error) {
	recordings := 0
	for _, path := range []string{d.old, d.new} {
		is, err := isRecording(path)
		if err != nil {
			return 0, err
		}
		if is {
			recordings++
		}
	}
	switch recordings {
	case 1:
		return 0, usagef("%s and %s: one is a recording, the other is not", d.old, d.new)
	case 2:
		return d.diffRecordings()
	}
	old, err := d.load(d.old)
	if err != nil {
		return 0, err
	}
	new, err := d.load(d.new)
	if err != nil {
		return 0, err
	}
	diff := report.Compare(old, new)
	diff.Tool = "hmapdump " + version()
	render := diff.Table
	if d.json {
		render = diff.JSON
	}
	if err := d.emit(render); err != nil {
		return 0, err
	}
	return d.conditions(diff), nil
}

// conditions is the status that --fail-on asks for.
func (d *dump) conditions(diff *report.Diff) int {
	status := statusFine
	for _, c := range d.failOn {
		if met := c.Met(diff); met != "" {
			d.notice("%s", met)
			status = statusFinding
		}
	}
	return status
}

func isRecording(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return event.IsRecording(f), nil
}

func (d *dump) diffRecordings() (status int, err error) {
	for _, c := range d.failOn {
		if !c.OfRecordings() {
			return 0, usagef("--fail-on %s: of recordings only len and maps are known", c)
		}
	}
	old, err := loadRecording(d.old, d.stderr)
	if err != nil {
		return 0, err
	}
	new, err := loadRecording(d.new, d.stderr)
	if err != nil {
		return 0, err
	}
	diff := report.CompareRecordings(old, new)
	diff.Tool = "hmapdump " + version()
	render := diff.Table
	if d.json {
		render = diff.JSON
	}
	if err := d.emit(render); err != nil {
		return 0, err
	}
	return d.conditions(diff.Figures()), nil
}

// loadRecording analyses a recording. One that is cut off or damaged is compared as far as
// it goes.
func loadRecording(path string, stderr io.Writer) (*report.Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rd, err := event.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	a := event.NewAnalysis()
	if err := rd.Read(func(e *event.Event) error { a.Add(e); return nil }); err != nil {
		if !event.Partial(err) {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(stderr, "hmapdump: %s: %v\n", path, err)
	}
	return report.BuildRecording(rd.Meta(), rd.End(), a, report.RecordingSelection{}), nil
}

// load reads a dump, or takes one of a core dump.
func (d *dump) load(path string) (*report.Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if n, _ := io.ReadFull(f, magic); bytes.Equal(magic[:n], []byte("\x7fELF")) {
		if d.prog == "" {
			return nil, usagef("%s is a core dump: say with --prog of which program", path)
		}
		return d.loadCore(path)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	doc, err := report.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

func (d *dump) loadCore(path string) (doc *report.Document, err error) {
	c := *d.config
	c.mode, c.core = modeCore, path
	one := &dump{config: &c, stdout: d.stdout, stderr: d.stderr, start: time.Now(), gc: d.gc}
	stop, cleanup, err := one.open(context.Background())
	defer func() { err = errors.Join(err, cleanup()) }()
	if err != nil {
		return nil, err
	}
	if doc, err = one.look(stop); err == nil {
		doc.Keep()
	}
	return doc, err
}
