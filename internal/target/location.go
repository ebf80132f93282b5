package target

import (
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/go-delve/delve/pkg/locspec"
	"github.com/go-delve/delve/pkg/proc"
)

const maxSuggested = 10

// locate returns the addresses of a place to stop at: every instantiation of a
// generic function, every copy of an inlined one, the first instruction after
// the prologue of the others. Forms:
//
//	main.fill  fill  pkg.(*T).Method  T.Method  example.com/m/pkg.F   a function
//	main.go:12  pkg/main.go:12  /abs/main.go:12                         a line
//	*0x4a1b20                                                           an address
//
// A name that fits several functions means the one of package main, if that is one.
func (t *Target) locate(spec string) ([]uint64, error) {
	spec = strings.TrimSpace(spec)
	if spec == "" {
		return nil, &LocationError{spec, "empty", nil}
	}
	if hex, ok := strings.CutPrefix(spec, "*"); ok {
		addr, err := strconv.ParseUint(hex, 0, 64)
		if err != nil || t.bi.PCToFunc(addr) == nil {
			return nil, &LocationError{spec, "not an address of code", nil}
		}
		return []uint64{addr}, nil
	}
	if i := strings.LastIndexByte(spec, ':'); i > 0 {
		if line, err := strconv.Atoi(spec[i+1:]); err == nil {
			return t.locateLine(spec, spec[:i], line)
		}
	}
	return t.locateFunc(spec)
}

func (t *Target) locateLine(spec, file string, line int) ([]uint64, error) {
	if line <= 0 {
		return nil, &LocationError{spec, "no such line", nil}
	}
	want := filepath.ToSlash(filepath.Clean(file))
	abs, _ := filepath.Abs(file)
	abs = filepath.ToSlash(abs)
	var files []string
	for _, src := range t.bi.Sources {
		if src == want || src == abs {
			files = []string{src}
			break
		}
		if strings.HasSuffix(src, "/"+strings.TrimPrefix(want, "/")) && !slices.Contains(files, src) {
			files = append(files, src)
		}
	}
	if len(files) == 0 {
		var near []string
		for _, src := range t.bi.Sources {
			if path.Base(src) == path.Base(want) {
				near = append(near, src)
			}
		}
		return nil, &LocationError{spec, "no such file in the target", first(near)}
	}
	type found struct {
		file string
		pcs  []uint64
	}
	var hits []found
	for _, f := range files {
		var pcs []uint64
		err := guard("find line", func() (err error) { pcs, err = proc.FindFileLocation(t.tgt, f, line); return err })
		if err == nil && len(pcs) > 0 {
			hits = append(hits, found{f, pcs})
		}
	}
	switch len(hits) {
	case 1:
		return hits[0].pcs, nil
	case 0:
		var near []string
		for _, f := range files {
			for _, d := range []int{1, -1, 2, -2, 3, -3, 4, -4, 5, -5} {
				if pcs, err := proc.FindFileLocation(t.tgt, f, line+d); err == nil && len(pcs) > 0 {
					near = append(near, file+":"+strconv.Itoa(line+d))
					break
				}
			}
		}
		return nil, &LocationError{spec, "no code at this line", first(near)}
	}
	var names []string
	for _, h := range hits {
		names = append(names, h.file+":"+strconv.Itoa(line))
	}
	return nil, &LocationError{spec, "ambiguous", first(names)}
}

func (t *Target) locateFunc(spec string) ([]uint64, error) {
	name := spec
	if _, err := t.bi.FindFunction(spec); err != nil {
		candidates := t.matchFuncs(spec)
		if len(candidates) > 1 {
			var inMain []string
			for _, c := range candidates {
				if strings.HasPrefix(c, "main.") {
					inMain = append(inMain, c)
				}
			}
			if len(inMain) == 1 {
				candidates = inMain
			}
		}
		switch len(candidates) {
		case 0:
			return nil, &LocationError{spec, "no such function in the target", t.nearFuncs(spec)}
		case 1:
			name = candidates[0]
		default:
			return nil, &LocationError{spec, "ambiguous", first(candidates)}
		}
	}
	var pcs []uint64
	err := guard("find function", func() (err error) { pcs, err = proc.FindFunctionLocation(t.tgt, name, 0); return err })
	if err != nil || len(pcs) == 0 {
		return nil, &LocationError{spec, "no code of it is left in the target", nil}
	}
	return slices.Compact(pcs), nil
}

// matchFuncs returns the names that spec may mean, sorted, generic functions
// without their type arguments.
func (t *Target) matchFuncs(spec string) []string {
	parsed, err := locspec.Parse(spec)
	if err != nil {
		return nil
	}
	loc, ok := parsed.(*locspec.NormalLocationSpec)
	if !ok || loc.FuncBase == nil {
		return nil
	}
	names := make(map[string]bool)
	for i := range t.bi.Functions {
		fn := &t.bi.Functions[i]
		// Cheaper than Match, which parses every name.
		if !strings.Contains(fn.Name, loc.FuncBase.BaseName) {
			continue
		}
		generic := fn.NameWithoutTypeParams()
		f := fn
		if generic != fn.Name {
			f = &proc.Function{Name: generic}
		}
		if loc.FuncBase.Match(f, t.bi.PackageMap) {
			names[generic] = true
		}
	}
	return sortedKeys(names)
}

// nearFuncs returns names that resemble spec.
func (t *Target) nearFuncs(spec string) []string {
	_, want := path.Split(spec)
	base := want[strings.LastIndexByte(want, '.')+1:]
	if base == "" {
		return nil
	}
	type near struct {
		name string
		dist int
	}
	seen := make(map[string]bool)
	var all []near
	for i := range t.bi.Functions {
		fn := &t.bi.Functions[i]
		name := fn.Name
		if strings.HasPrefix(name, "type:") || strings.HasPrefix(name, "go:") || seen[name] {
			continue
		}
		b := name[strings.LastIndexByte(name, '.')+1:]
		limit := 1 + len(base)/4
		d := limit + 1
		switch {
		case strings.EqualFold(b, base):
			d = 0
		case abs(len(b)-len(base)) <= limit:
			d = editDistance(strings.ToLower(b), strings.ToLower(base))
		}
		if len(base) >= 4 && strings.Contains(strings.ToLower(b), strings.ToLower(base)) {
			d = min(d, 1)
		}
		if d > limit {
			continue
		}
		if !strings.HasPrefix(name, "main.") {
			d += 2
		}
		seen[name] = true
		all = append(all, near{name, d})
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].dist != all[j].dist {
			return all[i].dist < all[j].dist
		}
		return all[i].name < all[j].name
	})
	var names []string
	for _, n := range all[:min(len(all), 5)] {
		names = append(names, n.name)
	}
	return names
}

func abs(n int) int { return max(n, -n) }

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			sub := diag
			if a[i] != b[j] {
				sub++
			}
			diag = row[j+1]
			row[j+1] = min(sub, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func first(s []string) []string { return s[:min(len(s), maxSuggested)] }

// returnPoints returns, for every return of the function, the address of the last
// instruction before its frame is taken down: the variables are still where the
// debug information says.
func (t *Target) returnPoints(fn *proc.Function) ([]uint64, error) {
	var text []proc.AsmInstruction
	err := guard("disassemble", func() (err error) {
		text, err = proc.Disassemble(t.tgt.Memory(), nil, t.tgt.Breakpoints(), t.bi, fn.Entry, fn.End)
		return err
	})
	if err != nil {
		return nil, err
	}
	var pcs []uint64
	for i := range text {
		if !text[i].IsRet() {
			continue
		}
		at := i
		for at > 0 && isEpilogue(t.bi.Arch.Name, text[at-1].Text(proc.GoFlavour, t.bi)) {
			at--
		}
		pcs = append(pcs, text[at].Loc.PC)
	}
	slices.Sort(pcs)
	return slices.Compact(pcs), nil
}

// isEpilogue reports whether the instruction takes down a frame: it changes the
// stack pointer or restores the frame pointer (cmd/internal/obj/{x86,arm64},
// preprocess). On other machines the return itself must do.
func isEpilogue(arch, text string) bool {
	op, args, _ := strings.Cut(strings.ToUpper(text), " ")
	args = strings.ReplaceAll(args, " ", "")
	switch arch {
	case "amd64", "386":
		switch op {
		case "ADDQ", "SUBQ", "ADDL", "SUBL", "LEAQ", "LEAL":
			return strings.HasSuffix(args, ",SP") // SUBQ $-0x80, SP is ADDQ $0x80
		case "POPQ":
			return args == "BP"
		case "MOVQ":
			return strings.HasSuffix(args, "(SP),BP")
		}
	case "arm64":
		switch op {
		case "ADD":
			return strings.HasSuffix(args, ",RSP,RSP")
		case "LDP":
			return strings.Contains(args, "(RSP)") && strings.Contains(args, "(R29,R30)")
		case "MOVD", "MOVD.P":
			return strings.Contains(args, "(RSP)") && (strings.HasSuffix(args, ",R29") || strings.HasSuffix(args, ",R30"))
		case "SUB":
			return strings.HasSuffix(args, ",RSP,R29")
		}
	}
	return false
}
