package disasm

import (
	"bytes"
	"cmp"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A FormatError says that a file is no binary that can be disassembled.
type FormatError struct {
	Kind string // what it is instead: "a text file"
}

func (e *FormatError) Error() string { return "not a linked binary: " + e.Kind }

// An ArchError says that a binary is for a machine without a decoder.
type ArchError struct {
	Machine string // as the file's format names it, or the GOARCH
}

func (e *ArchError) Error() string {
	return fmt.Sprintf("no decoder for %s: the supported architectures are %s", e.Machine, strings.Join(Archs(), ", "))
}

// An image is the memory of a linked binary as the file holds it, before it runs.
type image struct {
	format string // elf, macho or pe
	arch   *arch
	segs   []segment // sorted by addr, not overlapping
	names  map[string]segment
	syms   []imageSym // sorted by addr; none when stripped
	relocs []pointer  // sorted by addr
}

// A segment is a piece of memory that comes from the file.
type segment struct {
	addr uint64
	data []byte
	exec bool
}

func (s segment) end() uint64 { return s.addr + uint64(len(s.data)) }

// An imageSym is a symbol of the file, of code or data.
type imageSym struct {
	name string
	addr uint64
	size uint64 // 0 if the format has none
	code bool
}

// A pointer is a word that the dynamic linker fills in: the file may hold
// anything there.
type pointer struct{ addr, value uint64 }

// openImage reads a file of one of the three formats. size is that of the file:
// nothing is allocated beyond it.
func openImage(r io.ReaderAt, size int64) (*image, error) {
	var head [64]byte
	n, err := r.ReadAt(head[:], 0)
	if n < 4 {
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, &FormatError{"the file is too short"}
	}
	var im *image
	switch magic := string(head[:4]); {
	case magic == elf.ELFMAG:
		im, err = openELF(r, size)
	case magic == "\xcf\xfa\xed\xfe" || magic == "\xce\xfa\xed\xfe" || magic == "\xfe\xed\xfa\xcf" || magic == "\xfe\xed\xfa\xce":
		im, err = openMachO(r, size)
	case magic == "\xca\xfe\xba\xbe" || magic == "\xca\xfe\xba\xbf":
		return nil, &FormatError{"a universal binary of several architectures: lipo -thin ARCH extracts one"}
	case magic[:2] == "MZ":
		im, err = openPE(r, size)
	case magic == "\x00asm":
		return nil, &ArchError{"wasm"}
	case strings.HasPrefix(string(head[:n]), "!<arch>\n"), strings.HasPrefix(string(head[:n]), "go object "):
		return nil, &FormatError{"an object file or an archive of some, not linked yet"}
	default:
		return nil, &FormatError{"neither ELF nor Mach-O nor PE"}
	}
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(im.syms, func(a, b imageSym) int { return cmp.Compare(a.addr, b.addr) })
	slices.SortFunc(im.relocs, func(a, b pointer) int { return cmp.Compare(a.addr, b.addr) })
	return im, nil
}

// loader reads parts of a file, all together not more than a few times its size.
type loader struct {
	r      io.ReaderAt
	size   int64
	budget int64
}

func newLoader(r io.ReaderAt, size int64) *loader { return &loader{r, size, 4 * size} }

// load returns n bytes at off. What lies beyond the end of the file is missing.
func (l *loader) load(off, n uint64) ([]byte, error) {
	if off >= uint64(l.size) || n == 0 {
		return nil, nil
	}
	n = min(n, uint64(l.size)-off)
	if l.budget -= int64(n); l.budget < 0 {
		return nil, &FormatError{"damaged: its parts overlap"}
	}
	b := make([]byte, n)
	k, err := l.r.ReadAt(b, int64(off))
	if err == io.EOF {
		err = nil
	}
	return b[:k], err
}

func (im *image) add(addr uint64, data []byte, exec bool) {
	if len(data) > 0 && addr+uint64(len(data)) > addr {
		im.segs = append(im.segs, segment{addr, data, exec})
	}
}

// inOrder sorts the segments, when all are there.
func (im *image) inOrder() error {
	slices.SortFunc(im.segs, func(a, b segment) int { return cmp.Compare(a.addr, b.addr) })
	for i := 1; i < len(im.segs); i++ {
		if im.segs[i-1].end() > im.segs[i].addr {
			return &FormatError{fmt.Sprintf("damaged: two parts of it lie at %#x", im.segs[i].addr)}
		}
	}
	return nil
}

func openELF(r io.ReaderAt, size int64) (*image, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, &FormatError{"a damaged ELF file: " + err.Error()}
	}
	im := &image{format: "elf", names: map[string]segment{}}
	if im.arch = archByELF(f); im.arch == nil {
		return nil, &ArchError{f.Machine.String()}
	}
	switch f.Type {
	case elf.ET_EXEC, elf.ET_DYN:
	case elf.ET_REL:
		return nil, &FormatError{"an object file, not linked yet"}
	case elf.ET_CORE:
		return nil, &FormatError{"a core dump"}
	default:
		return nil, &FormatError{"an ELF file of type " + f.Type.String()}
	}
	l := newLoader(r, size)
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		data, err := l.load(p.Off, p.Filesz)
		if err != nil {
			return nil, err
		}
		im.add(p.Vaddr, data, p.Flags&elf.PF_X != 0)
	}
	if err := im.inOrder(); err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			if data, ok := im.bytes(s.Addr, s.Size); ok {
				im.names[s.Name] = segment{s.Addr, data, s.Flags&elf.SHF_EXECINSTR != 0}
			}
		}
	}
	syms, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		syms = nil // a damaged table is none
	}
	for _, s := range syms {
		switch typ := elf.ST_TYPE(s.Info); {
		case int(s.Section) <= 0 || int(s.Section) >= len(f.Sections) || typ == elf.STT_FILE || typ == elf.STT_SECTION || typ == elf.STT_TLS:
		case strings.HasPrefix(s.Name, "$"): // mapping symbols of arm: $a, $d
		default:
			code := f.Sections[s.Section].Flags&elf.SHF_EXECINSTR != 0
			im.syms = append(im.syms, imageSym{s.Name, s.Value, s.Size, code})
		}
	}
	im.relocsELF(f, l)
	return im, nil
}

// relocsELF collects the relative relocations with an addend of their own. Those
// of 386 and arm have it in the memory.
func (im *image) relocsELF(f *elf.File, l *loader) {
	order := f.ByteOrder
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		data, err := l.load(s.Offset, s.FileSize)
		if err != nil || f.Class != elf.ELFCLASS64 {
			continue
		}
		for ; len(data) >= 24; data = data[24:] {
			off, info, add := order.Uint64(data), order.Uint64(data[8:]), order.Uint64(data[16:])
			if uint32(info) == im.arch.elfRelative {
				im.relocs = append(im.relocs, pointer{off, add})
			}
		}
	}
}

func openMachO(r io.ReaderAt, size int64) (*image, error) {
	f, err := macho.NewFile(r)
	if err != nil {
		return nil, &FormatError{"a damaged Mach-O file: " + err.Error()}
	}
	im := &image{format: "macho", names: map[string]segment{}}
	switch f.Cpu {
	case macho.CpuAmd64:
		im.arch = archByName("amd64")
	case macho.CpuArm64:
		im.arch = archByName("arm64")
	case macho.Cpu386:
		im.arch = archByName("386")
	default:
		return nil, &ArchError{f.Cpu.String()}
	}
	if f.Type != macho.TypeExec && f.Type != macho.TypeDylib && f.Type != macho.TypeBundle {
		return nil, &FormatError{"a Mach-O file of type " + f.Type.String()}
	}
	l := newLoader(r, size)
	for _, s := range f.Loads {
		if seg, ok := s.(*macho.Segment); ok && seg.Name != "__PAGEZERO" && seg.Name != "__LINKEDIT" && seg.Name != "__DWARF" {
			data, err := l.load(seg.Offset, seg.Filesz)
			if err != nil {
				return nil, err
			}
			im.add(seg.Addr, data, seg.Prot&4 != 0) // VM_PROT_EXECUTE
		}
	}
	if err := im.inOrder(); err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		if data, ok := im.bytes(s.Addr, s.Size); ok {
			const onlyInstructions = 0x80000000 // S_ATTR_PURE_INSTRUCTIONS
			im.names[s.Name] = segment{s.Addr, data, s.Flags&onlyInstructions != 0}
		}
	}
	if f.Symtab != nil {
		for _, s := range f.Symtab.Syms {
			const stab = 0xe0 // N_STAB: debugging
			if s.Type&stab != 0 || s.Sect == 0 || int(s.Sect) > len(f.Sections) {
				continue
			}
			code := f.Sections[s.Sect-1].Name == "__text"
			im.syms = append(im.syms, imageSym{name: s.Name, addr: s.Value, code: code})
		}
	}
	return im, nil
}

func openPE(r io.ReaderAt, size int64) (*image, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return nil, &FormatError{"a damaged PE file: " + err.Error()}
	}
	im := &image{format: "pe", names: map[string]segment{}}
	switch f.Machine {
	case pe.IMAGE_FILE_MACHINE_AMD64:
		im.arch = archByName("amd64")
	case pe.IMAGE_FILE_MACHINE_I386:
		im.arch = archByName("386")
	case pe.IMAGE_FILE_MACHINE_ARM64:
		im.arch = archByName("arm64")
	case pe.IMAGE_FILE_MACHINE_ARMNT:
		im.arch = archByName("arm")
	default:
		return nil, &ArchError{fmt.Sprintf("PE machine %#x", f.Machine)}
	}
	var base uint64
	switch h := f.OptionalHeader.(type) {
	case *pe.OptionalHeader32:
		base = uint64(h.ImageBase)
	case *pe.OptionalHeader64:
		base = h.ImageBase
	default:
		return nil, &FormatError{"a PE object file, not linked yet"}
	}
	l := newLoader(r, size)
	for _, s := range f.Sections {
		const uninitialized, execute, discardable = 0x80, 0x20000000, 0x02000000 // IMAGE_SCN_*
		if s.Characteristics&(uninitialized|discardable) != 0 {
			continue
		}
		// The file rounds sections up; what lies beyond the size is padding.
		data, err := l.load(uint64(s.Offset), uint64(min(s.Size, s.VirtualSize)))
		if err != nil {
			return nil, err
		}
		addr := base + uint64(s.VirtualAddress)
		im.add(addr, data, s.Characteristics&execute != 0)
		im.names[s.Name] = segment{addr, data, s.Characteristics&execute != 0}
	}
	if err := im.inOrder(); err != nil {
		return nil, err
	}
	for _, s := range f.Symbols {
		if s.SectionNumber <= 0 || int(s.SectionNumber) > len(f.Sections) {
			continue
		}
		sect := f.Sections[s.SectionNumber-1]
		im.syms = append(im.syms, imageSym{
			name: s.Name,
			addr: base + uint64(sect.VirtualAddress) + uint64(s.Value),
			code: sect.Characteristics&0x20 != 0, // IMAGE_SCN_CNT_CODE
		})
	}
	return im, nil
}

// seg returns the segment that holds addr.
func (im *image) seg(addr uint64) (segment, bool) {
	i, ok := slices.BinarySearchFunc(im.segs, addr, func(s segment, a uint64) int { return cmp.Compare(s.addr, a) })
	if !ok {
		i--
	}
	if i < 0 || addr >= im.segs[i].end() {
		return segment{}, false
	}
	return im.segs[i], true
}

// bytes returns n bytes at addr, without relocations.
func (im *image) bytes(addr, n uint64) ([]byte, bool) {
	s, ok := im.seg(addr)
	if !ok || n > s.end()-addr {
		return nil, false
	}
	return s.data[addr-s.addr:][:n:n], true
}

// rest returns the memory from addr to the end of its segment.
func (im *image) rest(addr uint64) ([]byte, bool) {
	s, ok := im.seg(addr)
	if !ok {
		return nil, false
	}
	return s.data[addr-s.addr:], true
}

// word returns the word at addr as the program will see it, with the file's own
// base address.
func (im *image) word(addr uint64) (uint64, bool) {
	if i, ok := slices.BinarySearchFunc(im.relocs, addr, func(p pointer, a uint64) int { return cmp.Compare(p.addr, a) }); ok {
		return im.relocs[i].value, true
	}
	b, ok := im.bytes(addr, uint64(im.arch.ptrSize))
	if !ok {
		return 0, false
	}
	return im.arch.uint(b), true
}

// uint reads a word of the machine.
func (a *arch) uint(b []byte) uint64 {
	if a.ptrSize == 4 {
		return uint64(a.order.Uint32(b))
	}
	return a.order.Uint64(b)
}

// find returns the addresses where the words of non-executable memory hold value,
// at most limit of them.
func (im *image) find(value uint64, limit int) []uint64 {
	var found []uint64
	for _, p := range im.relocs {
		if p.value == value && len(found) < limit {
			found = append(found, p.addr)
		}
	}
	pattern := make([]byte, 8)
	if im.arch.ptrSize == 4 {
		pattern = pattern[:4]
		im.arch.order.PutUint32(pattern, uint32(value))
	} else {
		im.arch.order.PutUint64(pattern, value)
	}
	for _, s := range im.segs {
		if s.exec && im.format != "macho" {
			continue
		}
		for at := 0; len(found) < limit; {
			i := bytes.Index(s.data[at:], pattern)
			if i < 0 {
				break
			}
			at += i
			if addr := s.addr + uint64(at); addr%uint64(im.arch.ptrSize) == 0 {
				found = append(found, addr)
			}
			at++
		}
	}
	return found
}
