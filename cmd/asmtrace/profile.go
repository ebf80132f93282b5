package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"hmaptools/internal/asmnote"
)

// foreignProfileError says that a profile is of another program.
type foreignProfileError struct{ file string }

func (e *foreignProfileError) Error() string {
	return e.file + ": none of its samples is in a function of these packages: it is a profile of another program"
}

// weight is what a place costs, in the profile's unit.
type weight struct {
	total int64
	below map[string]int64 // of it, in malloc, growth and so on
}

// place is a line in a function.
type samplePlace struct {
	file string
	line int
}

// A site is a call of a map routine in the profile.
type site struct {
	weight
	place samplePlace
	fn    string // that holds the call; what was inlined into it counts for it
	addr  uint64
	// bias is what to take from addr in a position-independent program.
	bias uint64
}

// samples are those of a CPU profile, charged to lines.
type samples struct {
	file  string
	unit  string
	total int64
	// sites hold what was spent in routines of maps and below, by the address of the
	// call; there is only one such call for a sample.
	sites map[uint64]*site
	// program is the binary that the profile was taken of, by its own words.
	program string
	// lines and addrs hold what was spent in the code of a line and at an address, what
	// is below the call of a map routine included.
	lines map[samplePlace]int64
	addrs map[uint64]int64
	// funcs are all functions of the profile.
	funcs map[string]bool
	// ops is what is charged to the operations of the view.
	ops map[*asmnote.Op]*weight
}

// readProfile reads a profile of pprof and finds for each sample the call of a map
// routine that it is below, if any.
func readProfile(file string) (*samples, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const most = 256 << 20
	if info.Size() > most {
		return nil, fmt.Errorf("profile %s: it has %d bytes, over the limit of %d", file, info.Size(), int64(most))
	}
	p, err := profile.Parse(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", file, err)
	}
	s := &samples{file: file, sites: map[uint64]*site{}, lines: map[samplePlace]int64{}, addrs: map[uint64]int64{}, funcs: map[string]bool{}, ops: map[*asmnote.Op]*weight{}}
	value := -1
	for i, t := range p.SampleType {
		if t.Unit == "nanoseconds" || value < 0 {
			value, s.unit = i, t.Unit
		}
	}
	if value < 0 {
		return nil, fmt.Errorf("profile %s: it has no samples", file)
	}
	if len(p.Mapping) > 0 {
		s.program = p.Mapping[0].File
	}
	for _, sample := range p.Sample {
		v := sample.Value[value]
		s.total += v
		s.charged(sample, v)
	}
	return s, nil
}

// frame is a call of a sample, the innermost first; inlined calls are frames too.
type frame struct {
	fn, file string
	line     int
	at       *profile.Location // of the instruction that is carried out, or that calls
}

func frames(sample *profile.Sample) []frame {
	var all []frame
	for _, loc := range sample.Location {
		for _, l := range loc.Line {
			if l.Function != nil {
				all = append(all, frame{l.Function.Name, l.Function.Filename, int(l.Line), loc})
			}
		}
	}
	return all
}

// isMapFrame reports whether a function carries out map operations.
func isMapFrame(fn string) bool {
	if strings.HasPrefix(fn, "internal/runtime/maps.") || fn == "maps.clone" {
		return true
	}
	name, ok := strings.CutPrefix(fn, "runtime.")
	return ok && (strings.HasPrefix(name, "map") || strings.HasPrefix(name, "makemap") || name == "growWork" || name == "hashGrow" || name == "evacuate" ||
		strings.HasPrefix(name, "growWork_") || strings.HasPrefix(name, "evacuate_") || strings.HasPrefix(name, "(*hmap)."))
}

// charged gives a sample to the function that called the outermost map routine of
// the innermost run of such routines.
func (s *samples) charged(sample *profile.Sample, v int64) {
	all := frames(sample)
	at := -1
	for i, f := range all {
		s.funcs[f.fn] = true
		if isMapFrame(f.fn) && at < 0 {
			at = i
		}
	}
	if at < 0 {
		if len(all) > 0 {
			s.spent(all[0], v)
		}
		return
	}
	caller := at
	for caller < len(all) && isMapFrame(all[caller].fn) {
		caller++
	}
	if caller == len(all) {
		return
	}
	f := all[caller]
	s.spent(f, v)
	// An inlined call has the operation's line in the innermost frame, and the code
	// lies in the outermost one of them.
	w := s.sites[f.at.Address]
	if w == nil {
		w = &site{weight: weight{below: map[string]int64{}}, place: samplePlace{tail(f.file), f.line}, fn: f.fn, addr: f.at.Address}
		if n := len(f.at.Line); f.at.Line[n-1].Function != nil {
			w.fn = f.at.Line[n-1].Function.Name // the outermost
		}
		if m := f.at.Mapping; m != nil {
			w.bias = m.Start - m.Offset
		}
		s.sites[f.at.Address] = w
	}
	w.total += v
	w.below[class(all[:caller])] += v
}

func (s *samples) spent(f frame, v int64) {
	s.lines[samplePlace{tail(f.file), f.line}] += v
	s.addrs[f.at.Address] += v
}

// line is what was spent in the code of a line, as text; "" for nothing.
func (s *samples) line(file string, line int) string {
	if s == nil || s.lines[samplePlace{tail(file), line}] == 0 {
		return ""
	}
	return s.amount(s.lines[samplePlace{tail(file), line}])
}

// class says what is done below a map operation, from the frames below its caller.
func class(below []frame) string {
	what := "the map itself"
	for _, f := range below {
		name := f.fn[strings.LastIndexByte(f.fn, '.')+1:]
		switch {
		case strings.HasPrefix(name, "mallocgc") || name == "newobject" || name == "newarray":
			what = "allocation"
		case strings.HasPrefix(name, "evacuate") || name == "growWork" || name == "hashGrow" || name == "rehash" || name == "grow" || name == "split" || name == "growToTable" || name == "growToSmall" || strings.HasPrefix(name, "growWork"):
			return "growth" // with what it allocates
		case strings.HasSuffix(name, "hash") || strings.Contains(name, "memhash") || strings.Contains(name, "strhash") || strings.Contains(name, "aeshash"):
			if what == "the map itself" {
				what = "hashing"
			}
		}
	}
	return what
}

// tail is the end of a path, by which a profile's files and those of the listing
// are compared: one of them may be trimmed.
func tail(file string) string {
	dir, base := filepath.Split(file)
	return filepath.Base(dir) + "/" + base
}

func (s *samples) of(op *asmnote.Op) weight {
	if s == nil || s.ops[op] == nil {
		return weight{}
	}
	return *s.ops[op]
}

// text is the weight of an operation for people.
func (s *samples) text(op *asmnote.Op) string {
	w := s.of(op)
	if w.total == 0 {
		return "-"
	}
	var parts []string
	for name := range w.below {
		parts = append(parts, name)
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Or(cmp.Compare(w.below[b], w.below[a]), strings.Compare(a, b)) })
	for i, name := range parts {
		parts[i] = fmt.Sprintf("%s %.0f%%", name, 100*float64(w.below[name])/float64(w.total))
	}
	return fmt.Sprintf("%s %.1f%% (%s)", s.amount(w.total), 100*float64(w.total)/float64(max(1, s.total)), strings.Join(parts, ", "))
}

func (s *samples) amount(n int64) string {
	if s.unit == "nanoseconds" {
		return fmt.Sprintf("%.2fs", float64(n)/1e9)
	}
	return fmt.Sprintf("%d %s", n, s.unit)
}

// heaviest sorts functions by the samples of their operations.
func (s *samples) heaviest(funcs []*asmnote.Func) []*asmnote.Func {
	sum := func(f *asmnote.Func) int64 {
		n, seen := int64(0), map[*weight]bool{}
		for i := range f.Ops {
			if w := s.ops[&f.Ops[i]]; w != nil && !seen[w] {
				seen[w] = true
				n += w.total
			}
		}
		return n
	}
	out := slices.Clone(funcs)
	slices.SortStableFunc(out, func(a, b *asmnote.Func) int { return cmp.Compare(sum(b), sum(a)) })
	return out
}
