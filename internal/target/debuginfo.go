package target

import (
	"debug/dwarf"
	"fmt"
	"go/constant"
	"strconv"
	"strings"

	"github.com/go-delve/delve/pkg/proc"
)

// debugInfo implements hmap.DebugInfo over what Delve has indexed. Only image 0,
// the executable, carries types. Every answer, misses too, is kept.
type debugInfo struct {
	t        *Target
	consts   map[string]constResult
	types    map[string]typeResult
	runtime  map[uint64]typeResult
	modules  []proc.ModuleData
	typeName string // of the runtime's type descriptor
	typesLo  uint64 // see typeRange
	typesHi  uint64
	globals  []global
	byName   map[string]int // index of globals
}

type constResult struct {
	val int64
	ok  bool
}

type typeResult struct {
	off dwarf.Offset
	ok  bool
}

// global is a package variable.
type global struct {
	name string // with the full package path
	addr uint64
	typ  dwarf.Offset
	line int
}

func newDebugInfo(t *Target) *debugInfo {
	return &debugInfo{
		t:       t,
		consts:  make(map[string]constResult),
		types:   make(map[string]typeResult),
		runtime: make(map[uint64]typeResult),
	}
}

// Reader implements hmap.DebugInfo.
func (d *debugInfo) Reader() *dwarf.Reader { return d.t.bi.Images[0].DwarfReader().Reader }

// Const implements hmap.DebugInfo. A first look-up costs about half a millisecond
// for a binary of 30 MiB.
func (d *debugInfo) Const(name string) (int64, bool) {
	if r, ok := d.consts[name]; ok {
		return r.val, r.ok
	}
	var r constResult
	if pkg, ident, ok := splitName(name); ok {
		// The quoted path keeps Delve from trying locals and package names first.
		v, err := d.eval(strconv.Quote(pkg)+"."+ident, noMemory{})
		if err == nil && v.Flags&proc.VariableConstant != 0 && v.Value != nil {
			if r.val, r.ok = constant.Int64Val(v.Value); !r.ok {
				if u, exact := constant.Uint64Val(v.Value); exact {
					r = constResult{int64(u), true}
				}
			}
		}
	}
	d.consts[name] = r
	return r.val, r.ok
}

func (d *debugInfo) eval(expr string, mem proc.MemoryReadWriter) (v *proc.Variable, err error) {
	err = guard("evaluate", func() error {
		v, err = d.t.globalScope(mem).EvalExpression(expr, proc.LoadConfig{})
		return err
	})
	return v, err
}

// splitName splits "internal/runtime/maps.ctrlEmpty" at the package path's end.
func splitName(name string) (pkg, ident string, ok bool) {
	slash := strings.LastIndexByte(name, '/') + 1
	dot := strings.IndexByte(name[slash:], '.')
	if dot <= 0 {
		return "", "", false
	}
	return name[:slash+dot], name[slash+dot+1:], true
}

// TypeNamed implements hmap.DebugInfo.
func (d *debugInfo) TypeNamed(name string) (dwarf.Offset, bool) {
	if r, ok := d.types[name]; ok {
		return r.off, r.ok
	}
	var r typeResult
	_ = guard("find type", func() error {
		typ, err := d.t.bi.FindType(name)
		if err == nil && typ.Common().Index == 0 {
			r = typeResult{typ.Common().Offset, true}
		}
		return err
	})
	d.types[name] = r
	return r.off, r.ok
}

// RuntimeType implements hmap.DebugInfo.
func (d *debugInfo) RuntimeType(addr uint64) (dwarf.Offset, bool) {
	if r, ok := d.runtime[addr]; ok {
		return r.off, r.ok
	}
	if lo, hi := d.typeRange(); lo < hi && (addr < lo || addr >= hi) {
		return 0, false // made at run time by reflect, or no descriptor at all
	}
	var r typeResult
	_ = guard("find type descriptor", func() error {
		if d.typeName == "" {
			d.typeName = "runtime._type" // up to Go 1.20
			if _, ok := d.TypeNamed("internal/abi.Type"); ok {
				d.typeName = "internal/abi.Type"
			}
		}
		mem := d.t.tgt.Memory()
		if d.modules == nil {
			mds, err := proc.LoadModuleData(d.t.bi, mem)
			if err != nil {
				return err
			}
			d.modules = mds
		}
		v, err := d.eval(fmt.Sprintf("(*%q)(%#x)", d.typeName, addr), mem)
		if err != nil {
			return err
		}
		typ, _, err := proc.RuntimeTypeToDIE(v, 0, d.modules)
		if err == nil && typ.Common().Index == 0 && typ.Common().Offset != 0 {
			r = typeResult{typ.Common().Offset, true}
		}
		return err
	})
	// Before the target has run, the descriptors of a position independent
	// binary may not be relocated: keep no misses until then.
	if r.ok || d.t.stop.Reason != Launched {
		d.runtime[addr] = r
	}
	return r.off, r.ok
}

// typeRange is where the executable's type descriptors lie: words that are none are
// looked up too, and Delve takes its time for each. An empty range says nothing.
func (d *debugInfo) typeRange() (lo, hi uint64) {
	if d.t.stop.Reason == Launched {
		return 0, 0 // not relocated yet
	}
	if d.typesHi == 0 {
		d.typesHi = 1
		if lo, hi := d.section("types", "etypes"); lo < hi {
			d.typesLo, d.typesHi = lo, hi
		}
	}
	if d.typesHi == 1 {
		return 0, 0
	}
	return d.typesLo, d.typesHi
}

// section is a stretch of the executable that runtime.firstmoduledata tells.
func (d *debugInfo) section(from, to string) (lo, hi uint64) {
	mem := d.t.tgt.Memory()
	word := func(field string) uint64 {
		v, err := d.eval(fmt.Sprintf("runtime.firstmoduledata.%s", field), mem)
		if err != nil || v.Unreadable != nil || v.Addr == 0 {
			return 0
		}
		buf := make([]byte, d.t.bi.Arch.PtrSize())
		if n, _ := mem.ReadMemory(buf, v.Addr); n < len(buf) {
			return 0
		}
		var x uint64
		for i, b := range buf {
			x |= uint64(b) << (8 * i)
		}
		return x
	}
	return word(from), word(to)
}

// Var implements hmap.DebugInfo.
func (d *debugInfo) Var(name string) (addr uint64, typ dwarf.Offset, ok bool) {
	if err := d.loadGlobals(); err != nil {
		return 0, 0, false
	}
	i, ok := d.byName[name]
	if !ok {
		return 0, 0, false
	}
	return d.globals[i].addr, d.globals[i].typ, true
}

// loadGlobals lists the package variables of the executable. Delve has their
// entries indexed; it takes some 5 microseconds for each, because no value is read.
func (d *debugInfo) loadGlobals() error {
	if d.byName != nil {
		return nil
	}
	var vars []*proc.Variable
	err := guard("list package variables", func() (err error) {
		vars, err = d.t.globalScope(noMemory{}).PackageVariables(proc.LoadConfig{})
		return err
	})
	if err != nil {
		return fmt.Errorf("list package variables: %w", err)
	}
	d.byName = make(map[string]int, len(vars))
	d.globals = make([]global, 0, len(vars))
	for _, v := range vars {
		if v.Addr == 0 || v.Flags&proc.VariableFakeAddress != 0 || v.DwarfType == nil {
			continue // a declaration, or thread local storage
		}
		c := v.DwarfType.Common()
		if c.Index != 0 || c.Offset == 0 {
			continue
		}
		g := global{unescape(v.Name), v.Addr, c.Offset, int(v.DeclLine)}
		if _, dup := d.byName[g.name]; dup {
			continue
		}
		d.byName[g.name] = len(d.globals)
		d.globals = append(d.globals, g)
	}
	return nil
}

// unescape undoes the linker's escapes of a package path, cmd/internal/objabi
// PathToPrefix: "gopkg.in/yaml%2ev3.cache".
func unescape(name string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '%' && i+2 < len(name) {
			if c, err := strconv.ParseUint(name[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}
