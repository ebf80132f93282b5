package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/report"
	"hmaptools/internal/target"
)

// endedError says that the target ended before it reached the stop.
type endedError struct {
	stop target.Stop
	at   string
}

func (e *endedError) Error() string {
	how := "ended"
	if e.stop.ExitStatus != nil {
		how = "ended with " + exitWords(*e.stop.ExitStatus)
	}
	if e.at != "" {
		return fmt.Sprintf("the program %s; it reached %s %s", how, e.at, times(e.stop.Hits))
	}
	return fmt.Sprintf("the program %s before main.main returned: there is nothing to list", how)
}

func times(n int) string {
	switch n {
	case 0:
		return "not once"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// noneError says that no map is listed.
type noneError struct {
	total int // before selection
	nils  int
	lost  []report.Lost
	errs  []string // what could not be read
}

func (e *noneError) Error() string {
	if e.total > 0 {
		return fmt.Sprintf("no map matches; there are %d", e.total)
	}
	s := "no variable leads to a map"
	if e.nils > 0 {
		s += fmt.Sprintf(" (%d are nil)", e.nils)
	}
	if len(e.lost) > 0 {
		s += fmt.Sprintf("; %d were optimised away, %s in %s for one", len(e.lost), e.lost[0].Name, e.lost[0].Func)
	}
	if len(e.errs) > 0 {
		s += "; " + strings.ReplaceAll(e.errs[0], "\n", "; ")
		if n := len(e.errs) - 1; n > 0 {
			s += fmt.Sprintf(", and %d more errors", n)
		}
	}
	return s
}

// nextStep is what to try after an error.
func nextStep(err error) string {
	var (
		ended  *endedError
		none   *noneError
		elf    *target.NotELFError
		notGo  *target.NotGoError
		strip  *target.NoDWARFError
		expr   *target.ExprError
		loc    *target.LocationError
		proc   *target.ProcessError
		core   *target.CoreError
		conn   *target.ConnectError
		build  *target.BuildError
		isNil  *census.NilError
		notMap *census.NotMapError
		layout *hmap.LayoutError
	)
	if next := eventStep(err); next != "" {
		return next
	}
	switch {
	case errors.As(err, &ended):
		if ended.at != "" {
			return "Try a smaller --hit, or another --at; without --at it stops before main.main returns."
		}
		return "Try --at FUNCTION or --at FILE:LINE to stop it earlier."
	case errors.As(err, &none):
		if none.total > 0 {
			return "Try without --type, --holder, --min-len, --shared and --growing."
		}
		if len(none.errs) > 0 {
			return "Some of the target's memory could not be read: take the core or the copy again with all of it (coredump_filter 0x33, or gcore)."
		}
		return "Try a larger --depth, or --at to stop where the maps are alive; or build without optimisations: -gcflags='all=-N -l'."
	case errors.As(err, &conn):
		return connectHint(conn)
	case errors.As(err, &elf):
		return "Give the path of a linux binary, a Go package or a .go file."
	case errors.As(err, &notGo):
		return "Hmapdump reads programs that the Go toolchain built, cgo included."
	case errors.As(err, &strip):
		return "Functions can still be found in it, by dlv too, but no variables and no types: build it without -ldflags=-s and -w."
	case errors.Is(err, target.ErrOptimisedAway):
		return "Try --at a line where it is still in use, or build without optimisations: -gcflags='all=-N -l'."
	case errors.As(err, &isNil):
		return "The first insert needs a map that make or a literal made. Try --at a line behind that."
	case errors.As(err, &notMap):
		return "Name the map itself: a variable, a field such as srv.sessions, an elem such as m[\"k\"]."
	case errors.As(err, &expr):
		return "Expressions are Go's: m, srv.sessions, *p, byName[\"x\"]; package variables as main.cache. Without -e every map is listed."
	case errors.As(err, &loc):
		return "Locations are functions such as main.fill or runtime.growWork_fast64, or file:line."
	case errors.As(err, &proc):
		return processHint(proc)
	case errors.As(err, &core):
		return "The core must come from a run of exactly this binary."
	case errors.As(err, &build):
		return "Build it yourself, and give hmapdump the binary."
	case errors.As(err, &layout):
		return "This target's maps have a layout that hmapdump does not know; nothing was guessed."
	}
	return ""
}

func processHint(e *target.ProcessError) string {
	switch e.Reason {
	case target.NoPermission:
		return "Run hmapdump as root, or with CAP_SYS_PTRACE; or as the process's user, where /proc/sys/kernel/yama/ptrace_scope is 0 (sysctl -w kernel.yama.ptrace_scope=0)."
	case target.Traced:
		return "A process has one tracer at a time: end that one first."
	}
	return "pgrep -l NAME lists process ids."
}

func connectHint(e *target.ConnectError) string {
	switch e.Reason {
	case target.ConnectRefused, target.ConnectNotDelve, target.ConnectSilent:
		return "Start a server: dlv exec --headless --accept-multiclient --listen=HOST:PORT ./prog; or dlv attach PID with the same flags."
	case target.ConnectNoBinary, target.ConnectOther:
		return "Copy the binary that the server debugs to this machine, and name it: --prog FILE."
	case target.ConnectNoProcess:
		return "dlv connect HOST:PORT shows its state; restart starts the program again."
	case target.ConnectLost:
		return "A program that was halted for this may stand still: dlv connect HOST:PORT, then continue."
	}
	return ""
}

// version is the module's version as the go command recorded it.
func version() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" {
		return bi.Main.Version
	}
	return "(devel)"
}
