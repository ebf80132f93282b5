package target

import (
	"fmt"
	"time"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/version"
)

// ConnectOptions says how to look at what a server debugs.
type ConnectOptions struct {
	// Binary is a copy on this machine of the binary that the server debugs; "" is the
	// one at the path that the server names.
	Binary string
}

// Connect opens what the headless Delve server at addr, "HOST:PORT", debugs: `dlv exec
// --headless`, `attach --headless`, `core --headless` and the like. Memory and registers
// come from the server, 64 KiB at a time; types, symbols and all memory that cannot be
// written are read from the binary, which must be on this machine.
//
// Breakpoints and the selected goroutine stay as they are. A program that runs is halted
// until Close, which lets it go on; a client that waits for it to stop sees it stop. If
// the server was started without --accept-multiclient, it ends when Close hangs up, as
// with any client that disconnects: Warnings says so.
//
// What is read is kept: it is memory of one moment, for nothing runs. If another client
// makes the program go on meanwhile, reading fails and Lost says why.
//
// Errors are a *ConnectError, or those of checkBinary: NotGoError, NoDWARFError.
func Connect(addr string, opts ConnectOptions) (t *Target, err error) {
	s, err := dialServer(addr)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		if t != nil {
			t.Close()
		} else {
			s.release()
		}
	}()
	bin, err := s.findBinary(opts.Binary)
	if err != nil {
		return nil, err
	}
	s.binary = bin
	t = &Target{kind: connected, path: bin.name, info: bin.info, server: s, tty: &terminal{}}
	p := newRemoteProcess(s, bin)
	err = guard("open the process of the server", func() (err error) {
		t.grp, err = p.group()
		return err
	})
	if err == nil {
		err = t.init()
	}
	if err != nil {
		return t, s.explain(fmt.Errorf("connect to %s: %w", addr, err))
	}
	t.warnings = append(t.warnings, s.warnings(version.DelveVersion.String())...)
	t.stop = Stop{Reason: Connected}
	t.describeStop(t.tgt.CurrentThread(), false)
	t.selectGoroutine(s.selected)
	t.describeDeath()
	return t, s.lostError()
}

// selectGoroutine makes a goroutine that does not run the one where the target stands, as
// it is for the clients of a server.
func (t *Target) selectGoroutine(id int64) {
	if g := t.tgt.SelectedGoroutine(); id == 0 || g != nil && g.ID == id {
		return
	}
	err := guard("select goroutine", func() error {
		g, err := proc.FindGoroutine(t.tgt, id)
		if err != nil || g == nil {
			return err
		}
		return t.tgt.SwitchGoroutine(g)
	})
	if err == nil {
		t.describeStop(nil, false)
	}
}

// Lost says why nothing more can be read of a target that a server debugs: a
// *ConnectError. It is nil for all others, and as long as all is well.
func (t *Target) Lost() error {
	if t.server == nil {
		return nil
	}
	return t.server.lostError()
}

// closeServer lets a program go on that ran before, and hangs up.
func (t *Target) closeServer() error {
	err := t.server.release()
	if !t.server.halted.IsZero() {
		t.pause = time.Since(t.server.halted)
	}
	return err
}

// ConnectError says why what a server debugs cannot be looked at.
type ConnectError struct {
	Addr   string
	Reason ConnectReason
	Detail string
	Err    error // of the network, if it is to blame
}

// ConnectReason is why what a server debugs cannot be looked at.
type ConnectReason int

const (
	ConnectRefused   ConnectReason = iota // there is no server at this address
	ConnectSilent                         // it does not answer
	ConnectNotDelve                       // it does not speak as a headless Delve does
	ConnectOtherAPI                       // an API that is not known here
	ConnectNoProcess                      // the program has ended, or none is debugged
	ConnectPlatform                       // a platform that is not known here
	ConnectNoBinary                       // the binary is not on this machine
	ConnectOther                          // the binary is another one
	ConnectLost                           // the connection broke
)

func (r ConnectReason) String() string {
	switch r {
	case ConnectRefused:
		return "there is no connection"
	case ConnectSilent:
		return "it does not answer"
	case ConnectNotDelve:
		return "not a headless Delve server"
	case ConnectOtherAPI:
		return "a Delve server of another API"
	case ConnectNoProcess:
		return "it debugs no process"
	case ConnectPlatform:
		return "it debugs a program of another platform"
	case ConnectNoBinary:
		return "the binary that it debugs is not on this machine"
	case ConnectOther:
		return "it debugs another binary"
	case ConnectLost:
		return "the connection was lost"
	}
	return "unknown"
}

func (e *ConnectError) Error() string {
	s := fmt.Sprintf("connect to %s: %v", e.Addr, e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ConnectError) Unwrap() error { return e.Err }
