// Record measures what it costs to observe the map operations of a program: without,
// with hmapdump record, with hmapdump trace at breakpoints, with dlv trace, and with
// a loop of breakpoints that does nothing else. From the root of the module:
//
//	go run ./scripts/bench/record [-rounds N]
//
// What is compared runs in turn, round after round; the figures are medians, and
// ratios are of medians of the same run. Nothing is asserted. The program is oploop of
// testdata/progs, which measures its own loops.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// floor is in assembly.
func floor(n int, line *[64]byte)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

type bench struct {
	out      io.Writer
	tmp      string
	rounds   int
	hmapdump string
	dlv      string
	prog     string
}

func run(args []string, out io.Writer) (err error) {
	b := &bench{out: out}
	fs := flag.NewFlagSet("record", flag.ContinueOnError)
	fs.IntVar(&b.rounds, "rounds", 5, "`times` that everything is measured")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if b.tmp, err = os.MkdirTemp("", "hmaptools-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.tmp)) }()
	for _, p := range []struct {
		to            *string
		name, dir, of string
	}{
		{&b.hmapdump, "hmapdump", ".", "./cmd/hmapdump"},
		{&b.dlv, "dlv", ".", "github.com/go-delve/delve/cmd/dlv"},
		{&b.prog, "oploop", "testdata/progs", "./oploop"},
	} {
		*p.to = filepath.Join(b.tmp, p.name)
		cmd := exec.Command("go", "build", "-o", *p.to, p.of)
		cmd.Dir = p.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", p.of, err, out)
		}
	}
	for _, part := range []func() error{b.tight, b.strings, b.paced, b.stops, b.growth, b.show} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.out, format, args...) }

var number = regexp.MustCompile(`(?m)^(\d+)$`)
var counted = regexp.MustCompile(`(\d+) events(?: in [^,]*)?, (\d+) lost`)

// result is what one run of oploop has told, and what was said of it.
type result struct {
	loops        time.Duration // by its own clock
	whole        time.Duration
	events, lost int
}

func (b *bench) exec(name string, args ...string) (r result, err error) {
	start := time.Now()
	out, err := exec.Command(name, args...).CombinedOutput()
	r.whole = time.Since(start)
	if err != nil {
		return r, fmt.Errorf("%s %v: %w\n%s", filepath.Base(name), args, err, out)
	}
	if m := number.FindSubmatch(out); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		r.loops = time.Duration(n)
	}
	if m := counted.FindSubmatch(out); m != nil {
		r.events, _ = strconv.Atoi(string(m[1]))
		r.lost, _ = strconv.Atoi(string(m[2]))
	}
	return r, nil
}

func median[T any](all []T, of func(T) time.Duration) time.Duration {
	var ds []time.Duration
	for _, r := range all {
		ds = append(ds, of(r))
	}
	slices.Sort(ds)
	return ds[len(ds)/2]
}

func loops(r result) time.Duration { return r.loops }
func whole(r result) time.Duration { return r.whole }

// lost is the median share that was lost, and the least.
func lost(all []result) (median, least float64) {
	var shares []float64
	for _, r := range all {
		shares = append(shares, float64(r.lost)/float64(max(1, r.lost+r.events)))
	}
	slices.Sort(shares)
	return shares[len(shares)/2], shares[0]
}

// turns measures several commands in turn.
func (b *bench) turns(commands ...[]string) ([][]result, error) {
	all := make([][]result, len(commands))
	for range b.rounds {
		for i, c := range commands {
			r, err := b.exec(c[0], c[1:]...)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], r)
		}
	}
	return all, nil
}

func (b *bench) tight() error {
	const n = 20_000_000
	var line [64]byte
	var floors []time.Duration
	for range b.rounds {
		start := time.Now()
		floor(n, &line)
		floors = append(floors, time.Since(start))
	}
	all, err := b.turns(
		[]string{b.prog, "int", fmt.Sprint(n)},
		// A map at an impossible address: everything is read, nothing kept.
		[]string{b.hmapdump, "record", "--map", "1", "-o", "/dev/null", b.prog, "--", "int", fmt.Sprint(n)},
		[]string{b.hmapdump, "record", b.prog, "--", "int", fmt.Sprint(n)})
	if err != nil {
		return err
	}
	per := func(d time.Duration) float64 { return float64(d) / n }
	native := median(all[0], loops)
	b.printf("a tight loop of %d assignments to a map[int]int\n", n)
	b.printf("  rdtsc and a store of 64 bytes %6.1f ns\n", per(median(floors, func(d time.Duration) time.Duration { return d })))
	b.printf("  native                        %6.1f ns an assignment\n", per(native))
	for i, what := range []string{"with probes, events read", "with probes, events analysed"} {
		d := median(all[i+1], loops)
		m, least := lost(all[i+1])
		if i == 0 { // what is not kept is not counted in events; all is lost or read
			b.printf("  %-29s %6.1f ns: %.1f ns an event, %.2fx\n", what, per(d), per(d-native), float64(d)/float64(native))
			continue
		}
		b.printf("  %-29s %6.1f ns: %.1f ns an event, %.2fx; lost %.1f%% (least %.1f%%)\n", what, per(d), per(d-native), float64(d)/float64(native), 100*m, 100*least)
	}
	return nil
}

func (b *bench) strings() error {
	const n = "3000000"
	for _, g := range []string{"1", "16"} {
		all, err := b.turns(
			[]string{b.prog, "str", n, g},
			[]string{b.hmapdump, "record", "-o", filepath.Join(b.tmp, "r"), b.prog, "--", "str", n, g},
			[]string{b.hmapdump, "record", b.prog, "--", "str", n, g})
		if err != nil {
			return err
		}
		native := median(all[0], loops)
		b.printf("%s assignments to a map[string]int, %s goroutines: native %v\n", n, g, native.Round(time.Millisecond))
		for i, what := range []string{"record -o FILE", "record"} {
			m, least := lost(all[i+1])
			b.printf("  %-15s %.2fx, the whole command %v; lost %.1f%% (least %.1f%%)\n", what,
				float64(median(all[i+1], loops))/float64(native), median(all[i+1], whole).Round(time.Millisecond), 100*m, 100*least)
		}
	}
	return nil
}

func (b *bench) paced() error {
	file := filepath.Join(b.tmp, "paced")
	r, err := b.exec(b.hmapdump, "record", "-o", file, b.prog, "--", "str", "5000000", "1", "1000000")
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	b.printf("1 million assignments a second for 5 s, record -o FILE: %d events, %d lost, %.2f bytes an event\n", r.events, r.lost, float64(info.Size())/float64(r.events))
	return nil
}

// stops compares what takes events by stopping the target, and how many a second.
func (b *bench) stops() error {
	rate := func(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
	probe, err := b.exec(b.hmapdump, "record", b.prog, "--", "int", "3000000")
	if err != nil {
		return err
	}
	const few = 500
	traced, err := b.exec(b.hmapdump, "trace", "--engine", "delve", "--ops", "assign", "-t", `^map\[int\]int$`, b.prog, "--", "int", strconv.Itoa(few))
	if err != nil {
		return err
	}
	dlv, err := b.exec(b.dlv, "trace", "--exec", b.prog, "runtime.mapassign_fast64", "--", "int", strconv.Itoa(few))
	if err != nil {
		return err
	}
	hits, took, err := breakpoints(b.prog, "int", "20000")
	if err != nil {
		return err
	}
	base := rate(few, dlv.loops)
	b.printf("events of mapassign_fast64 a second\n")
	for _, r := range []struct {
		what string
		rate float64
	}{
		{"dlv trace", base},
		{"hmapdump trace --engine delve", rate(few, traced.loops)},
		{"a bare breakpoint loop", rate(hits, took)},
		{"hmapdump record", rate(probe.events, probe.loops)},
	} {
		b.printf("  %-30s %12.0f  %8.1fx dlv trace\n", r.what, r.rate, r.rate/base)
	}
	return nil
}

// breakpoints runs a program with a breakpoint in mapassign_fast64, on one processor
// with it, and returns how often it was hit and how long a loop of that took.
func breakpoints(prog string, args ...string) (hits int, took time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := exec.Command("go", "tool", "nm", prog).Output()
	if err != nil {
		return 0, 0, err
	}
	var addr uint64
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "runtime.mapassign_fast64" {
			addr, _ = strconv.ParseUint(f[0], 16, 64)
		}
	}
	if addr == 0 {
		return 0, 0, errors.New("no runtime.mapassign_fast64")
	}
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		return 0, 0, err
	}
	for cpu := 0; one.Count() == 0 && cpu < 1024; cpu++ {
		if was.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return 0, 0, err
	}
	defer func() { _ = unix.SchedSetaffinity(0, &was) }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, 0, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(prog, append([]string{prog}, args...), &syscall.ProcAttr{
		Env: append(os.Environ(), "GOMAXPROCS=1"), Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Ptrace: true}})
	if err != nil {
		return 0, 0, err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return 0, 0, err
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		return 0, 0, err
	}
	orig := make([]byte, 1)
	if _, err := unix.PtracePeekText(pid, uintptr(addr), orig); err != nil {
		return 0, 0, err
	}
	set := func(tid int, b byte) { _, _ = unix.PtracePokeText(tid, uintptr(addr), []byte{b}) }
	set(pid, 0xcc)
	if err := unix.PtraceCont(pid, 0); err != nil {
		return 0, 0, err
	}
	var start time.Time
	for {
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if err != nil || tid == pid && (status.Exited() || status.Signaled()) {
			return hits, time.Since(start), nil
		}
		if !status.Stopped() {
			continue
		}
		sig := int(status.StopSignal())
		var regs unix.PtraceRegs
		switch {
		case sig == int(unix.SIGTRAP) && status.TrapCause() == 0 && unix.PtraceGetRegs(tid, &regs) == nil && regs.Rip == addr+1:
			if hits++; hits == 1 {
				start = time.Now()
			}
			regs.Rip = addr
			set(tid, orig[0])
			_ = unix.PtraceSetRegs(tid, &regs)
			if unix.PtraceSingleStep(tid) == nil {
				_, _ = unix.Wait4(tid, &status, unix.WALL, nil)
			}
			set(tid, 0xcc)
			sig = 0
		case sig == int(unix.SIGTRAP), sig == int(unix.SIGSTOP):
			sig = 0
		}
		_ = unix.PtraceCont(tid, sig)
	}
}

// growth is trace with its default operations.
func (b *bench) growth() error {
	all, err := b.turns(
		[]string{b.prog, "str", "1000000"},
		[]string{b.hmapdump, "trace", "--engine", "delve", b.prog, "--", "str", "1000000"},
		[]string{b.hmapdump, "trace", "--engine", "probe", b.prog, "--", "str", "1000000"})
	if err != nil {
		return err
	}
	b.printf("trace of make, grow and evacuate, 1 million inserts: native %v", median(all[0], whole).Round(time.Millisecond))
	for i, what := range []string{"delve", "probe"} {
		b.printf("; --engine %s %v more", what, (median(all[i+1], whole) - median(all[0], whole)).Round(time.Millisecond))
	}
	b.printf("\n")
	return nil
}

func (b *bench) show() error {
	file := filepath.Join(b.tmp, "ten")
	r, err := b.exec(b.hmapdump, "record", "-o", file, "--ring", "256M", b.prog, "--", "str", "10000000", "1", "2000000")
	if err != nil {
		return err
	}
	s, err := b.exec(b.hmapdump, "show", file)
	if err != nil {
		return err
	}
	b.printf("show of %d events: %v\n", r.events, s.whole.Round(time.Millisecond))
	return nil
}
