package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"hmaptools/internal/asmnote"
)

// A target is one column of a comparison: what the packages are compiled for and by.
type target struct {
	goarch    string // "" for that of the environment
	toolchain string // "" likewise

	version string // as the go command says: go1.26.8
	arch    string
}

func (t *target) String() string {
	switch {
	case t.goarch != "" && t.toolchain != "":
		return t.toolchain + " " + t.goarch
	case t.toolchain != "":
		return t.toolchain
	case t.goarch != "":
		return t.goarch
	}
	return t.version + " " + t.arch
}

// note is the target in the words of asmnote.
func (t *target) note() asmnote.Target { return asmnote.Target{Arch: t.arch, Minor: minor(t.version)} }

// minor takes 21 out of go1.21.3, 0 where there is none.
func minor(version string) int {
	_, rest, ok := strings.Cut(version, "go1.")
	if !ok {
		return 0
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	n, _ := strconv.Atoi(rest[:end])
	return n
}

// env is the environment of the go command for a target.
func (t *target) env() []string {
	env := os.Environ()
	if t.toolchain != "" {
		env = append(env, "GOTOOLCHAIN="+t.toolchain)
	}
	if t.goarch != "" {
		env = append(env, "GOARCH="+t.goarch)
		if t.goarch == "wasm" {
			env = append(env, "GOOS=js")
		}
		// A C compiler for another machine is rarely there.
		if os.Getenv("CGO_ENABLED") == "" {
			env = append(env, "CGO_ENABLED=0")
		}
	}
	return env
}

// A build is what the go command says of packages, and their listing.
type build struct {
	packages []asmnote.Dependency
	deps     map[string]asmnote.Dependency // what they import too; nil until it is needed
	listing  *os.File                      // removed from the directory already; the caller closes it
	size     int64
}

// listFormat has go list print what decodeList reads, in all versions alike: a line for
// the package, one for each file, and one for each import that has another name.
const listFormat = `p {{printf "%q %q %q" .ImportPath .Dir .Export}} {{printf "%q" (printf "%t" .DepOnly)}} "{{with .Module}}{{.GoVersion}}{{end}}"
{{range .GoFiles}}f {{printf "%q" .}}
{{end}}{{range .CgoFiles}}f {{printf "%q" .}}
{{end}}{{range $from, $to := .ImportMap}}m {{printf "%q %q" $from $to}}
{{end}}`

// arguments returns those of go list.
func (t *target) arguments(c *config, flags ...string) []string {
	args := append([]string{"list", "-export", "-f", listFormat}, flags...)
	if c.race {
		args = append(args, "-race")
	}
	return append(append(args, "--"), c.operands...)
}

// compile runs the go command. go list -export compiles packages as go build does,
// prints the same listing, replayed from the build cache where possible, and says
// which files it compiled: one run for what would be two. Nothing is linked, and no
// file is written but to the cache.
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
	flags := []string{"-gcflags=" + strings.TrimSpace("-S "+c.gcflags)}
	// What they import is needed where nothing is known of their types. The first time
	// it is asked for at once; later it mostly is not needed.
	first := !c.askedBefore(t)
	if first {
		flags = append(flags, "-deps")
	}
	cmd := exec.CommandContext(ctx, "go", t.arguments(c, flags...)...)
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
	b = &build{listing: spool, size: size}
	if runErr != nil {
		return nil, b.failed(runErr)
	}
	if first {
		b.deps = map[string]asmnote.Dependency{}
	}
	err = decodeList(&stdout, func(d asmnote.Dependency, depOnly bool) {
		if !depOnly {
			b.packages = append(b.packages, d)
		}
		if first {
			b.deps[d.ImportPath] = d
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

// dependencies asks for the export data of all that the packages import.
func (b *build) dependencies(ctx context.Context, t *target, c *config) error {
	flags := []string{"-deps"}
	if c.gcflags != "" {
		flags = append(flags, "-gcflags="+c.gcflags)
	}
	cmd := exec.CommandContext(ctx, "go", t.arguments(c, flags...)...)
	cmd.Env = t.env()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list -deps: %w", err)
	}
	b.deps = map[string]asmnote.Dependency{}
	return decodeList(bytes.NewReader(out), func(d asmnote.Dependency, _ bool) { b.deps[d.ImportPath] = d })
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
		case kind == "f" && len(words) == 1:
			d.Files = append(d.Files, words[0])
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

// ask finds out which compiler a target has.
func (t *target) ask(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH")
	cmd.Env = t.env()
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			return fmt.Errorf("go env: %s", bytes.TrimSpace(exit.Stderr))
		}
		return fmt.Errorf("go env: %w", err)
	}
	lines := strings.Fields(string(out))
	if len(lines) < 2 {
		return fmt.Errorf("go env: it says %q", out)
	}
	t.version, t.arch = lines[0], lines[len(lines)-1]
	return nil
}

// A failedBuild holds what the go command and the compiler said, without listings.
type failedBuild struct {
	text string
	err  error
}

func (e *failedBuild) Error() string { return "go list: " + e.err.Error() }
func (e *failedBuild) Unwrap() error { return e.err }
