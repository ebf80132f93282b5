package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"hmaptools/internal/report"
	"hmaptools/internal/target"
)

// mode is where the target comes from.
type mode int

const (
	modeRun mode = iota
	modeAttach
	modeCore
	modeConnect
	modeDiff
)

// config is a command line.
type config struct {
	mode mode
	prog string
	args []string
	pid  int
	core string
	addr string // connect
	old  string // diff
	new  string

	exprs     []string
	selection report.Selection
	filtered  bool // some flag narrows the selection
	depth     int
	until     target.Until
	optimise  bool

	noSnapshot         bool
	slots, check, json bool
	output, pprof      string
	failOn             []report.Condition
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errHelp says that help was asked for and printed.
var errHelp = errors.New("help")

func parse(args []string, stdout io.Writer) (*config, error) {
	c := &config{}
	fs := pflag.NewFlagSet("hmapdump", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard)
	fs.StringArrayVarP(&c.exprs, "expr", "e", nil, "only the map that this Go `expression` names at the stop; repeatable")
	typ := fs.StringP("type", "t", "", "only maps whose type matches this regular `expression`")
	holder := fs.String("holder", "", "only maps that a holder holds whose path matches this regular `expression`")
	fs.Int64Var(&c.selection.MinLen, "min-len", 0, "only maps of at least `N` entries")
	fs.IntVarP(&c.selection.Top, "top", "n", 0, "only the first `N` rows")
	fs.StringVar(&c.selection.Sort, "sort", "waste", "the largest first by `key`: "+strings.Join(report.SortKeys, ", "))
	fs.BoolVar(&c.selection.Shared, "shared", false, "only maps whose header several words hold")
	fs.BoolVar(&c.selection.Growing, "growing", false, "only maps in growth")
	fs.IntVar(&c.depth, "depth", -1, "follow at most `N` pointers, slices, interfaces and maps from each variable; -1: all there are")
	fs.StringVar(&c.until.At, "at", "", "stop at this `location`: a function or file:line")
	fs.IntVar(&c.until.Hit, "hit", 1, "stop when --at is reached for the `N`th time")
	fs.BoolVar(&c.optimise, "optimise", false, "build PROG with the compiler's optimisations on, as go build does")
	fs.BoolVar(&c.noSnapshot, "no-snapshot", false, "attach: stop the process until everything has been read, and do not copy it")
	fs.BoolVar(&c.slots, "slots", false, "the content: every group or bucket")
	fs.BoolVar(&c.check, "check", false, "exit with status 3 if a map breaks an invariant of the runtime or cannot be read")
	fs.BoolVar(&c.json, "json", false, "write one JSON document")
	fs.StringVar(&c.pprof, "pprof", "", "write bytes and counts by holder path to this `file`, for go tool pprof")
	fs.StringVarP(&c.output, "output", "o", "", "write to this `file` instead of standard output")
	failOn := fs.StringArray("fail-on", nil, "diff: exit with status 3 if this `condition` is met: bytes>10%, len>1000; repeatable")
	prog := fs.String("prog", "", "diff: the `program` of core dumps; connect: that of the server, where it is on this machine")
	help := fs.BoolP("help", "h", false, "print this help")

	if err := fs.Parse(args); err != nil {
		return nil, usageError{err}
	}
	if *help {
		fmt.Fprint(stdout, helpText+fs.FlagUsagesWrapped(100))
		return nil, errHelp
	}
	var err error
	if c.selection.Type, err = pattern("type", *typ); err != nil {
		return nil, err
	}
	if c.selection.Holder, err = pattern("holder", *holder); err != nil {
		return nil, err
	}
	for _, f := range *failOn {
		cond, err := report.ParseCondition(f)
		if err != nil {
			return nil, usagef("--fail-on: %w", err)
		}
		c.failOn = append(c.failOn, cond)
	}
	c.filtered = len(c.exprs) > 0 || *typ != "" || *holder != "" || c.selection.MinLen > 0 || c.selection.Shared || c.selection.Growing
	switch {
	case !slices.Contains(report.SortKeys, c.selection.Sort):
		return nil, usagef("--sort %q: want one of %s", c.selection.Sort, strings.Join(report.SortKeys, ", "))
	case c.selection.Top < 0:
		return nil, usagef("--top %d: want 0 for all, or more", c.selection.Top)
	case c.depth < -1:
		return nil, usagef("--depth %d: want 0 for the variables alone, or more, or -1 for everything", c.depth)
	case c.until.Hit < 1:
		return nil, usagef("--hit %d: hits are counted from 1", c.until.Hit)
	case fs.Changed("hit") && c.until.At == "":
		return nil, usagef("--hit counts how often --at is reached: say --at too")
	}
	if err := c.operands(fs.Args(), fs.ArgsLenAtDash()); err != nil {
		return nil, err
	}
	if c.noSnapshot && c.mode != modeAttach {
		return nil, usagef("--no-snapshot belongs to attach")
	}
	if c.mode == modeDiff || c.mode == modeConnect {
		c.prog = *prog
	} else if fs.Changed("prog") {
		return nil, usagef("--prog belongs to diff and connect")
	}
	if fs.Changed("fail-on") && c.mode != modeDiff {
		return nil, usagef("--fail-on belongs to diff")
	}
	return c, nil
}

const helpText = `Hmapdump shows what the maps of a Go program really are.

  hmapdump [flags] PROG [-- ARGS]     run PROG (a binary, a Go package or a .go file); list its maps
  hmapdump [flags] attach PID         list the maps of a running process, which goes on running
  hmapdump [flags] core PROG CORE     list the maps in a core dump of PROG
  hmapdump [flags] connect HOST:PORT  the same through a headless Delve server
  hmapdump diff [flags] OLD NEW       compare two dumps made with --json, two core dumps or two
                                      recordings
  hmapdump record, trace, show        map operations as they happen: see hmapdump record --help

`

func pattern(flag, s string) (*regexp.Regexp, error) {
	if s == "" {
		return nil, nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, usagef("--%s: %w", flag, err)
	}
	return re, nil
}

// operands takes what is not a flag; dash is how many stood before "--", or -1.
func (c *config) operands(ops []string, dash int) error {
	before := ops
	if dash >= 0 {
		before, c.args = ops[:dash], ops[dash:]
	}
	if len(before) == 0 {
		return usagef("no program")
	}
	switch before[0] {
	case "attach":
		c.mode = modeAttach
		if len(before) != 2 || len(c.args) > 0 {
			return usagef("attach takes one process id")
		}
		pid, err := strconv.Atoi(before[1])
		if err != nil || pid < 1 {
			return usagef("attach %s: not a process id", before[1])
		}
		c.pid = pid
	case "core":
		c.mode = modeCore
		if len(before) != 3 || len(c.args) > 0 {
			return usagef("core takes a program and a core file")
		}
		c.prog, c.core = before[1], before[2]
	case "connect":
		c.mode = modeConnect
		if len(before) != 2 || len(c.args) > 0 {
			return usagef("connect takes the address of a server")
		}
		if _, port, err := net.SplitHostPort(before[1]); err != nil || port == "" {
			return usagef("connect %s: not an address: want HOST:PORT", before[1])
		}
		c.addr = before[1]
	case "diff":
		c.mode = modeDiff
		if len(before) != 3 || len(c.args) > 0 {
			return usagef("diff takes two dumps")
		}
		c.old, c.new = before[1], before[2]
	default:
		if len(before) > 1 {
			return usagef("unexpected %q: arguments for %s follow --", before[1], before[0])
		}
		c.prog = before[0]
		return nil
	}
	if c.until.At != "" {
		return usagef("--at needs a program to run: neither a core nor a process that runs already is let run")
	}
	return nil
}
