package disasm

import (
	"fmt"
	"strings"
)

// A Decoder turns the machine code of functions into instructions. It reuses its
// memory, and is for one goroutine at a time.
//
// What an instruction does to the flow of control, and which address it takes,
// is read from the encoding itself on all architectures but x86: that is many
// times as fast as a full decoder. The text comes from golang.org/x/arch, and is
// then made to look as a listing has it.
type Decoder struct {
	b    *Binary
	text bool
	fn   Func

	code []byte // of the function
	off  int    // of the instruction that is decoded, in code
	pc   uint64 // its address

	regs     regs
	literals map[uint64]bool // addresses of words among arm's code

	files, lines, inl []pcRun
	names             map[int32]string // of files, in the function's compilation unit
	unit              uint32
}

// NewDecoder returns a Decoder. Without text the instructions have neither Op nor
// Args, Sym only of calls and jumps, and what x/arch cannot decode is not marked:
// that is enough to find calls and what they are given, at a fraction of the time.
func (b *Binary) NewDecoder(text bool) *Decoder {
	return &Decoder{b: b, text: text, names: map[int32]string{}, literals: map[uint64]bool{}}
}

// regs are the registers of which the value is known: the address that an
// instruction is about to complete.
type regs struct {
	value [32]uint64
	known uint32
}

func (r *regs) set(i uint32, v uint64) {
	r.value[i&31], r.known = v, r.known|1<<(i&31)
}

func (r *regs) get(i uint32) (uint64, bool) {
	return r.value[i&31], r.known&(1<<(i&31)) != 0
}

func (r *regs) drop(i uint32) { r.known &^= 1 << (i & 31) }

// Decode decodes a function of the binary. The result and its slices belong to
// the Decoder and are valid until the next call; strings last. Bytes that make no
// sense become instructions of Kind [Bad] as long as the smallest there are. It
// fails only if the function's code is not in the file.
func (d *Decoder) Decode(f Function) (*Func, error) {
	code, ok := d.b.im.bytes(f.Addr, f.Size)
	if !ok {
		return nil, fmt.Errorf("decode %s: %d bytes at %#x are not in the file", f.Name, f.Size, f.Addr)
	}
	d.code, d.off, d.regs = code, 0, regs{}
	clear(d.literals)
	d.fn = Func{
		Name: f.Name, Text: true, Kind: "STEXT", Addr: f.Addr, Size: int64(f.Size), Code: code,
		Align: -1, FuncID: -1, ABI: -1, ArgSize: -1,
		Insts: d.fn.Insts[:0], Inlined: d.fn.Inlined[:0],
	}
	arch := d.b.im.arch
	if arch.name == "ppc64" || arch.name == "ppc64le" {
		d.regs.set(12, f.Addr) // the ABI has the entry there
	}
	for !d.decode() {
	}
	d.resolve(f)
	d.positions(f)
	return &d.fn, nil
}

// decode decodes up to the end of the function. It returns false if x/arch panicked,
// as it does on some code that makes no sense: then it is called again for the rest.
func (d *Decoder) decode() (done bool) {
	arch := d.b.im.arch
	defer func() {
		if recover() == nil {
			return
		}
		in := &d.fn.Insts[len(d.fn.Insts)-1]
		*in = Inst{PC: d.pc, Len: min(arch.minLen, len(d.code)-d.off), Kind: Bad}
		if d.text {
			in.Op = "?"
		}
		d.off += in.Len
	}()
	for d.off < len(d.code) {
		d.pc = d.fn.Addr + uint64(d.off)
		d.fn.Insts = append(d.fn.Insts, Inst{PC: d.pc})
		in := &d.fn.Insts[len(d.fn.Insts)-1]
		if d.literals[d.pc] && d.off+4 <= len(d.code) {
			d.word(in)
		} else {
			arch.step(d, in)
			if in.Len <= 0 || in.Len > len(d.code)-d.off {
				in.Len, in.Kind = min(arch.minLen, len(d.code)-d.off), Bad
			}
			if d.text {
				d.write(in)
			}
		}
		d.off += in.Len
	}
	return true
}

// word is a literal among the instructions.
func (d *Decoder) word(in *Inst) {
	in.Len = 4
	v := d.b.im.arch.order.Uint32(d.code[d.off:])
	if d.text {
		in.Op, in.Args = "WORD", fmt.Sprintf("$%#x", v)
	}
	if _, ok := d.b.im.seg(uint64(v)); ok {
		in.Ref, in.Use = uint64(v), Addr
	}
}

// write fills in the text of an instruction.
func (d *Decoder) write(in *Inst) {
	text, ok := "", false
	if in.Kind != Bad {
		text, ok = d.b.im.arch.text(d, in)
	}
	if !ok {
		in.Op, in.Args = "?", ""
		if in.Kind == Plain {
			in.Kind = Bad
		}
		return
	}
	// "REP; MOVSQ" and "LOCK XADDL" are one of x86.
	i := strings.IndexByte(text, ' ')
	if i > 0 && (text[i-1] == ';' || text[:i] == "LOCK") {
		if j := strings.IndexByte(text[i+1:], ' '); j >= 0 {
			i += 1 + j
		} else {
			i = -1
		}
	}
	if i < 0 {
		in.Op = text
	} else {
		in.Op, in.Args = text[:i], strings.TrimSpace(text[i+1:])
	}
}

// symname is the lookup that x/arch's GoSyntax wants: the name of the symbol
// around an address and where it starts.
func (d *Decoder) symname(addr uint64) (string, uint64) {
	name, off := d.b.Symbol(addr)
	return name, addr - uint64(off)
}

// resolve names what instructions refer to, once all are there.
func (d *Decoder) resolve(f Function) {
	for i := range d.fn.Insts {
		in := &d.fn.Insts[i]
		switch in.Kind {
		case Jump, Branch:
			if in.Target-f.Addr < f.Size {
				continue
			}
			if in.Kind == Jump {
				in.Kind = TailCall
			}
			fallthrough
		case Call, TailCall:
			in.Use = Code
			if g, ok := d.b.FunctionAt(in.Target); ok {
				in.Sym, in.SymOff = g.Name, int64(in.Target-g.Addr)
			}
			continue
		}
		if in.Ref == 0 {
			continue
		}
		if in.Use == Load {
			d.got(in)
		}
		if d.text {
			in.Sym, in.SymOff = d.b.Symbol(in.Ref)
		}
	}
}

// got turns a load from the global offset table into the address that is loaded.
func (d *Decoder) got(in *Inst) {
	for _, name := range []string{".got", "__got", ".got.plt"} {
		if s, ok := d.b.im.names[name]; ok && in.Ref-s.addr < uint64(len(s.data)) {
			if v, ok := d.b.im.word(in.Ref); ok && v != 0 {
				in.Ref, in.Use = v, GOT
			}
			return
		}
	}
}

// positions fills in files, lines and inlined calls from the function table.
func (d *Decoder) positions(f Function) {
	if f.pcln < 0 {
		return
	}
	t := d.b.pcln
	pf := t.fn(f.pcln)
	if pf.data == nil {
		return
	}
	if unit := t.u32(pf, 8); unit != d.unit {
		clear(d.names)
		d.unit = unit
	}
	d.files = t.fileRuns(d.files[:0], pf)
	d.lines = t.lineRuns(d.lines[:0], pf)
	d.inl = t.inlineRuns(d.inl[:0], pf)
	last := int32(-1)
	for _, r := range d.inl {
		last = max(last, r.value)
	}
	if last >= 0 {
		d.fn.Inlined, _ = d.b.im.inlinedCalls(t, d.fn.Inlined, pf, int(last)+1)
	}
	d.fn.Args = int64(int32(t.u32(pf, 2)))
	if v, ok := at(d.files, 0); ok {
		d.fn.File = d.file(pf, v)
	}
	if d.fn.Line = t.startLineOf(pf); d.fn.Line == 0 {
		if v, ok := at(d.lines, 0); ok {
			d.fn.Line = int(v)
		}
	}

	files, lines, inl := d.files, d.lines, d.inl
	file, fileOf := "", int32(-1)
	for i := range d.fn.Insts {
		in := &d.fn.Insts[i]
		off := uint32(in.PC - f.Addr)
		for len(files) > 0 && files[0].end <= off {
			files = files[1:]
		}
		for len(lines) > 0 && lines[0].end <= off {
			lines = lines[1:]
		}
		for len(inl) > 0 && inl[0].end <= off {
			inl = inl[1:]
		}
		if len(files) == 0 || len(lines) == 0 {
			break
		}
		if fileOf != files[0].value {
			fileOf = files[0].value
			file = d.file(pf, fileOf)
		}
		in.File, in.Line = file, max(0, int(lines[0].value))
		if len(inl) > 0 && inl[0].value >= 0 && int(inl[0].value) < len(d.fn.Inlined) {
			in.Inlined = int(inl[0].value) + 1
		}
	}
}

func (d *Decoder) file(f pcFunc, n int32) string {
	s, ok := d.names[n]
	if !ok {
		s = d.b.pcln.file(f, n)
		d.names[n] = s
	}
	return s
}
