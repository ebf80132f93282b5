package target

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// How long a server may take to answer: at first, when it may not be a Delve at all, and
// later, when it may have to halt a program, or is busy with another client.
const (
	greetLimit  = 20 * time.Second
	answerLimit = 30 * time.Second
)

// server is a headless Delve server as its client sees it. Calls may be made from several
// goroutines, and several may be under way. Delve's own client is not used: it has one
// call under way at a time, and ends the process if nobody listens.
type server struct {
	addr   string
	local  bool // on this machine
	conn   net.Conn
	client *rpc.Client

	version  string // of Delve
	goTarget string // the producer of the program's main package, "" when the program ran
	multi    bool   // it serves several clients, one after the other too
	pid      int
	command  string    // the command line
	thread   int       // the current one
	selected int64     // the selected goroutine, 0 if none
	halted   time.Time // when we halted the program; zero if it stood still
	binary   *serverBinary

	mu       sync.Mutex
	lost     *ConnectError
	released bool
}

// dialServer connects to a server, and halts the program.
func dialServer(addr string) (_ *server, err error) {
	s := &server{addr: addr}
	fail := func(reason ConnectReason, detail string, err error) (*server, error) {
		return nil, &ConnectError{addr, reason, detail, err}
	}
	if s.conn, err = net.DialTimeout("tcp", addr, greetLimit); err != nil {
		return fail(ConnectRefused, "", dialReason(err))
	}
	s.client = rpc.NewClientWithCodec(newJSONCodec(s.conn))
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if tcp, ok := s.conn.RemoteAddr().(*net.TCPAddr); ok {
		here, _ := s.conn.LocalAddr().(*net.TCPAddr)
		s.local = tcp.IP.IsLoopback() || here != nil && here.IP.Equal(tcp.IP)
	}

	var v api.GetVersionOut
	switch err := s.callFor(greetLimit, "GetVersion", api.GetVersionIn{}, &v); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fail(ConnectSilent, "a server that was started without --accept-multiclient serves its first client alone", nil)
	case err != nil:
		return fail(ConnectNotDelve, "", err)
	case v.DelveVersion == "":
		return fail(ConnectNotDelve, "it does not say its version", nil)
	}
	s.version, s.goTarget = firstLine(v.DelveVersion), v.TargetGoVersion
	if v.APIVersion != 2 {
		return fail(ConnectOtherAPI, fmt.Sprintf("%d; 2 is known here", v.APIVersion), nil)
	}
	var multi rpc2.IsMulticlientOut
	if err := s.call("IsMulticlient", rpc2.IsMulticlientIn{}, &multi); err != nil {
		return nil, err
	}
	s.multi = multi.IsMulticlient
	if err := s.halt(); err != nil {
		return nil, err
	}
	var ts rpc2.ListTargetsOut
	if err := s.call("ListTargets", rpc2.ListTargetsIn{}, &ts); err != nil {
		return nil, err
	}
	// Of several (follow-exec) the one of the current thread is the one that is read.
	for _, t := range ts.Targets {
		if s.pid == 0 || t.CurrentThread != nil && t.CurrentThread.ID == s.thread {
			s.pid, s.command = t.Pid, t.CmdLine
		}
	}
	if s.pid == 0 {
		return fail(ConnectNoProcess, "", nil)
	}
	return s, nil
}

// halt makes sure that the program stands still.
func (s *server) halt() error {
	var st rpc2.StateOut
	err := s.call("State", rpc2.StateIn{NonBlocking: true}, &st)
	if err == nil && st.State != nil && st.State.Running {
		var out rpc2.CommandOut
		if err = s.call("Command", api.DebuggerCommand{Name: api.Halt}, &out); err == nil {
			s.halted = time.Now()
			st.State = &out.State
		}
	}
	var answer rpc.ServerError
	switch {
	case errors.As(err, &answer):
		return &ConnectError{s.addr, ConnectNoProcess, string(answer), nil}
	case err != nil:
		return err
	case st.State == nil || st.State.CurrentThread == nil:
		return &ConnectError{s.addr, ConnectNoProcess, "", nil}
	case st.State.Exited:
		return &ConnectError{s.addr, ConnectNoProcess, fmt.Sprintf("it has ended with exit status %d", st.State.ExitStatus), nil}
	case st.State.Recording, st.State.CoreDumping:
		return &ConnectError{s.addr, ConnectNoProcess, "it is busy with a recording or a dump", nil}
	}
	s.thread = st.State.CurrentThread.ID
	if g := st.State.SelectedGoroutine; g != nil {
		s.selected = g.ID
	}
	return nil
}

// release lets the program go on if it ran, and hangs up. It may be called twice.
func (s *server) release() error {
	s.mu.Lock()
	done, lost := s.released, s.lost
	s.released = true
	s.mu.Unlock()
	if done {
		return nil
	}
	var err error
	if !s.halted.IsZero() && lost == nil {
		err = s.resume()
	}
	s.client.Close()
	if s.binary != nil {
		s.binary.file.Close()
	}
	return err
}

// resume lets the program go on. The answer comes when it stops again; what is waited for
// is that it runs.
func (s *server) resume() error {
	var out rpc2.CommandOut
	stopped := s.client.Go("RPCServer.Command", api.DebuggerCommand{Name: api.Continue}, &out, nil)
	for deadline := time.Now().Add(greetLimit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		select {
		case <-stopped.Done:
			// It ran, and has stopped or ended already.
			return nil
		default:
		}
		var st rpc2.StateOut
		if err := s.call("State", rpc2.StateIn{NonBlocking: true}, &st); err != nil {
			var answer rpc.ServerError
			if errors.As(err, &answer) {
				return nil // it has ended
			}
			return err
		}
		if st.State != nil && st.State.Running {
			return nil
		}
	}
	return fmt.Errorf("the server at %s was told to let the program go on, and did not", s.addr)
}

// warnings are remarks on the server; own is the version of Delve in this program.
func (s *server) warnings(own string) []string {
	var ws []string
	if own = firstLine(own); own != s.version {
		ws = append(ws, fmt.Sprintf("the server is Delve %s, and this is made for %s: what it answers is taken as far as it is understood",
			strings.TrimPrefix(s.version, "Version: "), strings.TrimPrefix(own, "Version: ")))
	}
	if !s.multi {
		ws = append(ws, "the server was started without --accept-multiclient: it ends when its client hangs up, and that is now")
	}
	return ws
}

// call makes a call. If the server answers with an error, that is an rpc.ServerError; all
// others are a *ConnectError, and the connection is of no use any more.
func (s *server) call(method string, in, out any) error {
	err := s.callFor(answerLimit, method, in, out)
	var answer rpc.ServerError
	if err == nil || errors.As(err, &answer) {
		return err
	}
	return s.lose(method, err)
}

func (s *server) callFor(limit time.Duration, method string, in, out any) error {
	return wait(s.start(method, in, out), limit)
}

func (s *server) start(method string, in, out any) *rpc.Call {
	return s.client.Go("RPCServer."+method, in, out, nil)
}

func wait(c *rpc.Call, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.Done:
		return c.Error
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// lose notes that the connection is of no use any more. The first reason is kept.
func (s *server) lose(method string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = &ConnectError{s.addr, ConnectLost, "", err}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.lost.Detail = fmt.Sprintf("no answer to %s in %v; has another client made the program go on?", method, answerLimit)
			s.lost.Err = nil
		case errors.Is(err, rpc.ErrShutdown):
			s.lost.Detail, s.lost.Err = "the server hung up", nil
		}
	}
	return s.lost
}

func (s *server) lostError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		return nil
	}
	return s.lost
}

// explain prefers a lost connection to what came of it.
func (s *server) explain(err error) error {
	if lost := s.lostError(); lost != nil {
		return lost
	}
	return err
}

// dialReason takes off what net says of the address, which the reader knows.
func dialReason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSpace(line)
}
