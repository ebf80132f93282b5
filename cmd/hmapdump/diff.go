package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"hmaptools/internal/report"
)

// diff compares two dumps, or the maps of two core dumps.
func (d *dump) diff() (status int, err error) {
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
	for _, c := range d.failOn {
		if met := c.Met(diff); met != "" {
			d.notice("%s", met)
			status = statusFinding
		}
	}
	return status, nil
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
