package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"hmaptools/internal/asmnote"
)

// config is a command line.
type config struct {
	operands []string // packages or files; one binary with bin; none for standard input
	stdin    bool
	bin      bool

	funcs     *regexp.Regexp // nil for those with an operation
	pattern   string
	all       bool
	archs     []string
	chains    []string
	gcflags   string
	race      bool
	summary   bool
	profile   string
	json      bool
	html      string
	check     bool
	selfcheck bool
	output    string
}

// targets returns how many targets are compared.
func (c *config) targets() int { return max(1, len(c.archs)) * max(1, len(c.chains)) }

// insts says whether instructions are printed.
func (c *config) insts() bool { return !c.summary && !c.check && !c.selfcheck }

// instsOf says of which functions.
func (c *config) instsOf() func(*asmnote.Func) bool {
	if !c.insts() {
		return nil
	}
	return c.wants
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errHelp says that help was asked for and printed.
var errHelp = errors.New("help")

const helpText = `Asmtrace says, instruction by instruction, what each map operation became.

  asmtrace [flags] PACKAGE | FILE.go ...   compile and annotate
  asmtrace [flags] -                       annotate a -S listing read from standard input
  asmtrace [flags] --bin PROG              disassemble a linked binary, stripped ones too

`

func parse(args []string, stdout io.Writer) (*config, error) {
	c := &config{}
	fs := pflag.NewFlagSet("asmtrace", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard)
	fs.StringVarP(&c.pattern, "func", "s", "", "only functions whose name matches this regular `expression`")
	fs.BoolVar(&c.all, "all", false, "functions without a map operation too")
	fs.BoolVar(&c.bin, "bin", false, "PROG is a linked binary: ELF, Mach-O or PE")
	fs.StringSliceVar(&c.archs, "goarch", nil, "for these `architectures`; several are compared")
	fs.StringSliceVar(&c.chains, "toolchain", nil, "by these `toolchains`, as GOTOOLCHAIN names them; several are compared")
	fs.StringVar(&c.gcflags, "gcflags", "", "pass these `flags` to the compiler")
	fs.BoolVar(&c.race, "race", false, "compile with the race detector")
	fs.BoolVar(&c.summary, "summary", false, "one line per operation, no instructions")
	fs.StringVar(&c.profile, "profile", "", "weigh operations by this CPU profile, a `file` of pprof")
	fs.BoolVar(&c.json, "json", false, "write one JSON document")
	fs.StringVar(&c.html, "html", "", "write a page that stands alone to this `file`")
	fs.BoolVar(&c.check, "check", false, "check the expectations in comments; exit with status 3 if one is not met")
	fs.BoolVar(&c.selfcheck, "selfcheck", false, "decode the bytes of the listing and compare them with its text")
	fs.StringVarP(&c.output, "output", "o", "", "write to this `file` instead of standard output")
	help := fs.BoolP("help", "h", false, "print this help")
	if err := fs.Parse(args); err != nil {
		return nil, usageError{err}
	}
	if *help {
		fmt.Fprint(stdout, helpText+fs.FlagUsagesWrapped(100))
		return nil, errHelp
	}
	c.operands = fs.Args()
	if c.pattern != "" {
		re, err := regexp.Compile(c.pattern)
		if err != nil {
			return nil, usagef("--func: %w", err)
		}
		c.funcs = re
	}
	for _, o := range c.operands {
		if strings.HasPrefix(o, "-") && o != "-" {
			return nil, usagef("%s is no package", o)
		}
	}
	c.stdin = len(c.operands) == 1 && c.operands[0] == "-"
	switch {
	case len(c.operands) == 0:
		return nil, usagef("no package, file or binary")
	case c.bin && (len(c.operands) != 1 || c.stdin):
		return nil, usagef("--bin takes one binary")
	case c.bin && (len(c.archs) > 0 || c.gcflags != "" || c.race):
		return nil, usagef("--bin: a binary is compiled already")
	case c.stdin && (c.gcflags != "" || c.race):
		return nil, usagef("a listing is compiled already")
	case (c.stdin || c.bin) && c.targets() > 1:
		return nil, usagef("several targets are compared for packages alone")
	case c.check && (c.bin || c.stdin):
		return nil, usagef("--check reads the source of packages")
	case c.check && (c.json || c.html != "" || c.summary):
		return nil, usagef("--check has an output of its own")
	case c.selfcheck && c.bin:
		return nil, usagef("--selfcheck compares the two sides of a listing: a binary has one")
	case c.json && c.html != "":
		return nil, usagef("--json and --html are two forms of output: choose one")
	case c.json && c.targets() > 1:
		return nil, usagef("--json takes one target")
	case c.profile != "" && c.targets() > 1:
		return nil, usagef("a profile is of one target")
	}
	return c, nil
}
