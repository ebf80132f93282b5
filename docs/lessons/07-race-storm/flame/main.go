// Program flame draws a CPU profile as a flame graph:
//
//	flame [-show-from REGEXP] PROFILE > FILE.svg
//
// A box is a function, as wide as the samples in which it was on the stack; what it
// called stands above it. Resting the pointer on a box shows its name and share.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"html"
	"log"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// node is a function on a certain stack.
type node struct {
	total int64
	calls map[string]*node
}

const (
	width   = 1200.0
	rowSize = 17
)

func main() {
	from := flag.String("show-from", "", "leave out what is below the first function that matches this `regexp`, and stacks without one")
	flag.Parse()
	root, err := read(flag.Arg(0), regexp.MustCompile(*from))
	if err != nil {
		log.Fatal(err)
	}
	if root.total == 0 {
		log.Fatalf("%s: no sample with a function that matches %q", flag.Arg(0), *from)
	}
	rows := root.depth()
	fmt.Printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="monospace" font-size="11">`+"\n", width, rows*rowSize)
	root.draw("all", 0, rows-1, width/float64(root.total), root.total)
	fmt.Println("</svg>")
}

func read(file string, from *regexp.Regexp) (*node, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return nil, err
	}
	root := &node{calls: map[string]*node{}}
	for _, s := range p.Sample {
		var stack []string // outermost first
		for _, l := range slices.Backward(s.Location) {
			for _, line := range slices.Backward(l.Line) {
				stack = append(stack, line.Function.Name)
			}
		}
		i := slices.IndexFunc(stack, from.MatchString)
		if i < 0 {
			continue
		}
		n, value := root, s.Value[len(s.Value)-1] // the last is the CPU time
		n.total += value
		for _, name := range stack[i:] {
			if n.calls[name] == nil {
				n.calls[name] = &node{calls: map[string]*node{}}
			}
			n = n.calls[name]
			n.total += value
		}
	}
	return root, nil
}

// depth is how many rows it takes to draw n.
func (n *node) depth() int {
	deepest := 0
	for _, c := range n.calls {
		deepest = max(deepest, c.depth())
	}
	return deepest + 1
}

func (n *node) draw(name string, x float64, row int, scale float64, all int64) {
	w := float64(n.total) * scale
	short := name[strings.LastIndexByte(name, '/')+1:]
	if fit := int(w/6.7) - 1; fit < 3 {
		short = ""
	} else if fit < len(short) {
		short = short[:fit-1] + "…"
	}
	colour := "#e8b04b" // the program's
	if strings.HasPrefix(name, "runtime.map") || strings.HasPrefix(name, "internal/runtime/maps") {
		colour = "#d9603b" // of maps
	} else if !strings.HasPrefix(name, "main.") {
		colour = "#cfd3d6"
	}
	fmt.Printf(`<g><title>%s %.1f%%</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="white"/><text x="%.1f" y="%d">%s</text></g>`+"\n",
		html.EscapeString(name), 100*float64(n.total)/float64(all), x, row*rowSize, w, rowSize, colour, x+3, row*rowSize+12, html.EscapeString(short))
	names := slices.SortedFunc(maps.Keys(n.calls), func(a, b string) int {
		return cmp.Or(cmp.Compare(n.calls[b].total, n.calls[a].total), cmp.Compare(a, b))
	})
	for _, called := range names {
		c := n.calls[called]
		c.draw(called, x, row-1, scale, all)
		x += float64(c.total) * scale
	}
}
