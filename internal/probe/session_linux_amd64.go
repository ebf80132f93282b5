package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hmaptools/internal/event"
)

// Session is a target with probes. Its methods but Symbolize, Kill and Pid are for
// one goroutine at a time.
type Session struct {
	pid      int
	launched bool
	im       *image
	meta     *event.Meta
	opts     Options
	only     *variable // opts.Map
	ring     ring
	shm      []byte // the ring, as this process has it
	region   uint64 // of the stubs, in the target
	probes   []probe
	patches  []patch
	nest     []span // the probed functions: what they call is part of them
	nestAll  span
	start    time.Time
	perTick  float64 // nanoseconds
	sym      *symbolizer
	pending  map[thisThread][]pendingMake
	notes    []string
	gone     chan struct{} // closed when the process has ended
	status   unix.WaitStatus
	reaped   bool
	lost     uint64 // when the ring was unmapped
}

// probe is a stub, by the number that it stores in Raw.Func.
type probe struct {
	fn   uint32 // index of Meta.Funcs
	kind probeKind
}

type probeKind uint8

const (
	plain     probeKind = iota
	makeEntry           // tells what a make is given; the event comes with its return
	makeReturn
)

// patch is a jump in the target's code.
type patch struct {
	addr uint64
	orig [jumpBytes]byte
	jump []byte
}

type thisThread struct{ goroutine, thread uint64 }

type pendingMake struct {
	raw   event.Raw
	stack []uint64
}

// Launch starts a binary with args, which do not include the program's name, and
// with the standard files of this process. When Launch returns the target runs, with
// probes in it; Run must follow soon.
func Launch(binary string, args []string, opts Options) (*Session, error) {
	path, err := filepath.Abs(binary)
	if err != nil {
		return nil, fmt.Errorf("launch %s: %w", binary, err)
	}
	s, err := newSession(path, opts)
	if err != nil {
		return nil, fmt.Errorf("launch %s: %w", binary, err)
	}
	s.launched = true
	s.meta.Path = binary
	err = onThread(func() error {
		pid, err := syscall.ForkExec(path, append([]string{binary}, args...), &syscall.ProcAttr{
			Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
		})
		if err != nil {
			return err
		}
		s.pid = pid
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil || !status.Stopped() {
			return &EndedError{pid}
		}
		st := &stopped{pid: pid, threads: []*thread{{tid: pid}}, fresh: true}
		err = st.open()
		if err == nil {
			err = s.place(st)
		}
		if err != nil {
			_ = unix.Kill(pid, unix.SIGKILL)
			st.release()
			_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
			return err
		}
		st.release()
		return nil
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("launch %s: %w", binary, err)
	}
	return s, s.watch()
}

// Attach places probes in a running process, which stands still for some
// milliseconds meanwhile.
func Attach(pid int, opts Options) (*Session, error) {
	if pid == os.Getpid() {
		return nil, &ProcessError{pid, "it is this process", nil}
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return nil, &ProcessError{pid, "there is no such process", nil}
	}
	s, err := newSession(exe, opts)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, &ProcessError{pid, "its executable cannot be read", err}
		}
		return nil, fmt.Errorf("attach to process %d: %w", pid, err)
	}
	s.pid = pid
	if link, err := os.Readlink(exe); err == nil {
		s.meta.Path = strings.TrimSuffix(link, " (deleted)")
	}
	for try := range stopTries {
		err = onThread(func() error {
			st, err := stopAll(pid)
			if err != nil {
				return err
			}
			defer st.release()
			return s.place(st)
		})
		var busy *busyError
		if !errors.As(err, &busy) {
			break
		}
		err = &ProcessError{pid, fmt.Sprintf("stopped %d times", try+1), err}
		time.Sleep(stopPause)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("attach to process %d: %w", pid, err)
	}
	return s, s.watch()
}

func newSession(path string, opts Options) (*Session, error) {
	if opts.Stack < 0 || opts.Stack > MaxStack {
		return nil, fmt.Errorf("%d callers: at most %d are stored", opts.Stack, MaxStack)
	}
	im, err := openImage(path)
	if err != nil {
		return nil, err
	}
	var only *variable
	if opts.Map != "" {
		v, err := im.variable(opts.Map)
		if err != nil {
			im.close()
			return nil, err
		}
		only = &v
	}
	s := &Session{im: im, opts: opts, only: only, pending: map[thisThread][]pendingMake{}, gone: make(chan struct{})}
	s.meta = &event.Meta{
		Path: path, BuildID: im.buildID, Go: im.goVer, Arch: "amd64", Engine: "probe", Layout: im.layout,
		Keys: opts.Keys, Stack: opts.Stack, GoroutineAddrs: im.offs.goid < 0,
	}
	// A first rate of the clock, until there is a longer time to take it from.
	s.start, s.meta.Clock = time.Now(), ticks()
	time.Sleep(2 * time.Millisecond)
	s.rate()
	return s, nil
}

func (s *Session) rate() {
	clock, ns := s.Now()
	if clock > s.meta.Clock {
		s.perTick = float64(ns) / float64(clock-s.meta.Clock)
	}
}

// watch closes s.gone when the process has ended.
func (s *Session) watch() error {
	s.meta.Pid = s.pid
	s.sym = newSymbolizer(s.im, processMemory(s.pid))
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return &NotSupportedError{"the kernel has no pidfd_open: " + err.Error()}
	}
	if err != nil {
		close(s.gone)
		return nil
	}
	go func() {
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				close(s.gone)
				return
			}
		}
	}()
	return nil
}

// processMemory reads a process that may have ended.
type processMemory int

// ReadMemory implements hmap.Memory.
func (pid processMemory) ReadMemory(b []byte, addr uint64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	n, err := unix.ProcessVMReadv(int(pid), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err == nil && n < len(b) {
		err = unix.EFAULT
	}
	return max(n, 0), err
}

func (s *Session) unmap() {
	if s.shm != nil {
		s.lost = s.Lost()
		_ = unix.Munmap(s.shm)
		s.shm = nil
	}
}

func (s *Session) close() {
	s.unmap()
	s.im.close()
}

// Close lets go of the executable: Symbolize knows nothing after that. Run must have
// returned.
func (s *Session) Close() { s.close() }

// Meta describes what is recorded.
func (s *Session) Meta() *event.Meta { return s.meta }

// Pid is the id of the target.
func (s *Session) Pid() int { return s.pid }

// Notes are remarks on how the probes were placed.
func (s *Session) Notes() []string { return s.notes }

// Now reads the clock and the nanoseconds since the recording began.
func (s *Session) Now() (clock uint64, ns int64) {
	return ticks(), time.Since(s.start).Nanoseconds()
}

// Nanoseconds converts a reading of the clock.
func (s *Session) Nanoseconds(clock uint64) int64 {
	return int64(float64(int64(clock-s.meta.Clock)) * s.perTick)
}

// Symbolize names return addresses and types. It may be called by one goroutine
// while Run is called by another.
func (s *Session) Symbolize(pcs, types []uint64) event.Symbols { return s.sym.symbols(pcs, types) }

// Variables lists the package variables of the target; none of a stripped binary.
func (s *Session) Variables() []Variable { return s.im.variables() }

// Word reads a word of the target's memory; 0 if it is not there.
func (s *Session) Word(addr uint64) uint64 {
	var b [8]byte
	if _, err := processMemory(s.pid).ReadMemory(b[:], addr); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// Kill ends a target that was launched.
func (s *Session) Kill() {
	if s.launched {
		_ = unix.Kill(s.pid, unix.SIGKILL)
	}
}

// Lost is how many events were lost so far.
func (s *Session) Lost() uint64 {
	if s.shm == nil {
		return s.lost
	}
	var n uint64
	for i, p := range s.probes {
		if p.kind != makeEntry {
			n += atomic.LoadUint64(s.word(ringLost + 8*i))
		}
	}
	return n
}

func (s *Session) word(off int) *uint64 { return (*uint64)(unsafe.Pointer(&s.shm[off])) }

// The reader naps when it has read fewer than backlog slots at a time.
const (
	backlog = 1 << 13
	nap     = 500 * time.Microsecond
)

// tickEvery is how often a Sink is told the time.
const tickEvery = 100 * time.Millisecond

// hurry gives the reading thread precedence over the target's, where that is
// allowed: a target that keeps all processors busy fills the ring before the reader
// has its turn.
func hurry() (restore func()) {
	runtime.LockOSThread()
	tid := unix.Gettid()
	was, err := unix.Getpriority(unix.PRIO_PROCESS, tid) // 20 less the nice value
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, tid, -20) != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		_ = unix.Setpriority(unix.PRIO_PROCESS, tid, 20-was)
		runtime.UnlockOSThread()
	}
}

// Run hands all events to sink, in order, until the target ends, ctx is cancelled,
// or sink fails. The probes are taken out then, and what was recorded before that is
// handed on still. Run returns the error of sink.
func (s *Session) Run(ctx context.Context, sink Sink) (End, error) {
	defer s.unmap()
	defer hurry()()
	const populateWrite = 23
	_ = unix.Madvise(s.shm, populateWrite) // it only saves time
	d := &drain{Session: s, sink: sink}
	for i, p := range s.probes {
		d.simple = append(d.simple, p.kind == plain && p.fn == uint32(i))
	}
	lastTick := time.Now()
	idle := 0
	var failed error
loop:
	for {
		n := d.take(1 << 15)
		if n == 0 {
			idle++
		} else {
			idle = 0
		}
		if now := time.Now(); now.Sub(lastTick) >= tickEvery || idle == 1 && now.Sub(lastTick) >= tickEvery/10 {
			lastTick = now
			s.rate()
			if failed = sink.Tick(); failed != nil {
				break loop
			}
		}
		select {
		case <-s.gone:
			break loop
		case <-ctx.Done():
			break loop
		default:
		}
		if n < backlog {
			// Stay behind: whoever looks at the counters all the time takes their
			// cache line away from the threads that claim slots.
			time.Sleep(nap)
		}
	}
	select {
	case <-s.gone:
	default:
		if err := s.remove(); err != nil {
			select {
			case <-s.gone: // it ended meanwhile
			case <-time.After(stopLimit / 4):
				failed = errors.Join(failed, fmt.Errorf("take probes out: %w", err))
			}
		}
		d.settle()
	}
	for d.take(1<<20) > 0 {
	}
	end := End{LostTotal: s.Lost(), Unfinished: d.rest()}
	by := map[uint32]uint64{}
	for i, p := range s.probes {
		if n := atomic.LoadUint64(s.word(ringLost + 8*i)); n > 0 && p.kind != makeEntry {
			by[p.fn] += n
		}
	}
	for i, f := range s.meta.Funcs {
		if by[uint32(i)] > 0 {
			end.Lost = append(end.Lost, event.Lost{Sym: f.Sym, N: by[uint32(i)]})
		}
	}
	select {
	case <-s.gone:
		end.Exited, end.ExitStatus = true, s.Wait()
	default:
	}
	if err := sink.Tick(); failed == nil {
		failed = err
	}
	return end, failed
}

// Wait waits for a target to end and returns its exit status, or minus the number
// of a signal; 0 for one that was not launched.
func (s *Session) Wait() int {
	<-s.gone
	if s.launched && !s.reaped {
		for {
			_, err := unix.Wait4(s.pid, &s.status, 0, nil)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		s.reaped = true
	}
	switch {
	case !s.launched:
		return 0
	case s.status.Signaled():
		return -int(s.status.Signal())
	}
	return s.status.ExitStatus()
}

// remove takes the probes out.
func (s *Session) remove() error {
	return onThread(func() error {
		st, err := stopAll(s.pid)
		if err != nil {
			return err
		}
		defer st.release()
		var errs []error
		for _, p := range s.patches {
			now, err := st.read(p.addr, jumpBytes)
			if err == nil && string(now) != string(p.jump) {
				if string(now) == string(p.orig[:]) {
					continue
				}
				err = fmt.Errorf("the code at %#x was changed by somebody else", p.addr)
			}
			if err == nil {
				err = st.write(p.addr, p.orig[:])
			}
			errs = append(errs, err)
		}
		// Nobody owns the stubs any more.
		errs = append(errs, st.write(s.region+ownerPid, make([]byte, 8)))
		return errors.Join(errs...)
	})
}

// drain reads the ring.
type drain struct {
	*Session
	sink   Sink
	tail   uint64
	simple []bool // by Raw.Func: an event that is handed on as it is, unless it is nested
	stack  [MaxStack]uint64
}

// take hands on up to limit events and returns how many slots it has read.
func (d *drain) take(limit uint64) (n uint64) {
	head := atomic.LoadUint64(d.word(ringHead))
	for d.tail < head && n < limit {
		did := d.run(min(head-d.tail, limit-n))
		if did == 0 {
			break // claimed, but not committed yet
		}
		d.tail += did
		n += did
		atomic.StoreUint64(d.word(ringTail), d.tail)
	}
	return n
}

// runMax is after how many events the target learns that their slots are free.
const runMax = 1 << 10

// run hands on up to most events that lie one behind the other and returns how many
// slots it has read.
func (d *drain) run(most uint64) (n uint64) {
	first := d.tail & (d.ring.slots - 1)
	most = min(most, runMax, d.ring.slots-first)
	at := ringSlots + int(first<<d.ring.shift)
	if d.ring.shift != 7 {
		for ; n < most; n++ {
			slot := d.shm[at:][:1<<d.ring.shift]
			r := (*event.Raw)(unsafe.Pointer(&slot[0]))
			if atomic.LoadUint64(&r.Seq) != d.tail+n+1 {
				break
			}
			key := slot[slotKey:][:min(int(binary.LittleEndian.Uint32(slot[slotKeyLen:])), KeyBytes)]
			depth := min(int(binary.LittleEndian.Uint32(slot[slotDepth:])), d.opts.Stack)
			for i := range depth {
				d.stack[i] = binary.LittleEndian.Uint64(slot[slotStack+8*i:])
			}
			d.hand(r, d.stack[:depth], key)
			at += len(slot)
		}
		return n
	}
	raws := unsafe.Slice((*event.Raw)(unsafe.Pointer(&d.shm[at])), most)
	from := 0
	for i := range raws {
		r := &raws[i]
		if atomic.LoadUint64(&r.Seq) != d.tail+uint64(i)+1 {
			raws = raws[:i]
			break
		}
		if int(r.Func) < len(d.simple) && d.simple[r.Func] && !d.nested(r.Caller) {
			continue
		}
		if from < i {
			d.sink.AddAll(raws[from:i])
		}
		from = i + 1
		d.hand(r, nil, nil)
	}
	if from < len(raws) {
		d.sink.AddAll(raws[from:])
	}
	return uint64(len(raws))
}

// settleLimit is how long threads that were inside a stub when the probes were taken
// out may take to finish: as long as a busy machine does not run them.
const settleLimit = 2 * time.Second

// settle waits until every slot that was claimed is committed.
func (d *drain) settle() {
	for start := time.Now(); time.Since(start) < settleLimit; time.Sleep(time.Millisecond) {
		n := d.take(1 << 20)
		if n == 0 && d.tail == atomic.LoadUint64(d.word(ringHead)) && time.Since(start) > 2*time.Millisecond {
			return
		}
		select {
		case <-d.gone:
			return
		default:
		}
	}
}

// rest counts the slots that were claimed and not committed, and hands on what was
// committed behind them, once no thread is left to commit them.
func (d *drain) rest() (unfinished uint64) {
	for d.tail < atomic.LoadUint64(d.word(ringHead)) {
		d.tail++
		unfinished++
		for d.take(1<<20) > 0 {
		}
	}
	return unfinished
}

// hand hands an event on, unless it is a part of another one.
func (d *drain) hand(r *event.Raw, stack []uint64, key []byte) {
	if int(r.Func) >= len(d.probes) {
		return
	}
	p := d.probes[r.Func]
	if p.kind == plain && p.fn == r.Func {
		if d.nested(r.Caller) && !d.meta.Funcs[p.fn].Op.Growth() {
			return
		}
		d.sink.Add(r, stack, key)
		return
	}
	who := thisThread{r.Goroutine, 0}
	if r.Goroutine == 0 {
		who.thread = uint64(r.Thread)
	}
	list := d.pending[who]
	if p.kind == makeEntry {
		if len(list) >= 8 { // returns were lost
			list = list[1:]
		}
		d.pending[who] = append(list, pendingMake{*r, append([]uint64(nil), stack...)})
		return
	}
	out := *r
	out.Func = p.fn
	// The entry that belongs to the return has the same caller. If that is
	// makemap64, its own entry says who called it.
	for i := len(list) - 1; i >= 0; i-- {
		if e := &list[i]; e.raw.Caller == out.Caller {
			out.Type, out.Arg, stack = e.raw.Type, e.raw.Arg, e.stack
			list = list[:i]
			if i > 0 && d.nested(out.Caller) {
				out.Caller, stack = list[i-1].raw.Caller, list[i-1].stack
				list = list[:i-1]
			}
			break
		}
	}
	if len(list) == 0 {
		delete(d.pending, who)
	} else {
		d.pending[who] = list
	}
	d.sink.Add(&out, stack, nil)
}

// nested reports whether a return address lies in a map function.
func (s *Session) nested(pc uint64) bool {
	if pc < s.nestAll.lo || pc >= s.nestAll.hi {
		return false
	}
	for _, sp := range s.nest {
		if pc > sp.lo && pc <= sp.hi {
			return true
		}
	}
	return false
}

// startTime is when a process was started, in the kernel's ticks; 0 if there is none.
func startTime(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold spaces; the time is the 20th field behind it.
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(f[19], 10, 64)
	return n
}
