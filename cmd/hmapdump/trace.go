package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"time"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/probe"
	"hmaptools/internal/report"
	"hmaptools/internal/target"
	"hmaptools/internal/watch"
)

// traceEvents prints events as they happen.
func (c *eventConfig) traceEvents(stdout, stderr io.Writer) (status int, err error) {
	out := stdout
	if c.output != "" {
		file, err := os.Create(c.output)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	p := newTracePrinter(out, c.json)
	if c.engine != "delve" {
		n, err := c.traceProbe(p, stdout, stderr)
		var not *probe.NotSupportedError
		switch {
		case err == nil && n == 0:
			return 0, &noEventsError{}
		case err == nil:
			return statusFine, nil
		case c.engine == "probe" || !errors.As(err, &not):
			return 0, err
		}
		fmt.Fprintf(stderr, "hmapdump: %v; breakpoints are used instead\n", err)
	}
	return c.traceDelve(p, stderr)
}

// growthStack is how many callers a growing function is traced with: the runtime's
// own come first.
const growthStack = 8

func (c *eventConfig) traceProbe(p *tracePrinter, stdout, stderr io.Writer) (uint64, error) {
	c.stack = max(c.stack, growthStack)
	r := &recorder{eventConfig: c, stdout: stdout, stderr: stderr, trace: p}
	end, err := r.run(func() error {
		r.as = event.NewAssembler(r.s.Meta())
		p.holderOf = probeHolders(r.s).of
		return nil
	}, func(event.End) {})
	if r.s == nil {
		return 0, err
	}
	r.remarks(end)
	return p.lines, errors.Join(err, p.flush())
}

// tracePrinter prints events, in text with one line for several buckets that are
// evacuated.
type tracePrinter struct {
	w        *bufio.Writer
	json     bool
	lines    uint64
	growing  map[hmap.Addr]*evacuation
	holderOf func(*event.Event) string // nil: not known
	err      error
}

// evacuation is the growth of a Classic map.
type evacuation struct {
	done  map[uint64]bool
	shown int64
}

// evacuationSteps is how many lines of text a growth has at most.
const evacuationSteps = 4

func newTracePrinter(w io.Writer, json bool) *tracePrinter {
	return &tracePrinter{w: bufio.NewWriterSize(w, 1<<16), json: json, growing: map[hmap.Addr]*evacuation{}}
}

func (p *tracePrinter) add(e *event.Event) {
	if p.err != nil {
		return
	}
	var evacuated int64
	switch e.Func.Op {
	case event.Make:
		delete(p.growing, e.Map)
	case event.Grow:
		if e.Header.Generation == hmap.Classic {
			p.growing[e.Map] = &evacuation{done: map[uint64]bool{}}
		}
	case event.Evacuate:
		g := p.growing[e.Map]
		if g == nil {
			// It had begun to grow before: what the header says was done counts.
			g = &evacuation{done: map[uint64]bool{}}
			for i := uint64(0); i < e.Header.NEvacuate && i < 1<<20; i++ {
				g.done[i] = true
			}
			p.growing[e.Map] = g
		}
		if g.done[e.Arg] {
			return // evacuate was called for a bucket that is done
		}
		g.done[e.Arg] = true
		evacuated = int64(len(g.done))
		all := e.OldBuckets()
		if evacuated >= all {
			delete(p.growing, e.Map)
		} else if !p.json && evacuated < g.shown+max(1, all/evacuationSteps) && evacuated > 1 {
			return
		}
		g.shown = evacuated
	}
	holder := ""
	if p.holderOf != nil {
		holder = p.holderOf(e)
	}
	line := report.NewTraceLine(e, holder, evacuated)
	p.lines++
	if p.json {
		b, err := line.JSON()
		if err != nil {
			p.err = err
			return
		}
		_, p.err = p.w.Write(append(b, '\n'))
		return
	}
	_, p.err = p.w.WriteString(line.Text() + "\n")
}

func (p *tracePrinter) flush() error {
	if err := p.w.Flush(); p.err == nil {
		p.err = err
	}
	return p.err
}

// traceDelve takes events at breakpoints.
func (c *eventConfig) traceDelve(p *tracePrinter, stderr io.Writer) (status int, err error) {
	r := &recorder{eventConfig: c, stderr: stderr}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.cancel = cancel
	prog, remove, err := r.build(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := r.lookUp(); err != nil {
		return 0, err
	}
	defer r.signals()()
	var t *target.Target
	if c.pid != 0 {
		t, err = target.AttachStripped(c.pid)
	} else {
		t, err = target.Launch(prog, c.args, target.LaunchOptions{Stripped: true})
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	p.holderOf = targetHolders(t).of
	if c.duration > 0 {
		defer time.AfterFunc(c.duration, cancel).Stop()
	}
	n := uint64(0)
	named := &namedMap{t: t, expr: c.mapExpr}
	if c.mapAddr != 0 {
		named.expr = ""
	}
	stop, err := watch.Run(ctx, t, watch.Options{Ops: c.ops, Stack: max(c.stack, growthStack)}, func(e *event.Event) error {
		if c.mapAddr != 0 && uint64(e.Map) != c.mapAddr || c.typ != nil && (e.Type == nil || !c.typ.MatchString(e.Type.Name)) || c.limit > 0 && n >= c.limit {
			return nil
		}
		for _, e := range named.of(e) {
			if n++; n == c.limit {
				cancel()
			}
			p.add(e)
		}
		return p.flush()
	})
	if err = errors.Join(err, p.flush()); err != nil {
		return 0, err
	}
	if stop.Reason != target.Exited && c.pid == 0 {
		stop, err = t.Finish()
	}
	if stop.ExitStatus != nil && *stop.ExitStatus != 0 {
		fmt.Fprintf(stderr, "hmapdump: the program ended with %s\n", exitWords(*stop.ExitStatus))
	}
	if err == nil && p.lines == 0 {
		err = &noEventsError{}
		if named.err != nil {
			err = fmt.Errorf("--map %s: %w", c.mapExpr, named.err)
		}
	}
	return statusFine, err
}

// namedMap picks out the events on the map that an expression names at that moment, in
// the frame that does the operation or in one of its callers.
type namedMap struct {
	t    *target.Target
	expr string // "": all maps
	made map[hmap.Addr]event.Event
	err  error // why it could not be evaluated; nil if it ever could
	once bool
}

// of returns the events to take: e, or none, or the make of its map before it. At a make
// it is not known yet what the map will be called.
func (n *namedMap) of(e *event.Event) []*event.Event {
	if n.expr == "" {
		return []*event.Event{e}
	}
	if e.Func.Op == event.Make {
		if n.made == nil || len(n.made) >= maxMade {
			n.made = map[hmap.Addr]event.Event{}
		}
		n.made[e.Map] = *e
		return nil
	}
	addr, err := evalMap(n.t, n.expr)
	if n.once = n.once || err == nil; err == nil {
		n.err = nil
	} else if !n.once {
		n.err = err
	}
	if err != nil || addr == 0 || hmap.Addr(addr) != e.Map {
		return nil
	}
	if m, ok := n.made[e.Map]; ok {
		delete(n.made, e.Map)
		return []*event.Event{&m, e}
	}
	return []*event.Event{e}
}

// evalMap is the address of the header that an expression of map type holds.
func evalMap(t *target.Target, expr string) (uint64, error) {
	root, err := t.Eval(expr)
	if err != nil {
		return 0, err
	}
	if root.Type != nil && root.Type.Kind != reflect.Map {
		return 0, fmt.Errorf("its type is %s, not a map", root.Type.Name)
	}
	var word [8]byte
	if root.Addr != 0 {
		_, err = t.Memory().ReadMemory(word[:], root.Addr)
	} else if copy(word[:], root.Raw) < 8 {
		err = target.ErrOptimisedAway
	}
	return binary.LittleEndian.Uint64(word[:]), err
}
