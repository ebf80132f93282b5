package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// smallMaps is how many maps program sessions makes beside the large one at 100 percent.
const smallMaps = 267_000

// census measures a whole census of a process: one map of ten million entries, and
// 267,000 small ones in structs that are linked both by a list and by a map. Then how it
// grows with the number of maps.
func (b *bench) census(g generation) error {
	if err := b.build(g.toolchain, "sessions-"+g.name, "testdata/progs", "./sessions"); err != nil {
		return err
	}
	var floor, row, all []time.Duration
	var peakRow, peakAll int64
	pid, end, err := b.sessions(g, 100, 100)
	if err != nil {
		return err
	}
	defer func() { end() }()
	es, bytes, err := writable(pid)
	if err != nil {
		return err
	}
	for range b.rounds {
		err := errors.Join(
			timed(&floor, func() error { return readProcess(pid, es) }),
			b.command(&row, &peakRow, "-n", "1", "attach", fmt.Sprint(pid)),
			b.command(&all, &peakAll, "--json", "-o", b.path("dump.json"), "--sort", "addr", "attach", fmt.Sprint(pid)),
		)
		if err != nil {
			return err
		}
	}
	found, err := counted(b.path("dump.json"))
	if err != nil {
		return err
	}
	if found < smallMaps {
		return fmt.Errorf("the census found %d maps; there are %d and more", found, smallMaps)
	}
	f, r, a := median(floor), median(row), median(all)
	b.printf("census, %s: %d maps in %d MiB of writable memory; hmapdump as a whole, from its start\n", g.name, found, bytes>>20)
	b.printf("  reading that memory once   %8s\n", round(f))
	b.printf("  hmapdump -n 1 attach       %8s  %s  peak memory %d MiB\n", round(r), ratio(r, f), peakRow>>10)
	b.printf("  hmapdump --json attach     %8s  %s  peak memory %d MiB, all maps written\n", round(a), ratio(a, f), peakAll>>10)
	end()
	end = func() {}
	return b.slope(g)
}

// slope measures 1, 2, 4 and 8 times as many maps.
func (b *bench) slope(g generation) error {
	var times []time.Duration
	for i := range 4 {
		percent := 50 << i
		pid, end, err := b.sessions(g, percent, 0)
		if err != nil {
			return err
		}
		var ds []time.Duration
		var peak int64
		for range b.rounds {
			if err = b.command(&ds, &peak, "-n", "1", "attach", fmt.Sprint(pid)); err != nil {
				break
			}
		}
		end()
		if err != nil {
			return err
		}
		t := median(ds)
		n := smallMaps * percent / 100
		b.printf("  %8d maps             %8s  %s a map, peak memory %d MiB\n", n, round(t), nanos(t, n), peak>>10)
		times = append(times, t)
	}
	// The exponent of n in the time, over the whole range: 1 is linear.
	b.printf("  slope: time grows as n^%.2f\n", math.Log2(float64(times[3])/float64(times[0]))/3)
	return nil
}

// sessions starts program sessions with percentages of its small maps and of its large
// one, and returns when they are made.
func (b *bench) sessions(g generation, small, large int) (pid int, end func(), err error) {
	cmd := exec.Command(b.path("sessions-"+g.name), strconv.Itoa(small), strconv.Itoa(large), "stay")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	end = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		end()
		return 0, nil, fmt.Errorf("sessions was not ready: %w", err)
	}
	return cmd.Process.Pid, end, nil
}

// writable lists the memory of a process that it may write to, but for what was never
// touched at the end of an arena.
func writable(pid int) (es []extent, bytes uint64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var lo, hi uint64
		var perm string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s", &lo, &hi, &perm); n == 3 && strings.HasPrefix(perm, "rw") {
			es = append(es, extent{lo, hi})
			bytes += hi - lo
		}
	}
	return es, bytes, nil
}

// counted is how many maps a dump says that there are.
func counted(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var doc struct{ Summary struct{ Headers int } }
	err = json.Unmarshal(text, &doc)
	return doc.Summary.Headers, err
}
