package probe

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/ptrace"
)

// The page of the stubs begins with who has placed them, so that another recorder
// can tell, and can clean up behind one that was killed.
const (
	regionBytes = 1 << 17
	regionAlign = regionBytes
	ownerPid    = 8  // process id of the recorder, 0: the probes were taken out
	ownerStart  = 16 // when that process was started
	ownerCount  = 24 // how many patches follow at ownerList
	ownerList   = 32 // of each: address, 8 bytes of which jumpBytes are the original code
	ownerBytes  = 4096
	maxPatches  = (ownerBytes - ownerList) / 16
	maxFunction = 1 << 16 // bytes of code
)

var regionMagic = [8]byte{'h', 'm', 'a', 'p', 'p', 'r', 'b', 1}

// candidate is a place where a probe goes.
type candidate struct {
	fn   uint32
	kind probeKind
	code displaced
}

// place puts the probes in, while all threads stand still. It fails with a *busyError
// if they have to be stopped at another moment.
func (s *Session) place(st *stopped) error {
	// It may be the second try.
	s.meta.Funcs, s.nest, s.probes, s.patches = nil, nil, nil, nil
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.cleanUp(st); err != nil {
		return err
	}
	_, specs, err := event.Present(s.im.has, s.opts.Ops)
	if err != nil {
		return &NotSupportedError{err.Error()}
	}
	candidates, err := s.candidates(st, specs)
	if err != nil {
		return err
	}
	sites := ptrace.FindSites(ptrace.In(s.im.texts))
	if !sites.Complete() {
		return &NotSupportedError{"runtime.futex, runtime.osyield and runtime.sigreturn of this binary are not as those of Go 1.18 to 1.27"}
	}
	var spans []span
	for _, c := range candidates {
		spans = append(spans, span{c.code.pc, c.code.pc + jumpBytes})
	}
	if err := st.outside(spans, &sites); err != nil {
		return err
	}
	if err := s.mapInto(st, &sites); err != nil {
		return err
	}
	if err := s.install(st, specs, candidates); err != nil {
		return err
	}
	s.start, s.meta.Clock = time.Now(), ticks()
	s.meta.Started = s.start.UTC().Truncate(time.Microsecond)
	return nil
}

// prepare finds out where the executable lies in the process.
func (s *Session) prepare() error {
	auxv, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", s.pid))
	if err != nil {
		return &ProcessError{s.pid, "read its auxiliary vector", err}
	}
	found := false
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		const atEntry = 9
		if binary.LittleEndian.Uint64(auxv) == atEntry {
			s.im.bias, found = binary.LittleEndian.Uint64(auxv[8:])-s.im.entry, true
		}
	}
	if !found {
		return &ProcessError{s.pid, "its auxiliary vector has no entry point", nil}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		return &ProcessError{s.pid, "read its status", err}
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "Seccomp:"); ok && strings.TrimSpace(v) != "0" {
			return &NotSupportedError{fmt.Sprintf("process %d has a seccomp filter, which might kill it for the system calls that they take", s.pid)}
		}
	}
	return nil
}

// cleanUp takes out the probes of a recorder that has died, and fails if one is
// alive.
func (s *Session) cleanUp(st *stopped) error {
	for _, fn := range s.im.funcs {
		code, err := st.read(fn.lo+s.im.bias, jumpBytes)
		if err != nil {
			return err
		}
		if code[0] != 0xe9 {
			continue
		}
		to := fn.lo + s.im.bias + jumpBytes + uint64(int64(int32(binary.LittleEndian.Uint32(code[1:]))))
		region := to &^ (regionAlign - 1)
		head, err := st.read(region, ownerBytes)
		if err != nil || [8]byte(head) != regionMagic {
			continue // not ours: candidates finds that it differs from the file
		}
		word := func(off int) uint64 { return binary.LittleEndian.Uint64(head[off:]) }
		owner := int(word(ownerPid))
		if owner != 0 && startTime(owner) == word(ownerStart) && word(ownerStart) != 0 {
			return &AlreadyError{s.pid, owner}
		}
		for i := range int(min(word(ownerCount), maxPatches)) {
			addr := word(ownerList + 16*i)
			orig := head[ownerList+16*i+8:][:jumpBytes]
			// What it says must be what the file says.
			if want, err := s.im.fileBytes(addr-s.im.bias, jumpBytes); err != nil || !bytes.Equal(want, orig) {
				return &ProcessError{s.pid, fmt.Sprintf("stubs at %#x do not fit its executable", region), nil}
			}
			if err := st.write(addr, orig); err != nil {
				return err
			}
		}
		s.notes = append(s.notes, fmt.Sprintf("took out the probes of process %d, which has died", owner))
	}
	return nil
}

// candidates finds what can be probed. A function that cannot be is noted in its
// event.Func.
func (s *Session) candidates(st *stopped, specs []event.Spec) ([]candidate, error) {
	var all []candidate
	any := false
	for i, spec := range specs {
		fn := s.im.funcs[spec.Sym]
		f := event.NewFunc(spec, hmap.Addr(fn.lo+s.im.bias))
		if f.LoadDen > 0 && s.im.loadDen > 0 {
			f.LoadNum, f.LoadDen = s.im.loadNum, s.im.loadDen
		}
		s.meta.Funcs = append(s.meta.Funcs, f)
		cs, err := s.candidatesOf(st, uint32(i), spec, fn)
		var gone *ProcessError
		if errors.As(err, &gone) {
			return nil, err
		}
		if err != nil {
			f.Skipped = err.Error()
			continue
		}
		any = true
		all = append(all, cs...)
		s.nest = append(s.nest, span{fn.lo + s.im.bias, fn.hi + s.im.bias})
	}
	if !any {
		return nil, &NotSupportedError{"no map function can be probed: " + s.meta.Funcs[0].Sym + ": " + s.meta.Funcs[0].Skipped}
	}
	s.nestAll = s.nest[0]
	for _, sp := range s.nest {
		s.nestAll = span{min(s.nestAll.lo, sp.lo), max(s.nestAll.hi, sp.hi+1)}
	}
	if len(all)+len(specs) > min(maxProbes, maxPatches) {
		return nil, &NotSupportedError{fmt.Sprintf("%d places to probe", len(all))}
	}
	return all, nil
}

func (s *Session) candidatesOf(st *stopped, i uint32, spec event.Spec, fn span) ([]candidate, error) {
	if fn.hi-fn.lo > maxFunction {
		return nil, fmt.Errorf("%d bytes of code, at most %d are looked at", fn.hi-fn.lo, maxFunction)
	}
	code, err := st.read(fn.lo+s.im.bias, int(fn.hi-fn.lo))
	if err != nil {
		return nil, err
	}
	want, err := s.im.fileBytes(fn.lo, len(code))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(code, want) {
		return nil, errors.New("its code is not that of the executable: somebody else has changed it")
	}
	pc := fn.lo + s.im.bias
	var all []candidate
	if spec.Result {
		returns, err := returnsOf(code, pc)
		if err != nil {
			return nil, err
		}
		for _, d := range returns {
			all = append(all, candidate{fn: i, kind: makeReturn, code: d})
		}
		if spec.Typ < 0 { // it is given nothing
			return all, nil
		}
	}
	d, err := entryOf(code, pc)
	if err != nil {
		return nil, err
	}
	kind := plain
	if spec.Op == event.Make {
		kind = makeEntry
	}
	return append(all, candidate{fn: i, kind: kind, code: d}), nil
}

// mapInto maps the page of the stubs and the ring into the target.
func (s *Session) mapInto(st *stopped, sites *ptrace.Sites) (err error) {
	s.ring = newRing(s.opts)
	where, err := s.room()
	if err != nil {
		return err
	}
	c, err := st.borrow(sites)
	if err != nil {
		return err
	}
	defer func() {
		if back := c.giveBack(); err == nil {
			err = back
		}
	}()
	const rx = unix.PROT_READ | unix.PROT_EXEC
	s.region, err = c.call("map stubs", unix.SYS_MMAP, where, regionBytes, rx, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uint64(0), 0)
	if err != nil {
		return err
	}
	if s.region != where {
		return &ProcessError{s.pid, fmt.Sprintf("map stubs: at %#x instead of %#x", s.region, where), nil}
	}
	if err := st.write(s.region, []byte("hmaptools\x00")); err != nil {
		return err
	}
	fd, err := c.call("make a ring", unix.SYS_MEMFD_CREATE, s.region, unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	size := uint64(s.ring.bytes())
	if _, err = c.call("size the ring", unix.SYS_FTRUNCATE, fd, size); err == nil {
		// A process that runs already must not wait for all of the ring's pages.
		flags := uint64(unix.MAP_SHARED)
		if st.fresh {
			flags |= unix.MAP_POPULATE
		}
		s.ring.addr, err = c.call("map the ring", unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags, fd, 0)
	}
	if err == nil {
		const dontDump = 16
		_, _ = c.call("keep the ring out of cores", unix.SYS_MADVISE, s.ring.addr, size, dontDump)
		err = s.mapHere(int(fd), int(size))
	}
	if _, e := c.call("close", unix.SYS_CLOSE, fd); err == nil {
		err = e
	}
	return err
}

// mapHere maps the target's ring into this process.
func (s *Session) mapHere(fd, size int) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", s.pid, fd), os.O_RDWR, 0)
	if err != nil {
		return &ProcessError{s.pid, "open the ring", err}
	}
	defer f.Close()
	if s.shm, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return &ProcessError{s.pid, "map the ring here", err}
	}
	return nil
}

// room finds a place for the stubs that jumps reach from all of the text: below the
// executable or, if there is none, above it.
func (s *Session) room() (uint64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", s.pid))
	if err != nil {
		return 0, &ProcessError{s.pid, "read its mappings", err}
	}
	defer f.Close()
	var taken []span
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var m span
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x", &m.lo, &m.hi); err == nil {
			taken = append(taken, m)
		}
	}
	exe := s.im.loaded()
	exe = span{exe.lo + s.im.bias, exe.hi + s.im.bias}
	free := func(at uint64) bool {
		const lowest = 1 << 16 // vm.mmap_min_addr
		if at < lowest {
			return false
		}
		if _, ok := distance(at, exe.hi); !ok {
			return false
		}
		if _, ok := distance(exe.lo, at+regionBytes); !ok {
			return false
		}
		for _, m := range taken {
			if at < m.hi && at+regionBytes > m.lo {
				return false
			}
		}
		return true
	}
	for n := uint64(1); n < 1<<13; n++ {
		if at := exe.lo&^(regionAlign-1) - n*regionAlign; at < exe.lo && free(at) {
			return at, nil
		}
		if at := (exe.hi+16<<20)&^(regionAlign-1) + n*regionAlign; free(at) {
			return at, nil
		}
	}
	return 0, &NotSupportedError{fmt.Sprintf("process %d has no room within 2 GiB of its text", s.pid)}
}

// install makes the stubs and writes the jumps to them.
func (s *Session) install(st *stopped, specs []event.Spec, cs []candidate) error {
	for i := range specs {
		// The entries have the numbers of their functions; those that are not
		// placed stay without events.
		s.probes = append(s.probes, probe{fn: uint32(i)})
	}
	page := make([]byte, regionBytes)
	copy(page, regionMagic[:])
	binary.LittleEndian.PutUint64(page[ownerPid:], uint64(os.Getpid()))
	binary.LittleEndian.PutUint64(page[ownerStart:], startTime(os.Getpid()))
	at := ownerBytes
	for _, c := range cs {
		index := int(c.fn)
		if c.kind == makeReturn {
			index = len(s.probes)
			s.probes = append(s.probes, probe{})
		}
		s.probes[index] = probe{fn: c.fn, kind: c.kind}
		f := s.meta.Funcs[c.fn]
		if f.Skipped != "" {
			continue
		}
		stub, err := newStub(stubSpec{
			index: index, fn: specs[c.fn], ret: c.kind == makeReturn, code: c.code, ring: s.ring,
			offs: s.im.offs, header: s.meta.Layout.Size, keys: s.opts.Keys, stack: s.opts.Stack,
			only: s.only, bias: s.im.bias,
		}, s.region+uint64(at))
		if err == nil && at+len(stub) > len(page) {
			err = errors.New("there is no room for its stub")
		}
		var j []byte
		if err == nil {
			j, err = jump(c.code.pc, s.region+uint64(at))
		}
		if err != nil {
			f.Skipped = err.Error()
			continue
		}
		copy(page[at:], stub)
		at = (at + len(stub) + 63) &^ 63
		s.patches = append(s.patches, patch{addr: c.code.pc, orig: [jumpBytes]byte(c.code.code), jump: j})
	}
	if len(s.patches) == 0 {
		return &NotSupportedError{"no function can be probed: " + s.meta.Funcs[0].Skipped}
	}
	for i, p := range s.patches {
		binary.LittleEndian.PutUint64(page[ownerList+16*i:], p.addr)
		copy(page[ownerList+16*i+8:], p.orig[:])
	}
	binary.LittleEndian.PutUint64(page[ownerCount:], uint64(len(s.patches)))
	if err := st.write(s.region, page[:at]); err != nil {
		return err
	}
	for i, p := range s.patches {
		if err := st.write(p.addr, p.jump); err != nil {
			for _, q := range s.patches[:i] {
				err = errors.Join(err, st.write(q.addr, q.orig[:]))
			}
			return err
		}
	}
	return nil
}
