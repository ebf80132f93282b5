// Program sidebyside lays what GODEBUG=schedtrace=N,scheddetail=1 has printed beside
// the timeline of a recording of the same run:
//
//	sidebyside [-n N] [-waiting REGEXP] SCHEDTRACE TIMELINE.json
//
// For each snapshot of the scheduler in the recording's time it says what the
// goroutines that use maps were doing, and what they did to maps in the 5 milliseconds
// before and behind it.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// around is how far from a snapshot a slice of the recording may lie: snapshots have
// a resolution of a millisecond, and their clock starts a little before main.
const around = 5 * time.Millisecond

// slice is what a goroutine did to maps without a pause.
type slice struct {
	begin, end time.Duration // since the start of the program
	maps       []string      // "0x... map[int]int"; none if there were several
}

// snapshot is a SCHED line with the lines below it.
type snapshot struct {
	at         time.Duration
	procs      map[string]string // M -> its P
	goroutines map[int64]string  // G -> its line, from status on
}

var (
	begins = regexp.MustCompile(`(?m)^began (\S+)$`)
	line   = regexp.MustCompile(`(?m)^(?:SCHED (\d+)ms:|  M(\d+): p=(\S+)|  G(\d+): status=(\d+)\(([^)]*(?:\([^)]*\))?[^)]*)\) m=(\S+))`)
	states = []string{"idle", "runnable", "running", "in a system call", "waiting"}
)

func main() {
	limit := flag.Int("n", 5, "show `N` snapshots at most")
	waiting := flag.String("waiting", "", "show those alone in which both sides agree, one goroutine waits for what matches this `regexp`, and the others run")
	flag.Parse()
	// The lines of a snapshot, sorted: those that run, and then one that waits.
	wanted := regexp.MustCompile(`^(?:  running on [^\n]*\n)+  waiting: [^\n]*` + *waiting + `[^\n]*$`)
	trace := read(flag.Arg(0))
	m := begins.FindSubmatch(trace)
	if m == nil {
		log.Fatalf("%s: the program has not said when it began", flag.Arg(0))
	}
	began, err := time.Parse(time.RFC3339Nano, string(m[1]))
	if err != nil {
		log.Fatal(err)
	}
	did, first, last := timeline(read(flag.Arg(1)), began)
	seen, shown, agree, all := 0, 0, 0, 0
	for _, s := range snapshots(trace) {
		if s.at < first+around || s.at > last-around {
			continue // before the recorder was there, or behind the end
		}
		seen++
		var text []string
		same := 0
		for _, g := range slices.Sorted(maps.Keys(did)) {
			state, running := s.state(g)
			used := near(did[g], s.at)
			text = append(text, fmt.Sprintf("  %-32s G%-3d %s", state, g, cmp.Or(strings.Join(used, ", "), "nothing")))
			if running == (len(used) > 0) {
				same++
			}
		}
		agree, all = agree+same, all+len(text)
		slices.Sort(text)
		lines := strings.Join(text, "\n")
		if shown < *limit && (*waiting == "" || same == len(text) && wanted.MatchString(lines)) {
			fmt.Printf("SCHED %dms:\n%s\n", s.at.Milliseconds(), lines)
			shown++
		}
	}
	if seen == 0 {
		log.Fatal("no snapshot lies in the time of the recording")
	}
	fmt.Printf("%d snapshots; a goroutine that has a P has used a map, and one that has none has not, in %d%% of %d cases\n", seen, 100*agree/all, all)
}

// state says in words what G was doing, and whether it had a P or wanted one.
func (s *snapshot) state(g int64) (string, bool) {
	f := strings.SplitN(s.goroutines[g], "\x00", 3) // status, reason, M
	if len(f) < 3 {
		return "not there", false
	}
	n, _ := strconv.Atoi(f[0])
	switch {
	case n == 2 && s.procs[f[2]] != "":
		return "running on P" + s.procs[f[2]] + " by M" + f[2], true
	case n == 4:
		return "waiting: " + f[1], false
	case n < len(states):
		return states[n], n == 1 // it ran until a moment ago
	}
	return "status " + f[0], false
}

func snapshots(trace []byte) []*snapshot {
	var all []*snapshot
	for _, m := range line.FindAllStringSubmatch(string(trace), -1) {
		switch {
		case m[1] != "":
			ms, _ := strconv.Atoi(m[1])
			all = append(all, &snapshot{time.Duration(ms) * time.Millisecond, map[string]string{}, map[int64]string{}})
		case len(all) == 0:
		case m[2] != "" && m[3] != "nil":
			all[len(all)-1].procs[m[2]] = m[3]
		case m[4] != "":
			g, _ := strconv.ParseInt(m[4], 10, 64)
			all[len(all)-1].goroutines[g] = m[5] + "\x00" + m[6] + "\x00" + m[7]
		}
	}
	return all
}

// timeline reads the slices of goroutines from a timeline of hmapdump show --perfetto,
// and from when to when there are any.
func timeline(data []byte, began time.Time) (all map[int64][]slice, first, last time.Duration) {
	var t struct {
		OtherData struct{ Started time.Time }
		Events    []struct {
			Ph, Cat string
			TS, Dur float64
			TID     int64
			Args    map[string]any
		} `json:"traceEvents"`
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&t); err != nil {
		log.Fatalf("%s: %v", flag.Arg(1), err)
	}
	all = map[int64][]slice{}
	offset := t.OtherData.Started.Sub(began)
	for _, e := range t.Events {
		if e.Ph != "X" || e.Cat != "operations" {
			continue
		}
		begin := offset + time.Duration(e.TS*1e3)
		s := slice{begin: begin, end: begin + time.Duration(e.Dur*1e3)}
		if m, ok := e.Args["map"].(string); ok {
			s.maps = []string{m}
		}
		all[e.TID] = append(all[e.TID], s)
		if first == 0 || begin < first {
			first = begin
		}
		last = max(last, s.end)
	}
	return all, first, last
}

// near lists the maps that slices near a time used.
func near(all []slice, at time.Duration) []string {
	used := map[string]bool{}
	for _, s := range all {
		if s.begin < at+around && s.end > at-around {
			for _, m := range s.maps {
				used[m] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(used))
}

func read(file string) []byte {
	b, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	return b
}
