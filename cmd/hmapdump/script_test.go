package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hmaptools/internal/testenv"
)

var update = flag.Bool("update", false, "write what was printed into the goldens of testdata/script")

// TestMain makes this binary the command hmapdump of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"hmapdump": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs testdata/script, a file for each thing that hmapdump does. In
// addition to testscript's own, they have the commands:
//
//	prog [-classic] [-strip|-noopt|-pie|...] NAME [AS]
//	                            build a program of testdata/progs, path in $NAME or $AS
//	gobuild [-classic] OUT FILE build a Go file of the script
//	start PROG ARGS...          start a target that says ready; its id is in $PID
//	goeson                      the started target is not traced, works, ends well
//	gcore FILE                  write a core of $PID with gdb's gcore
//	status N PROG ARGS...       exec, and its exit status is N
//	cut FILE BYTES              cut a file off; a negative number is from its end
//	traced                      wait until $PID is traced
//	killtracer                  wait until all of $PID stands still, kill -9 its tracer
//	await FILE                  wait until the file exists
//	mask stdout|FILE OUT        write OUT, with addresses by order of first sight
//	schema stdout|FILE          the JSON is as design.md, section 4, says
//	value stdout|FILE PATH WANT a value of the JSON, maps.0.len; maps.* is how many there are
//	less stdout|FILE PATH PATH  the first is more than 0 and less than the second
//
// and the conditions [classic] (this run has a Classic toolchain), [gcore], [root].
func TestScripts(t *testing.T) {
	classic, ok := testenv.Toolchain{}, false
	for _, tc := range testenv.Toolchains(t) {
		if tc.Classic() && (tc.Name == "go1.23" || !ok) {
			classic, ok = tc, true
		}
	}
	s := &scripts{t: t, classic: classic}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[procKey{}] = new(*testenv.Process)
			// Programs are built by the go command.
			for _, k := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
				out, err := exec.Command("go", "env", k).Output()
				if err != nil {
					return err
				}
				env.Setenv(k, strings.TrimSpace(string(out)))
			}
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("GOTRACEBACK", "")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "classic":
				return ok, nil
			case "gcore":
				_, err := exec.LookPath("gcore")
				if err != nil && os.Getenv("CI") == "true" {
					return false, fmt.Errorf("gdb must be installed where CI=true: %w", err)
				}
				return err == nil, nil
			case "root":
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"prog": s.prog, "gobuild": s.gobuild, "start": s.start, "goeson": s.goeson, "gcore": s.gcore, "status": status,
			"cut": cut, "traced": traced, "killtracer": killtracer, "await": await, "mask": maskCmd, "schema": schemaCmd, "value": value, "less": less,
		},
	})
}

type scripts struct {
	t       *testing.T
	classic testenv.Toolchain
}

type procKey struct{}

// tb is a testing.TB whose failures end the script.
type tb struct {
	testing.TB
	ts *testscript.TestScript
}

func (t tb) Helper()                           {}
func (t tb) Fatal(args ...any)                 { t.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (t tb) Fatalf(format string, args ...any) { t.ts.Fatalf(format, args...) }
func (t tb) Cleanup(f func())                  { t.ts.Defer(f) }
func (t tb) TempDir() string {
	dir, err := os.MkdirTemp(t.ts.Getenv("WORK"), "tmp")
	t.ts.Check(err)
	return dir
}

func (s *scripts) tb(ts *testscript.TestScript) testing.TB { return tb{s.t, ts} }

// toolchain takes -classic from the arguments.
func (s *scripts) toolchain(ts *testscript.TestScript, args []string) (testenv.Toolchain, []string) {
	if len(args) > 0 && args[0] == "-classic" {
		if s.classic.Name == "" {
			ts.Fatalf("no Classic toolchain: guard this by [classic]")
		}
		return s.classic, args[1:]
	}
	return testenv.Host(), args
}

func (s *scripts) prog(ts *testscript.TestScript, neg bool, args []string) {
	tc, args := s.toolchain(ts, args)
	var flags []testenv.BuildFlag
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag, ok := map[string]testenv.BuildFlag{
			"-strip": testenv.Strip, "-noopt": testenv.NoOpt, "-pie": testenv.PIE, "-race": testenv.Race, "-trimpath": testenv.TrimPath,
		}[args[0]]
		if !ok {
			ts.Fatalf("unknown flag %s", args[0])
		}
		flags, args = append(flags, flag), args[1:]
	}
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: prog [-classic] [-noopt|-strip|...] NAME [AS]")
	}
	ts.Setenv(args[len(args)-1], testenv.Build(s.tb(ts), tc, args[0], flags...))
}

func (s *scripts) gobuild(ts *testscript.TestScript, neg bool, args []string) {
	tc, args := s.toolchain(ts, args)
	if neg || len(args) != 2 {
		ts.Fatalf("usage: gobuild [-classic] OUT FILE")
	}
	cmd := tc.Command(s.t.Context(), nil, "build", "-o", ts.MkAbs(args[0]), ts.MkAbs(args[1]))
	cmd.Dir = ts.Getenv("WORK")
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("%v\n%s", err, out)
	}
}

func process(ts *testscript.TestScript) **testenv.Process {
	return ts.Value(procKey{}).(**testenv.Process)
}

func (s *scripts) start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: start PROG ARGS...")
	}
	p := testenv.Start(s.tb(ts), args[0], args[1:]...)
	*process(ts) = p
	ts.Setenv("PID", strconv.Itoa(p.PID))
}

func (s *scripts) goeson(ts *testscript.TestScript, neg bool, args []string) {
	p := *process(ts)
	if neg || len(args) != 0 || p == nil {
		ts.Fatalf("usage: goeson, after start")
	}
	// The kernel lets go of what a killed tracer has held a moment later.
	wait(ts, "the target is not traced any more", func() bool { return tracer(p.PID) == 0 })
	if status := p.Stop(); status != 0 {
		ts.Fatalf("the target ended with status %d\n%s", status, p.Stderr())
	}
}

// wait waits for a condition, for half a minute at most.
func wait(ts *testscript.TestScript, what string, cond func() bool) {
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited in vain: %s", what)
		}
	}
}

var tracerLine = regexp.MustCompile(`(?m)^TracerPid:\t(\d+)$`)

// tracer returns the id of the process that traces pid, or 0.
func tracer(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	if m := tracerLine.FindSubmatch(status); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	return 0
}

func traced(ts *testscript.TestScript, neg bool, args []string) {
	pid := (*process(ts)).PID
	wait(ts, "somebody traces the target", func() bool { return tracer(pid) != 0 })
}

func killtracer(ts *testscript.TestScript, neg bool, args []string) {
	pid := (*process(ts)).PID
	// A SIGSTOP with which a thread is being attached to is the kernel's own again
	// when the tracer dies before the thread has met it: the process would stay
	// stopped until a SIGCONT.
	wait(ts, "all threads of the target stand still", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, task := range tasks {
			if status, err := os.ReadFile(task); err == nil && !bytes.Contains(status, []byte("State:\tt ")) {
				return false
			}
		}
		return len(tasks) > 0
	})
	ts.Check(syscall.Kill(tracer((*process(ts)).PID), syscall.SIGKILL))
}

func (s *scripts) gcore(ts *testscript.TestScript, neg bool, args []string) {
	p := *process(ts)
	if neg || len(args) != 1 || p == nil {
		ts.Fatalf("usage: gcore FILE, after start")
	}
	pre := ts.MkAbs("gcore")
	if out, err := exec.Command("gcore", "-o", pre, strconv.Itoa(p.PID)).CombinedOutput(); err != nil {
		ts.Fatalf("gcore: %v\n%s", err, out)
	}
	ts.Check(os.Rename(pre+"."+strconv.Itoa(p.PID), ts.MkAbs(args[0])))
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROG ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FILE BYTES")
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	file := ts.MkAbs(args[0])
	if n < 0 {
		fi, err := os.Stat(file)
		ts.Check(err)
		n += fi.Size()
	}
	ts.Check(os.Truncate(file, n))
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	wait(ts, args[0], func() bool { _, err := os.Stat(ts.MkAbs(args[0])); return err == nil })
}

var (
	addrRE  = regexp.MustCompile(`0x[0-9a-f]{6,16} *`)
	seedRE  = regexp.MustCompile(`(seed|hash0)( +)0x[0-9a-f]+ *`)
	pidRE   = regexp.MustCompile(`\(pid \d+\)`)
	goRE    = regexp.MustCompile(`go1\.[0-9.]+(-\S+)?( X:\S+)? (amd64|arm64)`)
	groupRE = regexp.MustCompile(`(?m)^(group|.*bucket) .*  [0-9a-f]{2}( [0-9a-f]{2}){7}$`)
	slotRE  = regexp.MustCompile(`(?m)^(  [0-7]  )[0-9a-f]{2}  `)
	fullRE  = map[string]*regexp.Regexp{
		"group": regexp.MustCompile(` ([0-7][0-9a-f])\b`),              // H2
		"else":  regexp.MustCompile(` (0[5-9a-f]|[1-9a-f][0-9a-f])\b`), // tophash
	}
)

// mask replaces what differs from run to run. An address becomes @1, @2 ... in the
// order of first sight, so that what is shared stays visible. Columns keep their
// place where they are padded.
func mask(text string) string {
	text = seedRE.ReplaceAllString(text, "$1${2}SEED ")
	text = groupRE.ReplaceAllStringFunc(text, func(line string) string {
		full := fullRE["else"]
		if strings.HasPrefix(line, "group") {
			full = fullRE["group"]
		}
		n := len(line) - 8*3
		return line[:n] + full.ReplaceAllString(line[n:], " hh")
	})
	text = slotRE.ReplaceAllString(text, "${1}hh  ")
	seen := map[string]string{}
	text = addrRE.ReplaceAllStringFunc(text, func(a string) string {
		pad := ""
		if t := strings.TrimRight(a, " "); t != a {
			a, pad = t, " "
		}
		if _, ok := seen[a]; !ok {
			seen[a] = fmt.Sprintf("@%d", len(seen)+1)
		}
		return seen[a] + pad
	})
	text = pidRE.ReplaceAllString(text, "(pid PID)")
	return goRE.ReplaceAllString(text, "GO ARCH")
}

func maskCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mask stdout|FILE OUT")
	}
	// What wraps depends on how many digits an address has, so lines are joined.
	got := unwrap(mask(ts.ReadFile(args[0])))
	got = strings.ReplaceAll(got, ts.Getenv("WORK"), "WORK")
	got = cacheRE.ReplaceAllString(got, "CACHE/$1")
	got = coveredRE.ReplaceAllString(got, "looked at BYTES in N objects and the stacks of N goroutines")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(got), 0o666))
}

var cacheRE = regexp.MustCompile(`/\S*/hmaptools-test/[^/]+/[0-9a-f]+/(\w+)`)

// What a program's runtime and libraries have depends on the toolchain.
var coveredRE = regexp.MustCompile(`looked at [0-9.]+ \w+ in \d+ objects and the stacks of \d+ goroutines`)

// unwrap joins the continuation lines of a table.
func unwrap(text string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		cont := strings.HasPrefix(line, strings.Repeat(" ", 40))
		if cont && len(out) > 0 {
			out[len(out)-1] += " " + strings.TrimLeft(line, " ")
			continue
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	return strings.Join(out, "\n")
}

func value(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: value stdout|FILE PATH WANT")
	}
	v := at(ts, args[0], args[1])
	text, err := json.Marshal(v)
	ts.Check(err)
	got := string(text)
	if s, ok := v.(string); ok {
		got = s
	}
	if want := strings.Join(args[2:], " "); (got == want) == neg {
		ts.Fatalf("%s is %s, want %s", args[1], got, want)
	}
}

func less(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: less stdout|FILE PATH PATH")
	}
	var n [2]float64
	for i, path := range args[1:] {
		v, ok := at(ts, args[0], path).(json.Number)
		if !ok {
			ts.Fatalf("%s is not a number", path)
		}
		var err error
		n[i], err = v.Float64()
		ts.Check(err)
	}
	if n[0] <= 0 || n[0] >= n[1] {
		ts.Fatalf("%s is %v, %s is %v", args[1], n[0], args[2], n[1])
	}
}

// at is the value at a path of a JSON document.
func at(ts *testscript.TestScript, file, path string) any {
	var v any
	dec := json.NewDecoder(bytes.NewReader([]byte(ts.ReadFile(file))))
	dec.UseNumber()
	ts.Check(dec.Decode(&v))
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			if step == "*" {
				v = json.Number(strconv.Itoa(len(x)))
				continue
			}
			i, err := strconv.Atoi(step)
			ts.Check(err)
			if i >= len(x) {
				ts.Fatalf("%s: only %d elements", path, len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("%s: %v has no member %s", path, v, step)
		}
	}
	return v
}

func schemaCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: schema stdout|FILE")
	}
	if problems := checkSchema([]byte(ts.ReadFile(args[0]))); len(problems) > 0 {
		ts.Fatalf("the document is not as design.md says:\n%s", strings.Join(problems, "\n"))
	}
}
