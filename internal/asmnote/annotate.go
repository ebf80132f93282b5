package asmnote

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hmaptools/internal/disasm"
)

// An Annotator finds the operations of functions. It is for one goroutine at a
// time; what it has found of the source adds up over its functions.
type Annotator struct {
	Target Target
	// Source may be nil: then operations have positions and routines alone.
	Source *Source
	// MapTypeAt returns the name of the map type whose descriptor lies at an address
	// of a binary, "" if none does. It is nil for listings.
	MapTypeAt func(addr uint64) string
	// Insts says for which functions the instructions are wanted, with notes; nil for
	// none.
	Insts func(f *Func) bool

	found map[*SourceOp]string // how, in words
	none  map[*SourceOp]string // why there is no code of its own
	seen  map[*SourceOp]bool   // some code has the operation's line
	has   map[*SourceFunc]bool // the function has code

	// Instructions in a row are of one file.
	lastName string
	last     *sourceFile
}

// NewAnnotator returns an Annotator for code of a target.
func NewAnnotator(t Target, s *Source) *Annotator {
	return &Annotator{Target: t, Source: s, found: map[*SourceOp]string{}, none: map[*SourceOp]string{}, seen: map[*SourceOp]bool{}, has: map[*SourceFunc]bool{}}
}

// Func finds the operations of a function. The result shares no memory with f but
// strings. It is nil for what is no code, or has none.
func (a *Annotator) Func(f *disasm.Func) *Func {
	if !f.Text || len(f.Insts) == 0 {
		return nil
	}
	n := &annotation{a: a, f: f, out: &Func{Name: f.Name, File: f.File, Line: f.Line, Pkg: f.Pkg, Relative: f.Addr == 0}}
	n.scan()
	if len(n.calls) > 0 || len(n.candidates) > 0 || len(n.own) > 0 {
		n.prepare()
		for _, i := range n.calls {
			n.call(i)
		}
		n.inlined()
		for i := range n.out.Ops {
			n.finish(&n.out.Ops[i], i)
		}
		n.sort()
	}
	if a.Insts != nil && a.Insts(n.out) {
		n.instructions()
	}
	return n.out
}

// at returns the operations at a position, of the files that are there.
func (a *Annotator) at(file string, line int) []*SourceOp {
	if file != a.lastName {
		a.lastName, a.last = file, a.Source.known(file)
	}
	if a.last == nil {
		return nil
	}
	return a.last.lines[line]
}

// Merge takes over what another Annotator of the same source has found.
func (a *Annotator) Merge(b *Annotator) {
	maps.Copy(a.found, b.found)
	maps.Copy(a.none, b.none)
	maps.Copy(a.seen, b.seen)
	maps.Copy(a.has, b.has)
}

// An annotation is the work on one function.
type annotation struct {
	a   *Annotator
	f   *disasm.Func
	out *Func

	calls      []int              // indices of calls of map routines
	candidates []*SourceOp        // at lines that the code has, each once
	owners     []*SourceFunc      // the function's own declaration
	own        []*SourceOp        // of the function itself
	lines      map[*SourceOp]bool // candidates, as a set
	used       map[*SourceOp]int  // operations made of each

	targets map[uint64]bool // of jumps
	marks   map[int]mark    // by index of the instruction
}

type mark struct {
	op   int // index in out.Ops plus one
	note string
}

// scan finds the calls, and the source's operations at the lines of the code.
func (n *annotation) scan() {
	n.lines, n.used = map[*SourceOp]bool{}, map[*SourceOp]int{}
	if _, ok := routineOf(n.f.Name); ok {
		return // the runtime's own: routines that share their code by calling each other
	}
	for i := range n.f.Insts {
		if in := &n.f.Insts[i]; in.Kind == disasm.Call && len(in.Sym) > len("maps") && (in.Sym[0] == 'r' || in.Sym[0] == 'm') {
			if _, ok := routineOf(in.Sym); ok {
				n.calls = append(n.calls, i)
			}
		}
	}
	// Files that are not type-checked tell of calls alone.
	if n.a.Source == nil || len(n.calls) == 0 && len(n.a.Source.Ops) == 0 {
		return
	}
	lastFile, lastLine := "", -1
	for i := range n.f.Insts {
		in := &n.f.Insts[i]
		if isPseudo(in) || in.Line == 0 || in.Line == lastLine && in.File == lastFile {
			continue
		}
		lastFile, lastLine = in.File, in.Line
		for _, op := range n.a.at(in.File, in.Line) {
			if !n.lines[op] {
				n.lines[op] = true
				n.a.seen[op] = true
				n.candidates = append(n.candidates, op)
			}
		}
	}
	for _, fn := range n.a.Source.declared(n.f.File, n.f.Line) {
		if fn.Lit == closureName(n.f.Name) {
			n.a.has[fn] = true
			n.owners, n.own = append(n.owners, fn), append(n.own, fn.Ops...)
		}
	}
	if strings.HasSuffix(n.f.Name, ".init") || strings.Contains(n.f.Name, mapInit) {
		for _, op := range n.candidates {
			if op.Func == nil {
				n.own = append(n.own, op)
			}
		}
	}
}

// closureName reports whether a symbol is of a function literal: p.f.func1,
// p.f.func1.2, p.f.gowrap1, p.f-range1.
func closureName(name string) bool {
	for _, part := range []string{".func", "-range", ".gowrap", ".deferwrap"} {
		if i := strings.LastIndex(name, part); i >= 0 && i+len(part) < len(name) && name[i+len(part)]-'0' <= 9 {
			return true
		}
	}
	return false
}

func (n *annotation) prepare() {
	n.targets, n.marks = map[uint64]bool{}, map[int]mark{}
	for i := range n.f.Insts {
		if in := &n.f.Insts[i]; in.Kind == disasm.Branch || in.Kind == disasm.Jump {
			n.targets[in.Target] = true
		}
	}
}

// note marks an instruction as part of the last operation, or of the one given.
func (n *annotation) note(i, op int, text string) {
	m := n.marks[i]
	m.op = op + 1
	if m.note != "" && text != "" && !strings.Contains(m.note, text) {
		text = m.note + "; " + text
	} else if text == "" {
		text = m.note
	}
	m.note = text
	n.marks[i] = m
}

// call makes the call at an index part of an operation.
func (n *annotation) call(i int) {
	in := &n.f.Insts[i]
	r, _ := routineOf(in.Sym)
	args, writers := n.arguments(i, r)
	typ := n.mapType(i, r, args)
	if r.part {
		n.next(i, args)
		return
	}
	src := n.pick(in, r, typ)
	if src != nil {
		if k, ok := n.open(src, r); ok {
			op := &n.out.Ops[k]
			op.Calls = append(op.Calls, in.PC)
			if op.Kind == Update && r.kind == Assign || op.Symbol == "" {
				// What is written decides what the operation is.
				op.Symbol, op.Variant, op.Args = in.Sym, r.variant, args
				n.result(i, r, op, k)
			}
			n.marksOf(i, k, args, writers, in.Sym)
			return
		}
	}
	op := Op{
		Kind: r.kind, PC: in.PC, File: in.File, Line: in.Line, MapType: typ, Symbol: in.Sym, Variant: r.variant, Args: args, Calls: []uint64{in.PC},
		at: in.Pos(),
	}
	switch {
	case src != nil:
		n.used[src]++
		op.Kind, op.Source = src.Kind, src
		if src.Idiom && r.kind == Clear {
			op.Kind = Clear
		}
		op.File, op.Line, op.Col, op.Expr = src.File, src.Line, src.Col, src.Expr
		if op.MapType == "" {
			op.MapType = src.MapType
		}
		n.a.found[src] = in.Sym
	case n.a.Source != nil:
		n.out.Unmatched++
	}
	n.out.Ops = append(n.out.Ops, op)
	k := len(n.out.Ops) - 1
	n.marksOf(i, k, args, writers, in.Sym)
	n.result(i, r, &n.out.Ops[k], k)
}

// marksOf writes the notes of a call and of the instructions that bring its
// arguments.
func (n *annotation) marksOf(i, k int, args []Arg, writers []int, sym string) {
	op := &n.out.Ops[k]
	text := string(op.Kind)
	if op.Expr != "" {
		text += " " + op.Expr
	}
	n.note(i, k, text)
	for j, w := range writers {
		if w >= 0 {
			n.note(w, k, args[j].Name)
		}
	}
}

// open returns an operation of the same source that a further call belongs to: a
// literal's entries, the second half of an update.
func (n *annotation) open(src *SourceOp, r routine) (int, bool) {
	for k := len(n.out.Ops) - 1; k >= 0; k-- {
		op := &n.out.Ops[k]
		if op.Source != src {
			continue
		}
		switch {
		case src.Kind == Literal && r.kind == Assign:
			return k, true
		case src.Kind == Update && r.kind == Assign && !writes(op):
			return k, true
		}
		return 0, false
	}
	return 0, false
}

// writes reports whether a call of mapassign belongs to the operation already.
func writes(op *Op) bool { return strings.HasPrefix(op.Symbol, "runtime.mapassign") }

// next makes a call of mapIterNext part of the loop with the same iterator.
func (n *annotation) next(i int, args []Arg) {
	in := &n.f.Insts[i]
	best := -1
	for k := len(n.out.Ops) - 1; k >= 0; k-- {
		op := &n.out.Ops[k]
		if op.Kind != Range || op.Symbol == in.Sym {
			continue
		}
		it := ""
		if len(op.Args) > 2 {
			it = op.Args[2].Value
		}
		same := len(args) > 0 && args[0].Value != "" && args[0].Value == it
		here := op.at == in.Pos()
		if same && here {
			best = k
			break
		}
		if best < 0 && (same || here) {
			best = k
		}
	}
	if best < 0 {
		// The loop's begin is in code that the compiler put elsewhere.
		op := Op{Kind: Range, PC: in.PC, File: in.File, Line: in.Line, Symbol: in.Sym, Variant: "slow", Args: args, at: in.Pos()}
		r := routine{kind: Range}
		if src := n.pick(in, r, ""); src != nil {
			op.Source, op.File, op.Line, op.Col, op.Expr, op.MapType = src, src.File, src.Line, src.Col, src.Expr, src.MapType
			n.a.found[src] = in.Sym
		} else if n.a.Source != nil {
			n.out.Unmatched++
		}
		n.out.Ops = append(n.out.Ops, op)
		best = len(n.out.Ops) - 1
	}
	op := &n.out.Ops[best]
	op.Calls = append(op.Calls, in.PC)
	n.note(i, best, "range: the next entry")
}

// pick chooses the source's operation that a call stands for, nil if there is
// none at its place.
func (n *annotation) pick(in *disasm.Inst, r routine, typ string) *SourceOp {
	if n.a.Source == nil || in.Line == 0 {
		return nil
	}
	var best *SourceOp
	most := -1
	for _, c := range n.a.Source.at(in.File, in.Line) {
		score := fits(c.Kind, r.kind, c.Idiom)
		if score < 0 {
			continue
		}
		score *= 4
		if c.Typed && typ != "" && !c.Generic {
			if !sameTypeName(typ, c.MapType) && !sameTypeName(typ, c.Under) {
				if !strings.Contains(typ, "go.shape") && !named(typ) {
					continue
				}
			} else {
				score += 40
			}
		}
		if c.choice.variant != "" && c.choice.variant == r.variant {
			score += 20
		}
		if c.Typed {
			score += 10
		}
		if c.Sub {
			score -= 30
		}
		switch half := c.Kind == Update && n.readOnly(c); {
		case c.Kind == Literal && r.kind == Assign:
			score += n.wantsEntry(c)
		case half && r.kind == Assign:
			score += 20
		default:
			score -= 8 * min(n.used[c], 8)
		}
		if best == nil || score > most {
			best, most = c, score
		}
	}
	if r.kind == Clone && (best == nil || !best.Typed) {
		// maps.Clone is inlined: the call has a line of package maps.
		for _, c := range slices.Concat(n.own, n.candidates) {
			if c.Kind == Clone && n.used[c] == 0 {
				return c
			}
		}
	}
	return best
}

// readOnly reports whether of an update of two calls only the first was met.
func (n *annotation) readOnly(src *SourceOp) bool {
	for k := len(n.out.Ops) - 1; k >= 0; k-- {
		if op := &n.out.Ops[k]; op.Source == src {
			return !writes(op)
		}
	}
	return false
}

// wantsEntry says how likely the next call inserts an entry of a literal: one that
// was made and lacks some.
func (n *annotation) wantsEntry(src *SourceOp) int {
	for k := len(n.out.Ops) - 1; k >= 0; k-- {
		if op := &n.out.Ops[k]; op.Source == src {
			inserts := len(op.Calls)
			if strings.HasPrefix(op.Symbol, "runtime.makemap") {
				inserts--
			}
			if inserts < len(src.Entries) {
				return 20
			}
			return -20
		}
	}
	return -10
}

// named reports whether a symbol's type is a defined one, of which the name does
// not tell the map type.
func named(typ string) bool { return !strings.HasPrefix(typ, "map[") }

// fits says how well a routine does what the source asks for; -1 for not at all.
func fits(src, routine Kind, idiom bool) int {
	if src == routine {
		return 3
	}
	switch routine {
	case Make:
		if src == Literal {
			return 3
		}
	case Assign:
		if src == Update || src == Literal {
			return 3
		}
	case Access:
		if src == Update {
			return 2
		}
		if src == Access2 {
			return 1
		}
	case Access2:
		if src == Access {
			return 1
		}
	case Clear:
		if src == Range && idiom {
			return 3
		}
	}
	return -1
}

// finish fills in what follows from all calls of an operation.
func (n *annotation) finish(op *Op, k int) {
	src := op.Source
	slices.Sort(op.Calls)
	if len(op.Calls) > 0 {
		op.PC = op.Calls[0]
	}
	switch op.Kind {
	case Make:
		if op.Variant != "none" {
			op.Why = whyMake(op.Variant)
		}
		n.makeNotes(op)
	case Literal:
		if len(op.Calls) > 0 && !strings.HasPrefix(op.Symbol, "runtime.makemap") {
			// Its entries are inserted by calls, but nothing makes it.
			op.Symbol, op.Variant, op.Args, op.Result = "", "stack", nil, nil
		}
		if op.Variant != "none" {
			op.Why = whyMake(op.Variant)
		}
		n.literalNotes(op)
	case Range:
		if n := len(op.Calls); n > 0 {
			op.Why = "iteration has one routine for all map types"
			op.Notes = append(op.Notes, fmt.Sprintf("begins at %#x, next at %s", op.Calls[0], hexes(op.Calls[1:])))
		}
	case Clear:
		op.Why = "clearing has one routine for all map types"
		if src != nil && src.Idiom {
			op.Notes = append(op.Notes, "a loop that deletes every key and nothing else: the compiler clears at once")
		}
	case Clone:
		op.Why = "maps.Clone checks for nil itself, and calls the runtime"
	case Assign, Update, Access, Access2, Delete:
		n.whyCall(op)
		if op.Kind == Update {
			if len(op.Calls) > 1 {
				op.Notes = append(op.Notes, "two calls: one reads, one writes, since evaluating between them may fail or is instrumented")
			} else if writes(op) {
				op.Notes = append(op.Notes, "one call: read and written through the address that it returns")
			}
		}
		if writes(op) {
			op.Notes = append(op.Notes, "may grow")
		}
	}
	if src != nil {
		op.Hints = append(op.Hints, src.hints...)
		if src.choice.hint != nil && op.Variant == "slow" && (op.Kind == Assign || op.Kind == Update || op.Kind == Access || op.Kind == Access2 || op.Kind == Delete) {
			op.Hints = append(op.Hints, *src.choice.hint)
		}
	}
	if len(op.Args) > 0 && op.Args[0].Name == "typ" && strings.Contains(n.f.Name, "go.shape.") {
		if _, ok := typeSymbol(op.Args[0].Value); !ok {
			op.Notes = append(op.Notes, "generic code: the type comes from the dictionary")
		}
	}
}

func hexes(pcs []uint64) string {
	if len(pcs) == 0 {
		return "no place"
	}
	var s []string
	for _, pc := range pcs {
		s = append(s, fmt.Sprintf("%#x", pc))
	}
	return strings.Join(s, ", ")
}

func (n *annotation) whyCall(op *Op) {
	src := op.Source
	if src != nil && src.choice.why != "" && src.choice.variant == op.Variant {
		op.Why = src.choice.why
		return
	}
	if src != nil && src.choice.variant != "" && op.Variant == "fat" {
		op.Why = whyRoutine("fat")
		return
	}
	if src != nil && strings.HasSuffix(src.choice.variant, "ptr") && op.Variant+"ptr" == src.choice.variant {
		op.Why = "the key is a pointer, which only writing treats apart"
		return
	}
	op.Why = whyRoutine(op.Variant)
}

func (n *annotation) makeNotes(op *Op) {
	if op.Variant == "hint" && len(op.Args) > 2 && op.Args[2].Value != "" && op.Args[2].Value != "0" && op.Args[2].Value != "$0" {
		op.Notes = append(op.Notes, "the header is on the stack: the routine allocates the rest")
	}
}

func (n *annotation) literalNotes(op *Op) {
	src := op.Source
	if src == nil || len(src.Entries) == 0 {
		return
	}
	assigns := 0
	for _, pc := range op.Calls {
		if i := n.at(pc); i >= 0 && strings.HasPrefix(n.f.Insts[i].Sym, "runtime.mapassign") {
			assigns++
		}
	}
	switch entries := len(src.Entries); {
	case assigns == 0:
	case assigns < entries:
		op.Notes = append(op.Notes, fmt.Sprintf("%d entries by %d calls: constant ones lie in static arrays, and a loop inserts them", entries, assigns))
	case entries == 1:
		op.Notes = append(op.Notes, "one entry, inserted by a call")
	default:
		op.Notes = append(op.Notes, fmt.Sprintf("%d entries, each by a call of its own", entries))
	}
}

// at returns the index of the instruction at pc, -1 if there is none.
func (n *annotation) at(pc uint64) int {
	i, ok := slices.BinarySearchFunc(n.f.Insts, pc, func(in disasm.Inst, pc uint64) int { return cmp.Compare(in.PC, pc) })
	if !ok {
		return -1
	}
	for i < len(n.f.Insts) && n.f.Insts[i].PC == pc {
		if n.f.Insts[i].Kind == disasm.Call {
			return i
		}
		i++
	}
	return -1
}

// sort puts the operations in the order of the code.
func (n *annotation) sort() {
	ops := n.out.Ops
	order := make([]int, len(ops))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(ops[x].PC, ops[y].PC) })
	sorted := make([]Op, len(ops))
	where := make([]int, len(ops))
	for to, from := range order {
		sorted[to], where[from] = ops[from], to
	}
	n.out.Ops = sorted
	for i, m := range n.marks {
		if m.op > 0 {
			m.op = where[m.op-1] + 1
			n.marks[i] = m
		}
	}
}

// instructions copies them, with the notes.
func (n *annotation) instructions() {
	n.out.Insts = make([]Inst, 0, len(n.f.Insts))
	for i := range n.f.Insts {
		in := &n.f.Insts[i]
		if isPseudo(in) {
			continue
		}
		m := n.marks[i]
		n.out.Insts = append(n.out.Insts, Inst{PC: in.PC, Op: in.Op, Args: in.Args, File: in.File, Line: in.Line, Note: m.note, OpIndex: m.op})
	}
}
