package asmnote

import "hmaptools/internal/disasm"

// A Kind is what the source asks for.
type Kind string

// The kinds of operations. Make and literal also stand for maps that live on the
// stack, without a call.
const (
	Make     Kind = "make"
	Literal  Kind = "literal"
	Assign   Kind = "assign"
	Update   Kind = "update" // m[k] op= v, m[k]++, m[k] = append(m[k], v)
	Access   Kind = "access"
	Access2  Kind = "access2" // v, ok := m[k]
	Delete   Kind = "delete"
	Clear    Kind = "clear" // also a range loop that deletes every key
	Range    Kind = "range"
	Len      Kind = "len"
	NilCheck Kind = "nilcheck"
	Copy     Kind = "copy" // a = b
	Clone    Kind = "clone"
	Closure  Kind = "closure" // a map variable is captured
)

// Kinds returns all kinds, in the order above.
func Kinds() []Kind {
	return []Kind{Make, Literal, Assign, Update, Access, Access2, Delete, Clear, Range, Len, NilCheck, Copy, Clone, Closure}
}

// An Op is one map operation in the code of one function. Where a function was
// inlined, its operations appear in every function that it was inlined into.
type Op struct {
	Kind Kind   `json:"op"`
	PC   uint64 `json:"pc"` // of the first instruction; counts as disasm.Inst.PC does
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`  // in bytes from 1; 0 if the source is not there
	Expr string `json:"expr"` // as the source has it, shortened; "" if it is not there
	// MapType is the type that the code passes to the routine, else the source's.
	MapType string `json:"map_type"`
	// Symbol is the routine called, the first where there are several; "" for what
	// is done without a call.
	Symbol string `json:"symbol"`
	// Variant is the kind of routine: faststr, fast32, fast64, fast32ptr,
	// fast64ptr, fat, slow, small (makemap_small), hint (makemap); or stack,
	// inline, none where there is no call.
	Variant string `json:"variant"`
	Why     string `json:"why"`   // why this routine
	Words   int    `json:"words"` // map words that a copy moves: 1, more if a value holds several; 0 for other kinds
	// WriteBarrier says that the operation stores a pointer under a write barrier.
	WriteBarrier bool     `json:"write_barrier"`
	Args         []Arg    `json:"args,omitempty"`
	Result       *Result  `json:"result,omitempty"`
	Calls        []uint64 `json:"calls,omitempty"` // PCs of all calls of map routines that belong to it
	Notes        []string `json:"notes,omitempty"`
	Hints        []Hint   `json:"hints,omitempty"`

	// Source is the operation in the source; nil if it is not there.
	Source *SourceOp `json:"-"`

	at disasm.Pos // of the code, in its own words
}

// An Arg is an argument of a call: what it is, and the register or stack slot that
// carries it in.
type Arg struct {
	Name string `json:"name"`
	In   string `json:"in"`
	// Value is the operand that was put there last, if there is only one way to
	// the call.
	Value string `json:"value,omitempty"`
}

// A Result is what a call returns.
type Result struct {
	In    string `json:"in"`
	Means string `json:"means"`
	// Store is the instruction that stores the value through the result, or loads
	// it; StorePC its PC.
	Store   string `json:"store,omitempty"`
	StorePC uint64 `json:"store_pc,omitempty"`
}

// A Hint is a change of the source that would make it cheaper, with its reason.
type Hint struct {
	Code string `json:"code"` // no-size-hint, key-conversion, double-lookup, slow-key, large-elem
	Text string `json:"text"`
}

// An Inst is an instruction with what it has to do with a map.
type Inst struct {
	PC   uint64 `json:"pc"`
	Op   string `json:"op"`
	Args string `json:"args"`
	File string `json:"file"`
	Line int    `json:"line"`
	Note string `json:"note,omitempty"`
	// OpIndex is one more than the index in Func.Ops of the operation that it
	// belongs to, 0 for none.
	OpIndex int `json:"op_index,omitempty"`
	// Samples are those of a CPU profile that were taken there, or below the call of a
	// map routine, in the profile's unit.
	Samples int64 `json:"samples,omitempty"`
}

// A Func is a function with its operations in the order of the code.
type Func struct {
	Name string `json:"name"`
	File string `json:"file"`
	Line int    `json:"line"`
	Ops  []Op   `json:"ops"`
	// Insts lacks pseudo-instructions. They are "" in Op and Args if the decoder
	// was not asked for text.
	Insts []Inst `json:"insts,omitempty"`
	Pkg   string `json:"-"`
	// Relative says that PCs count from the start of the function: it is of a listing.
	Relative bool `json:"-"`
	// Unmatched counts the calls of map routines for which the source has no
	// operation at that place.
	Unmatched int `json:"-"`
}

// A Target is for which machine and by which compiler the code was made.
type Target struct {
	Arch string // GOARCH
	// Minor is 21 for Go 1.21; 0 if it is not known, which means the newest.
	Minor int
}

// ptrSize is the size of a word in bytes.
func (t Target) ptrSize() int {
	switch t.Arch {
	case "386", "arm", "mips", "mipsle":
		return 4
	}
	return 8
}

// strictAlign is the alignment in bytes that memory operations of the machine
// need: Arch.Alignment of cmd/internal/sys/arch.go. 1 means none.
func (t Target) strictAlign() int64 {
	switch t.Arch {
	case "arm", "mips", "mipsle":
		return 4
	case "loong64", "mips64", "mips64le", "riscv64":
		return 8
	}
	return 1
}

func isPseudo(in *disasm.Inst) bool { return in.Kind == disasm.Pseudo }
