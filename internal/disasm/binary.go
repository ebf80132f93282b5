package disasm

import (
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Binary is a linked program or library: ELF, Mach-O or PE. It may be stripped:
// functions, files and lines come from the runtime's own tables. It is safe for
// use by several goroutines.
type Binary struct {
	Format    string // elf, macho or pe
	Arch      string // GOARCH
	GoVersion string // "go1.26.8 X:..." as the build recorded it, "" if it did not
	// Stripped says that there is no symbol table. Type arguments in the names of
	// functions are then "[...]", and only type descriptors among data have names.
	Stripped bool
	// Warning joins what is missing, and is nil if nothing is: without the
	// moduledata, types have no names, and inlined calls are not told.
	Warning error

	im      *image
	pcln    *pclntab
	types   *typeTable // nil without a base
	funcs   []Function
	data    []imageSym // with sizes, sorted by address
	typeMu  sync.Mutex
	typeFor map[uint64]*Type // nil for what is no descriptor
}

// A Function is a function of a Binary.
type Function struct {
	Name string
	Addr uint64
	Size uint64 // in bytes, without the padding behind it
	pcln int    // index in the pclntab, -1 for what is not Go
}

// Open reads the headers and tables of the binary path. It fails with a
// [*FormatError] if the file is no such binary, and with an [*ArchError] if its
// machine has no decoder. The file is not kept open.
func Open(path string) (*Binary, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: %w", path, &FormatError{"not a regular file"})
	}
	b, err := NewBinary(f, fi.Size())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return b, nil
}

// NewBinary is [Open] for a file of size bytes that r holds. What is needed later
// is read now.
func NewBinary(r io.ReaderAt, size int64) (b *Binary, err error) {
	// The packages debug/elf, debug/macho and debug/pe promise no panics on
	// damaged files, and have had some.
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, &FormatError{fmt.Sprintf("damaged: %v", p)}
		}
	}()
	im, err := openImage(r, size)
	if err != nil {
		return nil, err
	}
	pcln, err := im.pclntab()
	if err != nil {
		return nil, err
	}
	b = &Binary{
		Format: im.format, Arch: im.arch.name, Stripped: len(im.syms) == 0,
		im: im, pcln: pcln, typeFor: map[uint64]*Type{},
	}
	if info, err := buildinfo.Read(r); err == nil {
		b.GoVersion = info.GoVersion
	}
	if err := b.findBases(); err != nil {
		return nil, err
	}
	b.findSymbols()
	return b, nil
}

// findBases finds the addresses from which the tables count.
func (b *Binary) findBases() error {
	var missing []error
	if _, words, err := b.im.moduledata(b.pcln); err != nil {
		missing = append(missing, err)
	} else {
		const text = 22
		b.pcln.text = words[text]
		if b.pcln.gofunc = b.im.gofuncFrom(b.pcln, words); b.pcln.gofunc == 0 {
			missing = append(missing, errors.New("inlined calls: runtime.moduledata.gofunc not found"))
		}
		if base := b.im.typesFrom(words); base != 0 {
			b.types = &typeTable{b.im, base}
		} else {
			missing = append(missing, errors.New("types: runtime.moduledata.types not found"))
		}
	}
	if b.pcln.text == 0 {
		// The header does not say since Go 1.26. The section starts with it unless
		// the C linker put something before.
		for _, name := range []string{".text", "__text"} {
			if s, ok := b.im.names[name]; ok {
				b.pcln.text = s.addr
			}
		}
		for _, s := range b.im.syms {
			if s.name == "runtime.text" {
				b.pcln.text = s.addr
			}
		}
	}
	if s, ok := b.im.seg(b.pcln.text); !ok || !s.exec {
		return &FormatError{fmt.Sprintf("damaged: no code at %#x, where the functions should start", b.pcln.text)}
	}
	b.Warning = errors.Join(missing...)
	return nil
}

// isMarker reports whether a symbol marks a place and names nothing.
func isMarker(name string) bool {
	if strings.HasSuffix(name, "*") { // type:*, go:string.*, go:func.*
		return true
	}
	switch name {
	case "", "go:buildid", "go.buildid",
		"runtime.text", "runtime.etext", "text", "_text", "etext", "_etext", "runtime.types", "runtime.etypes", "runtime.rodata", "runtime.erodata",
		"runtime.noptrdata", "runtime.enoptrdata", "runtime.data", "runtime.edata", "runtime.bss", "runtime.ebss", "runtime.noptrbss", "runtime.enoptrbss",
		"runtime.end", "runtime.epclntab", "runtime.esymtab", "runtime.gcdata", "runtime.gcbss", "runtime.itablink", "runtime.eitablink":
		return true
	}
	return false
}

// findSymbols makes the lists of functions and data. Functions are those of the
// pclntab, under the symbol table's name if it has one, which is more exact, and
// what the symbol table has besides.
func (b *Binary) findSymbols() {
	t := b.pcln
	var runs []pcRun
	code := map[uint64]imageSym{}
	for i, s := range b.im.syms {
		if isMarker(s.name) {
			continue
		}
		switch {
		case s.code:
			// The first name of an address wins, but one with a size is better.
			if old, ok := code[s.addr]; !ok || old.size == 0 && s.size != 0 {
				code[s.addr] = s
			}
		case s.size > 0:
			b.data = append(b.data, s)
		case b.im.format != "elf": // no sizes: it goes up to the next
			for _, next := range b.im.syms[i+1:] {
				if next.addr > s.addr {
					s.size = next.addr - s.addr
					b.data = append(b.data, s)
					break
				}
			}
		}
	}
	b.funcs = make([]Function, 0, t.nfunc+len(code))
	for i := range t.nfunc {
		f := t.fn(i)
		if f.end <= f.entry {
			continue
		}
		fn := Function{Name: t.funcName(f), Addr: f.entry, pcln: i}
		if s, ok := code[f.entry]; ok {
			delete(code, f.entry)
			fn.Name, fn.Size = s.name, s.size
			if b.im.format == "macho" {
				fn.Name = strings.TrimPrefix(fn.Name, "_")
			}
		}
		if fn.Size == 0 || fn.Size > f.end-f.entry {
			fn.Size, runs = t.size(f, runs)
		}
		b.funcs = append(b.funcs, fn)
	}
	for addr, s := range code {
		i := t.index(addr)
		switch {
		case s.size == 0:
			continue
		case i >= 0 && t.fn(i).data != nil && s.size > t.fn(i).end-addr:
			continue // reaches into other functions
		}
		b.funcs = append(b.funcs, Function{Name: s.name, Addr: addr, Size: s.size, pcln: -1})
	}
	slices.SortFunc(b.funcs, func(x, y Function) int {
		return cmp.Or(cmp.Compare(x.Addr, y.Addr), cmp.Compare(y.Size, x.Size))
	})
}

// Functions returns all functions in the order of their addresses. The slice
// belongs to b.
func (b *Binary) Functions() []Function { return b.funcs }

// FunctionAt returns the function whose code holds addr.
func (b *Binary) FunctionAt(addr uint64) (Function, bool) {
	i, ok := slices.BinarySearchFunc(b.funcs, addr, func(f Function, a uint64) int { return cmp.Compare(f.Addr, a) })
	if !ok {
		i--
	}
	if i < 0 || addr-b.funcs[i].Addr >= b.funcs[i].Size {
		return Function{}, false
	}
	return b.funcs[i], true
}

// Symbol returns the name of what lies at addr as a listing would write it: a
// function, a variable, or type:NAME for a type descriptor; off is the distance
// in bytes from its start. The name is "" if nothing is known to lie there.
func (b *Binary) Symbol(addr uint64) (name string, off int64) {
	if f, ok := b.FunctionAt(addr); ok {
		return f.Name, int64(addr - f.Addr)
	}
	i, ok := slices.BinarySearchFunc(b.data, addr, func(s imageSym, a uint64) int { return cmp.Compare(s.addr, a) })
	if !ok {
		i--
	}
	if i >= 0 && addr-b.data[i].addr < b.data[i].size {
		return b.data[i].name, int64(addr - b.data[i].addr)
	}
	if t, err := b.TypeAt(addr); err == nil {
		return "type:" + t.Name, 0
	}
	return "", 0
}

// TypeAt reads the type descriptor at addr.
func (b *Binary) TypeAt(addr uint64) (*Type, error) {
	if b.types == nil {
		return nil, errors.New("the start of the type descriptors is not known")
	}
	b.typeMu.Lock()
	defer b.typeMu.Unlock()
	t, ok := b.typeFor[addr]
	if !ok {
		var err error
		if t, err = b.types.read(addr); err != nil {
			t = nil
		}
		b.typeFor[addr] = t
	}
	if t == nil {
		return nil, fmt.Errorf("no type descriptor at %#x", addr)
	}
	return t, nil
}

// MapTypeAt reads the descriptor of a map type at addr. It fails if another kind
// of type lies there, or none.
func (b *Binary) MapTypeAt(addr uint64) (*MapType, error) {
	t, err := b.TypeAt(addr)
	if err != nil {
		return nil, err
	}
	if t.Key == 0 {
		return nil, fmt.Errorf("type %s at %#x is no map type", t.Name, addr)
	}
	m := &MapType{Name: t.Name}
	if k, err := b.TypeAt(t.Key); err == nil {
		m.Key = k.Name
	}
	if e, err := b.TypeAt(t.Elem); err == nil {
		m.Elem = e.Name
	}
	h := addr + b.im.typeHeaderLen()
	d := mapDescriptor{arch: b.im.arch}
	group, _ := b.im.word(b.im.typeField(h, 2, 0))
	if g, err := b.TypeAt(group); err == nil {
		d.group = g.Name
	}
	if mem, ok := b.im.rest(b.im.typeField(h, 4, 0)); ok {
		d.tail = mem[:min(len(mem), 64)]
	}
	return m, m.decode(d)
}

// ReadMemory reads memory as the file holds it. It fails if part of it is not in
// the file, as zeroed variables are not. Words that the dynamic linker fills in
// have any content.
func (b *Binary) ReadMemory(buf []byte, addr uint64) (int, error) {
	mem, ok := b.im.bytes(addr, uint64(len(buf)))
	if !ok {
		return 0, fmt.Errorf("read %d bytes at %#x: not in the file", len(buf), addr)
	}
	return copy(buf, mem), nil
}

// Each decodes functions on all cores and calls fn for each, from several
// goroutines at a time and in no order; i is the index in funcs. The Func is valid
// during the call alone. The first error ends it and is returned.
func (b *Binary) Each(funcs []Function, text bool, fn func(i int, f *Func) error) error {
	workers := min(runtime.GOMAXPROCS(0), max(1, len(funcs)/16))
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	var failed atomic.Bool
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			d := b.NewDecoder(text)
			// A few at a time: neighbours have files in common.
			const batch = 8
			for !failed.Load() {
				start := int(next.Add(batch)) - batch
				if start >= len(funcs) {
					return
				}
				for i := start; i < min(start+batch, len(funcs)); i++ {
					f, err := d.Decode(funcs[i])
					if err == nil {
						err = fn(i, f)
					}
					if err != nil {
						errs[w] = err
						failed.Store(true)
						return
					}
				}
			}
		}()
	}
	wg.Wait()
	return cmp.Or(errs...)
}
