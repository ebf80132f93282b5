package target

import (
	"errors"

	"github.com/go-delve/delve/pkg/dwarf/op"
	"github.com/go-delve/delve/pkg/proc"
)

// errStill answers what a target cannot do that only stands still: a frozen copy, the
// process of a headless server.
var errStill = errors.New("this target does not run from here, and is not written to")

// stillProcess is what such a target answers to Delve whatever it is. The embedded
// interface is nil: two of its methods name types that only Delve can name, and nobody
// calls those.
type stillProcess struct {
	proc.ProcessInternal
	breakpoints proc.BreakpointMap
}

func newStillProcess() stillProcess { return stillProcess{breakpoints: proc.NewBreakpointMap()} }

func (p *stillProcess) Breakpoints() *proc.BreakpointMap    { return &p.breakpoints }
func (p *stillProcess) Valid() (bool, error)                { return true, nil }
func (p *stillProcess) SupportsBPF() bool                   { return false }
func (p *stillProcess) FollowExec(bool) error               { return errStill }
func (p *stillProcess) StartCallInjection() (func(), error) { return nil, errStill }

func (p *stillProcess) WriteBreakpoint(*proc.Breakpoint) error            { return errStill }
func (p *stillProcess) EraseBreakpoint(*proc.Breakpoint) error            { return errStill }
func (p *stillProcess) RequestManualStop(*proc.ContinueOnceContext) error { return errStill }
func (p *stillProcess) MemoryMap() ([]proc.MemoryMapEntry, error) {
	return nil, proc.ErrMemoryMapNotSupported
}
func (p *stillProcess) StepInstruction(int) error               { return errStill }
func (p *stillProcess) Detach(int, bool) error                  { return nil }
func (p *stillProcess) Close() error                            { return nil }
func (p *stillProcess) WriteMemory(uint64, []byte) (int, error) { return 0, errStill }
func (p *stillProcess) ContinueOnce(*proc.ContinueOnceContext) (proc.Thread, proc.StopReason, error) {
	return nil, proc.StopUnknown, errStill
}

// stillThread is the same of a thread.
type stillThread struct{ common proc.CommonThread }

func (th *stillThread) Common() *proc.CommonThread             { return &th.common }
func (th *stillThread) Breakpoint() *proc.BreakpointState      { return &proc.BreakpointState{} }
func (th *stillThread) SetCurrentBreakpoint(bool) error        { return nil }
func (th *stillThread) SoftExc() bool                          { return false }
func (th *stillThread) RestoreRegisters(proc.Registers) error  { return errStill }
func (th *stillThread) SetReg(uint64, *op.DwarfRegister) error { return errStill }
