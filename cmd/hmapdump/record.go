package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"

	"hmaptools/internal/event"
	"hmaptools/internal/probe"
	"hmaptools/internal/report"
	"hmaptools/internal/target"
)

// recorder is one run of record, or of trace with probes.
type recorder struct {
	*eventConfig
	stdout, stderr io.Writer
	s              *probe.Session
	cancel         context.CancelFunc
	mu             sync.Mutex // of the symbols: the file's writer and the screen want them

	taken   uint64          // events that were kept
	types   map[uint64]bool // by descriptor: does it match
	made    map[uint64]made // by map
	file    *os.File
	w       *event.Writer
	as      *event.Assembler // without a file, and with --live
	a       *event.Analysis
	trace   *tracePrinter
	named   map[uint64]bool
	screen  screen
	started time.Time
}

func (r *recorder) notice(format string, args ...any) {
	fmt.Fprintf(r.stderr, "hmapdump: "+format+"\n", args...)
}

// record runs or attaches to the target and records it.
func (c *eventConfig) record(stdout, stderr io.Writer) (status int, err error) {
	r := &recorder{eventConfig: c, stdout: stdout, stderr: stderr}
	var failed error
	end, err := r.run(func() error {
		if c.output == "" || c.live {
			r.as, r.a = event.NewAssembler(r.s.Meta()), event.NewAnalysis()
		}
		if c.output == "" {
			return nil
		}
		if r.file, err = os.Create(c.output); err != nil {
			return err
		}
		r.w, err = event.NewWriter(r.file, r.s.Meta(), r)
		return err
	}, func(end event.End) {
		if r.w == nil {
			return
		}
		if werr := r.w.Close(end); werr != nil {
			// What is behind the last complete block is of no use.
			failed = errors.Join(werr, r.file.Truncate(r.w.Written()))
		}
		failed = errors.Join(failed, r.file.Close())
		r.notice("%s: %d events, %d lost, %d bytes", c.output, r.w.Events(), end.Lost, r.w.Written())
	})
	if r.s == nil {
		return 0, err
	}
	r.remarks(end)
	if failed != nil {
		return 0, &recordingError{c.output, errors.Join(err, failed)}
	}
	if err != nil {
		return 0, err
	}
	if r.w != nil {
		return statusFine, nil
	}
	end.Events = r.a.Events
	doc := report.BuildRecording(r.s.Meta(), end, r.a, report.RecordingSelection{Top: c.top})
	if err := c.print(stdout, doc); err != nil {
		return 0, err
	}
	if doc.Summary.Concurrent > 0 && end.Reason == exitWords(2) {
		return statusFinding, nil
	}
	return statusFine, nil
}

// recordingError says that a recording could not be written to its end.
type recordingError struct {
	path string
	err  error
}

func (e *recordingError) Error() string {
	return fmt.Sprintf("the recording stopped early: %v; %s holds what came before", e.err, e.path)
}

func (e *recordingError) Unwrap() error { return e.err }

// run places the probes, lets prepare make whatever takes the events in, and hands
// them on until the end, which finish is told. It leaves r.s nil if there are no probes.
func (r *recorder) run(prepare func() error, finish func(event.End)) (end event.End, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.cancel = cancel
	prog, remove, err := r.build(ctx)
	if err != nil {
		return end, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	defer r.signals()()
	opts := probe.Options{Ops: r.ops, RingBytes: r.ring, Keys: r.keys, Stack: r.stack}
	if r.mapAddr == 0 {
		opts.Map = r.mapExpr
	}
	var variable *probe.VariableError
	if r.pid != 0 {
		r.s, err = probe.Attach(r.pid, opts)
		if errors.As(err, &variable) {
			// It may be a local variable, or a place in a slice or a map: which map that
			// is now.
			if err = r.lookUp(); err == nil {
				opts.Map = ""
				r.s, err = probe.Attach(r.pid, opts)
			}
		}
	} else {
		r.s, err = probe.Launch(prog, r.args, opts)
	}
	if err != nil {
		r.s = nil
		return end, err
	}
	defer r.s.Close()
	r.started = time.Now()
	r.s.Meta().Tool = "hmapdump " + version()
	if target.NeedsBuild(r.prog) && r.prog != "" {
		r.s.Meta().Path = r.prog // the binary was temporary
	}
	r.screen.out, _ = r.stderr.(*os.File)
	failed := prepare()
	if r.duration > 0 {
		defer time.AfterFunc(r.duration, cancel).Stop()
	}
	if failed != nil {
		cancel() // the target goes on, without probes
	}
	ended, err := r.s.Run(ctx, r)
	r.screen.clear()
	if r.a != nil {
		r.nameAll(r.a, r.as.Interner, map[uint64]bool{0: true}) // while the executable is open
	}
	end = event.End{Lost: ended.LostTotal, LostBy: ended.Lost, Unfinished: ended.Unfinished, Reason: "detached"}
	_, end.DurationNS = r.s.Now()
	if !ended.Exited && r.pid == 0 {
		ended.Exited, ended.ExitStatus = true, r.s.Wait()
		end.Reason = "stopped; " + exitWords(ended.ExitStatus)
	} else if ended.Exited && r.pid == 0 {
		end.Reason = exitWords(ended.ExitStatus)
	} else if ended.Exited {
		end.Reason = "the process ended"
	}
	if ended.Exited && ended.ExitStatus != 0 {
		r.notice("the program ended with %s", exitWords(ended.ExitStatus))
	}
	finish(end)
	return end, errors.Join(failed, err)
}

func (r *recorder) build(ctx context.Context) (prog string, remove func() error, err error) {
	prog, remove = r.prog, func() error { return nil }
	if r.pid == 0 && target.NeedsBuild(prog) {
		done := progress(r.stderr, "building "+prog)
		prog, remove, err = target.Build(ctx, prog, target.BuildOptions{Optimise: r.optimise})
		done()
	}
	return prog, remove, err
}

// lookUp finds the map that --map names by an expression in a running process, as it is
// now. A package variable's is found by the probes, at each event.
func (r *recorder) lookUp() error {
	if r.mapExpr == "" || r.mapAddr != 0 || r.pid == 0 {
		return nil
	}
	t, err := target.AttachFrozen(r.pid)
	if err != nil {
		return err
	}
	defer t.Close()
	if r.mapAddr, err = evalMap(t, r.mapExpr); err != nil {
		return fmt.Errorf("--map %s: %w", r.mapExpr, err)
	}
	if r.mapAddr == 0 {
		return fmt.Errorf("--map %s: the map is nil", r.mapExpr)
	}
	return nil
}

// signals: Ctrl-C goes to the target too, where we have started it, and its end is
// ours; a second one ends the recording. Of a process that we attached to, the
// first one ends the recording.
func (r *recorder) signals() func() {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	quit := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-quit:
				return
			case sig := <-ch:
				switch {
				case n > 2:
					os.Exit(128 + int(sig.(syscall.Signal)))
				case r.pid != 0 || n > 0 || sig == syscall.SIGTERM:
					r.cancel()
				}
			}
		}
	}()
	return func() { signal.Stop(ch); close(quit) }
}

// Add implements probe.Sink.
func (r *recorder) Add(raw *event.Raw, stack []uint64, key []byte) {
	if r.mapAddr != 0 && raw.Map != r.mapAddr || (r.typ != nil || r.follows()) && !r.matches(raw, stack) {
		return
	}
	r.keep(raw, stack, key)
}

// AddAll implements probe.Sink.
func (r *recorder) AddAll(rs []event.Raw) {
	if r.mapAddr == 0 && !r.follows() && r.typ == nil && r.limit == 0 && r.trace == nil {
		r.taken += uint64(len(rs))
		if r.w != nil {
			r.w.AddAll(rs)
		}
		if r.a != nil {
			r.as.AddAll(r.a, rs, r.s.Nanoseconds)
		}
		return
	}
	for i := range rs {
		r.Add(&rs[i], nil, nil)
	}
}

// follows reports whether the probes take the operations on one variable's map alone.
func (r *recorder) follows() bool { return r.mapExpr != "" && r.mapAddr == 0 }

// maxMade bounds the makes that wait.
const maxMade = 1 << 16

// made is a make of which it is not known yet whether it is wanted: makemap_small is not
// told the type, and no make the variable. It is kept if the first operation on the map
// is.
type made struct {
	raw   event.Raw
	stack []uint64
}

func (r *recorder) matches(raw *event.Raw, stack []uint64) bool {
	if (raw.Type == 0 || r.follows()) && r.s.Meta().Funcs[raw.Func].Op == event.Make {
		if r.made == nil || len(r.made) >= maxMade {
			r.made = map[uint64]made{}
		}
		r.made[raw.Map] = made{*raw, slices.Clone(stack)}
		return false
	}
	ok := r.typ == nil || r.typeWanted(raw.Type)
	if m, waits := r.made[raw.Map]; waits {
		delete(r.made, raw.Map)
		if ok {
			m.raw.Type = raw.Type
			r.keep(&m.raw, m.stack, nil)
		}
	}
	return ok
}

func (r *recorder) keep(raw *event.Raw, stack []uint64, key []byte) {
	if r.limit > 0 && r.taken >= r.limit {
		return
	}
	if r.taken++; r.taken == r.limit {
		r.cancel()
	}
	if r.w != nil {
		r.w.Add(raw, stack, key)
	}
	if r.a != nil {
		r.a.Add(r.as.Event(raw, stack, key, r.s.Nanoseconds(raw.Clock)))
	}
	if r.trace != nil {
		r.trace.add(r.event(raw, stack, key))
	}
}

// event names the site and the type of an event at once.
func (r *recorder) event(raw *event.Raw, stack []uint64, key []byte) *event.Event {
	e := r.as.Event(raw, stack, key, r.s.Nanoseconds(raw.Clock))
	if r.named == nil {
		r.named = map[uint64]bool{0: true}
	}
	r.nameOf(e.Site.PCs, raw.Type, r.as.Interner, r.named)
	return e
}

// nameOf names in in what is not in named yet.
func (r *recorder) nameOf(pcs []uint64, typ uint64, in *event.Interner, named map[uint64]bool) {
	var some, types []uint64
	for _, pc := range pcs {
		if !named[pc] {
			named[pc] = true
			some = append(some, pc)
		}
	}
	if !named[typ] {
		named[typ] = true
		types = []uint64{typ}
	}
	if len(some)+len(types) > 0 {
		in.Add(r.Symbolize(some, types))
	}
}

// nameAll names all sites and types of an analysis.
func (r *recorder) nameAll(a *event.Analysis, in *event.Interner, named map[uint64]bool) {
	for so := range a.Sites {
		r.nameOf(so.Site.PCs, 0, in, named)
	}
	for _, l := range a.Lives {
		if l.Made != nil {
			r.nameOf(l.Made.PCs, 0, in, named)
		}
		if l.Type != nil {
			r.nameOf(nil, uint64(l.Type.Addr), in, named)
		}
	}
}

func (r *recorder) typeWanted(addr uint64) bool {
	if r.types == nil {
		r.types = map[uint64]bool{}
	}
	ok, known := r.types[addr]
	if !known {
		s := r.Symbolize(nil, []uint64{addr})
		ok = len(s.Types) > 0 && r.typ.MatchString(s.Types[0].Name)
		r.types[addr] = ok
	}
	return ok
}

// Now, Lost and Symbolize implement event.Source.

func (r *recorder) Now() (clock uint64, ns int64) { return r.s.Now() }

func (r *recorder) Lost() uint64 { return r.s.Lost() }

func (r *recorder) Symbolize(pcs, types []uint64) event.Symbols {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.s.Symbolize(pcs, types)
}

// flushEvery bounds what a recorder that is killed takes along.
const flushEvery = time.Second

// Tick implements probe.Sink.
func (r *recorder) Tick() error {
	now := time.Now()
	due := now.Sub(r.screen.last) >= flushEvery
	if due {
		r.screen.last = now
		if r.w != nil {
			r.w.Flush()
		}
		switch {
		case r.live:
			r.screen.top(r)
		case r.trace == nil:
			r.screen.line(r)
		}
	}
	if r.trace != nil {
		if err := r.trace.flush(); err != nil {
			return err
		}
	}
	if r.w != nil {
		return r.w.Err()
	}
	return nil
}

// remarks says what the target and the probes have to say.
func (r *recorder) remarks(end event.End) {
	for _, n := range r.s.Notes() {
		r.notice("%s", n)
	}
	for _, f := range r.s.Meta().Funcs {
		if f.Skipped != "" {
			r.notice("not recorded: %s: %s", f.Sym, f.Skipped)
		}
	}
	for _, l := range end.LostBy {
		r.notice("lost: %d events of %s", l.N, l.Sym)
	}
}

func (c *eventConfig) print(stdout io.Writer, doc *report.Recording) error {
	if len(doc.Maps) == 0 {
		return &noEventsError{doc.Summary.Maps}
	}
	if c.json {
		return doc.JSON(stdout)
	}
	return doc.Text(stdout, len(doc.Maps) <= 3)
}

// noEventsError says that there is nothing to show.
type noEventsError struct{ maps int }

func (e *noEventsError) Error() string {
	if e.maps > 0 {
		return fmt.Sprintf("no map matches; there are %d", e.maps)
	}
	return "there was no map operation"
}

// screen is the terminal while events are taken.
type screen struct {
	out     *os.File
	last    time.Time
	written bool

	drawing sync.Mutex // held while top draws
	names   *event.Interner
	named   map[uint64]bool
}

func (s *screen) terminal() bool { return s.out != nil && isatty.IsTerminal(s.out.Fd()) }

// line shows a counter.
func (s *screen) line(r *recorder) {
	if !s.terminal() {
		return
	}
	d := time.Since(r.started).Seconds()
	size := ""
	if r.w != nil {
		size = fmt.Sprintf(", %.1f MB", float64(r.w.Written())/1e6)
	}
	fmt.Fprintf(s.out, "\rhmapdump: %d events, %.3g a second, %d lost%s\x1b[K", r.taken, float64(r.taken)/d, r.s.Lost(), size)
	s.written = true
}

// liveRows is how many maps, and how many call sites, --live shows.
const liveRows = 10

// top shows the hottest maps and call sites, like top. All but the copying is done while
// the next events are read; if that is not done yet, this time is left out.
func (s *screen) top(r *recorder) {
	if s.out == nil || !s.drawing.TryLock() {
		return
	}
	if s.names == nil {
		s.names, s.named = event.NewInterner(), map[uint64]bool{0: true}
	}
	end := event.End{Lost: r.s.Lost(), Reason: "running"}
	_, end.DurationNS = r.s.Now()
	a, maps := r.a.Snapshot(liveRows, s.names), len(r.a.Lives)
	go func() {
		defer s.drawing.Unlock()
		r.nameAll(a, s.names, s.named)
		doc := report.BuildRecording(r.s.Meta(), end, a, report.RecordingSelection{})
		doc.Summary.Maps = maps
		doc.Sites = doc.Sites[:min(len(doc.Sites), liveRows)]
		for i := range doc.Maps {
			doc.Maps[i].Notes = nil
		}
		var text strings.Builder
		if s.terminal() {
			text.WriteString("\x1b[H\x1b[2J")
		}
		_ = doc.Text(&text, false)
		_, _ = io.WriteString(s.out, text.String())
	}()
}

// clear ends what is being drawn.
func (s *screen) clear() {
	s.drawing.Lock()
	defer s.drawing.Unlock()
	if s.written {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}
