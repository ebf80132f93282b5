package probe

import (
	"debug/buildinfo"
	"debug/dwarf"
	"debug/elf"
	"debug/gosym"
	"errors"
	"fmt"
	"os"
	"strings"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
	"hmaptools/internal/ptrace"
)

// image is what is known of the target's executable. Addresses are those of the
// file; the process has them at addr+bias.
type image struct {
	path    string
	file    *elf.File
	bias    uint64
	entry   uint64 // of the ELF header
	goVer   string
	buildID string
	funcs   map[string]span
	sites   map[string][]span // functions in which package ptrace looks for code
	lines   *gosym.Table
	dwarf   *dwarf.Data // nil in a stripped binary
	types   uint64      // runtime.types: what names are relative to; 0 if not known
	offs    goroutineOffsets
	layout  event.Layout
	loadNum uint64 // runtime.loadFactorNum and loadFactorDen; 0 if not known
	loadDen uint64
}

type span struct{ lo, hi uint64 }

// openImage reads an executable. It fails with a *NotSupportedError if probes
// cannot be placed in it.
func openImage(path string) (*image, error) {
	f, err := elf.Open(path)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) {
			return nil, &NotSupportedError{path + " is not an ELF binary"}
		}
		return nil, err
	}
	im := &image{path: path, file: f, entry: f.Entry, funcs: map[string]span{}}
	if err := im.read(); err != nil {
		f.Close()
		return nil, err
	}
	return im, nil
}

func (im *image) close() { im.file.Close() }

func (im *image) read() error {
	f := im.file
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return &NotSupportedError{fmt.Sprintf("%s is for %v, %v, %v", im.path, f.Machine, f.Class, f.Type)}
	}
	pcln := im.section(".gopclntab", ".data.rel.ro.gopclntab")
	if pcln == nil {
		return &NotSupportedError{im.path + " has no table of functions: it is not a Go program"}
	}
	if file, err := os.Open(im.path); err == nil {
		if info, err := buildinfo.Read(file); err == nil {
			im.goVer = info.GoVersion
		}
		file.Close()
	}
	if note := im.section(".note.go.buildid"); note != nil {
		// A note: sizes of name and value, a kind, "Go\0\0", the value.
		if b, err := note.Data(); err == nil && len(b) > 16 {
			im.buildID = strings.TrimRight(string(b[16:]), "\x00")
		}
	}
	text := im.section(".text")
	if text == nil {
		return &NotSupportedError{im.path + " has no text"}
	}
	start := text.Addr
	syms, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("read symbols of %s: %w", im.path, err)
	}
	wanted := map[string]bool{}
	for _, s := range event.Specs() {
		wanted[s.Sym] = true
	}
	im.sites = map[string][]span{}
	for _, s := range ptrace.Functions() {
		im.sites[s] = nil
	}
	for _, s := range syms {
		switch {
		case s.Name == "runtime.text":
			start = s.Value
		case s.Name == "runtime.types":
			im.types = s.Value
		case wanted[s.Name] && elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Size > 0:
			im.funcs[s.Name] = span{s.Value, s.Value + s.Size}
		}
	}
	data, err := pcln.Data()
	if err != nil {
		return fmt.Errorf("read functions of %s: %w", im.path, err)
	}
	if im.lines, err = goTable(data, start); err != nil {
		return fmt.Errorf("read functions of %s: %w", im.path, err)
	}
	for i := range im.lines.Funcs {
		fn := &im.lines.Funcs[i]
		if wanted[fn.Name] && im.funcs[fn.Name] == (span{}) && fn.End > fn.Entry {
			im.funcs[fn.Name] = span{fn.Entry, fn.End}
		}
		if all, ok := im.sites[fn.Name]; ok && fn.End > fn.Entry {
			im.sites[fn.Name] = append(all, span{fn.Entry, fn.End})
		}
	}
	return im.readDWARF()
}

// goTable reads a pclntab. Data of an unknown form makes package gosym panic.
func goTable(data []byte, text uint64) (t *gosym.Table, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the table cannot be read: %v", r)
		}
	}()
	return gosym.NewTable(nil, gosym.NewLineTable(data, text))
}

func (im *image) section(names ...string) *elf.Section {
	for _, name := range names {
		if s := im.file.Section(name); s != nil {
			return s
		}
	}
	return nil
}

// readDWARF finds offsets in g and m, and the layout of the header. The linker puts
// all types into the unit of package runtime: cmd/link/internal/ld/dwarf.go.
func (im *image) readDWARF() error {
	im.offs = goroutineOffsets{goid: -1, m: -1, procid: -1, stackHi: 8} // g.stack is first, and hi its second word
	gen, _, err := event.Present(im.has, nil)
	if err != nil {
		return &NotSupportedError{im.path + ": " + err.Error()}
	}
	im.layout = event.DefaultLayout(gen)
	if im.section(".debug_info", ".zdebug_info") == nil {
		return nil
	}
	d, err := im.file.DWARF()
	if err != nil {
		return nil // as if stripped
	}
	im.dwarf = d
	header := "runtime.hmap"
	if gen == hmap.Swiss {
		header = "internal/runtime/maps.Map"
	}
	todo := map[string]bool{"runtime.g": true, "runtime.m": true, header: true}
	if gen == hmap.Classic {
		todo["runtime.loadFactorNum"], todo["runtime.loadFactorDen"] = true, true
	}
	for r := d.Reader(); len(todo) > 0; {
		e, err := r.Next()
		if err != nil || e == nil {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch {
		case e.Tag == dwarf.TagCompileUnit:
			if name != "runtime" {
				r.SkipChildren()
			}
			continue
		case e.Tag == dwarf.TagConstant && todo[name]:
			delete(todo, name)
			if v, _ := e.Val(dwarf.AttrConstValue).(int64); v > 0 && v < 1<<20 {
				if name == "runtime.loadFactorNum" {
					im.loadNum = uint64(v)
				} else {
					im.loadDen = uint64(v)
				}
			}
			continue
		case e.Tag != dwarf.TagStructType || !todo[name]:
			if e.Children {
				r.SkipChildren()
			}
			continue
		}
		delete(todo, name)
		typ, err := d.Type(e.Offset)
		st, ok := typ.(*dwarf.StructType)
		if err != nil || !ok {
			continue
		}
		switch name {
		case "runtime.g":
			im.offs.goid, im.offs.m = fieldAt(st, "goid"), fieldAt(st, "m")
		case "runtime.m":
			im.offs.procid = fieldAt(st, "procid")
		default:
			l := layoutOf(gen, st)
			if err := l.Check(); err != nil {
				return &NotSupportedError{im.path + ": " + err.Error()}
			}
			im.layout = l
		}
	}
	return nil
}

func fieldAt(st *dwarf.StructType, name string) int {
	for _, f := range st.Field {
		if f.Name == name && f.ByteOffset >= 0 && f.ByteOffset < 1<<16 {
			return int(f.ByteOffset)
		}
	}
	return -1
}

func layoutOf(gen hmap.Generation, st *dwarf.StructType) event.Layout {
	l := event.Layout{Generation: gen, Size: int(min(st.ByteSize, event.HeaderBytes)) &^ 7, From: "dwarf"}
	for _, f := range st.Field {
		size := f.Type.Size()
		if size >= 1 && size <= 8 && f.ByteOffset >= 0 && f.ByteOffset+size <= int64(l.Size) {
			l.Fields = append(l.Fields, hmap.RecordField{Name: f.Name, Off: int(f.ByteOffset), Size: int(size)})
		}
	}
	return l
}

func (im *image) has(sym string) bool { _, ok := im.funcs[sym]; return ok }

// fileBytes reads bytes that the executable has at an address of the file.
func (im *image) fileBytes(addr uint64, n int) ([]byte, error) {
	for _, p := range im.file.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr+uint64(n) <= p.Vaddr+p.Filesz && addr+uint64(n) >= addr {
			b := make([]byte, n)
			_, err := p.ReadAt(b, int64(addr-p.Vaddr))
			return b, err
		}
	}
	return nil, fmt.Errorf("address %#x is not in the file", addr)
}

// texts is the code of the functions of a name, with the addresses that they have in the
// process.
func (im *image) texts(name string) (texts []ptrace.Text) {
	for _, fn := range im.sites[name] {
		if fn.hi-fn.lo > 4096 {
			continue
		}
		if code, err := im.fileBytes(fn.lo, int(fn.hi-fn.lo)); err == nil {
			texts = append(texts, ptrace.Text{Addr: fn.lo + im.bias, Code: code})
		}
	}
	return texts
}

// loaded is where the segments of the executable begin and end.
func (im *image) loaded() (s span) {
	s.lo = ^uint64(0)
	for _, p := range im.file.Progs {
		if p.Type == elf.PT_LOAD {
			s.lo = min(s.lo, p.Vaddr&^4095)
			s.hi = max(s.hi, p.Vaddr+p.Memsz)
		}
	}
	return s
}
