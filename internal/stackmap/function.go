package stackmap

import (
	"fmt"
	"sort"

	"hmaptools/internal/hmap"
)

// Limits on what is recorded of a function.
const (
	maxData     = 1 << 8  // PCDATA and FUNCDATA tables each
	maxTable    = 1 << 22 // bytes of a table by PC
	maxMaps     = 1 << 20 // stack maps
	maxMapBits  = 1 << 24 // words of a stack map: 128 MiB of frame
	maxObjects  = 1 << 16 // stack objects
	maxInlining = 1 << 8  // calls inlined in one another
)

// function is a runtime._func with its tables, as far as they were asked for.
type function struct {
	mod         *module
	name        string
	entry       uint64
	args        int32 // bytes of arguments and results; facts.argsUnknown
	deferreturn uint64
	id, flag    uint64
	pcsp        uint32
	pcdata      []uint32 // offsets in the module's pctab, 0 for none
	funcdata    []uint32 // offsets from the module's gofunc, ^0 for none

	delta         pcTable // from SP to CFA, without the return address that a call pushes
	index         pcTable // of the stack map
	inlining      pcTable // of the inlined call
	locals, argus bitmaps
	objects       []*object
	err           error // why none of it can be had
}

// function returns the function that holds an address of code, nil if none does.
func (r *Reader) function(pc uint64) *function {
	if r.last != nil {
		if i, ok := r.last.find(pc); ok {
			return r.load(r.last, i)
		}
	}
	for _, m := range r.modules {
		if i, ok := m.find(pc); ok {
			r.last = m
			return r.load(m, i)
		}
	}
	return nil
}

func (r *Reader) load(m *module, i int) *function {
	fn := m.funcs[i]
	if fn == nil {
		fn = &function{mod: m, entry: m.textAddr(m.ftab[i].entry)}
		if err := r.readFunction(fn, uint64(m.ftab[i].off)); err != nil {
			fn.err = fmt.Errorf("function at %s: %w", hmap.Addr(fn.entry), err)
		}
		m.funcs[i] = fn
	}
	return fn
}

func (r *Reader) readFunction(fn *function, off uint64) error {
	x, m := r.facts, fn.mod
	if off >= m.pclntable.len {
		return fmt.Errorf("its record is beyond pclntable")
	}
	buf := make([]byte, x.fn.size)
	if err := r.mem.read(buf, m.pclntable.at+off); err != nil {
		return err
	}
	fn.args = int32(x.args.Int(buf))
	fn.deferreturn, fn.pcsp = x.deferreturn.Uint(buf), uint32(x.pcsp.Uint(buf))
	fn.id, fn.flag = x.funcID.Uint(buf), x.flag.Uint(buf)
	npcdata, nfuncdata := x.npcdata.Uint(buf), x.nfuncdata.Uint(buf)
	if npcdata > maxData || nfuncdata > maxData {
		return fmt.Errorf("%d and %d tables: more than %d", npcdata, nfuncdata, maxData)
	}
	var err error
	if nameOff := x.name.Uint(buf); nameOff < m.names.len {
		fn.name, err = r.mem.stringAt(m.names.at+nameOff, maxName)
	}
	if err != nil {
		return err
	}
	// The offsets of the tables follow the record.
	buf = make([]byte, 4*(npcdata+nfuncdata))
	if err := r.mem.read(buf, m.pclntable.at+off+uint64(x.fn.size)); err != nil {
		return err
	}
	all := make([]uint32, npcdata+nfuncdata)
	for i := range all {
		all[i] = uint32(hmap.RecordField{Off: 4 * i, Size: 4}.Uint(buf))
	}
	fn.pcdata, fn.funcdata = all[:npcdata], all[npcdata:]

	if fn.delta, err = r.readTable(fn, fn.pcsp); err != nil {
		return err
	}
	if fn.index, err = r.readTable(fn, fn.table(x.stackMapIndex)); err != nil {
		return err
	}
	if fn.inlining, err = r.readTable(fn, fn.table(x.inlTreeIndex)); err != nil {
		return err
	}
	if fn.locals, err = r.readMaps(fn, x.localsMaps); err != nil {
		return err
	}
	if fn.argus, err = r.readMaps(fn, x.argsMaps); err != nil {
		return err
	}
	fn.objects, err = r.readObjects(fn)
	return err
}

// table is the offset of a PCDATA table, 0 for none.
func (fn *function) table(i int) uint32 {
	if i >= len(fn.pcdata) {
		return 0
	}
	return fn.pcdata[i]
}

// data is where a FUNCDATA lies, 0 for nowhere.
func (fn *function) data(i int) uint64 {
	if i >= len(fn.funcdata) || fn.funcdata[i] == ^uint32(0) {
		return 0
	}
	return fn.mod.gofunc + uint64(fn.funcdata[i])
}

// pcTable gives every instruction of a function a value: those before end, and
// behind the range before, have val.
type pcTable []pcRange

type pcRange struct {
	end uint64 // from the function's entry
	val int32
}

// readTable reads a table by PC: pairs of numbers, how the value changes and for
// how many bytes of code it then stands, ended by a change of 0.
func (r *Reader) readTable(fn *function, off uint32) (pcTable, error) {
	if off == 0 {
		return nil, nil
	}
	if uint64(off) >= fn.mod.pctab.len {
		return nil, fmt.Errorf("a table is beyond pctab")
	}
	s := stream{m: r.mem, at: fn.mod.pctab.at + uint64(off), left: min(maxTable, fn.mod.pctab.len-uint64(off))}
	var t pcTable
	val, pc := int32(-1), uint64(0)
	for {
		u, err := s.varint()
		if err != nil {
			return nil, err
		}
		if u == 0 && len(t) > 0 {
			return t, nil
		}
		d, err := s.varint()
		if err != nil {
			return nil, err
		}
		v := uint32(u)
		val += int32(-(v & 1) ^ (v >> 1))
		pc += uint64(uint32(d)) * fn.mod.quantum
		t = append(t, pcRange{pc, val})
	}
}

// at is the value of an instruction, -1 if it has none.
func (t pcTable) at(off uint64) int32 {
	if len(t) <= 8 {
		for _, x := range t {
			if off < x.end {
				return x.val
			}
		}
		return -1
	}
	i := sort.Search(len(t), func(i int) bool { return off < t[i].end })
	if i == len(t) {
		return -1
	}
	return t[i].val
}

// bitmaps is a runtime.stackmap: n bitmaps of so many bits, one behind the other.
type bitmaps struct {
	at   uint64 // of the first; 0 if there are none
	n    int
	bits int
}

func (r *Reader) readMaps(fn *function, data int) (bitmaps, error) {
	at := fn.data(data)
	if at == 0 {
		return bitmaps{}, nil
	}
	x := r.facts
	buf := make([]byte, x.maps.size)
	if err := r.mem.read(buf, at); err != nil {
		return bitmaps{}, fmt.Errorf("stack maps: %w", err)
	}
	n, bits := x.mapsN.Int(buf), x.mapsBits.Int(buf)
	if n < 0 || n > maxMaps || bits < 0 || bits > maxMapBits {
		return bitmaps{}, fmt.Errorf("%d stack maps of %d bits: more than %d of %d", n, bits, maxMaps, maxMapBits)
	}
	return bitmaps{at + uint64(x.mapsData.Off), int(n), int(bits)}, nil
}

// live returns the numbers of the words that are set in bitmap i.
func (r *Reader) live(b bitmaps, i int) ([]int32, error) {
	if b.bits == 0 {
		return nil, nil
	}
	buf := make([]byte, (b.bits+7)/8)
	if err := r.mem.read(buf, b.at+uint64(i*len(buf))); err != nil {
		return nil, fmt.Errorf("stack map %d: %w", i, err)
	}
	return setBits(buf, b.bits), nil
}

// setBits lists the bits of the first n that are set.
func setBits(mask []byte, n int) []int32 {
	var set []int32
	for i := 0; i < n; i++ {
		if i%8 == 0 && mask[i/8] == 0 {
			i += 7
			continue
		}
		if mask[i/8]&(1<<(i%8)) != 0 {
			set = append(set, int32(i))
		}
	}
	return set
}

// site is what is known of a frame that stands at a PC, the return address of a
// call.
type site struct {
	fn           *function
	delta        int32   // as function.delta
	locals, args []int32 // live words, counted up to the frame pointer's and from the first argument
	line         uint64  // an address of the function's own code: its line is where the frame stands
	// There is no map of them, though there may be some.
	noLocals, noArgs bool
	err              error
}

// maxSites bounds what is remembered; a program has some ten thousand calls that
// goroutines stand at.
const maxSites = 1 << 20

// site returns what the maps say of a frame that goes on at pc, nil if no function
// is there.
func (r *Reader) site(pc uint64) *site {
	if s, ok := r.sites[pc]; ok {
		return s
	}
	fn := r.function(pc)
	var s *site
	if fn != nil {
		s = r.readSite(fn, pc)
	}
	if len(r.sites) >= maxSites {
		clear(r.sites)
	}
	r.sites[pc] = s
	return s
}

func (r *Reader) readSite(fn *function, pc uint64) *site {
	s := &site{fn: fn, err: fn.err, line: pc}
	if s.err != nil {
		return s
	}
	s.delta = fn.delta.at(pc - fn.entry)
	// The map is that of the call, which is before the return address; at the entry,
	// and where the prologue grows the stack, it is the first.
	i := int32(-1)
	if pc != fn.entry {
		i = fn.index.at(pc - 1 - fn.entry)
		s.line = pc - 1
	}
	i = max(i, 0)
	s.line = r.outermost(fn, s.line)
	has := func(b bitmaps) bool { return b.at != 0 && (b.bits == 0 || int(i) < b.n) }
	if s.noLocals = !has(fn.locals); !s.noLocals {
		s.locals, s.err = r.live(fn.locals, int(i))
		for k := range s.locals {
			s.locals[k] -= int32(fn.locals.bits)
		}
	}
	if s.err != nil || fn.args == 0 {
		return s
	}
	if s.noArgs = fn.args < 0 || !has(fn.argus); !s.noArgs {
		s.args, s.err = r.live(fn.argus, int(i))
	}
	return s
}

// outermost returns the address of an instruction of the function's own, which
// stands for the one at pc: that of the call that was inlined there.
func (r *Reader) outermost(fn *function, pc uint64) uint64 {
	tree := fn.data(r.facts.inlTree)
	if tree == 0 {
		return pc
	}
	buf := make([]byte, r.facts.inlined.size)
	for range maxInlining {
		i := fn.inlining.at(pc - fn.entry)
		if i < 0 || r.mem.read(buf, tree+uint64(i)*uint64(len(buf))) != nil {
			break
		}
		pc = fn.entry + r.facts.parentPC.Uint(buf)
	}
	return pc
}
