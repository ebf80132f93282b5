package testenv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// runLimit ends a target that does not end by itself.
const runLimit = 2 * time.Minute

// An Outcome is what a target has said and how it ended.
type Outcome struct {
	*Truth
	ExitCode       int // -1 if it was ended by a signal
	Stdout, Stderr string
}

// Run runs a target to its end, with standard input at its end from the start.
// The test fails if the target cannot be started, does not end, or tells a truth
// that does not parse; an exit status is the caller's to judge.
func Run(t testing.TB, bin string, args ...string) *Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = targetEnv()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", bin, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %q: did not end within %v\n%s", bin, args, runLimit, stderr.Bytes())
	}
	truth, err := ParseTruth(stderr.Bytes())
	if err != nil {
		t.Fatalf("%s %q: %v", bin, args, err)
	}
	return &Outcome{truth, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// targetEnv returns the environment of a target. A program built with -race
// sleeps for a second before it exits unless it is told not to.
func targetEnv() []string {
	return append(os.Environ(), "GORACE=atexit_sleep_ms=0")
}

// A Process is a target that runs and has said that it is ready.
type Process struct {
	PID   int
	Truth *Truth // what it told before it was ready

	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr string // name of the file that takes it
	once   sync.Once
	err    error
}

// Start runs a target and returns when it has printed ready to standard output,
// as the programs do that then wait for their standard input to be closed. The
// target is killed when the test ends, unless it was stopped before.
func Start(t testing.TB, bin string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(bin, args...), stderr: filepath.Join(t.TempDir(), "stderr")}
	// A file, and no pipe: what the target wrote before ready can then be read
	// after ready, without waiting for a goroutine that copies.
	stderr, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p.cmd.Stderr = stderr
	p.cmd.Env = targetEnv()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", bin, err)
	}
	p.PID = p.cmd.Process.Pid
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.wait()
	})
	timer := time.AfterFunc(runLimit, func() { p.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	timer.Stop()
	if err != nil || line != "ready\n" {
		t.Fatalf("%s %q: not ready: %q, %v\n%s", bin, args, line, err, p.Stderr())
	}
	if p.Truth, err = ParseTruth([]byte(p.Stderr())); err != nil {
		t.Fatalf("%s %q: %v", bin, args, err)
	}
	return p
}

// Stop closes the target's standard input, waits for it to end and returns its
// exit status, -1 if it was ended by a signal: 0 says that it was well to the
// last.
func (p *Process) Stop() int {
	p.t.Helper()
	p.stdin.Close()
	timer := time.AfterFunc(runLimit, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := p.wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("target %d: %v", p.PID, err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stderr returns what the target has written to standard error so far.
func (p *Process) Stderr() string {
	p.t.Helper()
	text, err := os.ReadFile(p.stderr)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

func (p *Process) wait() error {
	p.once.Do(func() { p.err = p.cmd.Wait() })
	return p.err
}
