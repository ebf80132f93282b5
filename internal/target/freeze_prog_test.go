//go:build linux && amd64

package target_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"hmaptools/internal/target"
)

// buildSource builds a program that is given as its source.
func buildSource(t *testing.T, name, src string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".go")
	if err := os.WriteFile(file, []byte(src), 0o666); err != nil {
		t.Fatal(err)
	}
	bin, cleanup, err := target.Build(t.Context(), file, target.BuildOptions{Optimise: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cleanup() })
	return bin
}

// prog is a program that the test talks to by lines.
type prog struct {
	*exec.Cmd
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, attr *syscall.SysProcAttr, bin string, args ...string) *prog {
	t.Helper()
	p := &prog{Cmd: exec.Command(bin, args...), t: t}
	p.Stderr, p.SysProcAttr = os.Stderr, attr
	p.in, _ = p.StdinPipe()
	out, _ := p.StdoutPipe()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	return p
}

func (p *prog) pid() int { return p.Process.Pid }

func (p *prog) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("%s ended: %v", p.Path, p.Wait())
	}
	return p.out.Text()
}

func (p *prog) ask(s string) string {
	p.t.Helper()
	fmt.Fprintln(p.in, s)
	return p.line()
}

// end closes the program's standard input and checks that it ends well.
func (p *prog) end() {
	p.t.Helper()
	p.in.Close()
	for p.out.Scan() {
		p.t.Errorf("%s says %s", p.Path, p.out.Text())
	}
	if err := p.Wait(); err != nil {
		p.t.Error(err)
	}
}
