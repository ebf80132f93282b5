package hmaptools_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"hmaptools/internal/testenv"
)

// TestDocs executes the commands of README.md, of the lessons and of the sessions and compares
// what they print with what the documents show.
//
// A command is a line that begins with "$ " in a block that is marked console;
// the lines below it, up to the next command, are its output, standard output and
// standard error together. Addresses must differ and agree where they do in the
// document; process ids, the version of the host's Go and sizes are not compared,
// nor how lines break. In a block marked "console varies", where the hash seed or
// the machine decides, no number is compared. A line "..." stands for any output.
// /tmp/ is a directory of the test's own.
//
// With -update, output of another shape replaces what a document shows, unless
// that has a "...".
func TestDocs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the documents show what Linux prints")
	}
	docs, err := filepath.Glob("docs/lessons/*/README.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("no lessons: %v", err)
	}
	bin := filepath.Join(t.TempDir(), "hmapdump")
	host := testenv.Host()
	if out, err := host.Command(t.Context(), nil, "build", "-o", bin, "./cmd/hmapdump").CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/hmapdump: %v\n%s", err, out)
	}
	for _, doc := range append([]string{"README.md", "docs/sessions.md"}, docs...) {
		t.Run(doc, func(t *testing.T) {
			blocks := parseDoc(string(read(t, doc)))
			ran := 0
			for _, b := range blocks {
				ran += len(b.commands)
				t.Run(fmt.Sprintf("line%d", b.line), func(t *testing.T) { b.run(t, doc, bin) })
			}
			if *update {
				rewrite(t, doc, blocks)
			}
			if ran == 0 {
				t.Errorf("%s shows no command", doc)
			}
		})
	}
}

var update = flag.Bool("update", false, "write what commands print into the documents that show it")

// block is a fenced block of a document that holds commands.
type block struct {
	line     int
	varies   bool
	commands []command
}

type command struct {
	line  int
	shell string
	want  string
	got   string // with -update, what shall stand instead
}

func parseDoc(text string) []block {
	var blocks []block
	in := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			info := strings.Fields(strings.TrimPrefix(line, "```"))
			in = !in && len(info) > 0 && info[0] == "console"
			if in {
				blocks = append(blocks, block{line: i + 1, varies: len(info) > 1 && info[1] == "varies"})
			}
		case in && strings.HasPrefix(line, "$ "):
			b := &blocks[len(blocks)-1]
			b.commands = append(b.commands, command{line: i + 1, shell: line[2:]})
		case in:
			if b := &blocks[len(blocks)-1]; len(b.commands) > 0 {
				b.commands[len(b.commands)-1].want += line + "\n"
			}
		}
	}
	return blocks
}

var toolchainOf = regexp.MustCompile(`\bGOTOOLCHAIN=(\S+)`)

func (b *block) run(t *testing.T, doc, bin string) {
	tmp := t.TempDir() + "/"
	for i, c := range b.commands {
		if c.shell == "go test ./..." {
			continue // this is it
		}
		if m := toolchainOf.FindStringSubmatch(c.shell); m != nil {
			if testing.Short() {
				t.Skipf("%s:%d: with -short the host's toolchain alone is used", doc, c.line)
			}
			testenv.Need(t, testenv.Toolchain{Name: m[1], Go: m[1]})
		}
		got, status := shell(t, strings.NewReplacer("go run ./cmd/hmapdump", bin, "/tmp/", tmp).Replace(c.shell))
		got = strings.ReplaceAll(got, tmp, "/tmp/")
		want, wantStatus := splitStatus(c.want)
		if status != wantStatus {
			t.Errorf("%s:%d: $ %s\nexit status %d, want %d\n%s", doc, c.line, c.shell, status, wantStatus, got)
			continue
		}
		if err := sameShape(want, got, b.varies); err != nil {
			if *update && !strings.Contains("\n"+c.want, "\n...\n") {
				b.commands[i].got = got
				continue
			}
			t.Errorf("%s:%d: $ %s\n%v\n--- the document shows\n%s--- it printed\n%s", doc, c.line, c.shell, err, want, got)
		}
	}
}

// rewrite replaces the outputs of commands that have another one.
func rewrite(t *testing.T, doc string, blocks []block) {
	old := string(read(t, doc))
	text := old
	for _, b := range blocks {
		for _, c := range b.commands {
			if c.got != "" {
				shown := "\n$ " + c.shell + "\n"
				text = strings.Replace(text, shown+c.want, shown+c.got, 1)
			}
		}
	}
	if text == old {
		return
	}
	if err := os.WriteFile(doc, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// shell runs a command as a reader would, in the root of the module.
func shell(t *testing.T, script string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Env = testenv.Host().Command(ctx, nil).Env
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		// The first run on a machine fetches what it needs, and says so.
		if !strings.HasPrefix(line, "go: downloading ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, ""), cmd.ProcessState.ExitCode()
}

// splitStatus takes the line off that go run prints after a failure.
func splitStatus(want string) (string, int) {
	trimmed := strings.TrimRight(want, "\n")
	i := strings.LastIndexByte(trimmed, '\n') + 1
	if s, ok := strings.CutPrefix(trimmed[i:], "exit status "); ok {
		if n, err := strconv.Atoi(s); err == nil {
			return trimmed[:i], n
		}
	}
	return want, 0
}

var (
	// An address, a hash seed: what a process chooses anew each time.
	address = regexp.MustCompile(`0x[0-9a-f]{5,16}\b`)
	masks   = []struct {
		re   *regexp.Regexp
		with string
	}{
		{regexp.MustCompile(`\(pid \d+\)`), "(pid N)"},
		{regexp.MustCompile(`\bgo1\.\d+(\.\d+)?((rc|beta)\d+)?(-\S+)?`), "go1"},
		{regexp.MustCompile(`\b(amd64|arm64)\b`), "ARCH"},
		{regexp.MustCompile(`\b\d+(\.\d+)? (B|[KMG]iB)( |$)`), "SIZE "},
	}
	number = regexp.MustCompile(`\d+(\.\d+)?`)
	bar    = regexp.MustCompile(`\[[#.]{8,}\]`)
	many   = regexp.MustCompile(`\b(bucket|table|entry|insert|tombstone|map|pointer)\b`)
)

// words is a text without what may differ; addresses become "@".
func words(text string, varies bool) string {
	s := strings.Join(strings.Fields(text), " ")
	s = address.ReplaceAllString(s, "@")
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.with)
	}
	if varies {
		s = number.ReplaceAllString(s, "N")
		s = many.ReplaceAllStringFunc(s, func(one string) string {
			if one == "entry" {
				return "entries"
			}
			return one + "s"
		})
		s = bar.ReplaceAllString(s, "BAR")
	}
	return s
}

// sameShape compares an output with the one that a document shows.
func sameShape(want, got string, varies bool) error {
	var expr strings.Builder
	expr.WriteString(`\A`)
	var part strings.Builder
	flush := func() {
		for i, piece := range strings.Split(words(part.String(), varies), "@") {
			if i > 0 {
				expr.WriteString(`(@\d+)`)
			}
			expr.WriteString(regexp.QuoteMeta(piece))
		}
		part.Reset()
	}
	for line := range strings.Lines(want) {
		if strings.TrimSpace(line) == "..." {
			flush()
			expr.WriteString(`.*?`)
			continue
		}
		part.WriteString(line)
	}
	flush()
	expr.WriteString(`\z`)
	pattern := strings.NewReplacer(`.*? `, `.*?`).Replace(expr.String())

	// Number the addresses of got in the order of first sight, behind the "@"
	// that stand for them.
	seen := map[string]int{}
	var ids []int
	for _, a := range address.FindAllString(got, -1) {
		if _, ok := seen[a]; !ok {
			seen[a] = len(seen)
		}
		ids = append(ids, seen[a])
	}
	var text bytes.Buffer
	for i, piece := range strings.Split(words(got, varies), "@") {
		if i > 0 {
			fmt.Fprintf(&text, "@%d", ids[i-1])
		}
		text.WriteString(piece)
	}
	m := regexp.MustCompile(pattern).FindStringSubmatch(text.String())
	if m == nil {
		return difference(words(want, varies), words(got, varies))
	}

	// The same addresses must be equal, and the same ones distinct.
	wantAddrs, there, back := address.FindAllString(want, -1), map[string]string{}, map[string]string{}
	for i, g := range m[1:] {
		w := wantAddrs[i]
		if old, ok := there[w]; ok && old != g || !ok && back[g] != "" {
			return fmt.Errorf("the document's %s is another address's equal, or is not equal to itself", w)
		}
		there[w], back[g] = g, w
	}
	return nil
}

// difference says where two texts part.
func difference(want, got string) error {
	w, g := strings.Fields(want), strings.Fields(got)
	n := 0
	for n < len(w) && n < len(g) && w[n] == g[n] {
		n++
	}
	near := func(s []string) string { return strings.Join(s[max(0, n-4):min(len(s), n+4)], " ") }
	return fmt.Errorf("it shows %q where %q was printed", near(w), near(g))
}

func TestSameShape(t *testing.T) {
	for _, tt := range []struct {
		name, want, got string
		varies, same    bool
	}{
		{"equal", "len 3\n", "len 3\n", false, true},
		{"number", "len 3\n", "len 4\n", false, false},
		{"number that varies", "len 3\n", "len 4\n", true, true},
		{"plural that varies", "1 table\n", "2 tables\n", true, true},
		{"word", "len 3\n", "cap 3\n", true, false},
		{"alias", "a 0xc000010 b 0xc000010\n", "a 0x12345678 b 0x12345678\n", false, true},
		{"no alias", "a 0xc000010 b 0xc000010\n", "a 0x12345678 b 0x12345679\n", false, false},
		{"unexpected alias", "a 0xc000010 b 0xc000020\n", "a 0x12345678 b 0x12345678\n", false, false},
		{"nothing", "len 3\n", "", false, false},
		{"more", "len 3\n", "len 3\nlen 4\n", false, false},
		{"ellipsis", "a 0xc000010\n...\nb 0xc000010\n", "a 0x1234567\nx 0x55555555\ny\nb 0x1234567\n", false, true},
		{"ellipsis, no alias", "a 0xc000010\n...\nb 0xc000010\n", "a 0x1234567\nx 0x55555555\ny\nb 0x55555555\n", false, false},
		{"ellipsis for nothing", "a 1\n...\nb 2\n", "a 1\nb 2\n", false, true},
		{"ellipsis last", "a 1\n...\n", "a 1\nb 2\n", false, true},
		{"size, version, pid", "x (pid 12), go1.26.8 amd64: 53.4 KiB\n", "x (pid 34), go1.27 arm64: 7 B\n", false, true},
		{"line breaks", "a = b\n   map[string]int\n", "a =\n b map[string]int\n", false, true},
	} {
		if err := sameShape(tt.want, tt.got, tt.varies); (err == nil) != tt.same {
			t.Errorf("%s: %v, want same %v", tt.name, err, tt.same)
		}
	}
}
