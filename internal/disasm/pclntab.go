package disasm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// A pclntab is the table of a binary by which the runtime finds functions, files
// and lines: runtime.pcHeader and what follows it, in runtime/symtab.go and
// cmd/link/internal/ld/pcln.go of Go 1.18 to 1.27. It survives strip.
//
// Only debug/gosym of the standard library reads it; it walks a function's table
// from the start for each address, and takes the start of the text from a section,
// which is wrong after external linking. So this is a reader of its own.
type pclntab struct {
	order   binary.ByteOrder
	addr    uint64 // of the header
	quantum uint32 // bytes that a step of an address counts
	ptrSize int
	nfunc   int
	text    uint64 // runtime.text: function entries are offsets from here
	gofunc  uint64 // moduledata.gofunc: offsets of funcdata are from here; 0 if unknown

	names   string // funcnametab
	files   string // filetab
	cutab   []byte
	pctab   []byte
	functab []byte
	// startLine says that functions and inlined calls have one: since Go 1.20,
	// whose header has another magic number.
	startLine bool
}

const (
	magic118 = 0xfffffff0 // Go 1.18 and 1.19
	magic120 = 0xfffffff1 // Go 1.20 and later
)

// A pcFunc is a function of the table.
type pcFunc struct {
	entry, end uint64
	data       []byte // runtime._func and what follows
}

// A pcRun is a value that holds up to an offset from the function's entry.
type pcRun struct {
	end   uint32 // bytes
	value int32
}

// pclntab finds the table: in the section that is named after it, or by its magic
// number where there are no names (PE).
func (im *image) pclntab() (*pclntab, error) {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab", "__gopclntab"} {
		if s, ok := im.names[name]; ok {
			if t := im.pclntabAt(s.addr, s.data); t != nil {
				return t, nil
			}
		}
	}
	for _, magic := range []uint32{magic120, magic118} {
		var pattern [6]byte // and two zero bytes
		im.arch.order.PutUint32(pattern[:], magic)
		for _, s := range im.segs {
			for at := 0; ; at++ {
				i := bytes.Index(s.data[at:], pattern[:])
				if i < 0 {
					break
				}
				at += i
				if t := im.pclntabAt(s.addr+uint64(at), s.data[at:]); t != nil {
					return t, nil
				}
			}
		}
	}
	return nil, &FormatError{"no program of Go 1.18 or later: it has no function table (pclntab)"}
}

// pclntabAt returns the table at the start of data, nil if there is none.
func (im *image) pclntabAt(addr uint64, data []byte) *pclntab {
	t := &pclntab{order: im.arch.order, addr: addr}
	if len(data) < 8 {
		return nil
	}
	switch t.order.Uint32(data) {
	case magic118:
	case magic120:
		t.startLine = true
	default:
		return nil
	}
	t.quantum, t.ptrSize = uint32(data[6]), int(data[7])
	if data[4] != 0 || data[5] != 0 || t.quantum != 1 && t.quantum != 2 && t.quantum != 4 || t.ptrSize != im.arch.ptrSize {
		return nil
	}
	words := make([]uint64, 8)
	if len(data) < 8+len(words)*t.ptrSize {
		return nil
	}
	for i := range words {
		words[i] = im.arch.uint(data[8+i*t.ptrSize:])
	}
	part := func(from, to uint64) []byte {
		if from > to || to > uint64(len(data)) {
			return nil
		}
		return data[from:to:to]
	}
	// nfunc, nfiles, textStart, then the offsets of five tables, which lie one
	// after the other.
	names, cutab, files, pctab, funcs := words[3], words[4], words[5], words[6], words[7]
	t.names = string(part(names, cutab))
	t.cutab = part(cutab, files)
	t.files = string(part(files, pctab))
	t.pctab = part(pctab, funcs)
	t.functab = part(funcs, uint64(len(data)))
	if len(t.names) == 0 || len(t.pctab) == 0 || words[0] == 0 || words[0] > uint64(len(t.functab))/8 {
		return nil
	}
	t.nfunc = int(words[0])
	if 8*t.nfunc+4 > len(t.functab) {
		return nil
	}
	for i := 1; i <= t.nfunc; i++ {
		if t.entryOff(i) < t.entryOff(i-1) {
			return nil
		}
	}
	// The header's word is relocated in a position independent binary, and zero
	// since Go 1.26.
	t.text, _ = im.word(addr + 8 + 2*uint64(t.ptrSize))
	return t
}

// entryOff returns the offset of a function's entry from the start of the text.
// Behind the last one stands the end of the text.
func (t *pclntab) entryOff(i int) uint32 { return t.order.Uint32(t.functab[8*i:]) }

// fn returns the i-th function.
func (t *pclntab) fn(i int) pcFunc {
	f := pcFunc{entry: t.text + uint64(t.entryOff(i)), end: t.text + uint64(t.entryOff(i+1))}
	off := t.order.Uint32(t.functab[8*i+4:])
	if uint64(off)+uint64(t.headerLen()) <= uint64(len(t.functab)) {
		f.data = t.functab[off:]
	}
	return f
}

// headerLen is the size of runtime._func.
func (t *pclntab) headerLen() int {
	if t.startLine {
		return 44
	}
	return 40
}

// index returns the function that holds an address, -1 if there is none.
func (t *pclntab) index(addr uint64) int {
	off := addr - t.text
	if addr < t.text || off >= uint64(t.entryOff(t.nfunc)) {
		return -1
	}
	return sort.Search(t.nfunc, func(i int) bool { return uint64(t.entryOff(i)) > off }) - 1
}

// u32 reads the i-th 32-bit field of runtime._func: entryOff, nameOff, args,
// deferreturn, pcsp, pcfile, pcln, npcdata, cuOffset, startLine.
func (t *pclntab) u32(f pcFunc, i int) uint32 {
	if f.data == nil {
		return 0
	}
	return t.order.Uint32(f.data[4*i:])
}

func (t *pclntab) funcName(f pcFunc) string { return cstring(t.names, t.u32(f, 1)) }

// cstring returns the text at off that ends with a zero byte.
func cstring(table string, off uint32) string {
	if uint64(off) >= uint64(len(table)) {
		return ""
	}
	s := table[off:]
	for i := range len(s) {
		if s[i] == 0 {
			return s[:i]
		}
	}
	return s
}

// file returns the name of a file by its number in the function's compilation
// unit.
func (t *pclntab) file(f pcFunc, n int32) string {
	at := 4 * (uint64(t.u32(f, 8)) + uint64(uint32(n)))
	if n < 0 || at+4 > uint64(len(t.cutab)) {
		return ""
	}
	return cstring(t.files, t.order.Uint32(t.cutab[at:]))
}

// runs appends the values of a table of the function, in order. A table that does
// not end is cut where the function does.
func (t *pclntab) runs(runs []pcRun, off uint32, size uint64) []pcRun {
	if off == 0 || uint64(off) >= uint64(len(t.pctab)) {
		return runs
	}
	p := t.pctab[off:]
	value, pc := int32(-1), uint64(0)
	for first := true; pc < size; first = false {
		u, n := binary.Uvarint(p)
		if n <= 0 || u == 0 && !first || u > 1<<32 {
			break
		}
		p = p[n:]
		value += int32(u>>1) ^ -int32(u&1)
		step, n := binary.Uvarint(p)
		if n <= 0 || step > 1<<32 {
			break
		}
		p = p[n:]
		pc += step * uint64(t.quantum)
		runs = append(runs, pcRun{uint32(min(pc, size)), value})
	}
	return runs
}

// fileRuns, lineRuns and inlineRuns are the tables by which instructions get
// their positions.
func (t *pclntab) fileRuns(runs []pcRun, f pcFunc) []pcRun {
	return t.runs(runs, t.u32(f, 5), f.end-f.entry)
}

func (t *pclntab) lineRuns(runs []pcRun, f pcFunc) []pcRun {
	return t.runs(runs, t.u32(f, 6), f.end-f.entry)
}

// inlineRuns are the indices into the function's tree of inlined calls, -1 for
// its own code.
func (t *pclntab) inlineRuns(runs []pcRun, f pcFunc) []pcRun {
	const inlTreeIndex = 2 // abi.PCDATA_InlTreeIndex
	n := t.u32(f, 7)
	at := t.headerLen() + 4*inlTreeIndex
	if n <= inlTreeIndex || at+4 > len(f.data) {
		return runs
	}
	return t.runs(runs, t.order.Uint32(f.data[at:]), f.end-f.entry)
}

// size returns the bytes of a function without the padding behind it: the table
// of its lines ends where its code does.
func (t *pclntab) size(f pcFunc, runs []pcRun) (uint64, []pcRun) {
	runs = t.lineRuns(runs[:0], f)
	if len(runs) == 0 {
		return f.end - f.entry, runs
	}
	return uint64(runs[len(runs)-1].end), runs
}

// startLineOf returns the line of the function's declaration, 0 before Go 1.20.
func (t *pclntab) startLineOf(f pcFunc) int {
	if !t.startLine {
		return 0
	}
	return int(int32(t.u32(f, 9)))
}

// inlTree returns the address of the function's tree of inlined calls, 0 if it has
// none.
func (t *pclntab) inlTree(f pcFunc) uint64 {
	const inlTree = 3 // abi.FUNCDATA_InlTree
	if t.gofunc == 0 || f.data == nil {
		return 0
	}
	npcdata := uint64(t.u32(f, 7))
	nfuncdata := f.data[t.headerLen()-1]
	at := uint64(t.headerLen()) + 4*npcdata + 4*inlTree
	if nfuncdata <= inlTree || npcdata > 1<<16 || at+4 > uint64(len(f.data)) {
		return 0
	}
	off := t.order.Uint32(f.data[at:])
	if off == ^uint32(0) {
		return 0
	}
	return t.gofunc + uint64(off)
}

// maxInlined bounds the inlined calls of one function, and their depth.
const maxInlined = 1 << 14

// inlinedCalls reads the first n entries of a tree, of type runtime.inlinedCall.
// What is missing or does not make sense ends it.
func (im *image) inlinedCalls(t *pclntab, calls []InlinedCall, f pcFunc, n int) ([]InlinedCall, error) {
	addr := t.inlTree(f)
	if addr == 0 || n <= 0 {
		return calls, nil
	}
	size := 16
	if !t.startLine {
		size = 20
	}
	n = min(n, maxInlined)
	data, ok := im.bytes(addr, uint64(n*size))
	if !ok {
		return calls, fmt.Errorf("tree of inlined calls at %#x: not in the file", addr)
	}
	var parentPC []uint32
	for i := range n {
		e := data[i*size:]
		var c InlinedCall
		if t.startLine {
			c.Name = cstring(t.names, t.order.Uint32(e[4:]))
			parentPC = append(parentPC, t.order.Uint32(e[8:]))
			c.StartLine = int(int32(t.order.Uint32(e[12:])))
		} else {
			c.Name = cstring(t.names, t.order.Uint32(e[12:]))
			parentPC = append(parentPC, t.order.Uint32(e[16:]))
		}
		calls = append(calls, c)
	}
	// The position and the parent of a call are those of an instruction that
	// stands for it.
	files, lines, inl := t.fileRuns(nil, f), t.lineRuns(nil, f), t.inlineRuns(nil, f)
	for i := range calls {
		pc := parentPC[i]
		if v, ok := at(inl, pc); ok && int(v) < len(calls) && int(v) != i {
			calls[i].Parent = int(v) + 1
		}
		if v, ok := at(files, pc); ok {
			calls[i].File = t.file(f, v)
		}
		if v, ok := at(lines, pc); ok {
			calls[i].Line = int(v)
		}
	}
	return calls, nil
}

// at returns the value at an offset.
func at(runs []pcRun, off uint32) (int32, bool) {
	i, ok := slices.BinarySearchFunc(runs, off, func(r pcRun, off uint32) int { return cmp.Compare(r.end, off) })
	if ok {
		i++
	}
	if i >= len(runs) {
		return -1, false
	}
	return runs[i].value, true
}

// moduledata finds runtime.firstmoduledata, by the pointer to the header that it
// begins with, and takes from it what the table needs. It returns its words.
//
// Up to text its fields are the same from Go 1.18 to 1.27. What is behind comes
// and goes: it is found by trying, see gofuncFrom and typesFrom.
func (im *image) moduledata(t *pclntab) (addr uint64, words []uint64, err error) {
	const (
		ftab  = 16 // the words before it: pcHeader and five slices
		minpc = 20
		maxpc = 21
		text  = 22
		count = 80 // all words that may be of interest
	)
	for _, addr := range im.find(t.addr, 64) {
		words = words[:0]
		for i := range uint64(count) {
			w, ok := im.word(addr + i*uint64(im.arch.ptrSize))
			if !ok {
				break
			}
			words = append(words, w)
		}
		if len(words) <= text || words[ftab+1] != uint64(t.nfunc)+1 {
			continue
		}
		if base := words[text]; words[minpc] == base+uint64(t.entryOff(0)) && words[maxpc] == base+uint64(t.entryOff(t.nfunc)) {
			return addr, words, nil
		}
	}
	return 0, nil, fmt.Errorf("runtime.firstmoduledata: not found")
}

// gofuncFrom tries the words of the moduledata as the base of funcdata: the right
// one makes sense of the inlined calls of some functions.
func (im *image) gofuncFrom(t *pclntab, words []uint64) uint64 {
	// Functions with inlined calls, spread over the table.
	type sample struct {
		f    pcFunc
		off  uint64 // of the tree from the base
		last int    // index of the last entry
	}
	const enough = 16
	var samples []sample
	defer func(g uint64) { t.gofunc = g }(t.gofunc)
	t.gofunc = 1 // no base: inlTree returns the offset and one
	var runs []pcRun
	for i := 0; i < t.nfunc && len(samples) < enough; i++ {
		f := t.fn(i * 7919 % t.nfunc) // a prime: no order of the linker's
		off := t.inlTree(f)
		if off == 0 {
			continue
		}
		last := int32(-1)
		runs = t.inlineRuns(runs[:0], f)
		for _, r := range runs {
			last = max(last, r.value)
		}
		if last >= 0 && last < maxInlined {
			samples = append(samples, sample{f, off - 1, int(last)})
		}
	}
	if len(samples) == 0 {
		return 0
	}
	size, nameAt, pcAt := 16, 4, 8
	if !t.startLine {
		size, nameAt, pcAt = 20, 12, 16
	}
	fits := func(base uint64) bool {
		for _, s := range samples {
			data, ok := im.bytes(base+s.off, uint64((s.last+1)*size))
			if !ok {
				return false
			}
			for i := 0; i <= s.last; i++ {
				e := data[i*size:]
				name, pc := t.order.Uint32(e[nameAt:]), t.order.Uint32(e[pcAt:])
				if uint64(pc) >= s.f.end-s.f.entry || name == 0 || uint64(name) >= uint64(len(t.names)) || t.names[name-1] != 0 || t.names[name] == 0 {
					return false
				}
			}
		}
		return true
	}
	for _, w := range words {
		if w != 0 && fits(w) {
			return w
		}
	}
	return 0
}
