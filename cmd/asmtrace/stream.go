package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
)

// unknownArchError says that a listing does not tell for which architecture it is.
type unknownArchError struct{ funcs int }

func (e *unknownArchError) Error() string {
	if e.funcs == 0 {
		return "standard input holds no function of a listing"
	}
	return fmt.Sprintf("the listing does not tell its architecture, in %d functions", e.funcs)
}

// patience is how many functions are kept back until the architecture is known.
const patience = 2000

// annotateStream annotates a listing from a stream, in one pass.
func annotateStream(src io.Reader, t *target, c *config, out sink) (*trace, error) {
	tr := &trace{target: t, source: asmnote.NewSource(t.note())}
	p := &part{}
	r := disasm.NewReader(disasm.Unwrap(src))
	r.Arch = t.goarch
	r.Foreign = func(n int64, line []byte) { p.foreign(fmt.Sprintf("line %d", n), line) }
	var a *asmnote.Annotator
	var waiting []*disasm.Func
	texts := 0
	// begin starts the work, as soon as the architecture is known.
	begin := func(last bool) error {
		g := r.Guess()
		if g.Arch == "" {
			if !last && texts < patience {
				return nil
			}
			return &unknownArchError{texts}
		}
		t.arch = g.Arch
		if t.toolchain == "" {
			t.version = g.Version()
			tr.notices = append(tr.notices, fmt.Sprintf("the listing is of %s (%s), %s%s", g.Arch, strings.Join(g.ArchFrom, ", "), g.Version(), mapsOf(g)))
		} else {
			t.version = t.toolchain
		}
		note := asmnote.Target{Arch: t.arch, Minor: minor(t.toolchain)}
		if note.Minor == 0 {
			if note.Minor = g.MaxGo; g.MaxGo == 0 {
				note.Minor = g.MinGo
			}
		}
		tr.source = asmnote.NewSource(note)
		tr.source.SetResolve(resolver(t))
		a = asmnote.NewAnnotator(note, tr.source)
		a.Insts = c.instsOf()
		if c.selfcheck {
			var err error
			if tr.checks, err = disasm.NewSelfCheck(t.arch); err != nil {
				return err
			}
		}
		for _, f := range waiting {
			if err := tr.one(p, a, f, c, out); err != nil {
				return err
			}
		}
		waiting = nil
		return nil
	}
	var readErr error
	for {
		f, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				readErr = err
			}
			break
		}
		if f.Text && len(f.Insts) > 0 {
			texts++
		}
		if a == nil {
			waiting = append(waiting, f.Clone())
			// The first functions may show little; the guess gets better with more.
			if texts >= 50 && f.Text || t.goarch != "" {
				if err := begin(false); err != nil {
					return nil, err
				}
			}
			continue
		}
		if err := tr.one(p, a, f, c, out); err != nil {
			return nil, err
		}
	}
	if a == nil {
		if texts == 0 && readErr != nil {
			return nil, readErr
		}
		if err := begin(true); err != nil {
			return nil, err
		}
	}
	tr.notices = append(tr.notices, p.notices...)
	tr.unsaid(p.more)
	if readErr != nil {
		return tr, readErr
	}
	return tr, tr.done(c)
}

func mapsOf(g disasm.Guess) string {
	switch g.Generation {
	case "classic":
		return ", Classic maps"
	case "swiss":
		return ", Swiss maps"
	case "mixed":
		return ", of compilers with Classic and with Swiss maps"
	}
	return ""
}

// one annotates a symbol and hands it out at once.
func (tr *trace) one(p *part, a *asmnote.Annotator, f *disasm.Func, c *config, out sink) error {
	if f.Incomplete != "" {
		p.notices = append(p.notices, f.Name+": part of it is missing from the listing: "+f.Incomplete)
	}
	if tr.checks != nil {
		if err := tr.checks.Check(f); err != nil {
			return err
		}
	}
	switch {
	case !f.Text && strings.Contains(f.Name, dict):
		p.dictionary(f)
	case f.Text && len(f.Insts) > 0:
		p.names = append(p.names, f.Name)
		p.function(a, f, c, out)
	}
	q := *p
	q.notices, q.more = nil, 0
	p.funcs, p.rendered, p.names, p.dicts, p.calls, p.matched = nil, nil, nil, nil, 0, 0
	if p.err != nil {
		return p.err
	}
	return tr.take(&q, out)
}

// annotateBinary annotates the functions of a linked binary, on all cores.
func annotateBinary(t *target, c *config, out sink, bar *progress) (*trace, error) {
	b, err := disasm.Open(c.operands[0])
	if err != nil {
		return nil, err
	}
	t.arch, t.version = b.Arch, b.GoVersion
	if t.toolchain != "" {
		t.version = t.toolchain
	}
	if i := strings.IndexByte(t.version, ' '); i > 0 {
		t.version = t.version[:i]
	}
	tr := &trace{target: t, source: asmnote.NewSource(t.note())}
	tr.source.SetResolve(resolver(t))
	if b.Warning != nil {
		tr.notices = append(tr.notices, b.Warning.Error())
	}
	var funcs []disasm.Function
	for _, f := range b.Functions() {
		tr.names = append(tr.names, f.Name)
		if c.funcs == nil || c.funcs.MatchString(f.Name) {
			funcs = append(funcs, f)
		}
	}
	isMap := func(addr uint64) string {
		typ, err := b.TypeAt(addr)
		if err != nil || typ.Key == 0 {
			return ""
		}
		return strings.ReplaceAll(typ.Name, "%2e", ".")
	}
	pool := sync.Pool{New: func() any {
		a := asmnote.NewAnnotator(t.note(), tr.source)
		a.MapTypeAt, a.Insts = isMap, c.instsOf()
		return a
	}}
	bar.of(int64(len(funcs)))
	parts := make([]part, len(funcs))
	err = b.Each(funcs, c.insts(), func(i int, f *disasm.Func) error {
		a := pool.Get().(*asmnote.Annotator)
		defer pool.Put(a)
		parts[i].function(a, f, c, out)
		bar.add(1)
		return parts[i].err
	})
	if err != nil {
		return nil, err
	}
	for i := range parts {
		if err := tr.take(&parts[i], out); err != nil {
			return nil, err
		}
		parts[i] = part{}
	}
	return tr, tr.done(c)
}
