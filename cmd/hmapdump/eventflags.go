package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hmaptools/internal/event"
	"hmaptools/internal/probe"
)

// eventConfig is a command line of trace, record or show.
type eventConfig struct {
	prog string
	args []string
	pid  int
	file string // show

	ops      []event.Op
	mapExpr  string
	mapAddr  uint64
	typ      *regexp.Regexp
	limit    uint64
	duration time.Duration
	engine   string
	keys     bool
	stack    int
	ring     int
	optimise bool

	live, json                       bool
	top                              int
	output, pprof, perfetto, parquet string
}

const eventHelp = `
  hmapdump record [flags] [-o FILE] PROG [-- ARGS]   record every map operation; without -o, add up and summarise
  hmapdump record [flags] [-o FILE] -p PID           the same of a running process, until Ctrl-C or --for
  hmapdump trace  [flags] PROG [-- ARGS]             print events as they happen: make, grow, evacuate
  hmapdump trace  [flags] -p PID
  hmapdump show   [flags] FILE                       analyse a recording, export it

`

func parseEvents(cmd string, args []string, stdout io.Writer) (*eventConfig, error) {
	c := &eventConfig{}
	fs := pflag.NewFlagSet("hmapdump "+cmd, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard)
	runs := cmd != "show"
	var ops, ring, typ string
	if runs {
		fs.IntVarP(&c.pid, "pid", "p", 0, "the running `process`")
		standard, size := "all", "64M"
		if cmd == "trace" {
			standard, size = "make,grow,evacuate", "4M"
		}
		fs.StringVar(&ops, "ops", standard, "which `operations`: make, assign, access, delete, iter, clear, clone, grow, evacuate")
		fs.Uint64Var(&c.limit, "limit", 0, "stop after `N` events")
		fs.DurationVar(&c.duration, "for", 0, "stop after this `time`")
		fs.StringVar(&c.engine, "engine", "auto", "how events are taken: `auto`, delve or probe")
		fs.BoolVar(&c.keys, "keys", cmd == "trace", "take the first bytes of keys that are strings or structs")
		fs.IntVar(&c.stack, "stack", 0, "take up to `N` callers of the caller, by frame pointers")
		fs.StringVar(&ring, "ring", size, "`bytes` of memory between the target and us")
		fs.BoolVar(&c.optimise, "optimise", true, "build PROG with the compiler's optimisations on")
	}
	which := "only the map at this `address`"
	if runs {
		which = "only the map at this address, or that this Go `expression` names"
	}
	fs.StringVar(&c.mapExpr, "map", "", which)
	fs.StringVarP(&typ, "type", "t", "", "only maps whose type matches this regular `expression`")
	if cmd == "record" {
		fs.BoolVar(&c.live, "live", false, "refresh the hottest maps and call sites on the terminal every second")
	}
	fs.BoolVar(&c.json, "json", false, map[bool]string{true: "write JSON Lines", false: "write one JSON document"}[cmd == "trace"])
	if cmd != "trace" {
		fs.IntVarP(&c.top, "top", "n", 0, "only the `N` maps with the most operations")
	}
	what := "write to this `file` instead of standard output"
	if cmd == "record" {
		what = "write the recording to this `file`"
	}
	fs.StringVarP(&c.output, "output", "o", "", what)
	if cmd == "show" {
		fs.StringVar(&c.pprof, "pprof", "", "write operations and bytes of growth by call stack to this `file`, for go tool pprof")
		fs.StringVar(&c.perfetto, "perfetto", "", "write a timeline to this `file`, for ui.perfetto.dev")
		fs.StringVar(&c.parquet, "parquet", "", "write a row for each operation to this `file`")
	}
	help := fs.BoolP("help", "h", false, "print this help")
	if err := fs.Parse(args); err != nil {
		return nil, usageError{err}
	}
	if *help {
		fmt.Fprint(stdout, strings.TrimPrefix(eventHelp, "\n")+fs.FlagUsagesWrapped(100))
		return nil, errHelp
	}
	var err error
	if c.typ, err = pattern("type", typ); err != nil {
		return nil, err
	}
	if runs {
		if c.ops, err = parseOps(ops); err != nil {
			return nil, usageError{err}
		}
		if c.ring, err = parseBytes(ring); err != nil {
			return nil, usagef("--ring %s: %w", ring, err)
		}
	}
	if c.mapExpr != "" {
		if addr, err := strconv.ParseUint(c.mapExpr, 0, 64); err == nil {
			c.mapAddr = addr
		} else if cmd == "show" {
			return nil, usagef("--map %s: want an address", c.mapExpr)
		}
	}
	switch {
	case runs && c.engine != "auto" && c.engine != "delve" && c.engine != "probe":
		return nil, usagef("--engine %s: want auto, delve or probe", c.engine)
	case cmd == "record" && c.engine == "delve":
		return nil, usagef("--engine delve: breakpoints are too slow for a recording; see trace")
	case c.stack < 0 || c.stack > probe.MaxStack:
		return nil, usagef("--stack %d: want 0 to %d", c.stack, probe.MaxStack)
	case c.top < 0:
		return nil, usagef("--top %d: want 0 for all, or more", c.top)
	case c.duration < 0:
		return nil, usagef("--for %v: want a time", c.duration)
	case c.pid < 0 || fs.Changed("pid") && c.pid == 0:
		return nil, usagef("-p %d: not a process id", c.pid)
	}
	return c, c.operands(cmd, fs.Args(), fs.ArgsLenAtDash())
}

func (c *eventConfig) operands(cmd string, ops []string, dash int) error {
	before := ops
	if dash >= 0 {
		before, c.args = ops[:dash], ops[dash:]
	}
	switch {
	case cmd == "show":
		if len(before) != 1 || len(c.args) > 0 {
			return usagef("show takes one recording")
		}
		c.file = before[0]
	case c.pid != 0:
		if len(ops) > 0 {
			return usagef("-p takes no program beside it")
		}
	case len(before) == 0:
		return usagef("no program")
	case len(before) > 1:
		return usagef("unexpected %q: arguments for %s follow --", before[1], before[0])
	default:
		c.prog = before[0]
	}
	return nil
}

func parseOps(s string) ([]event.Op, error) {
	if s == "all" {
		return nil, nil
	}
	var ops []event.Op
	for name := range strings.SplitSeq(s, ",") {
		op, err := event.ParseOp(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("--ops: %w", err)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// parseBytes reads a size with one of the suffixes K, M, G.
func parseBytes(s string) (int, error) {
	shift := 0
	for i, suffix := range "KMG" {
		if rest, ok := strings.CutSuffix(s, string(suffix)); ok {
			s, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > probe.MaxRingBytes>>shift {
		return 0, errors.New("want a size such as 64M, at most 4G")
	}
	return n << shift, nil
}
