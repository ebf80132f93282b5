package stackmap

import (
	"errors"
	"fmt"
	"sort"

	"hmaptools/internal/hmap"
)

// Limits on the tables of functions.
const (
	maxModules  = 1 << 10 // plugins and shared libraries
	maxFuncs    = 1 << 22 // of a module
	maxSections = 1 << 12 // of a module's text
	maxName     = 1 << 12 // bytes of a function's name
)

// module is a runtime.moduledata: the executable, a plugin or a shared library.
type module struct {
	lo, hi         uint64 // of its code
	text           uint64
	gofunc, rodata uint64
	names, pctab   region
	pclntable      region
	sections       []section
	quantum        uint64 // bytes of an instruction, at least
	ftab           []funcEntry
	funcs          []*function // by ftab, as they are asked for
}

type region struct{ at, len uint64 }

// section is a runtime.textsect: the linker splits code that is too large for the
// machine's branches.
type section struct{ vaddr, end, base uint64 }

// funcEntry is a runtime.functab; the last of a module is where its code ends.
type funcEntry struct{ entry, off uint32 }

// readModules reads runtime.firstmoduledata and what is linked to it.
func readModules(m memory, types *hmap.Types) ([]*module, error) {
	at, t, ok := types.Var("runtime.firstmoduledata")
	if !ok {
		return nil, &hmap.LayoutError{Type: "a stack", Lacks: "variable runtime.firstmoduledata"}
	}
	f := &finder{types: types}
	rec := record{"runtime.moduledata", t, int(t.Size)}
	if t.Size <= 0 || t.Size > maxRecord {
		f.lacks("type runtime.moduledata")
	}
	lo, hi, text := f.field(rec, "minpc"), f.field(rec, "maxpc"), f.field(rec, "text")
	gofunc, rodata := f.field(rec, "gofunc"), f.field(rec, "rodata")
	names, pctab, pclntable := f.field(rec, "funcnametab"), f.field(rec, "pctab"), f.field(rec, "pclntable")
	ftab, sections := f.field(rec, "ftab"), f.field(rec, "textsectmap")
	header, next := f.field(rec, "pcHeader"), f.field(rec, "next")
	hrec := f.record("runtime.pcHeader")
	quantum := f.field(hrec, "minLC")
	frec := f.record("runtime.functab")
	entry, off := f.field(frec, "entryoff"), f.field(frec, "funcoff")
	srec := f.record("runtime.textsect")
	vaddr, end, base := f.field(srec, "vaddr"), f.field(srec, "end"), f.field(srec, "baseaddr")
	for _, x := range []hmap.RecordField{entry, off} {
		if x.Size != 4 {
			f.lacks("a field runtime.functab." + x.Name + " of four bytes")
		}
	}
	for _, x := range []hmap.RecordField{names, pctab, pclntable, ftab, sections} {
		if uint64(x.Size) != 3*m.ptr {
			f.lacks("a slice runtime.moduledata." + x.Name)
		}
	}
	for _, x := range []hmap.RecordField{lo, hi, text, gofunc, rodata, header, next, vaddr, end, base} {
		if uint64(x.Size) != m.ptr {
			f.lacks("a field " + x.Name + " of one word")
		}
	}
	if f.err != nil {
		return nil, f.err
	}

	var list []*module
	for buf := make([]byte, rec.size); at != 0; {
		if len(list) >= maxModules {
			return nil, fmt.Errorf("more than %d modules", maxModules)
		}
		if err := m.read(buf, uint64(at)); err != nil {
			return nil, fmt.Errorf("module: %w", err)
		}
		slice := func(x hmap.RecordField) region {
			word := func(i int) uint64 {
				return hmap.RecordField{Off: x.Off + i*int(m.ptr), Size: int(m.ptr)}.Uint(buf)
			}
			return region{word(0), word(1)}
		}
		mod := &module{
			lo: lo.Uint(buf), hi: hi.Uint(buf), text: text.Uint(buf), gofunc: gofunc.Uint(buf), rodata: rodata.Uint(buf),
			names: slice(names), pctab: slice(pctab), pclntable: slice(pclntable),
		}
		h := make([]byte, hrec.size)
		if err := m.read(h, header.Uint(buf)); err != nil {
			return nil, fmt.Errorf("module at %s: pcHeader: %w", at, err)
		}
		mod.quantum = quantum.Uint(h)
		ftab, sections := slice(ftab), slice(sections)
		if ftab.len > maxFuncs || sections.len > maxSections {
			return nil, fmt.Errorf("module at %s: %d functions in %d sections: more than %d in %d", at, ftab.len, sections.len, maxFuncs, maxSections)
		}
		table := make([]byte, int(ftab.len)*frec.size)
		if err := m.read(table, ftab.at); err != nil {
			return nil, fmt.Errorf("module at %s: ftab: %w", at, err)
		}
		mod.ftab = make([]funcEntry, ftab.len)
		for i := range mod.ftab {
			e := table[i*frec.size:]
			mod.ftab[i] = funcEntry{uint32(entry.Uint(e)), uint32(off.Uint(e))}
		}
		mod.funcs = make([]*function, len(mod.ftab))
		table = make([]byte, int(sections.len)*srec.size)
		if err := m.read(table, sections.at); err != nil {
			return nil, fmt.Errorf("module at %s: textsectmap: %w", at, err)
		}
		for i := range int(sections.len) {
			s := table[i*srec.size:]
			mod.sections = append(mod.sections, section{vaddr.Uint(s), end.Uint(s), base.Uint(s)})
		}
		if len(mod.ftab) > 1 {
			list = append(list, mod)
		}
		at = hmap.Addr(next.Uint(buf))
	}
	if len(list) == 0 {
		return nil, errors.New("no functions: the target has not started")
	}
	return list, nil
}

// textAddr is where the code at an offset lies.
func (m *module) textAddr(off uint32) uint64 {
	if len(m.sections) > 1 {
		for i, s := range m.sections {
			if x := uint64(off); x >= s.vaddr && (x < s.end || i == len(m.sections)-1 && x == s.end) {
				return s.base + x - s.vaddr
			}
		}
	}
	return m.text + uint64(off)
}

// textOff is the offset of an address of code.
func (m *module) textOff(pc uint64) (uint32, bool) {
	if len(m.sections) > 1 {
		for _, s := range m.sections {
			if pc >= s.base && pc < s.base+(s.end-s.vaddr) {
				return uint32(pc - s.base + s.vaddr), true
			}
		}
		return 0, false
	}
	return uint32(pc - m.text), pc >= m.text
}

// find returns the index in ftab of the function that holds an address.
func (m *module) find(pc uint64) (int, bool) {
	if pc < m.lo || pc >= m.hi {
		return 0, false
	}
	off, ok := m.textOff(pc)
	if !ok {
		return 0, false
	}
	i := sort.Search(len(m.ftab), func(i int) bool { return m.ftab[i].entry > off }) - 1
	return i, i >= 0 && i < len(m.ftab)-1
}
