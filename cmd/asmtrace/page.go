package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"hmaptools/internal/asmnote"
)

//go:embed page.html
var pageHTML string

// pageData is what the page's script draws. The page holds it as JSON: a function is
// drawn when it is chosen, so that a large package opens at once.
type pageData struct {
	Title   string       `json:"title"`
	Targets []pageTarget `json:"targets"`
	Rows    []pageRow    `json:"rows"` // the comparison, of several targets
	// Sources holds the lines that instructions belong to, and those around, by file
	// and number.
	Sources map[string]map[string]string `json:"sources"`
}

type pageTarget struct {
	Name  string          `json:"name"`
	Funcs []*asmnote.Func `json:"funcs"`
	// Weights is what the profile says of each operation, by function and operation.
	Weights [][]string `json:"weights,omitempty"`
}

type pageRow struct {
	Func  string   `json:"func"`
	Place string   `json:"place"`
	Kind  string   `json:"kind"`
	Expr  string   `json:"expr"`
	Cells []string `json:"cells"`
	Diff  bool     `json:"diff"`
}

// page writes the page that stands alone: no part of it is loaded from elsewhere.
func (c *config) page(views []*view, prof *samples) (err error) {
	data := pageData{Title: strings.Join(c.operands, " "), Sources: map[string]map[string]string{}}
	src := newSources()
	for _, v := range views {
		t := pageTarget{Name: v.target.String()}
		funcs := v.funcs
		if prof != nil {
			funcs = prof.heaviest(funcs)
		}
		for _, f := range funcs {
			t.Funcs = append(t.Funcs, f)
			data.lines(src, f)
			if prof != nil {
				var w []string
				for i := range f.Ops {
					w = append(w, prof.text(&f.Ops[i]))
				}
				t.Weights = append(t.Weights, w)
			}
		}
		data.Targets = append(data.Targets, t)
	}
	if len(views) > 1 {
		for _, r := range rows(views) {
			data.Rows = append(data.Rows, pageRow{r.fn, fmt.Sprintf("%s:%d", filepath.Base(r.file), r.line), string(r.kind), r.expr, r.cells, r.differs()})
		}
	}
	b, err := json.Marshal(data) // "<" is escaped: it cannot end the script
	if err != nil {
		return err
	}
	tmpl, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	f, err := os.Create(c.html)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	return tmpl.Execute(f, map[string]any{"Title": data.Title, "Data": template.JS(b)})
}

// lines takes the source of a function: its own lines from the first to the last, and
// those of other files that were inlined, with two lines around.
func (d *pageData) lines(src *sources, f *asmnote.Func) {
	first, last := f.Line, f.Line
	take := func(file string, n int) {
		text := src.line(file, n)
		if d.Sources[file] == nil {
			d.Sources[file] = map[string]string{}
		}
		if text != "" {
			d.Sources[file][strconv.Itoa(n)] = text
		}
	}
	inlined := func(file string, n int) {
		for i := max(1, n-2); i <= n+2; i++ {
			take(file, i)
		}
	}
	for i := range f.Insts {
		in := &f.Insts[i]
		const longest = 2000 // a function over this is of inlined code or generated
		switch {
		case in.File == "" || in.Line < 1:
		case in.File == f.File && f.Line > 0 && in.Line >= f.Line && in.Line-f.Line < longest:
			first, last = min(first, in.Line), max(last, in.Line)
		default:
			inlined(in.File, in.Line)
		}
	}
	for n := first; n > 0 && n <= last+1; n++ {
		take(f.File, n)
	}
}
