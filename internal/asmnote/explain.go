package asmnote

// An Outcome is what became of an operation of the source in all code that was
// annotated.
type Outcome struct {
	Op *SourceOp
	// How says how it was found: a routine's symbol, or in words. It is "" if it was
	// not found.
	How string
	// Reason explains why there is nothing to find. It is "" if it was found, and
	// if there is no explanation.
	Reason string
}

// Outcomes returns what became of every operation of type-checked source, in the
// order of the source. It is meant for after the last function.
func (a *Annotator) Outcomes() []Outcome {
	if a.Source == nil {
		return nil
	}
	var all []Outcome
	for _, op := range a.Source.Ops {
		o := Outcome{Op: op, How: a.found[op]}
		switch {
		case o.How != "":
		case a.none[op] != "":
			o.Reason = a.none[op]
		case op.Sub:
			o.Reason = "part of another operation: no code of its own"
		case op.Func != nil && !a.has[op.Func] && !a.seen[op]:
			o.Reason = "its function has no code: inlined elsewhere, dead, or generic without an instance here"
		case !a.seen[op]:
			o.Reason = "no instruction has its line: dead, or folded to a constant"
		}
		all = append(all, o)
	}
	return all
}
