package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"hmaptools/internal/testenv"
)

var update = flag.Bool("update", false, "write what was printed into the goldens of testdata/script")

// TestMain makes this binary the command asmtrace of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"asmtrace": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs testdata/script, a file for each thing that asmtrace does. In
// addition to testscript's own, they have the commands:
//
//	status N PROG ARGS...   exec, and its exit status is N
//	width stdout N          no line has more than N columns
//	cut FILE BYTES OUT      the first bytes of a file
//	json stdout PATH WANT   a value of the JSON: funcs.0.ops.0.op
//
// and the condition [race]: the race detector can be compiled in, it needs cgo.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for _, k := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
				out, err := exec.Command("go", "env", k).Output()
				if err != nil {
					return err
				}
				env.Setenv(k, strings.TrimSpace(string(out)))
			}
			env.Setenv("ARCH", runtime.GOARCH)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "race" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			out, err := exec.Command("go", "env", "CGO_ENABLED").Output()
			_, noCC := exec.LookPath("gcc")
			return strings.TrimSpace(string(out)) == "1" && noCC == nil, err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "width": widthCmd, "cut": cutCmd, "json": jsonCmd,
		},
	})
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROG ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		if _, e := fmt.Sscanf(err.Error(), "exit status %d", &got); e != nil {
			ts.Fatalf("%v", err)
		}
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

func widthCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: width FILE N")
	}
	most := 0
	fmt.Sscan(args[1], &most)
	text := ts.ReadFile(args[0])
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > most {
			ts.Fatalf("a line has %d columns: %s", n, line)
		}
	}
	if strings.Contains(text, "\x1b") || len(text) == 0 {
		ts.Fatalf("the text is not plain, or there is none")
	}
}

func cutCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut FILE BYTES OUT")
	}
	n := 0
	fmt.Sscan(args[1], &n)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(ts.ReadFile(args[0])[:n]), 0o666))
}

func jsonCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: json FILE PATH WANT")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for key := range strings.SplitSeq(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i := -1
			fmt.Sscan(key, &i)
			if i < 0 || i >= len(x) {
				ts.Fatalf("no element %s of %d", key, len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("no %s in %v", key, v)
		}
	}
	if got := fmt.Sprint(v); got != args[2] {
		ts.Fatalf("%s is %q, want %q", args[1], got, args[2])
	}
}

// trace runs the command and returns its output.
func asmtrace(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(args, stdin, &stdout, &stderr); status != 0 {
		t.Fatalf("asmtrace %s: exit status %d\n%s", strings.Join(args, " "), status, stderr.Bytes())
	}
	return stdout.String()
}

// document is what the tests need of the JSON.
type document struct {
	Schema    int
	Go        string
	Goarch    string
	Funcs     []documentFunc
	Summary   struct{ Calls, Functions int }
	Dicts     []struct{ Func string } `json:"dictionaries"`
	CallsSeen int                     `json:"calls_matched"`
}

type documentFunc struct {
	Name string
	Ops  []struct {
		Op, Symbol, Variant, Expr string
		PC                        uint64
		MapType                   string `json:"map_type"`
		Calls                     []uint64
		Line                      int
	}
	Insts []struct {
		Args    string
		Samples int64
	}
	Samples []int64
	Unit    string `json:"samples_unit"`
}

func decode(t *testing.T, text string) *document {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	if d.Schema != 1 || len(d.Funcs) == 0 {
		t.Fatalf("schema %d, %d functions", d.Schema, len(d.Funcs))
	}
	return &d
}

var typeArgs = regexp.MustCompile(`\[[^.].*\]`)

// operations gives the map routines that each function calls, with the map types
// as far as they are known: by what a binary can tell.
func operations(d *document) map[string][]string {
	all := map[string][]string{}
	for _, f := range d.Funcs {
		name := strings.Replace(f.Name, `"".`, "main.", 1) // Go 1.18 has that for the own package
		if !strings.HasPrefix(name, "main.") {
			continue
		}
		name = typeArgs.ReplaceAllString(name, "[...]")
		for _, op := range f.Ops {
			if len(op.Calls) == 0 {
				continue
			}
			all[name] = append(all[name], fmt.Sprint(op.Symbol, " x", len(op.Calls), " ", op.MapType))
		}
	}
	return all
}

// A linked binary, whole and stripped, and the listing of its package tell the same
// operations on the same types. Both are read as they are, with the positions alone
// for the source.
func TestBinaryEqualsListing(t *testing.T) {
	rows := []struct {
		name, goos, goarch string
		tc                 testenv.Toolchain
	}{{"host", "linux", "amd64", testenv.Host()}}
	for _, arch := range []string{"386", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x"} {
		rows = append(rows, struct {
			name, goos, goarch string
			tc                 testenv.Toolchain
		}{arch, "linux", arch, testenv.Host()})
	}
	for _, tc := range testenv.Toolchains(t) {
		rows = append(rows, struct {
			name, goos, goarch string
			tc                 testenv.Toolchain
		}{tc.Name, "linux", "amd64", tc})
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			whole := testenv.Compile(t, r.tc, r.goos, r.goarch, "./asmcorpus")
			stripped := testenv.Compile(t, r.tc, r.goos, r.goarch, "./asmcorpus", "-ldflags=-s -w")
			args := []string{"--json", "--goarch", r.goarch, "-"}
			if r.tc.Go != "local" {
				args = append([]string{"--toolchain", r.tc.Go}, args...)
			}
			want := operations(decode(t, asmtrace(t, bytes.NewReader(whole.Listing), args...)))
			for _, path := range []string{whole.Binary, stripped.Binary} {
				got := operations(decode(t, asmtrace(t, nil, "--json", "--bin", path)))
				compared := 0
				for name, g := range got {
					w, ok := want[name]
					if !ok || strings.Contains(name, "[...]") {
						continue // instances have one name in a stripped binary
					}
					compared += len(g)
					// The number of a local type is in the listing alone, and Go 1.18's does not
					// name the own package.
					names := strings.NewReplacer("·1", "", "main.", "")
					if names.Replace(fmt.Sprint(g)) != names.Replace(fmt.Sprint(w)) {
						t.Errorf("%s:\n   binary %q\n  listing %q", name, g, w)
					}
				}
				if compared < 200 {
					t.Errorf("%d operations compared", compared)
				}
			}
		})
	}
}

// A profile's samples reach the line that has the map operation, growth and
// allocation below it included.
func TestProfile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module hot\n\ngo 1.25.0\n")
	write("main.go", `package main

import (
	"os"
	"runtime/pprof"
	"time"
)

func fill(n int) map[int]int {
	m := make(map[int]int)
	for i := range n {
		m[i*7] = i
	}
	return m
}

func cold(m map[int]int) int { return m[3] }

//go:noinline
func pair(a, b map[int]int, n int) {
	for i := range n {
		a[i], b[i&3] = 1, 2
	}
}

func main() {
	f, err := os.Create(os.Args[1])
	if err != nil {
		panic(err)
	}
	pprof.StartCPUProfile(f)
	n := 0
	for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); {
		n += cold(fill(20000))
		pair(map[int]int{}, map[int]int{}, 20000)
	}
	pprof.StopCPUProfile()
	f.Close()
	os.Exit(n & 0)
}
`)
	goRun := func(args ...string) {
		t.Helper()
		cmd := testenv.Host().Command(t.Context(), nil, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	goRun("build", "-o", "hot", ".")
	prof := filepath.Join(dir, "cpu.pprof")
	cmd := exec.Command(filepath.Join(dir, "hot"), prof)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Chdir(dir)
	text := asmtrace(t, nil, "--profile", prof, "--summary", ".")
	if !strings.Contains(text, "m[i * 7] = i") {
		t.Errorf("the fill is not there:\n%s", text)
	}
	d := decode(t, asmtrace(t, nil, "--profile", prof, "--json", "."))
	var total, hot, growth, first, second int64
	for _, f := range d.Funcs {
		for i, op := range f.Ops {
			total += f.Samples[i]
			switch {
			case f.Name == "main.main" && op.Op == "assign": // where fill is inlined
				hot = f.Samples[i]
			case f.Name == "main.fill" && f.Samples[i] != 0:
				t.Errorf("%s of main.fill has %d samples: it is never called", op.Op, f.Samples[i])
			case f.Name == "main.pair" && strings.HasPrefix(op.Expr, "a["):
				first = f.Samples[i]
			case f.Name == "main.pair" && strings.HasPrefix(op.Expr, "b["):
				second = f.Samples[i]
			}
		}
		if f.Unit != "nanoseconds" {
			t.Errorf("unit %q", f.Unit)
		}
	}
	if hot < total/4 || hot == 0 {
		t.Errorf("the assignment has %d of %d", hot, total)
	}
	// Two on one line are told apart: a grows, b has four entries.
	if first <= second || first == 0 {
		t.Errorf("of the operations on one line, a[i] has %d and b[i&3] %d", first, second)
	}
	for _, word := range []string{"growth ", "allocation "} {
		if strings.Contains(text, word) {
			growth++
		}
	}
	if growth == 0 {
		t.Errorf("no growth or allocation below the assignment:\n%s", text)
	}
	if d.Funcs[0].Name != "main.main" && d.Funcs[0].Name != "main.pair" {
		t.Errorf("the heaviest function is %s", d.Funcs[0].Name)
	}
	// In the text each line has its share, and in the binary each instruction.
	text = asmtrace(t, nil, "--profile", prof, "-s", "main.fill$", ".")
	if !regexp.MustCompile(`(?m)^  main\.go:12  m\[i\*7\] = i +0\.[0-9]+s$`).MatchString(text) {
		t.Errorf("the line has no share:\n%s", text)
	}
	b := decode(t, asmtrace(t, nil, "--profile", prof, "--json", "-s", `^main\.(fill|main)$`, "--bin", filepath.Join(dir, "hot")))
	var atCall, all int64
	for _, f := range b.Funcs {
		for _, in := range f.Insts {
			all += in.Samples
			if strings.Contains(in.Args, "mapassign_fast64") {
				atCall += in.Samples
			}
		}
	}
	if atCall < all*3/4 || all < int64(100*time.Millisecond) {
		t.Errorf("the call of mapassign has %d of %d samples", atCall, all)
	}
	// A profile of another program.
	var stderr bytes.Buffer
	if status := run([]string{"--profile", prof, "encoding/json"}, nil, io.Discard, &stderr); status != 1 || !strings.Contains(stderr.String(), "a profile of another program") {
		t.Errorf("exit status %d: %s", status, stderr.Bytes())
	}
}

// chromium returns the browser, or skips.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("chromium must be installed where CI=true")
	}
	t.Skip("no chromium: the page's script is not run")
	return ""
}

// The page is drawn in a browser that reaches nothing else: source and instructions
// are there, hovering one side lights the other, and the tabs compare.
func TestPage(t *testing.T) {
	browser := chromium(t)
	dir := t.TempDir()
	page := filepath.Join(dir, "p.html")
	t.Chdir(testenv.ProgramDir(t))
	asmtrace(t, nil, "--goarch", "amd64,386", "--html", page, "./asmcorpus")
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, outside := range []string{"http://", "https://", "src=\"", "href=\"", "@import", "url("} {
		if bytes.Contains(html, []byte(outside)) {
			t.Errorf("the page refers to something outside: %q", outside)
		}
	}
	// The same page with a script behind its own that does what a reader does, and
	// writes down what came of it.
	probe := `<script>{
const out = {};
const rows = [...document.querySelectorAll("#src .row.code")];
out.source = rows.length; out.insts = document.querySelectorAll("#asm .row.code").length; out.ops = document.querySelectorAll("#asm details").length;
const line = rows.find(r => r.textContent.includes("m[w]++"));
line.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
out.lit = [...document.querySelectorAll("#asm .row.lit")].map(r => r.textContent).filter(s => s.includes("mapassign_faststr")).length;
const call = [...document.querySelectorAll("#asm .row.code")].find(r => r.textContent.includes("makemap_small"));
call.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
out.back = [...document.querySelectorAll("#src .row.lit")].map(r => r.textContent).join("|");
out.card = document.querySelectorAll("details.lit").length;
const tabs = [...document.querySelectorAll("[role=tab]")];
out.tabs = tabs.map(t => t.textContent).join(",");
tabs[2].click();
out.rows = document.querySelectorAll("#compare tr").length; out.diff = document.querySelectorAll("#compare tr.diff").length;
out.hidden = document.getElementById("asm").hidden;
tabs[1].click();
document.getElementById("filter").value = "AsgInt32"; document.getElementById("filter").oninput();
out.filtered = [...document.querySelectorAll("#funcs button")].map(b => b.title).join(",");
out.other = [...document.querySelectorAll("#asm .row.op")].some(r => r.textContent.includes("(SP)"));
const pre = document.createElement("pre"); pre.id = "probe"; pre.textContent = "PROBE" + JSON.stringify(out) + "EBORP"; document.body.append(pre);
}</script></body>`
	html = bytes.Replace(html, []byte("</body>"), []byte(probe), 1)
	probed := filepath.Join(dir, "probe.html")
	if err := os.WriteFile(probed, html, 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--virtual-time-budget=3000", "--dump-dom", "file://"+probed+"#main.Loop")
	dom, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(dom), `<pre id="probe">PROBE`)
	text, _, ok := strings.Cut(rest, "EBORP")
	if !ok {
		t.Fatalf("the page's script did not run: %s", dom[max(0, len(dom)-3000):])
	}
	var out struct {
		Source, Insts, Ops, Lit, Card, Rows, Diff int
		Back, Tabs, Filtered                      string
		Hidden, Other                             bool
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", out)
	if out.Source < 4 || out.Insts < 30 || out.Ops != 2 || out.Lit != 1 || !strings.Contains(out.Back, "make(map[string]int)") || out.Card < 1 ||
		out.Tabs != "amd64,386,compare" || out.Rows < 200 || out.Diff < 20 || !out.Hidden || out.Filtered != "main.AsgInt32" || !out.Other {
		t.Errorf("%+v", out)
	}
}
