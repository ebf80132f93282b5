// Program 14-race-logs runs the demo, built with the race detector, under hmapdump
// record, and puts its logs, the detector's report and the recording on one time line.
// With -count N it runs the demo N times for each way of logging, and says how often
// the detector sees the race.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

func main() {
	count := flag.Int("count", 0, "run the demo so many times for each way of logging")
	flag.Parse()
	if err := run(*count, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(count int, out io.Writer) error {
	dir, err := os.MkdirTemp("", "race-logs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	demo := filepath.Join(dir, "demo")
	if err := command("go", "build", "-race", "-trimpath", "-o", demo, "./demo").Run(); err != nil {
		return fmt.Errorf("build the demo: %w", err)
	}
	if count > 0 {
		return hidden(demo, count, out)
	}
	hmapdump := filepath.Join(dir, "hmapdump")
	if err := command("go", "-C", "../../..", "build", "-o", hmapdump, "./cmd/hmapdump").Run(); err != nil {
		return fmt.Errorf("build hmapdump: %w", err)
	}
	// Steps are long, so that a report which comes late still comes in its place.
	recording := filepath.Join(dir, "demo.hmaprec")
	cmd := exec.Command(hmapdump, "record", "-t", `^map\[string\]int$`, "-o", recording, demo, "--", "-step", "200ms")
	lines, err := capture(cmd)
	if err != nil {
		return err
	}
	logs, reports, err := parse(lines)
	if err != nil {
		return err
	}
	ops, err := operations(hmapdump, recording)
	if err != nil {
		return err
	}
	return timeline(out, logs, reports, ops)
}

// hidden counts how often the race is reported.
func hidden(demo string, count int, out io.Writer) error {
	for _, way := range []struct {
		what string
		args []string
		// Between which shares of the runs the lesson says it is.
		least, most float64
	}{
		{"no logs", []string{"-log", "none"}, 0.8, 1},
		{"shared logger, at begin and end", []string{"-log", "shared"}, 0.8, 1},
		{"shared logger, beside each access", []string{"-log", "shared", "-beside"}, 0, 0.2},
		{"a logger each, beside each access", []string{"-log", "own", "-beside"}, 0, 1},
	} {
		seen := 0
		for range count {
			cmd := exec.Command(demo, way.args...)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
			err := cmd.Run()
			const found = 66 // exit status of a program in which races were reported
			switch {
			case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == found:
				seen++
			case err != nil:
				return fmt.Errorf("the demo: %w", err)
			}
		}
		fmt.Fprintf(out, "%-34s reported in %2d of %d runs\n", way.what, seen, count)
		if share := float64(seen) / float64(count); share < way.least || share > way.most {
			return fmt.Errorf("%s: this is not what the lesson says", way.what)
		}
	}
	return nil
}

func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd
}

// line is a line of output, with the time of its arrival.
type line struct {
	at   time.Time
	text string
}
