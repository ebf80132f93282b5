package probe

import (
	"debug/dwarf"
	"debug/elf"

	"hmaptools/internal/hmap"
)

// Variable is a package variable of the target.
type Variable struct {
	Name string // with the full package path
	Addr uint64 // in the process
	Type *hmap.Type
}

// typeInfo is what hmap.Types needs to describe types as such.
type typeInfo struct{ d *dwarf.Data }

func (t typeInfo) Reader() *dwarf.Reader                   { return t.d.Reader() }
func (t typeInfo) Const(string) (int64, bool)              { return 0, false }
func (t typeInfo) TypeNamed(string) (dwarf.Offset, bool)   { return 0, false }
func (t typeInfo) RuntimeType(uint64) (dwarf.Offset, bool) { return 0, false }
func (t typeInfo) Var(string) (uint64, dwarf.Offset, bool) { return 0, 0, false }

// variables lists the package variables; none if the binary does not tell of them.
func (im *image) variables() (all []Variable) {
	if im.dwarf == nil {
		return nil
	}
	syms, err := im.file.Symbols()
	if err != nil {
		return nil
	}
	at := map[string]uint64{}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_OBJECT && s.Value != 0 {
			at[s.Name] = s.Value
		}
	}
	types := hmap.NewTypes(typeInfo{im.dwarf}, fileMemory{im})
	for r := im.dwarf.Reader(); ; {
		e, err := r.Next()
		if err != nil || e == nil {
			return all
		}
		if e.Tag == dwarf.TagVariable {
			name, _ := e.Val(dwarf.AttrName).(string)
			off, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
			if addr := at[name]; addr != 0 && ok {
				if t, err := types.At(off); err == nil {
					all = append(all, Variable{name, addr + im.bias, t})
				}
			}
		}
		if e.Children && e.Tag != dwarf.TagCompileUnit {
			r.SkipChildren()
		}
	}
}

// fileMemory is the executable's file as memory.
type fileMemory struct{ im *image }

// ReadMemory implements hmap.Memory.
func (m fileMemory) ReadMemory(b []byte, addr uint64) (int, error) {
	file, err := m.im.fileBytes(addr-m.im.bias, len(b))
	return copy(b, file), err
}
