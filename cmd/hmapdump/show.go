package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/report"
)

// runEvents is trace, record or show.
func runEvents(cmd string, args []string, stdout, stderr io.Writer) (int, error) {
	c, err := parseEvents(cmd, args, stdout)
	if err != nil {
		return 0, err
	}
	switch cmd {
	case "record":
		return c.record(stdout, stderr)
	case "trace":
		return c.traceEvents(stdout, stderr)
	}
	return c.show(stdout, stderr)
}

// show analyses a recording.
func (c *eventConfig) show(stdout, stderr io.Writer) (status int, err error) {
	f, err := os.Open(c.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	rd, err := event.NewReader(f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.file, err)
	}
	a := event.NewAnalysis()
	visits := []func(*event.Event) error{}
	var closers []func() error
	export := func(path string, open func(io.Writer, *event.Meta) (report.Exporter, error)) error {
		if path == "" {
			return nil
		}
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		buf := bufio.NewWriterSize(out, 1<<20)
		x, err := open(buf, rd.Meta())
		if err != nil {
			return errors.Join(err, out.Close())
		}
		visits = append(visits, x.Add)
		closers = append(closers, func() error { return errors.Join(x.Close(), buf.Flush(), out.Close()) })
		return nil
	}
	if err := errors.Join(export(c.perfetto, report.Perfetto), export(c.parquet, report.Parquet)); err != nil {
		return 0, err
	}
	done := progress(stderr, "reading "+c.file)
	broken := rd.Read(func(e *event.Event) error {
		if c.mapAddr != 0 && uint64(e.Map) != c.mapAddr {
			return nil
		}
		a.Add(e)
		for _, v := range visits {
			if err := v(e); err != nil {
				return err
			}
		}
		return nil
	})
	done()
	for _, cl := range closers {
		if err := cl(); err != nil {
			return 0, err
		}
	}
	end := rd.End()
	doc := report.BuildRecording(rd.Meta(), end, a, report.RecordingSelection{Type: c.typ, Addr: hmap.Addr(c.mapAddr), Top: c.top})
	if broken != nil {
		if !event.Partial(broken) {
			return 0, fmt.Errorf("%s: %w", c.file, broken)
		}
		doc.Errors = append(doc.Errors, broken.Error())
		fmt.Fprintf(stderr, "hmapdump: %s: %v\n", c.file, broken)
	}
	if c.pprof != "" {
		out, err := os.Create(c.pprof)
		if err != nil {
			return 0, err
		}
		if err := errors.Join(report.OpsPprof(out, rd.Meta(), end, a), out.Close()); err != nil {
			return 0, err
		}
	}
	out := stdout
	if c.output != "" {
		file, err := os.Create(c.output)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	if err := c.print(out, doc); err != nil {
		return 0, err
	}
	if broken != nil {
		return statusFailed, nil
	}
	return statusFine, nil
}
