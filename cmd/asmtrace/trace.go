package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

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

// failed is the error of a go command that failed, with what it printed.
func (b *build) failed(err error) error {
	r := disasm.NewReader(io.NewSectionReader(b.listing, 0, b.size))
	var text bytes.Buffer
	const most = 64 << 10
	pkg := ""
	r.Foreign = func(_ int64, line []byte) {
		if r.Pkg() != pkg {
			pkg = r.Pkg()
			text.WriteString("# " + pkg + "\n")
		}
		if text.Len() < most {
			text.Write(line)
			text.WriteByte('\n')
		}
	}
	for {
		if _, err := r.Next(); err != nil {
			break
		}
	}
	return &failedBuild{text.String(), err}
}

// annotatePackages compiles packages for a target and annotates their listing.
func annotatePackages(ctx context.Context, t *target, c *config, out sink) (*trace, error) {
	b, err := compile(ctx, t, c)
	if err != nil {
		return nil, err
	}
	defer b.listing.Close()
	tr := &trace{target: t, source: asmnote.NewSource(t.note())}
	tr.source.SetResolve(resolver(t))
	if err := addSource(ctx, tr, c, b); err != nil {
		return nil, err
	}
	if c.selfcheck {
		if tr.checks, err = disasm.NewSelfCheck(t.arch); err != nil {
			return nil, err
		}
	}
	if err := tr.listing(b.listing, b.size, c, out); err != nil {
		return nil, err
	}
	return tr, tr.done(c)
}

// resolver maps names in positions to files of the standard library, which is built
// with -trimpath: in the GOROOT of the target's compiler.
func resolver(t *target) func(string) string {
	var once sync.Once
	root := ""
	return func(name string) string {
		if filepath.IsAbs(name) || !strings.HasSuffix(name, ".go") {
			return name
		}
		once.Do(func() {
			cmd := exec.Command("go", "env", "GOROOT")
			cmd.Env = t.env()
			if out, err := cmd.Output(); err == nil { // else their source is not shown
				root = strings.TrimSpace(string(out))
			}
		})
		if root == "" {
			return ""
		}
		return filepath.Join(root, "src", filepath.FromSlash(strings.TrimPrefix(name, "$GOROOT/src/")))
	}
}

// done looks at what is missing, after the last function.
func (tr *trace) done(c *config) error {
	if tr.kept > 0 || c.check || c.selfcheck {
		return nil
	}
	return &noneError{c.pattern, near(c.pattern, tr.names), len(tr.names)}
}

// chunkSize is how much of a listing a worker takes at once, in bytes.
const chunkSize = 2 << 20

// chunks splits a listing into parts that begin with a symbol.
func chunks(r io.ReaderAt, size int64) ([]int64, error) {
	starts := []int64{0}
	buf := make([]byte, 256<<10)
	for at := int64(chunkSize); at < size; {
		n, err := r.ReadAt(buf, at)
		if n == 0 && err != nil {
			return nil, err
		}
		// A line that begins with neither a tab nor "#" is a header or foreign.
		found := -1
		for i := 0; i+2 < n; i++ {
			if buf[i] == '\n' && buf[i+1] != '\t' && buf[i+1] != '#' && buf[i+1] != '\n' && disasm.IsHeader(line(buf[i+1:n])) {
				found = i + 1
				break
			}
		}
		if found < 0 {
			at += int64(n)
			if at >= size {
				break
			}
			continue
		}
		starts = append(starts, at+int64(found))
		at += int64(found) + chunkSize
	}
	return append(starts, size), nil
}

func line(b []byte) []byte {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i]
	}
	return nil // cut
}

// part is what a worker makes of a chunk.
type part struct {
	funcs          []*asmnote.Func
	rendered       [][]byte // of funcs
	names          []string
	calls, matched int
	dicts          []dictionary
	notices        []string
	err            error
}

// listing annotates a listing of a known compiler, on all cores, and hands out the
// functions in its order. A few chunks are in work at a time, whatever its length.
func (tr *trace) listing(r io.ReaderAt, size int64, c *config, out sink) error {
	starts, err := chunks(r, size)
	if err != nil {
		return err
	}
	workers := runtime.GOMAXPROCS(0)
	if tr.checks != nil {
		workers = 1 // the check is for one
	}
	type job struct {
		from, to int64
		done     chan *part
	}
	jobs := make(chan job)
	order := make(chan chan *part, workers)
	stop := make(chan struct{})
	go func() {
		defer close(jobs)
		defer close(order)
		for i := 0; i+1 < len(starts); i++ {
			j := job{starts[i], starts[i+1], make(chan *part, 1)}
			select {
			case order <- j.done:
			case <-stop:
				return
			}
			jobs <- j
		}
	}()
	annotators := make([]*asmnote.Annotator, workers)
	var wg sync.WaitGroup
	for w := range workers {
		annotators[w] = asmnote.NewAnnotator(tr.target.note(), tr.source)
		annotators[w].Insts = c.instsOf()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range jobs {
				j.done <- tr.chunk(annotators[w], io.NewSectionReader(r, j.from, j.to-j.from), c, out)
			}
		}()
	}
	var failed error
	for done := range order {
		p := <-done
		if failed != nil {
			continue
		}
		if failed = p.err; failed == nil {
			failed = tr.take(p, out)
		}
		if failed != nil {
			close(stop)
		}
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	for _, a := range annotators[1:] {
		annotators[0].Merge(a)
	}
	tr.outcomes = annotators[0].Outcomes()
	return nil
}

func (tr *trace) take(p *part, out sink) error {
	tr.names = append(tr.names, p.names...)
	tr.calls += p.calls
	tr.matched += p.matched
	tr.dicts = append(tr.dicts, p.dicts...)
	tr.notices = append(tr.notices, p.notices...)
	for i, f := range p.funcs {
		tr.kept++
		if err := out.take(f, p.rendered[i]); err != nil {
			return err
		}
	}
	return nil
}

// chunk annotates a part of a listing.
func (tr *trace) chunk(a *asmnote.Annotator, src io.Reader, c *config, out sink) *part {
	p := &part{}
	r := disasm.NewReader(src)
	r.Arch = tr.target.arch
	r.Foreign = p.foreign
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			p.err = err
			return p
		}
		if f.Incomplete != "" {
			p.notices = append(p.notices, f.Name+": part of it is missing from the listing: "+f.Incomplete)
		}
		if tr.checks != nil {
			if err := tr.checks.Check(f); err != nil {
				p.err = err
				return p
			}
		}
		p.symbol(a, f, c, out)
	}
}

// foreign keeps the first lines that are no listing.
func (p *part) foreign(n int64, line []byte) {
	if len(p.notices) < 20 && !bytes.HasPrefix(line, []byte("go: downloading ")) {
		p.notices = append(p.notices, fmt.Sprintf("line %d is no listing: %.100q", n, line))
	}
}

// symbol annotates one symbol of a listing.
func (p *part) symbol(a *asmnote.Annotator, f *disasm.Func, c *config, out sink) {
	if !f.Text {
		if d, ok := dictionaryOf(f); ok {
			p.dicts = append(p.dicts, d)
		}
		return
	}
	n := a.Func(f)
	if n == nil {
		return
	}
	p.add(n, c, out)
}

func (p *part) add(n *asmnote.Func, c *config, out sink) {
	p.names = append(p.names, n.Name)
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

// dictionaryOf reads the dictionary of an instance, main..dict.F[string,int], which
// lists its types.
func dictionaryOf(f *disasm.Func) (dictionary, bool) {
	i := strings.Index(f.Name, "..dict.")
	if i < 0 {
		return dictionary{}, false
	}
	d := dictionary{Func: f.Name[:i] + "." + f.Name[i+len("..dict."):]}
	for _, rel := range f.Relocs {
		for _, prefix := range []string{"type:", "type."} {
			if name, ok := strings.CutPrefix(rel.Sym, prefix); ok && strings.HasPrefix(name, "map[") && !slices.Contains(d.Types, name) {
				d.Types = append(d.Types, name)
			}
		}
	}
	return d, len(d.Types) > 0
}
