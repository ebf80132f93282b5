package stackmap

import (
	"fmt"
	"reflect"

	"hmaptools/internal/hmap"
)

// facts are the runtime's constants and where its records keep what is needed.
type facts struct {
	ptr uint64 // bytes of a word

	// How frames are laid out. minFrame is what a caller leaves free at the bottom of
	// its frame: where that is not 0, the return address comes in a register.
	minFrame, stackAlign uint64
	framePointer         bool

	argsUnknown                                        int32
	stackMapIndex, inlTreeIndex                        int // PCDATA
	argsMaps, localsMaps, stackObjects, inlTree        int // FUNCDATA
	asyncPreempt, debugCall, sigpanic                  uint64
	topFrame                                           uint64
	scan, idle, running, inSyscall, copystack          uint64 // of a goroutine's status
	dead                                               [2]uint64
	fn                                                 record
	entry, name, args, deferreturn, pcsp, npcdata      hmap.RecordField
	funcID, flag, nfuncdata                            hmap.RecordField
	maps                                               record
	mapsN, mapsBits, mapsData                          hmap.RecordField
	object                                             record
	objOff, objSize, objPtrs, objMask                  hmap.RecordField
	objProg                                            bool // a negative _ptrdata says that the mask is a program
	inlined                                            record
	parentPC                                           hmap.RecordField
	methodValue                                        record
	methodFn, methodStack, bitvectorN                  hmap.RecordField
	g                                                  record
	gLo, gHi, gPanic, gDefer, gM, gID, gStatus, gTop   hmap.RecordField
	schedSP, schedPC, schedLR, schedCtxt, sysSP, sysPC hmap.RecordField
	asyncSafePoint, xRegs                              hmap.RecordField
	xRegsBytes                                         uint64
	m                                                  record
	mSignal, vdsoSP, vdsoPC                            hmap.RecordField
	deferred                                           record
	deferFn, deferLink                                 hmap.RecordField
}

// record is a struct of the runtime.
type record struct {
	name string
	t    *hmap.Type
	size int
}

// maxRecord bounds the size of a record: runtime.m has some 1800 bytes.
const maxRecord = 1 << 14

// finder reads facts; its first failure stays.
type finder struct {
	types *hmap.Types
	err   error
}

func (f *finder) lacks(what string) {
	if f.err == nil {
		f.err = &hmap.LayoutError{Type: "a stack", Lacks: what}
	}
}

// constant reads one that the target has under one of several names.
func (f *finder) constant(names ...string) int64 {
	v, ok := f.types.Const(names...)
	if !ok {
		f.lacks("constant " + names[0])
	}
	return v
}

// index is a constant that numbers something: at most 255.
func (f *finder) index(names ...string) uint64 {
	v := f.constant(names...)
	if v < 0 || v > 255 {
		f.lacks(fmt.Sprintf("a constant %s of one byte (it is %d)", names[0], v))
	}
	return uint64(v)
}

func (f *finder) record(name string) record {
	t := f.types.Named(name)
	if t == nil || t.Kind != reflect.Struct || t.Size <= 0 || t.Size > maxRecord {
		f.lacks("type " + name)
		return record{name: name}
	}
	return record{name, t, int(t.Size)}
}

// field finds a field of at most a word by its path. The atomic types wrap theirs
// in a struct.
func (f *finder) field(r record, paths ...string) hmap.RecordField {
	for _, path := range paths {
		if x, ok := r.field(path); ok {
			return x
		}
	}
	if r.t != nil {
		f.lacks("field " + r.name + "." + paths[0])
	}
	return hmap.RecordField{}
}

// field finds a field by its path: "sched.sp".
func (r record) field(path string) (hmap.RecordField, bool) {
	t, off := r.t, int64(0)
	for rest := path; t != nil; {
		name := rest
		for i := range rest {
			if rest[i] == '.' {
				name = rest[:i]
				break
			}
		}
		var next *hmap.Type
		for _, x := range t.Fields() {
			if x.Name == name {
				next, off = x.Type, off+x.Off
				break
			}
		}
		t = next
		if len(name) == len(rest) {
			break
		}
		rest = rest[len(name)+1:]
	}
	if t == nil || off < 0 || t.Size < 0 || off+t.Size > int64(r.size) {
		return hmap.RecordField{}, false
	}
	return hmap.RecordField{Name: path, Off: int(off), Size: int(t.Size)}, true
}

func readFacts(types *hmap.Types, arch string) (*facts, error) {
	f := &finder{types: types}
	x := &facts{ptr: uint64(types.PtrSize())}
	if x.ptr != 4 && x.ptr != 8 {
		return nil, &hmap.LayoutError{Type: "a stack", Lacks: fmt.Sprintf("pointers of 4 or 8 bytes (they have %d)", x.ptr)}
	}
	// The runtime has no constant for it that debug information keeps:
	// framepointer_enabled in runtime/runtime2.go.
	x.framePointer = arch == "amd64" || arch == "arm64"
	x.minFrame = f.index("internal/runtime/sys.MinFrameSize", "runtime/internal/sys.MinFrameSize")
	x.stackAlign = f.index("internal/runtime/sys.StackAlign", "runtime/internal/sys.StackAlign")
	if x.stackAlign == 0 {
		f.lacks("a constant StackAlign over 0")
	}

	x.argsUnknown = int32(f.constant("internal/abi.ArgsSizeUnknown", "runtime._ArgsSizeUnknown"))
	for _, c := range []struct {
		into *int
		name string
	}{
		{&x.stackMapIndex, "PCDATA_StackMapIndex"}, {&x.inlTreeIndex, "PCDATA_InlTreeIndex"},
		{&x.argsMaps, "FUNCDATA_ArgsPointerMaps"}, {&x.localsMaps, "FUNCDATA_LocalsPointerMaps"},
		{&x.stackObjects, "FUNCDATA_StackObjects"}, {&x.inlTree, "FUNCDATA_InlTree"},
	} {
		*c.into = int(f.index("internal/abi."+c.name, "runtime._"+c.name))
	}
	x.asyncPreempt = f.index("internal/abi.FuncID_asyncPreempt", "runtime.funcID_asyncPreempt")
	x.debugCall = f.index("internal/abi.FuncID_debugCallV2", "runtime.funcID_debugCallV2")
	x.sigpanic = f.index("internal/abi.FuncID_sigpanic", "runtime.funcID_sigpanic")
	x.topFrame = f.index("internal/abi.FuncFlagTopFrame", "runtime.funcFlag_TOPFRAME")
	x.idle, x.running = f.index("runtime._Gidle"), f.index("runtime._Grunning")
	x.inSyscall, x.copystack = f.index("runtime._Gsyscall"), f.index("runtime._Gcopystack")
	x.dead[0] = f.index("runtime._Gdead")
	x.dead[1] = x.dead[0]
	if v, ok := types.Const("runtime._Gdeadextra"); ok { // since Go 1.26
		x.dead[1] = uint64(v)
	}
	x.scan = uint64(f.constant("runtime._Gscan"))

	x.fn = f.record("runtime._func")
	x.entry = f.field(x.fn, "entryOff", "entryoff")
	x.name = f.field(x.fn, "nameOff", "nameoff")
	x.args = f.field(x.fn, "args")
	x.deferreturn = f.field(x.fn, "deferreturn")
	x.pcsp = f.field(x.fn, "pcsp")
	x.npcdata = f.field(x.fn, "npcdata")
	x.funcID = f.field(x.fn, "funcID")
	x.flag = f.field(x.fn, "flag")
	x.nfuncdata = f.field(x.fn, "nfuncdata")

	x.maps = f.record("runtime.stackmap")
	x.mapsN = f.field(x.maps, "n")
	x.mapsBits = f.field(x.maps, "nbit")
	x.mapsData = f.field(x.maps, "bytedata")

	x.object = f.record("runtime.stackObjectRecord")
	x.objOff = f.field(x.object, "off")
	x.objSize = f.field(x.object, "size")
	x.objMask = f.field(x.object, "gcdataoff")
	x.objPtrs, x.objProg = x.object.field("_ptrdata") // up to Go 1.23
	if !x.objProg {
		x.objPtrs = f.field(x.object, "ptrBytes")
	}

	x.inlined = f.record("runtime.inlinedCall")
	x.parentPC = f.field(x.inlined, "parentPc")
	x.methodValue = f.record("runtime.reflectMethodValue")
	x.methodFn = f.field(x.methodValue, "fn")
	x.methodStack = f.field(x.methodValue, "stack")
	x.bitvectorN = f.field(f.record("runtime.bitvector"), "n")

	x.g = f.record("runtime.g")
	x.gLo, x.gHi = f.field(x.g, "stack.lo"), f.field(x.g, "stack.hi")
	x.gPanic, x.gDefer = f.field(x.g, "_panic"), f.field(x.g, "_defer")
	x.gM, x.gID, x.gTop = f.field(x.g, "m"), f.field(x.g, "goid"), f.field(x.g, "stktopsp")
	// An atomic.Uint32 since Go 1.20.
	x.gStatus = f.field(x.g, "atomicstatus.value", "atomicstatus")
	x.schedSP, x.schedPC = f.field(x.g, "sched.sp"), f.field(x.g, "sched.pc")
	x.schedLR, x.schedCtxt = f.field(x.g, "sched.lr"), f.field(x.g, "sched.ctxt")
	x.sysSP, x.sysPC = f.field(x.g, "syscallsp"), f.field(x.g, "syscallpc")
	x.asyncSafePoint = f.field(x.g, "asyncSafePoint")
	// Vector registers of a goroutine that was preempted, since Go 1.26.
	if regs := types.Named("runtime.xRegState"); regs != nil && regs.Size > 0 && regs.Size <= maxRecord {
		x.xRegs, _ = x.g.field("xRegs.state")
		x.xRegsBytes = uint64(regs.Size)
	}

	x.m = f.record("runtime.m")
	x.mSignal = f.field(x.m, "gsignal")
	x.vdsoSP, x.vdsoPC = f.field(x.m, "vdsoSP"), f.field(x.m, "vdsoPC")
	x.deferred = f.record("runtime._defer")
	x.deferFn, x.deferLink = f.field(x.deferred, "fn"), f.field(x.deferred, "link")
	if f.err != nil {
		return nil, f.err
	}
	for _, w := range []hmap.RecordField{
		x.gLo, x.gHi, x.gPanic, x.gDefer, x.gM, x.gTop, x.schedSP, x.schedPC, x.schedLR, x.schedCtxt, x.sysSP, x.sysPC,
		x.mSignal, x.vdsoSP, x.vdsoPC, x.deferFn, x.deferLink, x.methodFn, x.methodStack,
	} {
		if uint64(w.Size) != x.ptr {
			f.lacks(fmt.Sprintf("a field %s of one word (it has %d bytes)", w.Name, w.Size))
		}
	}
	for _, w := range []hmap.RecordField{
		x.entry, x.name, x.args, x.deferreturn, x.pcsp, x.npcdata, x.mapsN, x.mapsBits,
		x.objOff, x.objSize, x.objPtrs, x.objMask, x.parentPC, x.bitvectorN,
	} {
		if w.Size != 4 {
			f.lacks(fmt.Sprintf("a field %s of four bytes (it has %d)", w.Name, w.Size))
		}
	}
	for _, w := range []hmap.RecordField{x.funcID, x.flag, x.nfuncdata, x.asyncSafePoint, x.gID, x.gStatus} {
		if w.Size > 8 {
			f.lacks(fmt.Sprintf("a field %s of at most a word (it has %d bytes)", w.Name, w.Size))
		}
	}
	return x, f.err
}
