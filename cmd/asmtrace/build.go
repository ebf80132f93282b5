package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
)

// A build is what the go command says of packages, and their listing.
type build struct {
	packages []asmnote.Dependency
	deps     map[string]asmnote.Dependency // and what they import
	listing  *os.File                      // removed from the directory already; the caller closes it
	size     int64
}

// listFormat has go list print what decodeList reads, in all versions alike: a line for
// the package, one for each file, c for those that use cgo, and one for each import
// that has another name.
const listFormat = `p {{printf "%q %q %q" .ImportPath .Dir .Export}} {{printf "%q" (printf "%t" .DepOnly)}} "{{with .Module}}{{.GoVersion}}{{end}}"
{{range .GoFiles}}f {{printf "%q" .}}
{{end}}{{range .CgoFiles}}c {{printf "%q" .}}
{{end}}{{range $from, $to := .ImportMap}}m {{printf "%q %q" $from $to}}
{{end}}`

// compile runs the go command. go list -export compiles packages as go build does,
// prints the same listing, replayed from the build cache where possible, and says
// which files it compiled and where the export data of all they import is: one run
// for what would be three. Nothing is linked, and no file is written but to the cache.
func compile(ctx context.Context, t *target, c *config) (b *build, err error) {
	spool, err := os.CreateTemp("", "asmtrace-*.S")
	if err != nil {
		return nil, err
	}
	os.Remove(spool.Name()) // the open file stays
	defer func() {
		if err != nil {
			spool.Close()
		}
	}()
	args := []string{"list", "-export", "-deps", "-f", listFormat, "-gcflags=" + strings.TrimSpace("-S "+c.gcflags)}
	if c.race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(append(args, "--"), c.operands...)...)
	cmd.Env = t.env()
	cmd.Stderr = spool
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	versions := make(chan error, 1)
	go func() { versions <- t.ask(ctx) }()
	runErr := cmd.Run()
	if err := <-versions; err != nil {
		return nil, err
	}
	size, err := spool.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	b = &build{listing: spool, size: size, deps: map[string]asmnote.Dependency{}}
	if runErr != nil {
		return nil, b.failed(runErr)
	}
	err = decodeList(&stdout, func(d asmnote.Dependency, depOnly bool) {
		b.deps[d.ImportPath] = d
		if !depOnly {
			b.packages = append(b.packages, d)
		}
	})
	if err != nil {
		return nil, err
	}
	if len(b.packages) == 0 {
		return nil, fmt.Errorf("go list: no package matches %s", strings.Join(c.operands, " "))
	}
	return b, nil
}

// throughCgo returns the package with the files that cgo makes of its own, which are
// those that the compiler sees.
func throughCgo(ctx context.Context, t *target, c *config, p asmnote.Package) (asmnote.Package, error) {
	args := []string{"list", "-compiled", "-f", `{{range .CompiledGoFiles}}{{printf "%q\n" .}}{{end}}`}
	if c.race {
		args = append(args, "-race")
	}
	args = append(args, "--")
	if p.ImportPath == "command-line-arguments" {
		args = append(args, c.operands...)
	} else {
		args = append(args, p.ImportPath)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = t.env()
	out, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("go list -compiled %s: %w", p.ImportPath, err)
	}
	p.Files = nil
	for line := range strings.Lines(string(out)) {
		name, err := strconv.Unquote(strings.TrimSpace(line))
		if err != nil {
			return p, fmt.Errorf("go list -compiled: it prints %.100q", line)
		}
		p.Files = append(p.Files, name)
	}
	return p, nil
}

// decodeList reads what listFormat makes go list print.
func decodeList(r io.Reader, take func(d asmnote.Dependency, depOnly bool)) error {
	var d asmnote.Dependency
	depOnly := false
	done := func() {
		if d.ImportPath != "" {
			take(d, depOnly)
		}
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		var words []string
		for rest != "" {
			q, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return fmt.Errorf("go list: it prints %.100q", lines.Text())
			}
			word, err := strconv.Unquote(q)
			if err != nil {
				return fmt.Errorf("go list: it prints %.100q", lines.Text())
			}
			words, rest = append(words, word), strings.TrimPrefix(rest[len(q):], " ")
		}
		switch {
		case kind == "p" && len(words) == 5:
			done()
			d = asmnote.Dependency{Package: asmnote.Package{ImportPath: words[0], Dir: words[1]}, Export: words[2]}
			if depOnly = words[3] == "true"; words[4] != "" {
				d.GoVersion = "go" + words[4]
			}
		case (kind == "f" || kind == "c") && len(words) == 1:
			d.Files = append(d.Files, words[0])
			d.Cgo = d.Cgo || kind == "c"
		case kind == "m" && len(words) == 2:
			if d.ImportMap == nil {
				d.ImportMap = map[string]string{}
			}
			d.ImportMap[words[0]] = words[1]
		default:
			return fmt.Errorf("go list: it prints %.100q", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	done()
	return nil
}

// A failedBuild holds what the go command and the compiler said, without listings.
type failedBuild struct {
	text string
	err  error
}

func (e *failedBuild) Error() string { return "go list: " + e.err.Error() }
func (e *failedBuild) Unwrap() error { return e.err }

// failed is the error of a go command that failed, with what it printed.
func (b *build) failed(err error) error {
	r := disasm.NewReader(io.NewSectionReader(b.listing, 0, b.size))
	var text bytes.Buffer
	const most = 64 << 10
	pkg := ""
	r.Foreign = func(_ int64, line []byte) {
		if r.Pkg() != pkg {
			pkg = r.Pkg()
			text.WriteString("# " + pkg + "\n")
		}
		if text.Len() < most {
			text.Write(line)
			text.WriteByte('\n')
		}
	}
	for {
		if _, err := r.Next(); err != nil {
			break
		}
	}
	return &failedBuild{text.String(), err}
}
