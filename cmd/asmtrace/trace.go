package main

import (
	"context"
	"slices"
	"strings"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
)

// A trace is what was found for one target.
type trace struct {
	target   *target
	source   *asmnote.Source // nil where there is none
	outcomes []asmnote.Outcome
	names    []string // of all functions, for -s that matches none
	kept     int      // functions that were handed out
	calls    int      // of map routines
	matched  int      // of them, with an operation in the source
	dicts    []dictionary
	checks   *disasm.SelfCheck
	notices  []string // for standard error
	bar      *progress
}

// A dictionary lists the map types that an instance of a generic function may use.
type dictionary struct {
	Func  string   `json:"func"`
	Types []string `json:"types"`
}

// A sink takes the functions that are wanted. They belong to it.
type sink struct {
	// render, if not nil, makes of a function what is written of it. Several
	// goroutines call it.
	render func(f *asmnote.Func) ([]byte, error)
	// take takes them in the order of the listing.
	take func(f *asmnote.Func, rendered []byte) error
}

// wants reports whether a function is to be printed.
func (c *config) wants(f *asmnote.Func) bool {
	if c.funcs != nil {
		return c.funcs.MatchString(f.Name)
	}
	return c.all || len(f.Ops) > 0
}

// annotatePackages compiles packages for a target and annotates their listing.
func annotatePackages(ctx context.Context, t *target, c *config, out sink, bar *progress) (*trace, error) {
	b, err := compile(ctx, t, c)
	if err != nil {
		return nil, err
	}
	defer b.listing.Close()
	bar.of(b.size)
	tr := &trace{target: t, source: asmnote.NewSource(t.note()), bar: bar}
	tr.source.SetResolve(resolver(t))
	if c.selfcheck {
		if tr.checks, err = disasm.NewSelfCheck(t.arch); err != nil {
			return nil, err
		}
	}
	if err := tr.listing(b.listing, b.size, c, out, func() { tr.addSource(ctx, c, b) }); err != nil {
		return nil, err
	}
	return tr, tr.done(c)
}

// done looks at what is missing, after the last function.
func (tr *trace) done(c *config) error {
	if tr.kept > 0 || c.check || c.selfcheck {
		return nil
	}
	return &noneError{c.pattern, near(c.pattern, tr.names), len(tr.names)}
}

// function annotates a function.
func (p *part) function(a *asmnote.Annotator, f *disasm.Func, c *config, out sink) {
	n := a.Func(f)
	if n == nil {
		return
	}
	for i := range n.Ops {
		p.calls += len(n.Ops[i].Calls)
	}
	p.matched -= n.Unmatched
	if c.wants(n) {
		var b []byte
		if out.render != nil {
			var err error
			if b, err = out.render(n); err != nil && p.err == nil {
				p.err = err
			}
			n.Insts = nil // they are in what is written
		}
		p.funcs, p.rendered = append(p.funcs, n), append(p.rendered, b)
	}
}

// dict is in the names of dictionaries.
const dict = "..dict."

// dictionary reads the dictionary of an instance, main..dict.F[string,int], which
// lists its types.
func (p *part) dictionary(f *disasm.Func) {
	d := dictionary{Func: strings.Replace(f.Name, dict, ".", 1)}
	for _, rel := range f.Relocs {
		for _, prefix := range []string{"type:", "type."} {
			if name, ok := strings.CutPrefix(rel.Sym, prefix); ok && strings.HasPrefix(name, "map[") && !slices.Contains(d.Types, name) {
				d.Types = append(d.Types, name)
			}
		}
	}
	if len(d.Types) > 0 {
		p.dicts = append(p.dicts, d)
	}
}
