package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
)

// capture runs a command and takes its lines down as they come: a report of the race
// detector says nothing of the time.
func capture(cmd *exec.Cmd) ([]line, error) {
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var each [2][]line
	var wg sync.WaitGroup
	for i, r := range []*bufio.Scanner{bufio.NewScanner(stdout), bufio.NewScanner(stderr)} {
		wg.Go(func() {
			for r.Scan() {
				each[i] = append(each[i], line{time.Now(), r.Text()})
			}
		})
	}
	wg.Wait()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("hmapdump record: %w\n%v", err, each[1])
	}
	return append(each[0], each[1]...), nil
}

// entry is a line of the log.
type entry struct {
	TS        int64 // nanoseconds since 1970
	Caller    string
	Msg       string
	Request   string
	Goroutine int64
}

// report is one of the race detector.
type report struct {
	at    time.Time
	sides []side // the access that was caught, and the one before
}

// side is an access: "Read", "Previous write". The detector's number of a goroutine is
// its own, and no goroutine's.
type side struct {
	what     string
	detector int
	fn, file string
	line     int
}

var (
	sideLine = regexp.MustCompile(`^((?:Previous )?(?:[Rr]ead|[Ww]rite)) at 0x[0-9a-f]+ by (?:main goroutine|goroutine (\d+)):$`)
	fileLine = regexp.MustCompile(`^ +(\S+):(\d+) \+0x`)
)

// parse reads the log and the reports out of what the program has printed.
func parse(lines []line) (logs []entry, reports []report, err error) {
	var fn string
	for _, l := range lines {
		last := func() *report { return &reports[len(reports)-1] }
		switch {
		case strings.HasPrefix(l.text, "{"):
			var e entry
			if err := json.Unmarshal([]byte(l.text), &e); err != nil {
				return nil, nil, fmt.Errorf("log: %q: %w", l.text, err)
			}
			logs = append(logs, e)
		case l.text == "WARNING: DATA RACE":
			reports = append(reports, report{at: l.at})
		case len(reports) == 0:
		case sideLine.MatchString(l.text):
			m := sideLine.FindStringSubmatch(l.text)
			n, _ := strconv.Atoi(m[2])
			last().sides = append(last().sides, side{what: m[1], detector: n})
		case strings.HasPrefix(l.text, "Goroutine "):
			fn = "" // where it was created
		case strings.HasPrefix(l.text, "  ") && strings.HasSuffix(l.text, "()"):
			fn = strings.TrimSpace(l.text)
		case fileLine.MatchString(l.text) && strings.HasPrefix(fn, "main.") && len(last().sides) > 0:
			// The innermost function of the program; what it called is the runtime's.
			if s := &last().sides[len(last().sides)-1]; s.file == "" {
				m := fileLine.FindStringSubmatch(l.text)
				s.fn, s.file = strings.TrimSuffix(fn, "()"), filepath.Base(m[1])
				s.line, _ = strconv.Atoi(m[2])
			}
		}
	}
	if len(logs) == 0 {
		return nil, nil, errors.New("the program has logged nothing")
	}
	return logs, reports, nil
}

// op is an operation of the recording.
type op struct {
	TNS       int64  `parquet:"t_ns"`
	Op        string `parquet:"op"`
	Map       uint64 `parquet:"map"`
	Goroutine int64  `parquet:"goroutine"`
	Func      string `parquet:"func"`
	File      string `parquet:"file"`
	Line      int64  `parquet:"line"`

	at time.Time
}

// operations reads a recording, by way of hmapdump show.
func operations(hmapdump, recording string) ([]op, error) {
	table := recording + ".parquet"
	out, err := exec.Command(hmapdump, "show", "--json", "--parquet", table, recording).Output()
	if err != nil {
		return nil, fmt.Errorf("hmapdump show: %w", err)
	}
	var shown struct {
		Target struct{ Started time.Time }
	}
	if err := json.Unmarshal(out, &shown); err != nil {
		return nil, fmt.Errorf("hmapdump show: %w", err)
	}
	ops, err := parquet.ReadFile[op](table)
	if err != nil {
		return nil, err
	}
	for i := range ops {
		ops[i].at = shown.Target.Started.Add(time.Duration(ops[i].TNS))
	}
	return ops, nil
}
