package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hmaptools/internal/testenv"
)

// dlvLimit bounds what a debugger is waited for; only a hang takes so long.
const dlvLimit = 2 * time.Minute

var dlvOnce struct {
	sync.Once
	path string
	err  error
}

// dlvPath is the debugger of the version that go.mod has.
func dlvPath(t testing.TB) string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("connect is for linux/amd64")
	}
	dlvOnce.Do(func() {
		var out []byte
		out, dlvOnce.err = testenv.Host().Command(t.Context(), nil, "tool", "-n", "dlv").Output()
		dlvOnce.path = strings.TrimSpace(string(out))
		// go tool -n names the file in the build cache; it builds it if need be.
		if _, err := os.Stat(dlvOnce.path); dlvOnce.err == nil && err != nil {
			dlvOnce.err = err
		}
	})
	if dlvOnce.err != nil {
		t.Fatalf("go tool -n dlv: %v", dlvOnce.err)
	}
	return dlvOnce.path
}

// dlvCommand is dlv with settings of its own, whatever the user's are.
func dlvCommand(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), dlvPath(t), args...)
	cmd.Env = append(os.Environ(), "TERM=dumb", "NO_COLOR=1", "XDG_CONFIG_HOME="+t.TempDir(), "HOME="+t.TempDir())
	return cmd
}

// headless is a headless server.
type headless struct {
	addr string
	cmd  *exec.Cmd
}

// serve starts a server: dlv VERB --headless FLAGS ARGS. It is ended with the test.
func serve(t testing.TB, verb string, args ...string) *headless {
	t.Helper()
	head := []string{verb, "--headless", "--listen=127.0.0.1:0", "--check-go-version=false"}
	h := &headless{cmd: dlvCommand(t, append(head, args...)...)}
	h.cmd.Stdin = nil
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.cmd.Stderr = io.Discard
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.cmd.Process.Signal(os.Interrupt)
		timer := time.AfterFunc(5*time.Second, func() { h.cmd.Process.Kill() })
		defer timer.Stop()
		h.cmd.Wait()
	})
	r := bufio.NewReader(stdout)
	timer := time.AfterFunc(dlvLimit, func() { h.cmd.Process.Kill() })
	defer timer.Stop()
	for {
		line, err := r.ReadString('\n')
		if addr, ok := strings.CutPrefix(strings.TrimSpace(line), "API server listening at: "); ok {
			h.addr = addr
			break
		}
		if err != nil {
			t.Fatalf("dlv %s %q: %v", verb, args, err)
		}
	}
	go io.Copy(io.Discard, r)
	return h
}

// session is a terminal session of dlv whose input is typed by the test.
type session struct {
	t   testing.TB
	dir string
	in  io.WriteCloser
	out *bufio.Reader
	n   int
}

// converse starts dlv with the arguments, and loads the scripts, from a directory that
// is not theirs.
func converse(t testing.TB, args ...string) *session {
	t.Helper()
	dir := t.TempDir()
	last := filepath.Join(dir, "last.star")
	if err := os.WriteFile(last, []byte("def command_last(args):\n\tprint(\"<last \" + args + \">\")\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Abs("../../scripts/dlv/hmap.star")
	if err != nil {
		t.Fatal(err)
	}
	cmd := dlvCommand(t, append([]string{"--allow-non-terminal-interactive", "--check-go-version=false"}, args...)...)
	cmd.Dir = dir
	s := &session{t: t, dir: dir}
	if s.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(r)
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		w.Close()
		close(done)
	}()
	timer := time.AfterFunc(dlvLimit, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		s.in.Close()
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		go io.Copy(io.Discard, s.out)
		<-done
		kill.Stop()
		timer.Stop()
	})
	fmt.Fprintln(s.in, "source last.star")
	if got := s.do("source " + scripts); strings.Contains(got, "failed") || strings.Contains(got, "undefined") {
		t.Fatalf("source %s: %s", scripts, got)
	}
	return s
}

var prompts = regexp.MustCompile(`(?m)^(\(dlv\) )+`)

// do types a command and returns what it printed, up to a line that a script prints
// behind it: dlv's own exit status says nothing.
func (s *session) do(command string) string {
	s.t.Helper()
	s.n++
	fmt.Fprintf(s.in, "%s\nlast %d\n", command, s.n)
	end := fmt.Sprintf("<last %d>", s.n)
	var out bytes.Buffer
	for {
		line, err := s.out.ReadString('\n')
		line = prompts.ReplaceAllString(line, "")
		if strings.TrimSpace(line) == end {
			return out.String()
		}
		out.WriteString(line)
		if err != nil {
			s.t.Fatalf("dlv: %s: %v\n%s", command, err, out.String())
		}
	}
}

// script runs a script.
func (s *session) script(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "script.star"), []byte(text+"\n"), 0o666); err != nil {
		s.t.Fatal(err)
	}
	if got := s.do("source script.star"); got != "" {
		s.t.Fatalf("%s\n%s", text, got)
	}
}
