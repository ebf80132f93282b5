package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"hmaptools/internal/asmnote"
)

// width is that of the text, in columns.
const width = 120

// A form writes functions.
type form interface {
	// render makes the text of a function; several goroutines may call it.
	render(f *asmnote.Func) ([]byte, error)
	// write writes what render made, in order.
	write(f *asmnote.Func, b []byte) error
	end(tr *trace) error
	weights(s *samples)
}

func printer(c *config, w io.Writer, t *target) form {
	switch {
	case c.json:
		return &jsonOutput{w: w, target: t}
	case c.summary:
		return &summaryOutput{w: w}
	}
	return &textOutput{w: w, sources: newSources()}
}

// short returns a path from the working directory if it lies below, else as it is.
func short(path string) string {
	if wd := workingDir(); wd != "" {
		if rel, ok := strings.CutPrefix(path, wd); ok {
			return rel
		}
	}
	return path
}

// workingDir returns the working directory with a separator behind it, "" if it is not
// known.
var workingDir = sync.OnceValue(func() string {
	wd, err := os.Getwd()
	if err != nil || strings.HasSuffix(wd, string(filepath.Separator)) {
		return ""
	}
	return wd + string(filepath.Separator)
})

func join(s []string) string { return strings.Join(s, ", ") }

// routineName is how a call is shown: without "runtime.".
func routineName(op *asmnote.Op) string {
	if op.Symbol == "" {
		return op.Variant
	}
	return strings.TrimPrefix(op.Symbol, "runtime.")
}

// clip shortens a text to n columns.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(0, n-3)]) + "..."
}

// pad fills a text up to n columns.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

// A summaryOutput writes one line per operation.
type summaryOutput struct {
	w    io.Writer
	prof *samples
}

func (o *summaryOutput) weights(s *samples) { o.prof = s }

func (o *summaryOutput) write(_ *asmnote.Func, b []byte) error {
	_, err := o.w.Write(b)
	return err
}

func (o *summaryOutput) render(f *asmnote.Func) ([]byte, error) {
	var b bytes.Buffer
	for i := range f.Ops {
		op := &f.Ops[i]
		weight := ""
		if o.prof != nil {
			weight = o.prof.text(op) + "\t"
		}
		expr := op.Expr
		if expr == "" {
			expr = "-"
		}
		mark := ""
		if op.WriteBarrier {
			mark += " barrier"
		}
		for _, h := range op.Hints {
			mark += " hint:" + h.Code
		}
		typ := op.MapType
		if typ == "" {
			typ = "-"
		}
		fmt.Fprintf(&b, "%s%s:%d:%d\t%s\t%s\t%s\t%s\t%s%s\n", weight, short(op.File), op.Line, op.Col, f.Name, op.Kind, expr, routineName(op), typ, mark)
	}
	return b.Bytes(), nil
}

func (o *summaryOutput) end(tr *trace) error { return nil }

// A textOutput writes operations and instructions between the lines of the source.
type textOutput struct {
	w       io.Writer
	sources *sources
	prof    *samples
	first   bool
	generic bool // a function's types come from dictionaries
}

func (o *textOutput) weights(s *samples) { o.prof = s }

func (o *textOutput) end(tr *trace) error {
	if tr == nil || len(tr.dicts) == 0 || !o.generic {
		return nil
	}
	var b strings.Builder
	b.WriteString("\ndictionaries of generic functions, with the map types in them\n")
	for _, d := range tr.dicts {
		b.WriteString("  " + clip(d.Func+"  "+join(d.Types), width-2) + "\n")
	}
	_, err := io.WriteString(o.w, b.String())
	return err
}

func (o *textOutput) write(f *asmnote.Func, b []byte) error {
	if o.first {
		b = append([]byte{'\n'}, b...)
	}
	o.first = true
	o.generic = o.generic || strings.Contains(f.Name, "[go.shape.")
	_, err := o.w.Write(b)
	return err
}

func (o *textOutput) render(f *asmnote.Func) ([]byte, error) {
	var b bytes.Buffer
	at := ""
	if f.File != "" {
		at = fmt.Sprintf("%s:%d", short(f.File), f.Line)
	}
	if at != "" {
		at = "  " + at
	}
	fmt.Fprintf(&b, "%s%s\n", clip(f.Name, width-len(at)), at)
	for i := range f.Ops {
		o.op(&b, i, &f.Ops[i])
	}
	o.insts(&b, f)
	return b.Bytes(), nil
}

// op writes what an operation became, in a paragraph.
func (o *textOutput) op(b *bytes.Buffer, i int, op *asmnote.Op) {
	head := fmt.Sprintf("  [%d] %s", i+1, op.Kind)
	if op.Expr != "" {
		head += "  " + op.Expr
	}
	fmt.Fprintf(b, "%s\n", clip(head, width))
	item := func(name, text string) {
		if text != "" {
			wrap(b, "      "+pad(name, 8), text)
		}
	}
	item("at", fmt.Sprintf("%s:%d:%d, %#x", short(op.File), op.Line, op.Col, op.PC))
	if o.prof != nil {
		item("profile", o.prof.text(op))
	}
	item("map", op.MapType)
	call := op.Symbol
	if n := len(op.Calls); n > 1 {
		call += fmt.Sprintf(" (%d calls)", n)
	}
	if call == "" {
		call = "no call (" + op.Variant + ")"
	}
	item("code", call)
	item("why", op.Why)
	var in []string
	for _, a := range op.Args {
		s := a.Name
		if a.In != "" {
			s += " in " + a.In
		}
		if a.Value != "" {
			s += " = " + a.Value
		}
		in = append(in, s)
	}
	item("in", strings.Join(in, "; "))
	if r := op.Result; r != nil {
		s := r.In + ": " + r.Means
		if r.Store != "" {
			s += fmt.Sprintf("; used by %s at %#x", r.Store, r.StorePC)
		}
		item("out", s)
	}
	if op.Words > 0 {
		item("words", fmt.Sprint(op.Words))
	}
	if op.WriteBarrier {
		item("barrier", "the pointer is stored under a write barrier")
	}
	for _, n := range op.Notes {
		item("note", n)
	}
	for _, h := range op.Hints {
		item("hint", h.Text+" ("+h.Code+")")
	}
}

// wrap writes a text in the columns behind a prefix.
func wrap(b *bytes.Buffer, prefix, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(prefix))
	room := width - len(indent)
	for line := prefix; ; line = indent {
		if utf8.RuneCountInString(text) <= room {
			fmt.Fprintf(b, "%s%s\n", line, text)
			return
		}
		r := []rune(text)
		cut := strings.LastIndexByte(string(r[:room+1]), ' ')
		if cut <= 0 {
			cut = len(string(r[:room]))
		}
		fmt.Fprintf(b, "%s%s\n", line, strings.TrimRight(text[:cut], " "))
		text = strings.TrimLeft(text[cut:], " ")
	}
}

// insts writes the instructions, each run of one line below that line's text. It is
// the bulk of what is written, so it does without fmt.
func (o *textOutput) insts(b *bytes.Buffer, f *asmnote.Func) {
	file, lineNo := "", -1
	buf := make([]byte, 0, 256)
	for i := range f.Insts {
		in := &f.Insts[i]
		if in.File != file || in.Line != lineNo {
			file, lineNo = in.File, in.Line
			name := file
			if name == "" {
				name = "(no position)"
			}
			buf = append(append(buf[:0], "  "...), name[strings.LastIndexByte(name, '/')+1:]...)
			buf = append(strconv.AppendInt(append(buf, ':'), int64(lineNo), 10), "  "...)
			buf = append(buf, strings.TrimSpace(strings.ReplaceAll(o.sources.line(file, lineNo), "\t", "    "))...)
			if w := o.prof.line(file, lineNo); w != "" {
				const at = 106
				buf = append([]byte(pad(clip(string(buf), at-1), at)), w...)
			}
			writeLine(b, buf)
		}
		buf = append(buf[:0], "     "...)
		if in.OpIndex > 0 {
			buf[3] = '*'
		}
		var digits [16]byte
		hex := strconv.AppendUint(digits[:0], in.PC, 16)
		buf = append(append(append(buf, "0x"...), "0000"[:max(0, 4-len(hex))]...), hex...)
		buf = append(append(buf, "  "...), in.Op...)
		for n := len(in.Op); n < 8; n++ {
			buf = append(buf, ' ')
		}
		buf = append(append(buf, ' '), in.Args...)
		weight := ""
		if in.Samples > 0 {
			weight = " " + o.prof.amount(in.Samples)
		}
		if in.OpIndex > 0 {
			const at = 66
			s := pad(clip(string(buf), at-1), at)
			buf = append(append(buf[:0], s...), '[')
			buf = append(append(strconv.AppendInt(buf, int64(in.OpIndex), 10), "] "...), in.Note...)
		}
		if weight != "" {
			const at = 105
			buf = append([]byte(pad(clip(string(buf), at-1), at)), weight...)
		}
		writeLine(b, buf)
	}
}

// writeLine writes a line of at most the width.
func writeLine(b *bytes.Buffer, line []byte) {
	line = bytes.TrimRight(line, " ")
	if len(line) > width {
		b.WriteString(clip(string(line), width))
	} else {
		b.Write(line)
	}
	b.WriteByte('\n')
}

// sources reads lines of source files, each file once. Several goroutines may use it.
type sources struct {
	mu    sync.Mutex
	files map[string]*sourceText
}

// sourceText is a file and where its lines end.
type sourceText struct {
	text string
	ends []int
}

func newSources() *sources { return &sources{files: map[string]*sourceText{}} }

func readSource(file string) *sourceText {
	s := &sourceText{}
	if !filepath.IsAbs(file) {
		return s
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return s // their lines are not shown
	}
	s.text = string(data)
	s.ends = make([]int, 0, len(data)/32)
	for i, c := range data {
		if c == '\n' {
			s.ends = append(s.ends, i)
		}
	}
	s.ends = append(s.ends, len(data))
	return s
}

func (s *sources) line(file string, n int) string {
	s.mu.Lock()
	t, ok := s.files[file]
	if !ok {
		t = readSource(file)
		s.files[file] = t
	}
	s.mu.Unlock()
	if n < 1 || n > len(t.ends) {
		return ""
	}
	start := 0
	if n > 1 {
		start = t.ends[n-2] + 1
	}
	return t.text[start:t.ends[n-1]]
}
