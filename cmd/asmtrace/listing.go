package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
)

// chunkSize is how much of a listing a worker takes at once, in bytes, and ahead how
// many chunks may be in work, or read and waiting for what is known of the source. Both
// bound the memory, whatever the length of the listing.
const (
	chunkSize = 2 << 20
	ahead     = 16
)

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

// A chunk is a part of a listing, in work.
type chunk struct {
	from, to int64
	held     []held // what was read before it could be annotated
	part     part
	done     chan *part
}

// held is a function that waits for what is known of the source: it was read if it is
// wanted whatever that says, else its lines will tell.
type held struct {
	f        *disasm.Func // nil if it is not read yet
	from, to int64        // in the listing
	pkg      string
	lines    []disasm.Pos
}

// part is what a worker makes of a chunk.
type part struct {
	funcs          []*asmnote.Func
	rendered       [][]byte // of funcs
	names          []string
	calls, matched int
	dicts          []dictionary
	notices        []string
	odd            int // lines that are no listing
	more           int // of them, that are not in notices
	err            error
}

// listing annotates a listing of a known compiler, on all cores, and hands out the
// functions in its order. Meanwhile it calls source, which adds what is known of the
// packages: until that returns, one core is left to it, and the others read ahead.
func (tr *trace) listing(r io.ReaderAt, size int64, c *config, out sink, source func()) error {
	starts, err := chunks(r, size)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	go func() {
		source()
		close(ready)
	}()
	defer func() { <-ready }()

	workers := runtime.GOMAXPROCS(0)
	if tr.checks != nil {
		workers = 1 // the check is for one
	}
	todo := make(chan *chunk)
	waiting := make(chan *chunk, ahead) // read, and to be annotated
	order := make(chan *chunk, ahead-1)
	stop := make(chan struct{})
	go func() {
		defer close(todo)
		defer close(order)
		for i := 0; i+1 < len(starts); i++ {
			j := &chunk{from: starts[i], to: starts[i+1], done: make(chan *part, 1)}
			select {
			case order <- j:
			case <-stop:
				return
			}
			todo <- j
		}
	}()
	annotators := make([]*asmnote.Annotator, workers)
	var wg sync.WaitGroup
	for i := range workers {
		w := newWorker(tr, r, c, out)
		annotators[i] = w.ann
		wg.Go(func() {
			if i > 0 {
				w.readAhead(todo, waiting, ready)
			}
			<-ready
			// Who has read ahead comes by here too, so that no chunk is left waiting.
			for {
				select {
				case j := <-waiting:
					w.annotateHeld(j)
					j.done <- &j.part
					continue
				default:
				}
				j, more := <-todo
				if !more {
					return
				}
				w.annotate(j)
				j.done <- &j.part
			}
		})
	}
	var failed error
	for j := range order {
		p := <-j.done
		tr.bar.add(j.to - j.from)
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

// A worker reads and annotates chunks of a listing.
type worker struct {
	tr      *trace
	listing io.ReaderAt
	c       *config
	out     sink
	ann     *asmnote.Annotator
	skim    *disasm.Skimmer
	reader  *disasm.Reader
	buf     []byte
}

func newWorker(tr *trace, listing io.ReaderAt, c *config, out sink) *worker {
	w := &worker{tr: tr, listing: listing, c: c, out: out, skim: disasm.NewSkimmer(), reader: disasm.NewReader(nil)}
	w.ann = asmnote.NewAnnotator(tr.target.note(), tr.source)
	w.ann.Insts = c.instsOf()
	w.reader.Arch = tr.target.arch
	return w
}

// readAhead reads chunks until they can be annotated.
func (w *worker) readAhead(todo <-chan *chunk, waiting chan<- *chunk, ready <-chan struct{}) {
	for {
		select {
		case <-ready:
			return
		default:
		}
		select {
		case <-ready:
			return
		case j, more := <-todo:
			if !more {
				return
			}
			w.blocks(j, func(b *disasm.Block) {
				at := j.from + int64(b.At)
				h := held{from: at, to: at + int64(len(b.Text)), pkg: b.Pkg}
				if !w.sure(b) {
					h.lines = slices.Clone(b.Lines)
				} else if f := w.read(&j.part, b.Text, b.Pkg); f != nil {
					h.f = f.Clone()
				} else {
					return
				}
				j.held = append(j.held, h)
			})
			waiting <- j
		}
	}
}

// annotateHeld annotates a chunk that was read before.
func (w *worker) annotateHeld(j *chunk) {
	for i := range j.held {
		h := &j.held[i]
		if h.f == nil && slices.ContainsFunc(h.lines, w.concerns) {
			text := make([]byte, h.to-h.from)
			if _, err := w.listing.ReadAt(text, h.from); err != nil && j.part.err == nil {
				j.part.err = err
			}
			h.f = w.read(&j.part, text, h.pkg)
		}
		if h.f != nil {
			j.part.function(w.ann, h.f, w.c, w.out)
		}
	}
	j.held = nil
}

// annotate reads and annotates a chunk.
func (w *worker) annotate(j *chunk) {
	w.blocks(j, func(b *disasm.Block) {
		if w.sure(b) || slices.ContainsFunc(b.Lines, w.concerns) {
			if f := w.read(&j.part, b.Text, b.Pkg); f != nil {
				j.part.function(w.ann, f, w.c, w.out)
			}
		}
	})
}

// sure reports whether a function has to be read, whatever is in the source: it is
// asked for, or calls a routine of maps.
func (w *worker) sure(b *disasm.Block) bool {
	return w.c.all || w.tr.checks != nil || w.c.funcs != nil && w.c.funcs.MatchString(b.Name) || slices.ContainsFunc(b.Calls, asmnote.IsRoutine)
}

func (w *worker) concerns(at disasm.Pos) bool { return w.tr.source.Concerns(at.File, at.Line) }

// blocks calls fn for each function of a chunk, and reads the dictionaries.
func (w *worker) blocks(j *chunk, fn func(b *disasm.Block)) {
	p := &j.part
	w.buf = slices.Grow(w.buf[:0], int(j.to-j.from))[:j.to-j.from]
	if n, err := w.listing.ReadAt(w.buf, j.from); n < len(w.buf) {
		p.err = err
		return
	}
	w.skim.Foreign = func(line []byte) { p.foreign("this line", line) }
	w.skim.Skim(w.buf, func(b *disasm.Block) {
		switch {
		case b.Code && len(b.Lines) > 0:
			p.names = append(p.names, b.Name)
			fn(b)
		case !b.Code && strings.Contains(b.Name, dict):
			if f := w.read(p, b.Text, b.Pkg); f != nil {
				p.dictionary(f)
			}
		}
	})
}

// read reads one symbol, nil if there is none. It is valid until the next call.
func (w *worker) read(p *part, text []byte, pkg string) *disasm.Func {
	w.reader.Reset(bytes.NewReader(text))
	f, err := w.reader.Next()
	if err != nil {
		if p.err == nil && !errors.Is(err, io.EOF) {
			p.err = err
		}
		return nil
	}
	f.Pkg = pkg
	if f.Incomplete != "" {
		p.notices = append(p.notices, f.Name+": part of it is missing from the listing: "+f.Incomplete)
	}
	if w.tr.checks != nil {
		if err := w.tr.checks.Check(f); err != nil && p.err == nil {
			p.err = err
		}
	}
	return f
}

// foreign keeps the first lines that are no listing, and counts the others.
func (p *part) foreign(which string, line []byte) {
	const most = 5
	switch {
	case bytes.HasPrefix(line, []byte("go: downloading ")):
	case p.odd < most:
		p.notices = append(p.notices, fmt.Sprintf("%s is no listing: %.100q", which, line))
		fallthrough
	default:
		p.odd++
		p.more = max(0, p.odd-most)
	}
}

// unsaid notes how many lines are no listing in addition to those that were shown.
func (tr *trace) unsaid(n int) {
	if n > 0 {
		tr.notices = append(tr.notices, fmt.Sprintf("%d more lines are no listing", n))
	}
}

func (tr *trace) take(p *part, out sink) error {
	tr.names = append(tr.names, p.names...)
	tr.calls += p.calls
	tr.matched += p.matched
	tr.dicts = append(tr.dicts, p.dicts...)
	tr.notices = append(tr.notices, p.notices...)
	tr.unsaid(p.more)
	for i, f := range p.funcs {
		tr.kept++
		if err := out.take(f, p.rendered[i]); err != nil {
			return err
		}
	}
	return nil
}
