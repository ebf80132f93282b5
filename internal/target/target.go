package target

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/go-delve/delve/pkg/dwarf/op"
	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/core"
	"github.com/go-delve/delve/pkg/proc/native"

	"hmaptools/internal/hmap"
)

type kind int

const (
	launched kind = iota
	attached
	opened    // a core dump
	frozen    // a copy of a running process
	connected // what a headless server debugs
)

// Target is an inspected program that stands still, except while Continue runs.
// All methods but Interrupt are meant for one goroutine at a time.
type Target struct {
	kind kind
	path string
	info binaryInfo
	grp  *proc.TargetGroup
	tgt  *proc.Target
	bi   *proc.BinaryInfo

	debug    *debugInfo
	types    *hmap.Types
	closures *closures
	mem      hmap.Memory
	core     *coreFile
	tty      *terminal
	stop     Stop
	ours     map[uint64]purpose // breakpoints that are set, by address
	warnings []string
	tempCore string // a core file that was made readable for Delve
	image    frozenImage
	server   *server       // of a connected target
	pause    time.Duration // of making the image, or until Close
	began    time.Time     // of the pause, until Close

	mu          sync.Mutex
	running     bool
	interrupted bool
	resumed     chan struct{} // closed when Delve has resumed the threads
	closed      bool
	stripped    bool
	trapSent    bool // a SIGTRAP was sent to stop the process, and may still be pending
}

// LaunchOptions says how a program is started.
type LaunchOptions struct {
	Dir string // working directory; "" is the current one
	// Stdin, Stdout and Stderr name files that replace this process's own, which
	// the target has otherwise.
	Stdin, Stdout, Stderr string
	// Stripped takes binaries without debug information too: functions and positions
	// are known of them, and no variables and types. See Target.Stripped.
	Stripped bool
}

// Launch starts binary with args, which do not include the program's name, and
// stops it before its first instruction. Standard input, output and error are
// those of this process. The target runs in a process group of its own; if
// standard input is a terminal, that group is in the foreground while the target
// runs, so that it can read, and Ctrl-C reaches the target alone: see Continue.
// The binary need not be executable by name lookup: the path is used as it is.
func Launch(binary string, args []string, opts LaunchOptions) (*Target, error) {
	path, err := absPath(binary)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	info, err := checkBinary(path, binary)
	var none *NoDWARFError
	stripped := opts.Stripped && errors.As(err, &none)
	if err != nil && !stripped {
		return nil, fmt.Errorf("launch: %w", err)
	}
	if _, err := exec.LookPath(path); err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	t := &Target{kind: launched, path: binary, info: info, stripped: stripped, tty: &terminal{}}
	if opts.Stdin == "" {
		t.tty = openTerminal(os.Stdin)
	}
	// LaunchForeground makes Delve pass standard input on; it takes the terminal
	// for the target only where there is one.
	t.grp, err = native.Launch(append([]string{path}, args...), opts.Dir, proc.LaunchForeground, nil, "", opts.Stdin,
		proc.OutputRedirect{Path: opts.Stdout}, proc.OutputRedirect{Path: opts.Stderr})
	if err != nil {
		t.tty.reclaim()
		return nil, fmt.Errorf("launch %s: %w", binary, err)
	}
	t.tty.reclaim()
	if err := t.init(); err != nil {
		t.Close()
		return nil, fmt.Errorf("launch %s: %w", binary, err)
	}
	t.stop = Stop{Reason: Launched}
	return t, nil
}

// Attach stops the process and opens it. It stands still until Close, all through
// the reading of its debug information.
func Attach(pid int) (*Target, error) { return attach(pid, false) }

// AttachStripped is Attach for a process whose binary may have no debug information.
func AttachStripped(pid int) (*Target, error) { return attach(pid, true) }

func attach(pid int, stripped bool) (*Target, error) {
	if err := checkProcess(pid); err != nil {
		return nil, err
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	name := exe
	if link, err := os.Readlink(exe); err == nil {
		name = strings.TrimSuffix(link, " (deleted)")
	}
	t := &Target{kind: attached, path: name, tty: &terminal{}}
	if runtime.GOOS == "linux" {
		info, err := checkBinary(exe, name)
		var none *NoDWARFError
		t.stripped = stripped && errors.As(err, &none)
		if err != nil && !t.stripped {
			if errors.Is(err, os.ErrPermission) {
				return nil, &ProcessError{pid, NoPermission, err.Error()}
			}
			return nil, fmt.Errorf("attach to process %d: %w", pid, err)
		}
		t.info = info
	}
	t.began = time.Now()
	grp, err := native.Attach(pid, nil, nil)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, &ProcessError{pid, NoPermission, err.Error()}
		}
		return nil, fmt.Errorf("attach to process %d: %w", pid, err)
	}
	t.grp = grp
	if err := t.init(); err != nil {
		t.Close()
		return nil, fmt.Errorf("attach to process %d: %w", pid, err)
	}
	t.stop = Stop{Reason: Attached}
	t.describeStop(t.tgt.CurrentThread(), false)
	t.describeDeath()
	return t, nil
}

// OpenCore opens a core dump that gcore, the kernel or `dlv dump` wrote of a
// process of the binary exe. A core that was cut off is opened as far as it
// goes; Warnings says so.
func OpenCore(exe, corePath string) (t *Target, err error) {
	info, err := checkBinary(exe, exe)
	if err != nil {
		return nil, fmt.Errorf("open core: %w", err)
	}
	cf, err := openCoreFile(corePath, exe)
	if err != nil {
		return nil, fmt.Errorf("open core: %w", err)
	}
	t = &Target{kind: opened, path: exe, info: info, core: cf, tty: &terminal{}}
	t.warnings = append(t.warnings, cf.warnings...)
	path := corePath
	if cf.needsCopy {
		if path, err = cf.copyWithoutSections(); err != nil {
			t.Close()
			return nil, fmt.Errorf("open core: %w", err)
		}
		t.tempCore = path
	}
	err = guard("open core", func() error {
		grp, err := core.OpenCore(path, exe, nil)
		t.grp = grp
		return err
	})
	if err == nil && (t.grp == nil || t.grp.Selected == nil) {
		err = errors.New("no process in it")
	}
	if err != nil {
		t.Close()
		return nil, &CoreError{corePath, NotCore, err.Error()}
	}
	if err := t.init(); err != nil {
		t.Close()
		return nil, fmt.Errorf("open core %s: %w", corePath, err)
	}
	cf.addBinary(t.bi.Images[0].StaticBase)
	t.mem = cf
	t.stop = Stop{Reason: Core}
	t.describeStop(t.tgt.CurrentThread(), false)
	t.describeDeath()
	return t, nil
}

// init does what is common to all kinds of target once Delve has opened it.
func (t *Target) init() error {
	t.tgt = t.grp.Selected
	t.bi = t.tgt.BinInfo()
	if !t.stripped && (len(t.bi.Images) == 0 || t.bi.Images[0].Stripped()) {
		return &NoDWARFError{t.path, []string{".debug_info"}}
	}
	t.ours = make(map[uint64]purpose)
	t.mem = (*delveMemory)(t)
	t.debug = newDebugInfo(t)
	if !t.Live() {
		return nil
	}
	return t.clearBreakpoints()
}

// clearBreakpoints takes out all breakpoints, those that Delve sets by itself
// when it starts included.
func (t *Target) clearBreakpoints() error {
	var errs []error
	bps := t.tgt.Breakpoints().M
	addrs := make([]uint64, 0, len(bps))
	for addr := range bps {
		addrs = append(addrs, addr)
	}
	sort.Slice(addrs, func(i, j int) bool { return addrs[i] < addrs[j] })
	for _, addr := range addrs {
		// Delve's ClearBreakpoint keeps those that it made for itself (at the
		// return of plugin.Open) in place, through Detach too.
		bps[addr].Breaklets = nil
		if err := t.tgt.ClearBreakpoint(addr); err != nil {
			errs = append(errs, fmt.Errorf("clear breakpoint at %#x: %w", addr, err))
		}
	}
	clear(t.ours)
	return errors.Join(errs...)
}

// Memory reads the target's memory. It stays valid across stops. A large read of
// a process is one process_vm_readv, of a core one pread for each segment. A
// read that meets memory that is not there returns how many bytes came before
// it, and an error.
func (t *Target) Memory() hmap.Memory { return t.mem }

// DebugInfo is the debug information of the executable.
func (t *Target) DebugInfo() hmap.DebugInfo { return t.debug }

// Types are the types of the executable.
func (t *Target) Types() *hmap.Types {
	if t.types == nil {
		t.types = hmap.NewTypes(t.debug, t.mem)
	}
	return t.types
}

// GoVersion is the version of the toolchain that built the target, with its
// experiments: "go1.26.8", "go1.24.13 X:noswissmap"; "" when it is not known.
func (t *Target) GoVersion() string {
	if t.info.goVersion != "" {
		return t.info.goVersion
	}
	for _, f := range strings.Fields(t.bi.Producer()) {
		if strings.HasPrefix(f, "go1") || f == "devel" {
			return strings.TrimSuffix(f, ";")
		}
	}
	return ""
}

// Stripped reports whether the binary has no debug information: there are functions and
// positions, from the runtime's own table, memory and registers, and nothing else.
func (t *Target) Stripped() bool { return t.stripped }

// TypeBases are where the executable's types may begin, which their names are relative
// to: for one that is stripped.
func (t *Target) TypeBases() (bases []hmap.Addr) {
	f, err := elf.Open(t.bi.Images[0].Path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for _, name := range []string{".go.type", ".rodata", ".data.rel.ro"} {
		if s := f.Section(name); s != nil {
			bases = append(bases, hmap.Addr(s.Addr+t.bi.Images[0].StaticBase))
		}
	}
	return bases
}

// Arch is the target's GOARCH.
func (t *Target) Arch() string { return t.bi.Arch.Name }

// Path is the path of the binary, as the caller gave it or as the kernel knows it.
func (t *Target) Path() string { return t.path }

// Pid is the process's id, in a core the one that it had.
func (t *Target) Pid() int { return t.tgt.Pid() }

// Live reports whether the target is a process that can be run from here, rather than a
// core, a frozen copy or what a server debugs.
func (t *Target) Live() bool { return t.kind == launched || t.kind == attached }

// Warnings are remarks on how the target was opened: a core that was cut off.
func (t *Target) Warnings() []string { return t.warnings }

// Stop says where the target stands.
func (t *Target) Stop() Stop { return t.stop }

// Optimised reports whether the function main.main was compiled with
// optimisations, so that locals may be gone.
func (t *Target) Optimised() bool {
	fns, err := t.bi.FindFunction("main.main")
	return err == nil && len(fns) > 0 && fns[0].Optimized()
}

// Close lets go of the target: a process that was launched is killed, one that
// was attached to goes on running. Close may be called twice.
func (t *Target) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()

	var errs []error
	if t.grp != nil && t.grp.Selected != nil {
		err := guard("close", func() error {
			switch t.kind {
			case launched:
				return t.grp.Detach(true)
			case attached:
				t.absorbTrap()
				err := t.grp.Detach(false)
				t.pause = time.Since(t.began)
				return err
			}
			t.bi.Close()
			return nil
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("close target: %w", err))
		}
	}
	t.tty.reclaim()
	if t.server != nil {
		errs = append(errs, t.closeServer())
	}
	if t.image != nil {
		errs = append(errs, t.image.Close())
	}
	if t.core != nil {
		errs = append(errs, t.core.Close())
	}
	if t.tempCore != "" {
		errs = append(errs, os.RemoveAll(filepath.Dir(t.tempCore)))
	}
	return errors.Join(errs...)
}

// guard turns a panic in Delve into an error: the target's data must never end
// this process.
func guard(op string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: debugger failed: %v", op, r)
		}
	}()
	return f()
}

// valid fails when the target can no longer be looked at.
func (t *Target) valid() error {
	if t.closed {
		return ErrClosed
	}
	if t.kind == opened {
		return nil
	}
	if err := t.Lost(); err != nil {
		return err
	}
	if ok, err := t.tgt.Valid(); !ok {
		var exited proc.ErrProcessExited
		if errors.As(err, &exited) {
			return ErrExited
		}
		return err
	}
	return nil
}

// globalScope is a scope in which package variables and constants are looked up,
// without a frame.
func (t *Target) globalScope(mem proc.MemoryReadWriter) *proc.EvalScope {
	return &proc.EvalScope{
		Regs:    op.DwarfRegisters{StaticBase: t.bi.Images[0].StaticBase},
		Mem:     mem,
		BinInfo: t.bi,
	}
}

// delveMemory reads a process through the thread that Delve reads through at
// present; the thread changes from stop to stop.
type delveMemory Target

func (m *delveMemory) ReadMemory(buf []byte, addr uint64) (int, error) {
	if err := (*Target)(m).valid(); err != nil {
		return 0, fmt.Errorf("read memory at %#x: %w", addr, err)
	}
	if (*Target)(m).Live() {
		if n, err, ok := readLive(m.tgt.Pid(), buf, addr); ok {
			return n, err
		}
	}
	mem := m.tgt.Memory()
	for n := 0; ; {
		if n == len(buf) {
			return n, nil
		}
		// process_vm_readv stops at the first page that is not there (and at
		// 2 GiB) without an error; going on from there gets it.
		k, err := mem.ReadMemory(buf[n:], addr+uint64(n))
		n += k
		if err != nil || k == 0 {
			if err == nil {
				err = errors.New("no memory there")
			}
			return n, fmt.Errorf("read memory at %#x: %w", addr+uint64(n), err)
		}
	}
}

// noMemory makes Delve's readers of values give up at once: names, types and
// addresses are all that is wanted of them.
type noMemory struct{}

var errNoMemory = errors.New("values are not read here")

func (noMemory) ReadMemory([]byte, uint64) (int, error)  { return 0, errNoMemory }
func (noMemory) WriteMemory(uint64, []byte) (int, error) { return 0, errNoMemory }
