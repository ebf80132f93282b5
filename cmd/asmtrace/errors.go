package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"hmaptools/internal/disasm"
)

// noneError says that no function matches -s.
type noneError struct {
	pattern string
	near    []string // names that are like it
	total   int      // functions
}

func (e *noneError) Error() string {
	if e.pattern == "" {
		return fmt.Sprintf("no map operation in %d functions", e.total)
	}
	return fmt.Sprintf("no function matches %s; there are %d", e.pattern, e.total)
}

// findingError is exit status 3.
type findingError struct{ error }

// advice is a second line for an error: what to try.
func advice(err error) string {
	var none *noneError
	var arch *disasm.ArchError
	var format *disasm.FormatError
	var cut *disasm.CutError
	var unknown *unknownArchError
	var foreign *foreignProfileError
	switch {
	case errors.As(err, &none):
		switch {
		case len(none.near) > 0:
			return "similar names: " + strings.Join(none.near, ", ")
		case none.pattern != "":
			return "the pattern is a regular expression over names such as example.com/p.(*T).Method"
		}
		return "--all shows functions without one"
	case errors.As(err, &unknown) && unknown.funcs == 0:
		return "a listing is what the go command prints: go build -gcflags=-S PACKAGE 2>&1 | asmtrace -"
	case errors.As(err, &unknown):
		return "say --goarch, and --toolchain for the version"
	case errors.As(err, &arch):
		return "asmtrace - reads listings of every architecture: go build -gcflags=-S"
	case errors.As(err, &format):
		return "--bin takes what go build links; a package is given without --bin"
	case errors.As(err, &cut):
		return "what came before was annotated; the end is missing"
	case errors.As(err, &foreign):
		return "take the profile from the program that these packages are built into"
	case errors.Is(err, fs.ErrNotExist):
		return "is the name right, and is it relative to this directory?"
	}
	return ""
}

// near returns up to five names that are most like the pattern, by the pairs of
// letters that they have in common.
func near(pattern string, names []string) []string {
	want := pairs(pattern)
	if len(want) == 0 {
		return nil
	}
	type scored struct {
		name  string
		score float64
	}
	var all []scored
	for _, name := range names {
		last := name[strings.LastIndexByte(name, '/')+1:]
		have := pairs(last)
		common := 0
		for p := range want {
			if have[p] {
				common++
			}
		}
		if s := 2 * float64(common) / float64(len(want)+len(have)); s > 0.3 {
			all = append(all, scored{name, s})
		}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, s := range all {
		if !slices.Contains(out, s.name) && len(out) < 5 {
			out = append(out, s.name)
		}
	}
	return out
}

func pairs(s string) map[string]bool {
	s = strings.ToLower(s)
	set := map[string]bool{}
	for i := 0; i+1 < len(s); i++ {
		if strings.ContainsAny(s[i:i+2], `^$.*+?()[]\|`) {
			continue
		}
		set[s[i:i+2]] = true
	}
	return set
}
