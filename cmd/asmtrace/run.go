package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
)

// run is the command: it returns the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "asmtrace: %v\nasmtrace --help lists the flags\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err = output(ctx, c, stdin, stdout, stderr)
	if err == nil {
		return 0
	}
	var failed *failedBuild
	if errors.As(err, &failed) {
		fmt.Fprint(stderr, failed.text) // the compiler's own words
	}
	fmt.Fprintf(stderr, "asmtrace: %v\n", err)
	if a := advice(err); a != "" {
		fmt.Fprintf(stderr, "%s\n", a)
	}
	var finding findingError
	if errors.As(err, &finding) {
		return 3
	}
	return 1
}

// output opens the file that -o names, and removes it again if nothing came of it.
func output(ctx context.Context, c *config, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	if c.output != "" {
		f, err := os.Create(c.output)
		if err != nil {
			return err
		}
		stdout = f
		defer f.Close()
	}
	w := bufio.NewWriterSize(stdout, 64<<10)
	err = work(ctx, c, stdin, w, stderr)
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// work does what the command line says.
func work(ctx context.Context, c *config, stdin io.Reader, w io.Writer, stderr io.Writer) error {
	targets := []*target{}
	for _, chain := range atLeastOne(c.chains) {
		for _, arch := range atLeastOne(c.archs) {
			targets = append(targets, &target{goarch: arch, toolchain: chain})
		}
	}
	var prof *samples
	if c.profile != "" {
		var err error
		if prof, err = readProfile(c.profile); err != nil {
			return err
		}
	}
	if c.html != "" || len(targets) > 1 || prof != nil || c.check {
		return c.whole(ctx, targets, prof, stdin, w, stderr)
	}
	// One target streams.
	t := targets[0]
	p := printer(c, w, t)
	out := sink{p.render, p.write}
	if c.selfcheck {
		out = sink{nil, func(*asmnote.Func, []byte) error { return nil }}
	}
	tr, err := c.annotate(ctx, t, stdin, stderr, out)
	if tr != nil {
		notices(stderr, tr)
	}
	if err == nil && tr.checks != nil {
		return selfcheck(w, tr)
	}
	if err != nil && tr == nil {
		return err
	}
	return errors.Join(p.end(tr), err)
}

func atLeastOne(s []string) []string {
	if len(s) == 0 {
		return []string{""}
	}
	return s
}

// annotate hands out the functions of a target.
func (c *config) annotate(ctx context.Context, t *target, stdin io.Reader, stderr io.Writer, out sink) (*trace, error) {
	p, end := showProgress(stderr, join(c.operands))
	defer end()
	switch {
	case c.bin:
		return annotateBinary(t, c, out, p)
	case c.stdin:
		return annotateStream(stdin, t, c, out)
	}
	return annotatePackages(ctx, t, c, out, p)
}

func notices(stderr io.Writer, tr *trace) {
	for _, n := range tr.notices {
		fmt.Fprintf(stderr, "asmtrace: %s\n", n)
	}
}

// A view is everything that was found for a target.
type view struct {
	*trace
	funcs []*asmnote.Func
}

// whole does what needs all functions at once.
func (c *config) whole(ctx context.Context, targets []*target, prof *samples, stdin io.Reader, w, stderr io.Writer) error {
	var views []*view
	for _, t := range targets {
		v := &view{}
		tr, err := c.annotate(ctx, t, stdin, stderr, sink{nil, func(f *asmnote.Func, _ []byte) error { v.funcs = append(v.funcs, f); return nil }})
		if tr != nil {
			notices(stderr, tr)
		}
		if err != nil {
			if len(targets) > 1 {
				return fmt.Errorf("%s: %w", t, err)
			}
			return err
		}
		v.trace = tr
		views = append(views, v)
	}
	if prof != nil {
		if err := c.charge(views[0], prof, stderr); err != nil {
			return err
		}
		if c.bin {
			prof.chargeInsts(views[0].funcs)
		}
	}
	switch {
	case c.check:
		return c.expectations(w, views)
	case c.html != "":
		return c.page(views, prof)
	case len(views) > 1:
		return compare(w, views)
	}
	p := printer(c, w, views[0].target)
	p.weights(prof)
	funcs := views[0].funcs
	if prof != nil {
		funcs = prof.heaviest(funcs)
	}
	for _, f := range funcs {
		b, err := p.render(f)
		if err != nil {
			return err
		}
		if err := p.write(f, b); err != nil {
			return err
		}
	}
	return p.end(views[0].trace)
}

// charge gives the samples of a profile to the operations. The binary says which of
// several on a line it was: that of --bin, or that which the profile names.
func (c *config) charge(v *view, prof *samples, stderr io.Writer) error {
	program := prof.program
	if c.bin {
		program = c.operands[0]
	}
	b, openErr := disasm.Open(program)
	shared, err := prof.charge(v, b)
	if err == nil && shared {
		why := "it is not what was compiled here"
		if openErr != nil {
			why = openErr.Error()
		}
		fmt.Fprintf(stderr, "asmtrace: operations that share a line share its samples: by %s alone they could be told apart (%s)\n", cmp.Or(program, "the binary of the profile"), why)
	}
	return err
}

// selfcheck reports how the bytes and the text of a listing compare.
func selfcheck(w io.Writer, tr *trace) error {
	s := tr.checks
	fmt.Fprintf(w, "%d instructions compared, %d unknown to golang.org/x/arch, %d differ\n", s.Insts, s.Unknown, s.Bad)
	for _, d := range s.Differences {
		fmt.Fprintln(w, d)
	}
	switch {
	case s.Bad > 0:
		return findingError{fmt.Errorf("%d instructions are not what the listing says", s.Bad)}
	case s.Insts == 0:
		return errors.New("the listing has no instructions with bytes")
	}
	return nil
}

// expectations reports which comments are met.
func (c *config) expectations(w io.Writer, views []*view) error {
	total, unmet, bad := 0, 0, 0
	for _, v := range views {
		for i := range v.source.Expected {
			e := &v.source.Expected[i]
			total++
			if e.Bad != "" {
				bad++
				fmt.Fprintf(w, "%s:%d: %s: %s\n", short(e.File), e.Line, e.Text, e.Bad)
				continue
			}
			met, found := false, []string(nil)
			for _, f := range v.funcs {
				for k := range f.Ops {
					op := &f.Ops[k]
					met = met || e.Meets(op)
					if op.File == e.File && op.Line == e.Line {
						if s := string(op.Kind) + " " + op.Variant; !slices.Contains(found, s) {
							found = append(found, s)
						}
					}
				}
			}
			if !met {
				unmet++
				got := "no operation"
				if len(found) > 0 {
					got = join(found)
				}
				on := ""
				if len(views) > 1 {
					on = " (" + v.target.String() + ")"
				}
				fmt.Fprintf(w, "%s:%d: want %s; there is %s%s\n", short(e.File), e.Line, e.Text, got, on)
			}
		}
	}
	switch {
	case bad > 0:
		return fmt.Errorf("%d of %d expectations cannot be understood", bad, total)
	case total == 0:
		return errors.New(`no expectation: the comments are "// asmtrace: assign faststr"`)
	case unmet > 0:
		return findingError{fmt.Errorf("%d of %d expectations are not met", unmet, total)}
	}
	fmt.Fprintf(w, "%d expectations are met\n", total)
	return nil
}
