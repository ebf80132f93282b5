package target

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// serverBinary is the binary that a server debugs, as it lies on this machine.
type serverBinary struct {
	path  string
	name  string // to be shown
	info  binaryInfo
	base  uint64 // what is added to the addresses in the file: 0 unless position independent
	entry uint64
	fixed []segment // memory that cannot be written: it is what the file holds
	file  *os.File
}

// findBinary finds the binary: given, or where the server says it is. That it is the one
// is seen from its build ID, which is in the memory of the process too.
func (s *server) findBinary(given string) (*serverBinary, error) {
	if given != "" {
		path, err := absPath(given)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", s.addr, err)
		}
		return s.openBinary(path, given)
	}
	var first error
	for _, path := range s.candidates() {
		b, err := s.openBinary(path, path)
		if err == nil {
			return b, nil
		}
		if lost := s.lostError(); lost != nil {
			return nil, lost
		}
		if first == nil && !errors.Is(err, os.ErrNotExist) {
			first = err
		}
	}
	if first == nil {
		first = &ConnectError{s.addr, ConnectNoBinary, s.command, nil}
	}
	return nil, first
}

// candidates are the paths where the binary may be. The server tells the command line as
// one string, in which the end of the path is not marked.
func (s *server) candidates() []string {
	var paths []string
	if s.local && runtime.GOOS == "linux" {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.pid)); err == nil {
			if _, err := os.Stat(exe); err != nil {
				exe = fmt.Sprintf("/proc/%d/exe", s.pid) // it was deleted
			}
			paths = append(paths, exe)
		}
	}
	for i, r := range s.command + " " {
		if r == ' ' && filepath.IsAbs(s.command[:i]) {
			if fi, err := os.Stat(s.command[:i]); err == nil && fi.Mode().IsRegular() {
				paths = append(paths, s.command[:i])
			}
		}
	}
	return paths
}

// openBinary opens a binary and fails if it is not the one that the server debugs.
func (s *server) openBinary(path, name string) (_ *serverBinary, err error) {
	b := &serverBinary{path: path, name: name}
	if b.info, err = checkBinary(path, name); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.addr, err)
	}
	if b.file, err = os.Open(path); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.addr, err)
	}
	defer func() {
		if err != nil {
			b.file.Close()
		}
	}()
	ef, err := elf.NewFile(b.file)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.addr, &NotELFError{name, kindOfFile(b.file)})
	}
	if ef.Class != elf.ELFCLASS64 || ef.Machine != elf.EM_X86_64 {
		return nil, &ConnectError{s.addr, ConnectPlatform, fmt.Sprintf("%s is for %v; linux/amd64 is known here", name, ef.Machine), nil}
	}
	if ef.Type == elf.ET_DYN {
		if b.base, err = s.loadedAt(ef); err != nil {
			return nil, err
		}
	}
	b.entry = ef.Entry + b.base
	if err := s.compareBinary(ef, b); err != nil {
		return nil, err
	}
	for _, p := range ef.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W == 0 && p.Filesz > 0 {
			b.fixed = append(b.fixed, segment{addr: p.Vaddr + b.base, size: p.Filesz, r: b.file, off: int64(p.Off)})
		}
	}
	return b, nil
}

// moduleSymbol is a variable that every Go program has.
const moduleSymbol = "runtime.firstmoduledata"

// loadedAt finds how far a position independent binary was moved, by a variable of which
// the server knows where it is.
func (s *server) loadedAt(ef *elf.File) (uint64, error) {
	other := &ConnectError{s.addr, ConnectOther, "", nil}
	syms, err := ef.Symbols()
	if err != nil {
		other.Detail = "it is position independent, and without symbols: " + err.Error()
		return 0, other
	}
	for _, sym := range syms {
		if sym.Name != moduleSymbol {
			continue
		}
		var out rpc2.EvalOut
		err := s.call("Eval", rpc2.EvalIn{Scope: api.EvalScope{GoroutineID: -1}, Expr: moduleSymbol, Cfg: &api.LoadConfig{}}, &out)
		if err != nil {
			return 0, s.explain(&ConnectError{s.addr, ConnectOther, moduleSymbol, err})
		}
		if out.Variable == nil || out.Variable.Addr < sym.Value {
			break
		}
		return out.Variable.Addr - sym.Value, nil
	}
	other.Detail = moduleSymbol + " is not in both"
	return 0, other
}

// compareBinary compares the build IDs; without one, the first bytes of the code.
func (s *server) compareBinary(ef *elf.File, b *serverBinary) error {
	const most = 1000 // bytes: what every version of Delve gives at once
	for _, name := range []string{".note.go.buildid", ".note.gnu.build-id", ".text"} {
		sec := ef.Section(name)
		if sec == nil || sec.Addr == 0 || sec.Size == 0 {
			continue
		}
		want := make([]byte, min(sec.Size, most))
		if _, err := sec.ReadAt(want, 0); err != nil {
			return fmt.Errorf("connect to %s: read %s of %s: %w", s.addr, name, b.name, err)
		}
		var out rpc2.ExaminedMemoryOut
		err := s.call("ExamineMemory", rpc2.ExamineMemoryIn{Address: sec.Addr + b.base, Length: len(want)}, &out)
		if lost := s.lostError(); lost != nil {
			return lost
		}
		if err != nil || !bytes.Equal(out.Mem, want) {
			return &ConnectError{s.addr, ConnectOther, fmt.Sprintf("%s differs from that of %s", name, b.name), nil}
		}
		return nil
	}
	return &ConnectError{s.addr, ConnectOther, b.name + " has neither a build ID nor code", nil}
}
