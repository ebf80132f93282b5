// Program plot draws the results of the benchmarks, which are in benchstat's form:
//
//	plot RESULTS > FILE.svg
//
// A point is the median of the runs.
package main

import (
	"cmp"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"

	"golang.org/x/perf/benchfmt"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var designs = []string{"mutex", "rwmutex", "syncmap", "snapshot"}

func main() {
	runs, err := read(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var panels [2][2]*plot.Plot
	for i, size := range []string{"16", "1000", "100000"} {
		p := panel("stores in 100 operations, "+size+" entries", "ns per operation")
		p.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: 1, Label: "1"}, {Value: 2, Label: "10"}, {Value: 3, Label: "50"}}
		p.X.Min, p.X.Max = -0.3, 3.3
		for d, design := range designs {
			var at plotter.XYs
			for x, reads := range []string{"100", "99", "90", "50"} {
				writers := "8"
				if reads == "100" {
					writers = "1"
				}
				at = add(at, float64(x), runs[fmt.Sprintf("Mix/design=%s/size=%s/reads=%s/writers=%s", design, size, reads, writers)])
			}
			line(p, d, design, at)
		}
		panels[i/2][i%2] = p
	}
	p := panel("entries", "ns per store")
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	for d, design := range designs {
		var at plotter.XYs
		for size := 10; size <= 1_000_000; size *= 10 {
			at = add(at, float64(size), runs[fmt.Sprintf("Store/design=%s/size=%d", design, size)])
		}
		if len(at) > 0 {
			line(p, d, design, at)
		}
	}
	panels[1][1] = p

	c := vgsvg.New(24*vg.Centimeter, 18*vg.Centimeter)
	tiles := draw.Tiles{Rows: 2, Cols: 2, PadX: 5 * vg.Millimeter, PadY: 5 * vg.Millimeter, PadTop: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter}
	rows := [][]*plot.Plot{panels[0][:], panels[1][:]}
	canvases := plot.Align(rows, tiles, draw.New(c))
	for i, row := range rows {
		for j, p := range row {
			p.Draw(canvases[i][j])
		}
	}
	if _, err := c.WriteTo(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func read(file string) (map[string][]float64, error) {
	f := benchfmt.Files{Paths: []string{file}}
	runs := map[string][]float64{}
	for f.Scan() {
		if r, ok := f.Result().(*benchfmt.Result); ok {
			ns, _ := r.Value("sec/op")
			// The last part is the number of processors.
			base, parts := r.Name.Parts()
			name := string(base)
			for _, p := range parts {
				if p[0] == '/' {
					name += string(p)
				}
			}
			runs[name] = append(runs[name], ns*1e9)
		}
	}
	return runs, f.Err()
}

func add(at plotter.XYs, x float64, runs []float64) plotter.XYs {
	if len(runs) == 0 {
		return at
	}
	slices.SortFunc(runs, cmp.Compare)
	return append(at, plotter.XY{X: x, Y: runs[len(runs)/2]})
}

func panel(x, y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Y.Scale, p.Y.Min = plot.LogScale{}, 10
	p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		var ticks []plot.Tick
		for v := 1.0; v <= high*10; v *= 10 {
			ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', -1, 64)})
		}
		return ticks
	})
	p.Legend.Top, p.Legend.Left = true, true
	return p
}

func line(p *plot.Plot, i int, name string, at plotter.XYs) {
	l, points, err := plotter.NewLinePoints(at)
	if err != nil {
		log.Fatal(err)
	}
	l.Color, points.Color, points.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
	p.Add(l, points)
	p.Legend.Add(name, l, points)
}
