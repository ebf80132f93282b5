package target

import (
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"

	"github.com/go-delve/delve/pkg/proc"
)

// Limits on what a damaged target can make us do.
const (
	maxFrames     = 1000    // of one goroutine
	maxGoroutines = 1 << 20 // of a target
)

// Goroutine is a goroutine of the stopped target.
type Goroutine struct {
	ID     int64
	Status string // the runtime's word: "running", "waiting", "syscall", "runnable"
	// Thread is the id of the thread it is on, 0 when it is on none.
	Thread int
	// Func, File and Line say where it is, innermost frame.
	Func, File string
	Line       int
	// System: it is one of the runtime's own (garbage collection, finalizers).
	System bool
	// Err says why it could not be read.
	Err error
}

var statusNames = map[uint64]string{
	proc.Gidle: "idle", proc.Grunnable: "runnable", proc.Grunning: "running", proc.Gsyscall: "syscall",
	proc.Gwaiting: "waiting", proc.Gdead: "dead", proc.Gcopystack: "copystack",
}

// Goroutines lists the goroutines that are alive, by id. It does not unwind their stacks:
// some 10 microseconds for each.
func (t *Target) Goroutines() ([]Goroutine, error) {
	gs, err := t.goroutines()
	list := make([]Goroutine, 0, len(gs))
	for _, g := range gs {
		if g.Unreadable != nil {
			list = append(list, Goroutine{ID: g.ID, Err: g.Unreadable})
			continue
		}
		e := Goroutine{ID: g.ID, Status: statusNames[g.Status&^0x1000]} // 0x1000 is _Gscan
		if g.Thread != nil {
			e.Thread = g.Thread.ThreadID()
		}
		e.File, e.Line = g.CurrentLoc.File, g.CurrentLoc.Line
		if g.CurrentLoc.Fn != nil {
			e.Func = unescape(g.CurrentLoc.Fn.Name)
		}
		_ = guard("goroutine", func() error { e.System = g.System(t.tgt); return nil })
		list = append(list, e)
	}
	return list, err
}

func (t *Target) goroutines() ([]*proc.G, error) {
	if err := t.valid(); err != nil {
		return nil, fmt.Errorf("list goroutines: %w", err)
	}
	var gs []*proc.G
	next := -1
	err := guard("list goroutines", func() (err error) {
		gs, next, err = proc.GoroutinesInfo(t.tgt, 0, maxGoroutines)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list goroutines: %w", err)
	}
	gs = append([]*proc.G(nil), gs...) // Delve keeps its own
	sort.SliceStable(gs, func(i, j int) bool { return gs[i].ID < gs[j].ID })
	if next >= 0 {
		return gs, fmt.Errorf("list goroutines: more than %d; the rest is left out", maxGoroutines)
	}
	return gs, nil
}

// stackAt is the stack of a goroutine, or of a thread without one, and a frame in it.
type stackAt struct {
	g         *proc.G
	thread    int
	goroutine int64
	frames    []proc.Stackframe
	index     int
}

// scope is the scope of frame i.
func (t *Target) scope(s *stackAt, i int) *proc.EvalScope {
	return proc.FrameToScope(t.tgt, t.tgt.Memory(), s.g, s.thread, s.frames[i:]...)
}

// stack unwinds a goroutine's stack.
func (t *Target) stack(g *proc.G, depth int) (*stackAt, error) {
	s := &stackAt{g: g, goroutine: g.ID}
	if g.Thread != nil {
		s.thread = g.Thread.ThreadID()
	}
	err := guard("unwind", func() (err error) {
		s.frames, err = proc.GoroutineStacktrace(t.tgt, g, depth, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("unwind goroutine %d: %w", g.ID, err)
	}
	return s, nil
}

// stopFrame finds the frame that expressions are evaluated in: with inner the
// innermost of the stopped goroutine, otherwise its user frame. A goroutine
// without a user frame, or a thread without a goroutine, gives way to goroutine 1.
func (t *Target) stopFrame(inner bool) (*stackAt, bool) {
	var first *stackAt
	if g := t.tgt.SelectedGoroutine(); g != nil && g.ID != 0 {
		if s, err := t.stack(g, maxFrames); err == nil && len(s.frames) > 0 {
			if inner {
				return s, true
			}
			if i, ok := t.userFrame(s.frames); ok {
				s.index = i
				return s, true
			}
			first = s
		}
	}
	if inner && first == nil {
		th := t.tgt.CurrentThread()
		s := &stackAt{thread: th.ThreadID()}
		err := guard("unwind", func() (err error) {
			s.frames, err = proc.ThreadStacktrace(t.tgt, th, maxFrames)
			return err
		})
		if err == nil && len(s.frames) > 0 {
			return s, true
		}
	}
	if s, ok := t.mainFrame(); ok {
		return s, true
	}
	return first, first != nil
}

// mainFrame is the user frame of goroutine 1.
func (t *Target) mainFrame() (*stackAt, bool) {
	var g *proc.G
	err := guard("find goroutine", func() (err error) { g, err = proc.FindGoroutine(t.tgt, 1); return err })
	if err != nil || g == nil {
		return nil, false
	}
	s, err := t.stack(g, maxFrames)
	if err != nil {
		return nil, false
	}
	i, ok := t.userFrame(s.frames)
	s.index = i
	return s, ok
}

// userFrame returns the innermost frame outside the standard library; failing
// that, the innermost outside the runtime.
func (t *Target) userFrame(frames []proc.Stackframe) (int, bool) {
	outside := -1
	for i := range frames {
		fn := frames[i].Call.Fn
		if fn == nil {
			continue
		}
		if !t.isStd(fn.Name, frames[i].Call.File) {
			return i, true
		}
		if outside < 0 && !isRuntime(fn.Name) {
			outside = i
		}
	}
	return max(outside, 0), outside >= 0
}

// isRuntime reports whether the function belongs to the runtime.
func isRuntime(fn string) bool {
	pkg, _, ok := splitName(fn)
	if !ok {
		return !strings.Contains(fn, ".") // assembly and C: "gogo", "_cgo_..."
	}
	return pkg == "runtime" || strings.HasPrefix(pkg, "runtime/internal/") ||
		strings.HasPrefix(pkg, "internal/runtime/") || pkg == "internal/abi" || pkg == "runtime/cgo"
}

// isStd reports whether the function is of the standard library. Its files lie
// where the runtime's do; in a binary built with -trimpath they are called after
// their package.
func (t *Target) isStd(fn, file string) bool {
	pkg, _, ok := splitName(fn)
	if !ok {
		return true
	}
	if pkg == "main" {
		return false
	}
	if isRuntime(fn) {
		return true
	}
	if goroot := t.stdDir(); goroot != "" && strings.HasPrefix(file, goroot) {
		return true
	}
	// A file of the standard library is called by its package in a binary built
	// with -trimpath; a module's, by "MODULE@VERSION/" or the main module's path.
	return !path.IsAbs(file) && file == pkg+"/"+path.Base(file) && stdRoots[strings.SplitN(pkg, "/", 2)[0]]
}

// stdDir is the directory of the standard library's sources, as the target calls
// it: "/usr/local/go/src/"; "" where paths were trimmed.
func (t *Target) stdDir() string {
	fns, err := t.bi.FindFunction("runtime.main")
	if err != nil || len(fns) == 0 {
		return ""
	}
	file, _ := t.bi.EntryLineForFunc(fns[0])
	dir, ok := strings.CutSuffix(file, "runtime/proc.go")
	if !ok {
		return ""
	}
	return dir
}

// stdRoots are the first elements of the standard library's import paths.
var stdRoots = map[string]bool{
	"archive": true, "bufio": true, "bytes": true, "cmp": true, "compress": true, "container": true, "context": true,
	"crypto": true, "database": true, "debug": true, "embed": true, "encoding": true, "errors": true, "expvar": true,
	"flag": true, "fmt": true, "go": true, "hash": true, "html": true, "image": true, "index": true, "internal": true,
	"io": true, "iter": true, "log": true, "maps": true, "math": true, "mime": true, "net": true, "os": true,
	"path": true, "plugin": true, "reflect": true, "regexp": true, "runtime": true, "simd": true, "slices": true, "sort": true,
	"strconv": true, "strings": true, "structs": true, "sync": true, "syscall": true, "testing": true, "text": true,
	"time": true, "unicode": true, "unique": true, "unsafe": true, "vendor": true, "weak": true,
}

var errDeepStack = errors.New("stack deeper than the limit; the outer frames are left out")
