package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"hmaptools/internal/target"
)

// freeze measures how long a process stands still for a frozen copy, beside a bare
// fork that the same process makes of itself: small, of b.entries entries twice over,
// and both with a thousand threads more. It takes what hmapdump attach says of the
// first of them, too.
func (b *bench) freeze() error {
	if err := b.build("", "forker", "testdata/progs", "./forker"); err != nil {
		return err
	}
	for _, c := range []struct{ entries, threads int }{{1000, 0}, {2 * b.entries, 0}, {1000, 1000}, {2 * b.entries, 1000}} {
		if err := b.freezeOne(c.entries, c.threads); err != nil {
			return fmt.Errorf("freeze %d entries, %d threads: %w", c.entries, c.threads, err)
		}
	}
	return nil
}

func (b *bench) freezeOne(entries, threads int) (err error) {
	cmd := exec.Command(b.path("forker"), strconv.Itoa(entries), strconv.Itoa(threads))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		stdin.Close()
		err = errors.Join(err, cmd.Wait())
	}()
	answers := bufio.NewScanner(stdout)
	if !answers.Scan() {
		return errors.New("the forker was not ready")
	}
	pid := cmd.Process.Pid
	var forks, pauses, command []time.Duration
	for range 2*b.rounds + 1 {
		if _, err := io.WriteString(stdin, "\n"); err != nil {
			return err
		}
		if !answers.Scan() {
			return errors.New("the forker ended")
		}
		ns, err := strconv.ParseInt(answers.Text(), 10, 64)
		if err != nil {
			return err
		}
		t, err := target.AttachFrozen(pid)
		if err != nil {
			return err
		}
		forks, pauses = append(forks, time.Duration(ns)), append(pauses, t.Pause())
		if err := t.Close(); err != nil {
			return err
		}
		if err := b.attachPause(&command, pid); err != nil {
			return err
		}
	}
	f, p, c := median(forks), median(pauses), median(command)
	goal := f*3/2 + 5*time.Millisecond*time.Duration(threads)/1000
	b.printf("freeze, %s resident, %d threads more: bare fork %v; the process stood still for %v, %s the fork (%v to %v); in hmapdump attach %v\n",
		residentOf(pid), threads, round(f), round(p), ratio(p, f), round(pauses[0]), round(pauses[len(pauses)-1]), round(c))
	b.printf("        the goal, 1.5 forks and 5 ms for 1,000 threads, is %v: %s of it\n", round(goal), ratio(p, goal))
	return nil
}

// attachPause adds the standstill that hmapdump attach reports.
func (b *bench) attachPause(to *[]time.Duration, pid int) error {
	cmd := exec.Command(b.path("hmapdump"), "--json", "-e", "main.big", "attach", strconv.Itoa(pid))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("hmapdump attach: %w\n%s", err, stderr.Bytes())
	}
	if stderr.Len() > 0 {
		return fmt.Errorf("hmapdump attach: %s", stderr.Bytes())
	}
	var doc struct {
		Summary struct {
			PauseNS int64 `json:"pause_ns"`
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
		return err
	}
	*to = append(*to, time.Duration(doc.Summary.PauseNS))
	return nil
}

// residentOf is a process's resident memory, as the kernel writes it.
func residentOf(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64); err == nil {
				return fmt.Sprintf("%d MiB", kb>>10)
			}
		}
	}
	return "unknown"
}
