package target

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BuildOptions says how a program is built.
type BuildOptions struct {
	// Optimise leaves the compiler's optimisations on. Without it the program is
	// built like `dlv debug` does, with -gcflags=all="-N -l": every local is in
	// memory for as long as it is in scope.
	Optimise bool
	// Flags are further flags of `go build`.
	Flags []string
	// Env replaces this process's environment if it is not nil.
	Env []string
}

// NeedsBuild reports whether arg names Go source rather than a binary: a
// directory, a .go file, or an import path (no file of that name exists, and it
// does not look like a path to one).
func NeedsBuild(arg string) bool {
	if strings.HasSuffix(arg, ".go") || arg == "." || arg == ".." || strings.HasSuffix(arg, "/...") {
		return true
	}
	fi, err := os.Stat(arg)
	if err == nil {
		return fi.IsDir()
	}
	return errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(arg) && !strings.HasPrefix(arg, ".") && strings.Contains(arg, "/")
}

// Build builds the Go package or .go file that arg names and returns the path of
// the binary, which lies in a temporary directory, and a function that removes it.
// What the compiler says is in the *BuildError, as it is. The go command runs in
// the current directory, or, when arg is a directory or a file of another
// module, there.
func Build(ctx context.Context, arg string, opts BuildOptions) (binary string, cleanup func() error, err error) {
	tmp, err := os.MkdirTemp("", "hmapdump")
	if err != nil {
		return "", nil, &BuildError{Arg: arg, Err: err}
	}
	cleanup = func() error { return os.RemoveAll(tmp) }
	dir, pkg := buildDir(arg)
	name := strings.TrimSuffix(filepath.Base(arg), ".go")
	if abs, err := filepath.Abs(arg); err == nil && (arg == "." || arg == "..") {
		name = filepath.Base(abs)
	}
	binary = filepath.Join(tmp, name)

	args := []string{"build", "-o", binary, "-buildvcs=false"}
	if !opts.Optimise {
		args = append(args, "-gcflags=all=-N -l")
	}
	args = append(append(args, opts.Flags...), pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = opts.Env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		cleanup()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", nil, &BuildError{Arg: arg, Output: out.String(), Err: err}
	}
	fi, err := os.Stat(binary)
	switch {
	case err != nil:
		cleanup()
		return "", nil, &BuildError{Arg: arg, Output: out.String(), Err: errors.New("no binary was built: not one package main")}
	case fi.IsDir() || fi.Mode()&0o111 == 0:
		// `go build -o FILE` of a package that is not main writes an archive.
		cleanup()
		return "", nil, &BuildError{Arg: arg, Err: errors.New("not a package main")}
	}
	return binary, cleanup, nil
}

// buildDir says in which directory to run the go command, "" being the current
// one, and how the package is called there.
func buildDir(arg string) (dir, pkg string) {
	fi, err := os.Stat(arg)
	if err != nil {
		return "", arg // an import path, or the go command shall complain
	}
	abs, err := filepath.Abs(arg)
	if err != nil {
		return "", arg
	}
	in := abs
	if !fi.IsDir() {
		in = filepath.Dir(abs)
	}
	cwd, err := os.Getwd()
	if err == nil && moduleRoot(cwd) == moduleRoot(in) {
		if rel, err := filepath.Rel(cwd, abs); err == nil && !strings.HasPrefix(rel, "..") {
			if rel == "." {
				return "", "."
			}
			return "", "." + string(filepath.Separator) + rel
		}
	}
	if fi.IsDir() {
		return in, "."
	}
	return in, filepath.Base(abs)
}

// moduleRoot is the nearest directory upwards that has a go.mod, or "".
func moduleRoot(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}
