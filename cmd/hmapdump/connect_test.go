package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hmaptools/internal/testenv"
)

// ask asks a server something as any client does, in JSON.
func (h *headless) ask(t *testing.T, method string, in any) map[string]any {
	t.Helper()
	c, err := jsonrpc.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out map[string]any
	if err := c.Call("RPCServer."+method, in, &out); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return out
}

func (h *headless) running(t *testing.T) bool {
	t.Helper()
	st := h.ask(t, "State", map[string]any{"NonBlocking": true})["State"].(map[string]any)
	return st["Running"].(bool)
}

// things are what a server lists, in an order of their own.
func (h *headless) things(t *testing.T, method, field string, in any) []string {
	t.Helper()
	var all []string
	for _, x := range h.ask(t, method, in)[field].([]any) {
		all = append(all, asJSON(t, x))
	}
	slices.Sort(all)
	return all
}

func asJSON(t *testing.T, x any) string {
	t.Helper()
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hmapdumpOf runs the command; it returns what it wrote.
func hmapdumpOf(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(args, &out, &errs); status != want {
		t.Errorf("hmapdump %q: exit status %d, want %d\n%s%s", args, status, want, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// comparable is what of a dump does not depend on how it was taken.
func comparable(t *testing.T, text string) map[string]any {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return map[string]any{"maps": d["maps"], "sync_maps": d["sync_maps"]}
}

// TestConnect: through a server that is attached to a running process, hmapdump says what
// it says when it attaches itself, and leaves the process running and the server as it was.
func TestConnect(t *testing.T) {
	for _, tc := range testenv.Toolchains(t) {
		modes := testenv.Modes()[:3:3] // default, noopt, pie
		if tc != testenv.Host() {
			modes = modes[:1]
		}
		for _, mode := range modes {
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				t.Parallel()
				dlvPath(t)
				p := testenv.Start(t, testenv.Build(t, tc, "server", mode.Flags...))
				attached, _ := hmapdumpOf(t, statusFine, "--json", "--slots", "attach", fmt.Sprint(p.PID))
				h := serve(t, "attach", "--accept-multiclient", "--continue", fmt.Sprint(p.PID))
				for start := time.Now(); !h.running(t); time.Sleep(time.Millisecond) {
					if time.Since(start) > dlvLimit {
						t.Fatal("the program does not run")
					}
				}
				connected, errs := hmapdumpOf(t, statusFine, "--json", "--slots", "connect", h.addr)
				if errs != "" {
					t.Errorf("connect says: %s", errs)
				}
				a, c := comparable(t, attached), comparable(t, connected)
				if !reflect.DeepEqual(a, c) {
					t.Errorf("attach and connect differ:\n%s\n%s", attached, connected)
				}
				if len(a["maps"].([]any)) < 10 {
					t.Errorf("attach lists %d maps", len(a["maps"].([]any)))
				}
				if !strings.Contains(connected, `"reason":"connect"`) || !regexp.MustCompile(`"pause_ns":[1-9]`).MatchString(connected) {
					t.Errorf("connect: no reason, or no pause: %.400s", connected)
				}
				if !h.running(t) {
					t.Error("the program does not run any more")
				}
			})
		}
	}
}

// TestConnectLeavesState: breakpoints, the selected goroutine and the stop stay; the
// selected goroutine is where expressions are evaluated.
func TestConnectLeavesState(t *testing.T) {
	h := serve(t, "exec", "--accept-multiclient", testenv.Build(t, testenv.Host(), "stops", testenv.NoOpt))
	s := converse(t, "connect", h.addr)
	s.do("break stopping main.stop")
	s.do("condition stopping main.number == 42")
	s.do("trace main.operate")
	s.do("continue")
	holder := regexp.MustCompile(`(?m)^  goroutine (\d+): holds it\n    as m in main.hold`).FindStringSubmatch(s.do("hmap_who main.table"))
	if holder == nil {
		t.Fatal("no goroutine holds main.table")
	}
	s.do("goroutine " + holder[1])
	state := func() []string {
		st := h.ask(t, "State", map[string]any{"NonBlocking": true})["State"].(map[string]any)
		delete(st, "Threads") // in no order; they are below
		return slices.Concat(
			[]string{asJSON(t, st)},
			h.things(t, "ListBreakpoints", "Breakpoints", map[string]any{"All": true}),
			h.things(t, "ListThreads", "Threads", map[string]any{}),
		)
	}
	before := state()
	out, errs := hmapdumpOf(t, statusFine, "--json", "-e", "m", "connect", h.addr)
	if errs != "" {
		t.Errorf("connect says: %s", errs)
	}
	for i, after := range state() {
		if i >= len(before) || after != before[i] {
			t.Errorf("of the server's state\n%s\nis new", after)
		}
	}
	// m is a local of the selected goroutine alone.
	if !strings.Contains(out, `"main.table"`) || !strings.Contains(out, fmt.Sprintf(`"goroutine":%s`, holder[1])) {
		t.Errorf("-e m: %.1000s", out)
	}
	if got := s.do("hmap main.few"); !strings.Contains(got, "load      3 of 8 slots") {
		t.Errorf("the other client: %s", got)
	}
}

// TestConnectAutopsy: a program that a server has stopped because it dies gets its autopsy.
func TestConnectAutopsy(t *testing.T) {
	h := serve(t, "exec", "--accept-multiclient", testenv.Build(t, testenv.Host(), "concurrent"))
	h.ask(t, "Command", map[string]any{"name": "continue"})
	out, _ := hmapdumpOf(t, statusFinding, "connect", h.addr)
	if !strings.Contains(out, "concurrent map writes: the map is main.shared, map[string]int at 0x") {
		t.Errorf("no autopsy: %s", out)
	}
	if h.running(t) {
		t.Error("the program runs")
	}
}

// TestConnectSingleClient: a server for one client is looked at all the same, and a notice
// says what comes of it.
func TestConnectSingleClient(t *testing.T) {
	h := serve(t, "exec", testenv.Build(t, testenv.Host(), "small"))
	_, errs := hmapdumpOf(t, statusFailed, "connect", h.addr)
	if !strings.Contains(errs, "started without --accept-multiclient: it ends when its client hangs up") {
		t.Errorf("no notice: %s", errs)
	}
	// Nothing has run: there are no maps yet.
	if !strings.Contains(errs, "no variable leads to a map") {
		t.Errorf("no error: %s", errs)
	}
}

// TestConnectRefuses: what is no server, or one of no use, gets an error that says so.
func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	dlvPath(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	answering := func(answer string) string {
		return listen(t, func(c net.Conn) {
			bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, answer)
		})
	}
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	ended := serve(t, "exec", "--accept-multiclient", testenv.Build(t, testenv.Host(), "small"))
	ended.ask(t, "Command", map[string]any{"name": "continue"})
	other := testenv.Build(t, testenv.Host(), "aliases")
	stops := testenv.Build(t, testenv.Host(), "stops")
	at := serve(t, "exec", "--accept-multiclient", stops)
	for _, tt := range []struct {
		name string
		args []string
		want string
		next string
	}{
		{"nobody", []string{closed.Addr().String()}, "there is no connection: connect: connection refused", "dlv exec --headless"},
		{"http", []string{answering("HTTP/1.1 400 Bad Request\r\n\r\n")}, "not a headless Delve server: invalid character 'H'", "dlv exec --headless"},
		{"hangs up", []string{answering("")}, "not a headless Delve server", "dlv exec --headless"},
		{"silent", []string{silent}, "it does not answer: a server that was started without --accept-multiclient serves its first client alone", "--accept-multiclient"},
		{"api", []string{answering(`{"id":0,"result":{"DelveVersion":"Version: 0.1.0","APIVersion":1},"error":null}` + "\n")}, "a Delve server of another API: 1; 2 is known here", ""},
		{"ended", []string{ended.addr}, "it debugs no process: Process", "restart"},
		{"other binary", []string{"--prog", other, at.addr}, "it debugs another binary: .note.go.buildid differs", "--prog FILE"},
		{"no binary", []string{"--prog", filepath.Join(t.TempDir(), "none"), at.addr}, "no such file", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := len(tt.args) - 1
			args := append(append([]string{}, tt.args[:i]...), "connect", tt.args[i])
			out, errs := hmapdumpOf(t, statusFailed, args...)
			if out != "" || !strings.Contains(errs, tt.want) || !strings.Contains(errs, tt.next) || strings.Count(errs, "\n") > 2 {
				t.Errorf("hmapdump %q: %s%s\nwant %q, %q", args, out, errs, tt.want, tt.next)
			}
		})
	}
	for _, args := range [][]string{{"connect"}, {"connect", "localhost"}, {"connect", ":"}, {"connect", "a:1", "b:2"}, {"--at", "main.f", "connect", "a:1"}, {"--no-snapshot", "connect", "a:1"}, {"--prog", "x", "attach", "1"}} {
		hmapdumpOf(t, statusUsage, args...)
	}
}

// TestConnectNotGo: a server that debugs a program that is not Go's.
func TestConnectNotGo(t *testing.T) {
	dlvPath(t)
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "main.c"), filepath.Join(dir, "main")
	if err := os.WriteFile(src, []byte("int main(void) { for (;;) ; }\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-g", "-o", bin, src).CombinedOutput(); err != nil {
		t.Skipf("cc: %v\n%s", err, out)
	}
	h := serve(t, "exec", "--accept-multiclient", bin)
	_, errs := hmapdumpOf(t, statusFailed, "connect", h.addr)
	if !strings.Contains(errs, "main: not a Go program\n") || !strings.Contains(errs, "programs that the Go toolchain built") {
		t.Errorf("connect to a server of a C program: %s", errs)
	}
}

// listen serves each connection with f, which ends it.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

// between listens before a server: each line of the client, one request, and each answer
// go through a function; an answer for "" is made of the function's own.
func between(t *testing.T, to string, request func(line string) (forward, answer string), answer func(line string) string) string {
	return listen(t, func(c net.Conn) {
		s, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer s.Close()
		back := make(chan string, 100)
		go func() {
			for line := range back {
				io.WriteString(c, line)
			}
		}()
		go func() {
			r := bufio.NewReader(s)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					c.Close()
					return
				}
				back <- answer(line)
			}
		}()
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			forward, own := request(line)
			if forward == "" && own == "" {
				return // hang up
			}
			if own != "" {
				back <- own
			} else {
				io.WriteString(s, forward)
			}
		}
	})
}

func same(line string) string { return line }

// TestConnectLost: a connection that breaks, wherever it does, is an error that says so.
func TestConnectLost(t *testing.T) {
	t.Parallel()
	h := serve(t, "exec", "--accept-multiclient", testenv.Build(t, testenv.Host(), "stops"))
	s := converse(t, "connect", h.addr)
	s.do("break main.stop")
	s.do("continue")
	var all atomic.Int64
	addr := between(t, h.addr, func(line string) (string, string) { all.Add(1); return line, "" }, same)
	hmapdumpOf(t, statusFine, "connect", addr)
	total := all.Load()
	if total < 20 {
		t.Fatalf("a census makes %d requests", total)
	}
	for _, after := range []int64{1, 3, 5, 8, total / 4, total / 2, total - 2} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			var n atomic.Int64
			addr := between(t, h.addr, func(line string) (string, string) {
				if n.Add(1) > after {
					return "", ""
				}
				return line, ""
			}, same)
			out, errs := hmapdumpOf(t, statusFailed, "connect", addr)
			if out != "" || !strings.Contains(errs, "the connection was lost: ") || strings.Count(errs, "\n") != 2 {
				t.Errorf("after %d of %d requests: %s%s", after, total, out, errs)
			}
		})
	}
}

var (
	memoryRequest = regexp.MustCompile(`"RPCServer.ExamineMemory".*"Length":(\d+)`)
	requestID     = regexp.MustCompile(`"id":(\d+)`)
	versionText   = regexp.MustCompile(`Version: \d+\.\d+\.\d+`)
)

// TestConnectOtherVersion: of a server of an older Delve, which gives 1000 bytes at a time,
// the same is said, and that its version is another one.
func TestConnectOtherVersion(t *testing.T) {
	h := serve(t, "exec", "--accept-multiclient", testenv.Build(t, testenv.Host(), "stops"))
	s := converse(t, "connect", h.addr)
	s.do("break main.stop")
	s.do("continue")
	refused := 0
	addr := between(t, h.addr, func(line string) (string, string) {
		if m := memoryRequest.FindStringSubmatch(line); m != nil {
			if n, _ := strconv.Atoi(m[1]); n > 1000 {
				refused++
				return "", `{"id":` + requestID.FindStringSubmatch(line)[1] + `,"result":null,"error":"len must be less than or equal to 1000"}` + "\n"
			}
		}
		return line, ""
	}, func(line string) string { return versionText.ReplaceAllString(line, "Version: 1.9.1") })
	start := time.Now()
	older, errs := hmapdumpOf(t, statusFine, "--json", "--slots", "connect", addr)
	t.Logf("%v, %d refused", time.Since(start), refused)
	if !strings.Contains(errs, "the server is Delve 1.9.1, and this is made for 1.") || strings.Count(errs, "\n") != 1 {
		t.Errorf("connect says: %s", errs)
	}
	newer, _ := hmapdumpOf(t, statusFine, "--json", "--slots", "connect", h.addr)
	if !reflect.DeepEqual(comparable(t, older), comparable(t, newer)) {
		t.Errorf("through an older server:\n%s\nthrough this one:\n%s", older, newer)
	}
	if refused == 0 {
		t.Error("no request was refused")
	}
}
