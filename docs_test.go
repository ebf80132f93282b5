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
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hmaptools/internal/testenv"
)

// TestDocs executes the commands of README.md, of docs/*.md and of the lessons, and
// compares what they print with what the documents show.
//
// A command is a line that begins with "$ " in a block that is marked console,
// and goes on below a line that ends with a backslash; the lines below it, up to
// the next command, are its output, standard output and standard error together.
// The commands of a block run in one shell, in the root of the module: variables,
// the directory and background jobs last to the end of the block, where jobs are
// ended. /tmp/ is a directory of the document's own. The tools are built once,
// and stand for "go run ./cmd/..." and "go tool dlv".
//
// Addresses must differ and agree where they do in the document; process ids, the
// version of the host's Go, sizes and durations are not compared, nor how lines
// break. In a block marked "console varies", where the hash seed or the machine
// decides, no number is compared. This directory is shown as /hmaptools/, and that
// of any Go as $GOROOT. A line "..." stands for any output. A line
// "exit status N" at the end is what go run and go tool print of a failure.
//
// A block that names another toolchain runs where testenv's table takes it, and
// so does one that uses what such a block was to leave in /tmp/.
//
// With -update, output of another shape replaces what a document shows, unless
// that has a "...". A translation (README.zh.md) shows the blocks of its original.
func TestDocs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the documents show what Linux prints")
	}
	tools := buildTools(t)
	for _, doc := range documents(t) {
		t.Run(doc, func(t *testing.T) {
			blocks := parseDoc(string(read(t, doc)))
			ran := 0
			s := session{doc: doc, tmp: t.TempDir() + "/", tools: tools, absent: map[string]bool{}}
			for i := range blocks {
				b := &blocks[i]
				ran += len(b.commands)
				t.Run(fmt.Sprintf("line%d", b.line), func(t *testing.T) { s.run(t, b) })
			}
			if *update {
				rewrite(t, doc, blocks)
			}
			if ran == 0 && filepath.Base(doc) == "README.md" {
				t.Errorf("%s shows no command", doc)
			}
		})
	}
	for _, doc := range glob(t, "README.zh.md", "docs/lessons/*/README.zh.md") {
		t.Run(doc, func(t *testing.T) { sameBlocks(t, doc, strings.TrimSuffix(doc, ".zh.md")+".md") })
	}
}

var update = flag.Bool("update", false, "write what commands print into the documents that show it")

// documents are the files whose commands are executed.
func documents(t *testing.T) []string {
	t.Helper()
	lessons := glob(t, "docs/lessons/*/README.md")
	if len(lessons) == 0 {
		t.Fatal("no lessons")
	}
	return slices.Concat([]string{"README.md"}, glob(t, "docs/*.md", "scripts/*/README.md"), lessons)
}

func glob(t *testing.T, patterns ...string) []string {
	t.Helper()
	var files []string
	for _, pattern := range patterns {
		f, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f...)
	}
	return files
}

// buildTools builds what the documents run most, and returns pairs of a command
// and the binary that stands for it.
func buildTools(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-o", dir + "/", "./cmd/hmapdump", "./cmd/asmtrace", "github.com/go-delve/delve/cmd/dlv"}
	if out, err := testenv.Host().Command(t.Context(), nil, args...).CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return []string{
		"go run ./cmd/hmapdump", filepath.Join(dir, "hmapdump"),
		"go run ./cmd/asmtrace", filepath.Join(dir, "asmtrace"),
		"go tool dlv", filepath.Join(dir, "dlv"),
	}
}

// block is a fenced block of a document that holds commands.
type block struct {
	line       int
	varies     bool
	text       string // what stands between the fences
	start, end int    // where in the document
	commands   []command
}

type command struct {
	line  int
	shell string // several lines where it goes on
	want  string
	got   string // with -update, what shall stand instead
}

func parseDoc(text string) []block {
	var blocks []block
	in, pos, more := false, 0, false
	for i, line := range strings.SplitAfter(text, "\n") {
		start := pos
		pos += len(line)
		if strings.HasPrefix(line, "```") {
			if in {
				b := &blocks[len(blocks)-1]
				b.end, b.text = start, text[b.start:start]
			}
			info := strings.Fields(strings.TrimPrefix(line, "```"))
			in, more = !in && len(info) > 0 && info[0] == "console", false
			if in {
				blocks = append(blocks, block{line: i + 1, varies: len(info) > 1 && info[1] == "varies", start: pos})
			}
			continue
		}
		if !in {
			continue
		}
		b := &blocks[len(blocks)-1]
		last := len(b.commands) - 1
		switch {
		case more:
			b.commands[last].shell += "\n" + strings.TrimSuffix(line, "\n")
		case strings.HasPrefix(line, "$ "):
			b.commands = append(b.commands, command{line: i + 1, shell: strings.TrimSuffix(line[2:], "\n")})
		case last >= 0:
			b.commands[last].want += line
			continue
		}
		more = strings.HasSuffix(line, "\\\n")
	}
	return blocks
}

// session is a reader who works through a document.
type session struct {
	doc    string
	tmp    string          // with a slash; for the reader it is /tmp/
	tools  []string        // as for strings.NewReplacer
	absent map[string]bool // files in /tmp/ that no block has made, since it was skipped
}

var (
	toolchainOf = regexp.MustCompile(`(?:\bGOTOOLCHAIN=|--toolchain[ =])(\S+)`)
	inTmp       = regexp.MustCompile(`/tmp/[-\w.]+`)
	raceFlag    = regexp.MustCompile(`\s--?race\b`)
)

// need skips the test unless this run has what the block needs.
func (s *session) need(t *testing.T, b *block) {
	t.Helper()
	names := inTmp.FindAllString(b.text, -1)
	defer func() {
		for _, name := range names {
			if t.Skipped() {
				s.absent[name] = true
			}
		}
	}()
	for _, name := range names {
		if s.absent[name] {
			t.Skipf("%s:%d: %s is of a block that was skipped", s.doc, b.line, name)
		}
	}
	for _, c := range b.commands {
		for _, m := range toolchainOf.FindAllStringSubmatch(c.shell, -1) {
			for version := range strings.SplitSeq(m[1], ",") {
				if version != "local" {
					testenv.NeedGo(t, version)
				}
			}
		}
		if raceFlag.MatchString(c.shell) {
			testenv.NeedRace(t)
		}
	}
}

func (s *session) run(t *testing.T, b *block) {
	s.need(t, b)
	outputs := s.shell(t, b)
	for i := range b.commands {
		c := &b.commands[i]
		if outputs[i] == nil {
			continue
		}
		got, status, shown := splitStatus(outputs[i].text)
		if !shown {
			status = outputs[i].status
		}
		want, wantStatus, _ := splitStatus(c.want)
		err := sameShape(want, got, b.varies)
		if err == nil && status == wantStatus {
			continue
		}
		if *update && !strings.Contains("\n"+c.want, "\n...\n") {
			c.got = got
			if status != 0 {
				c.got += fmt.Sprintf("exit status %d\n", status)
			}
			continue
		}
		if status != wantStatus {
			t.Errorf("%s:%d: $ %s\nexit status %d, want %d\n%s", s.doc, c.line, c.shell, status, wantStatus, got)
			continue
		}
		t.Errorf("%s:%d: $ %s\n%v\n--- the document shows\n%s--- it printed\n%s", s.doc, c.line, c.shell, err, want, got)
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
	write(t, doc, old, text)
}

func write(t *testing.T, file, old, text string) {
	t.Helper()
	if text == old {
		return
	}
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// sameBlocks holds the blocks of a translation against those of the original,
// which are executed: they are the same to the byte, in the same order. README.md
// may have more; a lesson may not.
func sameBlocks(t *testing.T, doc, original string) {
	text := string(read(t, doc))
	var b strings.Builder
	pos, next := 0, 0
	all := parseDoc(string(read(t, original)))
	for _, shown := range parseDoc(text) {
		at := slices.IndexFunc(all[next:], func(o block) bool { return sameCommands(o, shown) })
		if at < 0 {
			t.Fatalf("%s:%d: %s has no such block, or not here", doc, shown.line, original)
		}
		if at > 0 && original != "README.md" {
			t.Errorf("%s:%d: the block of %s:%d should stand before", doc, shown.line, original, all[next].line)
		}
		o := all[next+at]
		next += at + 1
		if o.text != shown.text && !*update {
			t.Errorf("%s:%d: not what %s:%d shows; go test . -run TestDocs -update copies it", doc, shown.line, original, o.line)
		}
		b.WriteString(text[pos:shown.start] + o.text)
		pos = shown.end
	}
	if next == 0 || next < len(all) && original != "README.md" {
		t.Errorf("%s shows %d of the %d blocks of %s", doc, next, len(all), original)
	}
	if *update && !t.Failed() {
		write(t, doc, text, b.String()+text[pos:])
	}
}

func sameCommands(a, b block) bool {
	return slices.EqualFunc(a.commands, b.commands, func(a, b command) bool { return a.shell == b.shell })
}

// output is what a command has printed, and its exit status.
type output struct {
	text   string
	status int
}

var mark = regexp.MustCompile("\x00(\\d+) (\\d+)\x00")

// shell runs the commands of a block as a reader would, and returns their outputs.
// One that has not run has none.
func (s *session) shell(t *testing.T, b *block) []*output {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	outputs := make([]*output, len(b.commands))
	var script strings.Builder
	for i, c := range b.commands {
		if c.shell == "go test ./..." {
			continue // this is it
		}
		line := strings.NewReplacer(append([]string{"/tmp/", s.tmp}, s.tools...)...).Replace(c.shell)
		fmt.Fprintf(&script, "%s\nprintf '\\000%d %%d\\000' $?\n", line, i)
	}
	// Nothing outlives the block. In $(jobs -p) some shells know of no jobs.
	fmt.Fprintf(&script, "jobs -p > '%[1]s.jobs'\nkill $(cat '%[1]s.jobs') 2>/dev/null\nwait\n", s.tmp)
	cmd := exec.CommandContext(ctx, "sh", "-c", script.String())
	cmd.Env = append(testenv.Host().Command(ctx, nil).Env, "TERM=dumb") // without colours
	cmd.WaitDelay = 5 * time.Second
	all, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s:%d: %v\n%s", s.doc, b.line, err, all)
	}
	pos := 0
	for _, m := range mark.FindAllSubmatchIndex(all, -1) {
		i, _ := strconv.Atoi(string(all[m[2]:m[3]]))
		status, _ := strconv.Atoi(string(all[m[4]:m[5]]))
		outputs[i] = &output{s.clean(string(all[pos:m[0]])), status}
		pos = m[1]
	}
	for i, c := range b.commands {
		if outputs[i] == nil && c.shell != "go test ./..." {
			t.Fatalf("%s:%d: $ %s\nthe shell ended here\n%s", s.doc, c.line, c.shell, all[pos:])
		}
	}
	return outputs
}

var goRoot = regexp.MustCompile(`[^\s"]*/(golang\.org/toolchain@[^/\s]+|go[0-9.]*)/src/`)

// clean makes an output what a reader sees who has run the command before, in a
// directory of which this one says nothing.
func (s *session) clean(text string) string {
	text = strings.ReplaceAll(text, s.tmp, "/tmp/")
	if wd, err := os.Getwd(); err == nil {
		text = strings.ReplaceAll(text, wd+"/", "/hmaptools/")
	}
	text = goRoot.ReplaceAllString(text, "$$GOROOT/src/")
	var lines []string
	for line := range strings.Lines(text) {
		// The first run on a machine fetches what it needs, and says so.
		if !strings.HasPrefix(line, "go: downloading ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// splitStatus takes the line off that go run prints after a failure.
func splitStatus(text string) (rest string, status int, shown bool) {
	trimmed := strings.TrimRight(text, "\n")
	i := strings.LastIndexByte(trimmed, '\n') + 1
	if s, ok := strings.CutPrefix(trimmed[i:], "exit status "); ok {
		if n, err := strconv.Atoi(s); err == nil {
			return trimmed[:i], n, true
		}
	}
	return text, 0, false
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
		{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ns|µs|ms|s)\b`), "TIME"},
	}
	scientific = regexp.MustCompile(`\d(\.\d+)?e[+-]\d+`)
	hex2       = regexp.MustCompile(`\b[0-9a-f]{2}\b`) // a control byte, a tophash
	number     = regexp.MustCompile(`\d+(\.\d+)?`)
	bar        = regexp.MustCompile(`\[[#.]{8,}\]`)
	many       = regexp.MustCompile(`\b(bucket|table|entry|insert|tombstone|map|pointer)\b`)
)

// words is a text without what may differ; addresses become "@".
func words(text string, varies bool) string {
	s := strings.Join(strings.Fields(text), " ")
	s = address.ReplaceAllString(s, "@")
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.with)
	}
	if varies {
		s = scientific.ReplaceAllString(s, "N")
		s = hex2.ReplaceAllString(s, "N")
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
		{"control bytes that vary", "9c 01 80\n", "03 7f 80\n", true, true},
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
		{"duration", "3 writes in 37.662ms\n", "3 writes in 1.2s\n", false, true},
		{"rate that varies", "2.66e+06 a second\n", "99000 a second\n", true, true},
		{"line breaks", "a = b\n   map[string]int\n", "a =\n b map[string]int\n", false, true},
	} {
		if err := sameShape(tt.want, tt.got, tt.varies); (err == nil) != tt.same {
			t.Errorf("%s: %v, want same %v", tt.name, err, tt.same)
		}
	}
}

func TestSession(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no sh")
	}
	blocks := parseDoc("text\n```console\n$ x=1; cd docs\n$ echo $x \\\n    two\n1 two\n$ basename $PWD\ndocs\n$ false\n```\n" +
		"```\n$ no block of commands\n```\n```console varies\n$ sleep 600 & echo /tmp/f > /tmp/f\n$ cat /tmp/f\n/tmp/f\n```\n")
	if len(blocks) != 2 || blocks[0].varies || !blocks[1].varies || blocks[0].line != 2 {
		t.Fatalf("blocks %+v", blocks)
	}
	if got := blocks[0].text; !strings.HasPrefix(got, "$ x=1") || !strings.HasSuffix(got, "$ false\n") {
		t.Errorf("text of a block: %q", got)
	}
	s := session{doc: "doc", tmp: t.TempDir() + "/"}
	for i, want := range [][]string{{"0", "0 1 two\n", "0 docs\n", "1"}, {"0", "0 /tmp/f\n"}} {
		b := &blocks[i]
		for j, got := range s.shell(t, b) {
			if g := strings.TrimSuffix(fmt.Sprint(got.status, " ", got.text), " "); g != want[j] {
				t.Errorf("$ %s: %q, want %q", b.commands[j].shell, g, want[j])
			}
			if w := b.commands[j].want; w != got.text {
				t.Errorf("$ %s: wants %q, not %q", b.commands[j].shell, w, got.text)
			}
		}
	}
}

// TestFormats holds docs/formats.md against the members of the JSON that the
// commands write.
func TestFormats(t *testing.T) {
	text := string(read(t, "docs/formats.md"))
	tag := regexp.MustCompile("json:\"([a-z0-9_]+)")
	members := map[string]bool{}
	for _, file := range append(glob(t, "internal/report/*.go"), "internal/event/recording.go") {
		if strings.HasSuffix(file, "_test.go") || filepath.Base(file) == "perfetto.go" { // Chromium's format
			continue
		}
		for _, m := range tag.FindAllStringSubmatch(string(read(t, file)), -1) {
			members[m[1]] = true
		}
	}
	if len(members) < 100 {
		t.Errorf("%d members found in the sources", len(members))
	}
	for name := range members {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/formats.md does not say what `%s` is", name)
		}
	}
}

// TestLinks follows the links within the repository.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	n := 0
	for _, doc := range glob(t, "*.md", "docs/*.md", "docs/lessons/*/*.md", "scripts/*/*.md") {
		for _, m := range link.FindAllStringSubmatch(string(read(t, doc)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", doc, m[1], err)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d links found", n)
	}
}
