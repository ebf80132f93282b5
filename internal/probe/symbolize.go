package probe

import (
	"debug/dwarf"
	"sort"

	"hmaptools/internal/event"
	"hmaptools/internal/hmap"
)

// symbolizer names return addresses and types. It serves one goroutine.
type symbolizer struct {
	im    *image
	mem   hmap.Memory // the process; it may have ended
	units map[dwarf.Offset]*unit
	names map[dwarf.Offset]string // of functions that are inlined
}

// unit is a compilation unit.
type unit struct {
	funcs []unitFunc // sorted by address
	files []*dwarf.LineFile
	lines *dwarf.LineReader
}

type unitFunc struct {
	span
	off  dwarf.Offset
	name string
}

func newSymbolizer(im *image, mem hmap.Memory) *symbolizer {
	return &symbolizer{im: im, mem: mem, units: map[dwarf.Offset]*unit{}, names: map[dwarf.Offset]string{}}
}

// frames returns the calls at a return address, innermost first.
func (s *symbolizer) frames(ret uint64) []event.Frame {
	pc := ret - 1 - s.im.bias // within the call
	if s.im.dwarf != nil {
		if f := s.dwarfFrames(pc); len(f) > 0 {
			return f
		}
	}
	if file, line, fn := s.im.lines.PCToLine(pc); fn != nil {
		return []event.Frame{{Func: fn.Name, File: file, Line: line}}
	}
	return nil
}

// dwarfFrames knows inlined calls.
func (s *symbolizer) dwarfFrames(pc uint64) []event.Frame {
	d := s.im.dwarf
	cu, err := d.Reader().SeekPC(pc)
	if err != nil {
		return nil
	}
	u := s.unit(cu)
	if u == nil {
		return nil
	}
	i := sort.Search(len(u.funcs), func(i int) bool { return u.funcs[i].hi > pc })
	if i == len(u.funcs) || pc < u.funcs[i].lo {
		return nil
	}
	fn := u.funcs[i]
	var le dwarf.LineEntry
	if err := u.lines.SeekPC(pc, &le); err != nil || le.File == nil {
		return nil
	}
	// From the outermost to the innermost; a call's place is that of the one inside.
	type call struct {
		name string
		file string
		line int
	}
	chain := []call{{name: fn.name}}
	r := d.Reader()
	r.Seek(fn.off)
	if e, err := r.Next(); err != nil || e == nil || !e.Children {
		return nil
	}
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil || e == nil {
			break
		}
		switch e.Tag {
		case 0:
			depth--
			continue
		case dwarf.TagInlinedSubroutine:
			if covers(d, e, pc) {
				origin, _ := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
				file, _ := e.Val(dwarf.AttrCallFile).(int64)
				line, _ := e.Val(dwarf.AttrCallLine).(int64)
				last := &chain[len(chain)-1]
				last.line = int(line)
				if file >= 0 && int(file) < len(u.files) && u.files[file] != nil {
					last.file = u.files[file].Name
				}
				chain = append(chain, call{name: s.name(origin)})
				if !e.Children {
					depth = 0
				}
				depth = 1 // what surrounds it is of no interest any more
				continue
			}
			if e.Children {
				r.SkipChildren()
			}
		case dwarf.TagLexDwarfBlock:
			if e.Children {
				depth++
			}
		default:
			if e.Children {
				r.SkipChildren()
			}
		}
	}
	last := &chain[len(chain)-1]
	last.file, last.line = le.File.Name, le.Line
	frames := make([]event.Frame, 0, len(chain))
	for i := len(chain) - 1; i >= 0; i-- {
		frames = append(frames, event.Frame{Func: chain[i].name, File: chain[i].file, Line: chain[i].line})
	}
	return frames
}

func covers(d *dwarf.Data, e *dwarf.Entry, pc uint64) bool {
	ranges, err := d.Ranges(e)
	if err != nil {
		return false
	}
	for _, r := range ranges {
		if pc >= r[0] && pc < r[1] {
			return true
		}
	}
	return false
}

func (s *symbolizer) unit(cu *dwarf.Entry) *unit {
	if u, ok := s.units[cu.Offset]; ok {
		return u
	}
	d := s.im.dwarf
	s.units[cu.Offset] = nil
	u := &unit{}
	var err error
	if u.lines, err = d.LineReader(cu); err != nil || u.lines == nil {
		return nil
	}
	u.files = u.lines.Files()
	r := d.Reader()
	r.Seek(cu.Offset)
	if _, err := r.Next(); err != nil {
		return nil
	}
	for {
		e, err := r.Next()
		if err != nil || e == nil || e.Tag == 0 || e.Tag == dwarf.TagCompileUnit {
			break
		}
		if e.Tag == dwarf.TagSubprogram {
			f := unitFunc{off: e.Offset}
			f.name, _ = e.Val(dwarf.AttrName).(string)
			if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok && f.name == "" {
				f.name = s.name(origin)
			}
			if ranges, err := d.Ranges(e); err == nil {
				for _, rg := range ranges {
					f.span = span{rg[0], rg[1]}
					u.funcs = append(u.funcs, f)
				}
			}
		}
		if e.Children {
			r.SkipChildren()
		}
	}
	sort.Slice(u.funcs, func(i, j int) bool { return u.funcs[i].lo < u.funcs[j].lo })
	s.units[cu.Offset] = u
	return u
}

func (s *symbolizer) name(off dwarf.Offset) string {
	if n, ok := s.names[off]; ok {
		return n
	}
	n := "?"
	r := s.im.dwarf.Reader()
	r.Seek(off)
	if e, err := r.Next(); err == nil && e != nil {
		if name, ok := e.Val(dwarf.AttrName).(string); ok {
			n = name
		}
	}
	s.names[off] = n
	return n
}

// mapType describes the map type whose descriptor is at addr.
func (s *symbolizer) mapType(addr uint64) *event.Type {
	t := &event.Type{Addr: hmap.Addr(addr)}
	bases := []hmap.Addr{hmap.Addr(s.im.types + s.im.bias)}
	if s.im.types == 0 {
		// Stripped: types lie at the beginning of one of these.
		bases = bases[:0]
		for _, name := range []string{".go.type", ".rodata", ".data.rel.ro"} {
			if sec := s.im.section(name); sec != nil {
				bases = append(bases, hmap.Addr(sec.Addr+s.im.bias))
			}
		}
	}
	mt, err := hmap.ReadMapType(s, hmap.Addr(addr), bases)
	if err == nil {
		t.Name, t.Key, t.Size, t.Block = mt.Name, mt.Key, mt.KeySize, mt.BlockSize
	}
	return t
}

// ReadMemory implements hmap.Memory: the process, or the file if the process has ended.
func (s *symbolizer) ReadMemory(b []byte, addr uint64) (int, error) {
	if k, err := s.mem.ReadMemory(b, addr); err == nil && k == len(b) {
		return k, nil
	}
	file, err := s.im.fileBytes(addr-s.im.bias, len(b))
	return copy(b, file), err
}

// symbols names return addresses and types.
func (s *symbolizer) symbols(pcs, types []uint64) event.Symbols {
	out := event.Symbols{Frames: map[uint64][]event.Frame{}}
	for _, pc := range pcs {
		if f := s.frames(pc); len(f) > 0 {
			out.Frames[pc] = f
		}
	}
	for _, t := range types {
		out.Types = append(out.Types, s.mapType(t))
	}
	return out
}
