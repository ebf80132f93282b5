package target

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
)

// coreFile reads the memory of a core dump. Delve has a reader too, which serves
// for its own needs; this one knows what lies past the end of a truncated file,
// never reads a mapping of another file as if it were the binary, and splits a
// read at segments.
type coreFile struct {
	f        *os.File
	path     string
	size     int64
	exe      *os.File
	exeELF   *elf.File
	segs     []segment // sorted by addr, not overlapping
	auxv     []byte
	mapped   []mappedFile // NT_FILE
	warnings []string
	// needsCopy: the section headers lie past the end of the file, and Delve
	// would refuse it.
	needsCopy bool
	layout    elf64Header
}

// segment is a stretch of memory that a file holds.
type segment struct {
	addr, size uint64
	r          io.ReaderAt
	off        int64
	core       bool
}

type mappedFile struct {
	start, end, off uint64
	name            string
}

type elf64Header struct {
	Ident                                            [16]byte
	Type, Machine                                    uint16
	Version                                          uint32
	Entry, Phoff, Shoff                              uint64
	Flags                                            uint32
	Ehsize, Phentsize, Phnum, Shentsize, Shnum, Shst uint16
}

// Limits on what a damaged core can make us hold.
const (
	maxNoteBytes   = 256 << 20 // a thread has some 4 KiB of notes
	maxMappedFiles = 1 << 20
)

// openCoreFile opens a core dump of the binary exe and verifies that they fit.
func openCoreFile(path, exe string) (_ *coreFile, err error) {
	c := &coreFile{path: path}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.f, err = os.Open(path); err != nil {
		return nil, err
	}
	fi, err := c.f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, &CoreError{path, NotCore, "a directory"}
	}
	c.size = fi.Size()
	if c.exe, err = os.Open(exe); err != nil {
		return nil, err
	}
	if c.exeELF, err = elf.NewFile(c.exe); err != nil {
		return nil, err
	}
	if err := c.readHeaders(); err != nil {
		return nil, err
	}
	return c, c.checkBinary(exe)
}

func (c *coreFile) readHeaders() error {
	h := &c.layout
	if err := binary.Read(io.NewSectionReader(c.f, 0, c.size), binary.LittleEndian, h); err != nil {
		if c.size > 4 && kindOfFile(c.f) == "a damaged ELF file" {
			return &CoreError{c.path, CoreTruncated, fmt.Sprintf("the file has %d bytes", c.size)}
		}
		return &CoreError{c.path, NotCore, kindOfFile(c.f)}
	}
	switch {
	case !bytes.HasPrefix(h.Ident[:], []byte("\x7fELF")):
		return &CoreError{c.path, NotCore, kindOfFile(c.f)}
	case h.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || h.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB):
		return &CoreError{c.path, NotCore, "only 64-bit little-endian cores are read"}
	case elf.Type(h.Type) != elf.ET_CORE:
		return &CoreError{c.path, NotCore, fmt.Sprintf("an ELF file of type %v", elf.Type(h.Type))}
	case elf.Machine(h.Machine) != c.exeELF.Machine:
		return &CoreError{c.path, OtherBinary, fmt.Sprintf("the core is of a %v, the binary is for %v", elf.Machine(h.Machine), c.exeELF.Machine)}
	case h.Phentsize != 56:
		return &CoreError{c.path, NotCore, fmt.Sprintf("program headers of %d bytes, not 56", h.Phentsize)}
	}
	progs := make([]elf.Prog64, h.Phnum)
	if err := binary.Read(io.NewSectionReader(c.f, int64(h.Phoff), max(0, c.size-int64(h.Phoff))), binary.LittleEndian, progs); err != nil {
		return &CoreError{c.path, CoreTruncated, fmt.Sprintf("the file has %d bytes, its %d program headers start at %d", c.size, h.Phnum, h.Phoff)}
	}
	var end, lost, left uint64
	notes := false
	for _, p := range progs {
		if p.Off+p.Filesz < p.Off {
			return &CoreError{c.path, NotCore, fmt.Sprintf("a segment of %#x bytes at file offset %#x", p.Filesz, p.Off)}
		}
		end = max(end, p.Off+p.Filesz)
		switch elf.ProgType(p.Type) {
		case elf.PT_NOTE:
			if p.Filesz > maxNoteBytes {
				return &CoreError{c.path, NotCore, fmt.Sprintf("notes of %d bytes; at most %d are read", p.Filesz, maxNoteBytes)}
			}
			if p.Off+p.Filesz > uint64(c.size) {
				return &CoreError{c.path, CoreTruncated, fmt.Sprintf("the file has %d bytes, its notes end at %d", c.size, p.Off+p.Filesz)}
			}
			if err := c.readNotes(p); err != nil {
				return err
			}
			notes = true
		case elf.PT_LOAD:
			have := p.Filesz
			if p.Off >= uint64(c.size) {
				have = 0
			} else if p.Off+have > uint64(c.size) {
				have = uint64(c.size) - p.Off
			}
			lost += p.Filesz - have
			if elf.ProgFlag(p.Flags)&elf.PF_W != 0 && p.Memsz > p.Filesz {
				left += p.Memsz - p.Filesz
			}
			if have > 0 {
				c.segs = append(c.segs, segment{p.Vaddr, have, c.f, int64(p.Off), true})
			}
		}
	}
	if !notes {
		return &CoreError{c.path, NotCore, "no notes: it does not say which threads there were"}
	}
	if left > 0 {
		c.warnings = append(c.warnings, fmt.Sprintf("%d bytes of memory that the process could write were left out of the core "+
			"(see coredump_filter in core(5)): maps there cannot be read", left))
	}
	if end > uint64(c.size) {
		c.warnings = append(c.warnings, fmt.Sprintf("%s is truncated: %d of %d bytes are there; %d bytes of memory are unreadable",
			c.path, c.size, end, lost))
	}
	if h.Shoff != 0 && h.Shoff+uint64(h.Shnum)*uint64(h.Shentsize) > uint64(c.size) {
		c.needsCopy = true
	}
	sort.SliceStable(c.segs, func(i, j int) bool { return c.segs[i].addr < c.segs[j].addr })
	// Segments of a sound core do not overlap; cut what does.
	segs := c.segs[:0]
	for _, s := range c.segs {
		if n := len(segs); n > 0 {
			if prevEnd := segs[n-1].addr + segs[n-1].size; prevEnd > s.addr {
				d := prevEnd - s.addr
				if d >= s.size {
					continue
				}
				s.addr, s.off, s.size = s.addr+d, s.off+int64(d), s.size-d
			}
		}
		segs = append(segs, s)
	}
	c.segs = segs
	return nil
}

const (
	ntAuxv = 6
	ntFile = 0x46494c45
)

func (c *coreFile) readNotes(p elf.Prog64) error {
	b := make([]byte, p.Filesz)
	if _, err := c.f.ReadAt(b, int64(p.Off)); err != nil {
		return fmt.Errorf("read notes of %s: %w", c.path, err)
	}
	for len(b) >= 12 {
		namesz, descsz, typ := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
		b = b[12:]
		name, desc := align4(namesz), align4(descsz)
		if name+desc > uint64(len(b)) {
			if name+uint64(descsz) != uint64(len(b)) { // the last may lack its padding
				return &CoreError{c.path, NotCore, "damaged notes"}
			}
			desc = uint64(descsz)
		}
		d := b[name:][:descsz]
		b = b[name+desc:]
		switch typ {
		case ntAuxv:
			c.auxv = d
		case ntFile:
			c.readMappedFiles(d)
		}
	}
	return nil
}

func align4(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }

// readMappedFiles reads an NT_FILE note: a count, a page size, (start, end, page
// offset) for each mapping, then their names.
func (c *coreFile) readMappedFiles(d []byte) {
	if len(d) < 16 {
		return
	}
	n, page := binary.LittleEndian.Uint64(d), binary.LittleEndian.Uint64(d[8:])
	d = d[16:]
	if n > maxMappedFiles || n*24 > uint64(len(d)) {
		return
	}
	names := bytes.Split(d[n*24:], []byte{0})
	for i := range n {
		m := mappedFile{
			start: binary.LittleEndian.Uint64(d[i*24:]),
			end:   binary.LittleEndian.Uint64(d[i*24+8:]),
			off:   binary.LittleEndian.Uint64(d[i*24+16:]) * page,
		}
		if i < uint64(len(names)) {
			m.name = string(names[i])
		}
		c.mapped = append(c.mapped, m)
	}
}

// auxEntry is the entry point that the kernel told the process: AT_ENTRY.
func (c *coreFile) auxEntry() (uint64, bool) {
	for b := c.auxv; len(b) >= 16; b = b[16:] {
		if binary.LittleEndian.Uint64(b) == 9 {
			return binary.LittleEndian.Uint64(b[8:]), true
		}
	}
	return 0, false
}

// checkBinary verifies that the core is of the binary: the entry points must
// agree, and what the core holds of memory that the process could not write must
// be what the binary holds: that takes in the Go build ID, which the kernel
// dumps with the first page of every ELF file.
func (c *coreFile) checkBinary(exe string) error {
	entry, ok := c.auxEntry()
	if !ok {
		c.warnings = append(c.warnings, "the core does not say its entry point; that it is of this binary could not be verified")
		return nil
	}
	was := ""
	for _, m := range c.mapped {
		if m.start <= entry && entry < m.end {
			was = "; it is of " + m.name
		}
	}
	base := entry - c.exeELF.Entry
	if c.exeELF.Type == elf.ET_EXEC && base != 0 || base&0xfff != 0 {
		return &CoreError{c.path, OtherBinary, fmt.Sprintf("entry point %#x, that of %s is %#x%s", entry, exe, c.exeELF.Entry, was)}
	}
	const most = 256 << 10 // bytes compared in each segment
	// A debugger that dumped the process may have left a few breakpoints.
	const tolerated = 64
	compared, differ := 0, 0
	for _, p := range c.exeELF.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_W != 0 {
			continue
		}
		n := min(p.Filesz, most)
		for _, s := range c.segs {
			lo, hi := max(s.addr, p.Vaddr+base), min(s.addr+s.size, p.Vaddr+base+n)
			if lo >= hi {
				continue
			}
			got, want := make([]byte, hi-lo), make([]byte, hi-lo)
			if _, err := s.r.ReadAt(got, s.off+int64(lo-s.addr)); err != nil {
				continue
			}
			if _, err := p.ReadAt(want, int64(lo-base-p.Vaddr)); err != nil {
				continue
			}
			for i := range got {
				if got[i] != want[i] {
					differ++
				}
			}
			compared += len(got)
		}
	}
	if differ > tolerated {
		return &CoreError{c.path, OtherBinary, fmt.Sprintf("%d of %d bytes of code and constants differ from %s%s", differ, compared, exe, was)}
	}
	if compared == 0 {
		c.warnings = append(c.warnings, "the core holds no code; only its entry point was compared with the binary")
	}
	return nil
}

// addBinary adds what the core leaves out and the binary holds: code, constants,
// and data that was never written.
func (c *coreFile) addBinary(base uint64) {
	var all []segment
	for _, p := range c.exeELF.Progs {
		if p.Type != elf.PT_LOAD || p.Filesz == 0 {
			continue
		}
		// The stretches of the binary's segment that no segment of the core covers.
		at, end := p.Vaddr+base, p.Vaddr+base+p.Filesz
		for _, s := range c.segs {
			if s.addr+s.size <= at || s.addr >= end {
				continue
			}
			if s.addr > at {
				all = append(all, segment{at, s.addr - at, c.exe, int64(p.Off + at - base - p.Vaddr), false})
			}
			at = s.addr + s.size
		}
		if at < end {
			all = append(all, segment{at, end - at, c.exe, int64(p.Off + at - base - p.Vaddr), false})
		}
	}
	c.segs = append(c.segs, all...)
	sort.SliceStable(c.segs, func(i, j int) bool { return c.segs[i].addr < c.segs[j].addr })
}

// ReadMemory implements hmap.Memory.
func (c *coreFile) ReadMemory(buf []byte, addr uint64) (n int, err error) {
	for n < len(buf) {
		at := addr + uint64(n)
		i := sort.Search(len(c.segs), func(i int) bool { return c.segs[i].addr+c.segs[i].size > at })
		if i == len(c.segs) || c.segs[i].addr > at {
			return n, fmt.Errorf("read memory at %#x: not in the core", at)
		}
		s := c.segs[i]
		in := at - s.addr
		k, err := s.r.ReadAt(buf[n:n+int(min(uint64(len(buf)-n), s.size-in))], s.off+int64(in))
		n += k
		if err != nil && (k == 0 || !errors.Is(err, io.EOF)) {
			return n, fmt.Errorf("read memory at %#x: %w", at, err)
		}
	}
	return n, nil
}

// copyWithoutSections makes a copy of the core that says it has no sections. It
// lies alone in a new temporary directory.
func (c *coreFile) copyWithoutSections() (path string, err error) {
	dir, err := os.MkdirTemp("", "hmapdump-core")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	path = filepath.Join(dir, filepath.Base(c.path))
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	src, err := os.Open(c.path) // not c.f: io.Copy between files clones blocks where the file system can
	if err != nil {
		return "", err
	}
	defer src.Close()
	if _, err := io.Copy(out, src); err != nil {
		return "", fmt.Errorf("copy %s: %w", c.path, err)
	}
	h := c.layout
	h.Shoff, h.Shnum, h.Shst = 0, 0, 0
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		return "", err
	}
	_, err = out.WriteAt(b.Bytes(), 0)
	return path, err
}

func (c *coreFile) Close() error {
	var errs []error
	if c.f != nil {
		errs = append(errs, c.f.Close())
	}
	if c.exe != nil {
		errs = append(errs, c.exe.Close())
	}
	return errors.Join(errs...)
}
