package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"hmaptools/internal/census"
	"hmaptools/internal/report"
	"hmaptools/internal/target"
)

// Exit statuses.
const (
	statusFine    = 0
	statusFailed  = 1
	statusUsage   = 2
	statusFinding = 3
)

// run is the whole command; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "trace", "record", "show":
			status, err := runEvents(args[0], args[1:], stdout, stderr)
			if err == nil {
				return status
			}
			return fail(err, stderr)
		}
	}
	c, err := parse(args, stdout)
	if err == nil {
		d := &dump{config: c, stdout: stdout, stderr: stderr, gc: paceCollector()}
		var status int
		if c.mode == modeDiff {
			status, err = d.diff()
		} else {
			status, err = d.run()
		}
		if err == nil {
			return status
		}
	}
	return fail(err, stderr)
}

// fail says what went wrong and what to try; it returns the exit status.
func fail(err error, stderr io.Writer) int {
	if errors.Is(err, errHelp) {
		return statusFine
	}
	fmt.Fprintf(stderr, "hmapdump: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(stderr, "Run hmapdump --help for the flags.")
		return statusUsage
	}
	if next := nextStep(err); next != "" {
		fmt.Fprintln(stderr, next)
	}
	return statusFailed
}

// dump is one run.
type dump struct {
	*config
	stdout, stderr io.Writer
	t              *target.Target
	live           atomic.Pointer[target.Target] // t, for the signals
	settled        chan struct{}                 // closed when no process is half attached to
	start          time.Time
	gc             *collector
	release        func() error // lets go of the target once all is read; nil: nothing waits for that
}

func (d *dump) notice(format string, args ...any) {
	fmt.Fprintf(d.stderr, "hmapdump: "+format+"\n", args...)
}

func (d *dump) run() (status int, err error) {
	d.start = time.Now()
	d.settled = make(chan struct{})
	if !d.others() {
		close(d.settled)
	}
	ctx, done := d.signals()
	defer done()
	stop, cleanup, err := d.open(ctx)
	defer func() { err = errors.Join(err, cleanup()) }()
	if err != nil {
		return 0, err
	}
	doc, err := d.look(stop)
	if err != nil {
		return 0, err
	}
	switch stop.Reason {
	case target.Fatal, target.Panic:
		// It dies with many words: the table comes behind them.
		doc.Keep()
		d.finish()
		err = d.write(doc)
	case target.MainReturn, target.Exit:
		if err = d.write(doc); err == nil {
			d.finish()
		}
	default:
		if d.others() {
			// It goes on before anything is written: whoever reads may take his time. One
			// that was copied goes on already, and the copy is let go of.
			if d.t.Live() || d.mode == modeConnect {
				doc.Keep()
				if err := d.t.Close(); err != nil {
					return 0, err
				}
			} else {
				d.release = d.t.Close
			}
			doc.Summary.PauseNS = d.t.Pause().Nanoseconds()
			doc.Summary.ElapsedNS = time.Since(d.start).Nanoseconds()
		}
		err = d.write(doc)
	}
	if err != nil {
		return 0, err
	}
	return d.status(doc, stop), nil
}

// others reports whether the target is somebody else's, which goes on as it was.
func (c *config) others() bool { return c.mode == modeAttach || c.mode == modeConnect }

// look lists the maps where the target stands, and says what is to be said of it.
func (d *dump) look(stop target.Stop) (*report.Document, error) {
	for _, w := range d.t.Warnings() {
		d.notice("%s", w)
	}
	if stop.Reason == target.Exited {
		return nil, &endedError{stop, d.until.At}
	}
	doc, err := d.document(stop)
	if lost := d.t.Lost(); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	d.remarks(doc)
	return doc, nil
}

// signals makes Ctrl-C stop a program that we run and list its maps, and a second
// one end both.
func (d *dump) signals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	quit := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-quit:
				return
			case sig := <-ch:
				cancel()
				if n == 0 && sig == os.Interrupt && d.mode == modeRun {
					continue
				}
				// A process that is half attached to would stay stopped.
				<-d.settled
				if t := d.live.Load(); t != nil && d.others() {
					_ = t.Close()
				} else if t != nil {
					t.Kill()
				}
				os.Exit(128 + int(sig.(syscall.Signal)))
			}
		}
	}()
	return ctx, func() { signal.Stop(ch); close(quit); cancel() }
}

// open brings the target to its stop. Whatever it returns, cleanup lets go of it
// and removes what was built.
func (d *dump) open(ctx context.Context) (stop target.Stop, cleanup func() error, err error) {
	cleanup = func() error { return nil }
	loading := func() func() { return progress(d.stderr, "reading debug information") }
	switch d.mode {
	case modeAttach:
		defer loading()()
		if d.t, err = d.attach(); err == nil {
			d.live.Store(d.t)
		}
		close(d.settled)
	case modeConnect:
		defer loading()()
		if d.t, err = target.Connect(d.addr, target.ConnectOptions{Binary: d.prog}); err == nil {
			d.live.Store(d.t)
		}
		close(d.settled)
	case modeCore:
		defer loading()()
		d.t, err = target.OpenCore(d.prog, d.core)
	default:
		prog := d.prog
		if target.NeedsBuild(prog) {
			done := progress(d.stderr, "building "+prog)
			var remove func() error
			prog, remove, err = target.Build(ctx, prog, target.BuildOptions{Optimise: d.optimise})
			done()
			if err != nil {
				return stop, cleanup, err
			}
			cleanup = remove
		}
		d.t, err = target.Launch(prog, d.args, target.LaunchOptions{})
	}
	if err != nil {
		return stop, cleanup, err
	}
	d.live.Store(d.t)
	remove := cleanup
	cleanup = func() error {
		return errors.Join(d.t.Close(), remove())
	}
	if d.mode == modeRun {
		stop, err = d.t.Continue(ctx, d.until)
	} else {
		stop = d.t.Stop()
	}
	return stop, cleanup, err
}

// attach takes a copy of the process, which goes on at once. Where there shall be none,
// or cannot be, the process stands still until it is closed.
func (d *dump) attach() (*target.Target, error) {
	why := errNoSnapshot
	if !d.noSnapshot {
		t, err := target.AttachFrozen(d.pid)
		var no *target.FreezeError
		if !errors.As(err, &no) {
			return t, err
		}
		why = no
	}
	t, err := target.Attach(d.pid)
	if err == nil {
		d.notice("%v; so it stands still until everything has been read", why)
	}
	return t, err
}

var errNoSnapshot = errors.New("--no-snapshot: the process is not copied")

// census lists the maps, or those that -e names.
func (d *dump) census(stop target.Stop) (*census.Result, *census.Autopsy, error) {
	defer progress(d.stderr, "listing maps")()
	if d.mode != modeCore && d.mode != modeConnect {
		d.gc.grow(resident(d.t.Pid()))
	} else if info, err := os.Stat(d.core); err == nil && d.mode == modeCore {
		d.gc.grow(uint64(info.Size()))
	}
	opts := census.Options{Depth: d.depth, Hashes: d.check, Sized: func(n uint64) { d.gc.expect(n * bytesPerObject) }}
	exprs := make([]target.Root, len(d.exprs))
	for i, e := range d.exprs {
		var err error
		if exprs[i], err = d.t.Eval(e); err != nil {
			return nil, nil, err
		}
	}
	src, err := census.Of(d.t)
	var res *census.Result
	if len(exprs) == 0 {
		res = census.Take(src, opts)
	} else {
		var failed error
		if res, failed = census.Named(src, opts, exprs); failed != nil {
			return nil, nil, failed
		}
	}
	if err != nil {
		res.Errors = append(res.Errors, fmt.Errorf("some variables cannot be listed: %w", err))
	}
	var autopsy *census.Autopsy
	if stop.Message != "" {
		stacks, err := d.t.Stacks(maxDepth)
		if err != nil {
			res.Errors = append(res.Errors, fmt.Errorf("some stacks cannot be read: %w", err))
		}
		autopsy = census.Examine(src, res, stop, stacks)
	}
	return res, autopsy, nil
}

// maxDepth is how deep a stack is looked at for the user's frame that called the
// runtime.
const maxDepth = 50

// document describes the census.
func (d *dump) document(stop target.Stop) (*report.Document, error) {
	res, autopsy, err := d.census(stop)
	if err != nil {
		return nil, err
	}
	doc := report.Build(d.describe(stop), res, d.selection)
	doc.Tool = "hmapdump " + version()
	doc.SetAutopsy(autopsy)
	if d.slots {
		doc.AddSlots(d.t.Memory(), d.t.Types(), d.json)
	}
	if doc.Listed() == 0 {
		return nil, &noneError{total: len(res.Maps), lost: doc.Lost, nils: res.Nil, errs: doc.Errors}
	}
	doc.Summary.ElapsedNS = time.Since(d.start).Nanoseconds()
	return doc, nil
}

// remarks says what the document does not show.
func (d *dump) remarks(doc *report.Document) {
	for _, l := range doc.Lost {
		d.notice("%s in %s (%s:%d): %s", l.Name, l.Func, l.File, l.Line, l.Why)
	}
	for _, e := range doc.Errors {
		d.notice("%s", strings.ReplaceAll(e, "\n", "; "))
	}
	if n := doc.Summary.Cut; n > 0 {
		d.notice("%d references lie deeper than --depth %d and were not followed", n, d.depth)
	}
}

func (d *dump) describe(stop target.Stop) report.Target {
	t := report.Target{
		Path: d.t.Path(), Go: d.t.GoVersion(), Arch: d.t.Arch(), LayoutFrom: "dwarf",
		Stop: report.Stop{
			Reason: string(stop.Reason), Message: stop.Message, Goroutine: stop.Goroutine,
			Func: stop.Func, File: stop.File, Line: stop.Line, ExitStatus: stop.ExitStatus,
		},
	}
	if d.mode == modeRun && target.NeedsBuild(d.prog) {
		t.Path = d.prog // the binary was temporary
	}
	if d.mode != modeCore {
		t.PID = d.t.Pid()
	}
	return t
}

// finish lets a target that is about to end do so: what it has to say, it says.
// One that was stopped half way is killed when it is closed.
func (d *dump) finish() {
	end, err := d.t.Finish()
	switch {
	case err != nil:
		d.notice("the program was ended: %v", err)
	case end.ExitStatus != nil && *end.ExitStatus != 0:
		d.notice("the program ended with %s", exitWords(*end.ExitStatus))
	}
}

func exitWords(status int) string {
	if status < 0 {
		return fmt.Sprintf("signal %d (%s)", -status, syscall.Signal(-status))
	}
	return fmt.Sprintf("exit status %d", status)
}

func (d *dump) write(doc *report.Document) error {
	if d.pprof != "" {
		var buf bytes.Buffer
		if err := doc.Pprof(&buf); err != nil {
			return fmt.Errorf("write profile: %w", err)
		}
		if err := os.WriteFile(d.pprof, buf.Bytes(), 0o666); err != nil {
			return err
		}
	}
	switch {
	case d.json:
		return d.emit(doc.JSON)
	case d.slots || len(d.exprs) > 0 || d.filtered && doc.Listed() == 1:
		return d.emit(doc.Picture)
	}
	return d.emit(doc.Table)
}

// emit writes what render makes to where it belongs. Where a target is to be let go of in
// between, it goes to a temporary file first: it may be larger than memory should be.
func (d *dump) emit(render func(io.Writer) error) (err error) {
	if d.output == "" && d.release == nil {
		return render(d.stdout)
	}
	var f *os.File
	if d.output == "" {
		if f, err = os.CreateTemp("", "hmapdump"); err == nil {
			err = os.Remove(f.Name())
		}
	} else {
		f, err = os.Create(d.output)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := render(f); err != nil {
		return err
	}
	if d.release != nil {
		if err := d.release(); err != nil {
			return err
		}
	}
	if d.output != "" {
		return nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(d.stdout, f)
	return err
}

func (d *dump) status(doc *report.Document, stop target.Stop) int {
	if d.check && doc.Summary.Broken+doc.Summary.Unread > 0 {
		d.notice("maps that break an invariant: %d; that could not be read whole: %d", doc.Summary.Broken, doc.Summary.Unread)
		return statusFinding
	}
	if doc.Autopsy != nil {
		return statusFinding
	}
	return statusFine
}
