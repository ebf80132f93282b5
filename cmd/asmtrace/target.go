package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

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

// resolver maps names in positions to files of the standard library, which is built
// with -trimpath: in the GOROOT of the target's compiler.
func resolver(t *target) func(string) string {
	var once sync.Once
	root := ""
	return func(name string) string {
		if filepath.IsAbs(name) || !strings.HasSuffix(name, ".go") {
			return name
		}
		once.Do(func() {
			cmd := exec.Command("go", "env", "GOROOT")
			cmd.Env = t.env()
			if out, err := cmd.Output(); err == nil { // else their source is not shown
				root = strings.TrimSpace(string(out))
			}
		})
		if root == "" {
			return ""
		}
		return filepath.Join(root, "src", filepath.FromSlash(strings.TrimPrefix(name, "$GOROOT/src/")))
	}
}
