// Bench measures hmapdump beside what it could be at best, and beside Delve, and
// prints ratios. From the root of the module:
//
//	go run ./scripts/bench [-n ENTRIES] [-rounds N] [-only live,core,print,start,census,freeze]
//
// What is compared runs in turn, round after round, on the same data; the figures
// are medians, and a ratio is one of two medians of the same run. Nothing is
// asserted: a machine that does other things at the same time tells little. It
// needs linux, permission to trace, gcore (of gdb) for core, and some 3 GB of
// memory and 1 GB of disk for ten million entries.
//
//   - live: the statistics of one map (hmap.Inspect) of a running process, beside
//     reading the bytes that it reads, each once, through process_vm_readv in
//     chunks of 1 MiB; then the command, hmapdump attach, as a whole.
//   - core: the same on a core of gcore, beside pread from the core file.
//   - print: an entry of that map beside an entry of Delve's "print m" on a map of
//     100,000 entries, from the command to the next prompt of a running dlv.
//   - start: hmapdump on a binary of 30 MiB, from its start to its table: the
//     program has then been run to the end of main.main. Beside it, dlv
//     exec on the same binary from its start to its prompt, where the program has
//     not begun.
//   - census: hmapdump attach as a whole on a process with one large map and 267,000
//     small ones, beside reading the process's writable memory once; then on 1, 2, 4
//     and 8 times as many small maps.
//   - freeze: how long a process stands still while hmapdump attach copies it, beside
//     a bare fork that the process makes of itself.
package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// printed is how many entries Delve is made to print.
const printed = 100_000

// generation is a toolchain whose maps are of one kind.
type generation struct{ name, toolchain string }

type bench struct {
	out     io.Writer
	tmp     string
	entries int
	rounds  int
	// perEntry is what Inspect took for an entry, live, by generation.
	perEntry map[string]time.Duration
}

func run(args []string, out io.Writer) (err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{out: out, perEntry: map[string]time.Duration{}}
	fs.IntVar(&b.entries, "n", 10_000_000, "`entries` of the map")
	fs.IntVar(&b.rounds, "rounds", 5, "`times` that everything is measured")
	only := fs.String("only", "live,core,print,start,census,freeze", "what is measured")
	if err := fs.Parse(args); err != nil {
		return err
	}
	parts := strings.Split(*only, ",")
	if b.tmp, err = os.MkdirTemp("", "hmaptools-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.tmp)) }()

	if err := b.build("", "hmapdump", ".", "./cmd/hmapdump"); err != nil {
		return err
	}
	if slices.Contains(parts, "freeze") {
		if err := b.freeze(); err != nil {
			return err
		}
		if len(parts) == 1 {
			return nil
		}
	}
	// Uncompressed debug information makes it 30 MiB.
	if err := b.build("", "dlv", ".", "-ldflags=-compressdwarf=false", "github.com/go-delve/delve/cmd/dlv"); err != nil {
		return err
	}
	for _, g := range []generation{{"classic", "go1.23.12"}, {"swiss", ""}} {
		if err := b.build(g.toolchain, "bigmap-"+g.name, "testdata/progs", "./bigmap"); err != nil {
			return err
		}
		if slices.Contains(parts, "live") || slices.Contains(parts, "core") {
			if err := b.bigMap(g, parts); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
		if slices.Contains(parts, "census") {
			if err := b.census(g); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
		if slices.Contains(parts, "print") {
			if err := b.print(g); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	if slices.Contains(parts, "start") {
		return b.start()
	}
	return nil
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.out, format, args...) }

func (b *bench) path(name string) string { return filepath.Join(b.tmp, name) }

// build builds a program into the temporary directory.
func (b *bench) build(toolchain, name, dir string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", b.path(name)}, args...)...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	if toolchain != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+toolchain)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", name, err, out)
	}
	return nil
}

// median sorts ds.
func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

func ratio(a, b time.Duration) string { return fmt.Sprintf("%.2fx", float64(a)/float64(b)) }

// timed runs f and adds how long it took.
func timed(to *[]time.Duration, f func() error) error {
	start := time.Now()
	err := f()
	*to = append(*to, time.Since(start))
	return err
}

// waiting starts bigmap with n entries and returns when its map is complete, and
// a function that ends it.
func (b *bench) waiting(g generation, n int) (pid int, end func(), err error) {
	cmd := exec.Command(b.path("bigmap-"+g.name), fmt.Sprint(n), "wait")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	end = func() {
		stdin.Close()
		cmd.Wait()
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		end()
		return 0, nil, fmt.Errorf("bigmap was not ready: %w", err)
	}
	return cmd.Process.Pid, end, nil
}

// subject is a map of an open target.
type subject struct {
	*target.Target
	typ  *hmap.Type
	addr hmap.Addr
}

func find(t *target.Target) (*subject, error) {
	r, err := t.Eval("main.big")
	if err != nil {
		return nil, err
	}
	if r.Err != nil {
		return nil, r.Err
	}
	word := make([]byte, 8) // a map variable is the header's address
	if _, err := t.Memory().ReadMemory(word, r.Addr); err != nil {
		return nil, err
	}
	return &subject{t, r.Type, hmap.Addr(binary.LittleEndian.Uint64(word))}, nil
}

// extent is a range of memory.
type extent struct{ addr, end uint64 }

// recorder notes what is read through it.
type recorder struct {
	hmap.Memory
	extents []extent
}

func (r *recorder) ReadMemory(buf []byte, addr uint64) (int, error) {
	r.extents = append(r.extents, extent{addr, addr + uint64(len(buf))})
	return r.Memory.ReadMemory(buf, addr)
}

// merged is what was read, each byte once, in the order of addresses.
func (r *recorder) merged() (es []extent, bytes uint64) {
	slices.SortFunc(r.extents, func(a, b extent) int {
		if a.addr < b.addr {
			return -1
		}
		return 1
	})
	for _, e := range r.extents {
		if n := len(es); n > 0 && e.addr <= es[n-1].end {
			es[n-1].end = max(es[n-1].end, e.end)
			continue
		}
		es = append(es, e)
	}
	for _, e := range es {
		bytes += e.end - e.addr
	}
	return es, bytes
}

const chunk = 1 << 20

// readProcess reads the ranges once.
func readProcess(pid int, es []extent) error {
	buf := make([]byte, chunk)
	for _, e := range es {
		for a := e.addr; a < e.end; {
			n := int(min(chunk, e.end-a))
			got, err := unix.ProcessVMReadv(pid,
				[]unix.Iovec{{Base: &buf[0], Len: uint64(n)}},
				[]unix.RemoteIovec{{Base: uintptr(a), Len: n}}, 0)
			if err != nil {
				return fmt.Errorf("process_vm_readv at %#x: %w", a, err)
			}
			a += uint64(got)
		}
	}
	return nil
}

// inFile turns ranges of memory into ranges of a core file.
func inFile(core string, es []extent) ([]extent, error) {
	f, err := elf.Open(core)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []extent
	for _, e := range es {
		for a := e.addr; a < e.end; {
			i := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool {
				return p.Type == elf.PT_LOAD && p.Vaddr <= a && a < p.Vaddr+p.Filesz
			})
			if i < 0 {
				return nil, fmt.Errorf("%#x is not in the core", a)
			}
			p := f.Progs[i]
			end := min(e.end, p.Vaddr+p.Filesz)
			out = append(out, extent{p.Off + a - p.Vaddr, p.Off + end - p.Vaddr})
			a = end
		}
	}
	return out, nil
}

// readFile reads ranges of a file once.
func readFile(name string, es []extent) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, chunk)
	for _, e := range es {
		for a := e.addr; a < e.end; a += chunk {
			if _, err := f.ReadAt(buf[:min(chunk, e.end-a)], int64(a)); err != nil {
				return err
			}
		}
	}
	return nil
}

// command runs hmapdump and adds how long it took; peak is its largest resident
// set so far, in KiB.
func (b *bench) command(to *[]time.Duration, peak *int64, args ...string) error {
	cmd := exec.Command(b.path("hmapdump"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := timed(to, cmd.Run); err != nil {
		return fmt.Errorf("hmapdump %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	if stdout.Len() == 0 && !slices.Contains(args, "-o") {
		return fmt.Errorf("hmapdump %s printed nothing", strings.Join(args, " "))
	}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		*peak = max(*peak, ru.Maxrss)
	}
	return nil
}

// place is where the map is: a process or a core.
type place struct {
	name    string
	open    func() (*target.Target, error)
	floor   func() error
	command []string
}

// bigMap measures one map of b.entries entries, live and on a core.
func (b *bench) bigMap(g generation, parts []string) error {
	pid, end, err := b.waiting(g, b.entries)
	if err != nil {
		return err
	}
	defer func() { end() }()

	// What Inspect reads, by which the floor is measured.
	t, err := target.Attach(pid)
	if err != nil {
		return err
	}
	s, err := find(t)
	if err != nil {
		return errors.Join(err, t.Close())
	}
	rec := &recorder{Memory: t.Memory()}
	m, err := hmap.Inspect(rec, s.typ, s.addr, hmap.Options{})
	if err := errors.Join(err, t.Close()); err != nil {
		return err
	}
	if m.Len != int64(b.entries) {
		return fmt.Errorf("the inspection counted %d of %d entries", m.Len, b.entries)
	}
	es, bytes := rec.merged()
	b.printf("%s, %d entries: %d MiB in %d reads, %d ranges\n", g.name, m.Len, bytes>>20, len(rec.extents), len(es))

	if slices.Contains(parts, "live") {
		p := place{
			name: "live", open: func() (*target.Target, error) { return target.Attach(pid) },
			floor:   func() error { return readProcess(pid, es) },
			command: []string{"attach", "-e", "main.big", fmt.Sprint(pid)},
		}
		if err := b.measure(g, p); err != nil {
			return err
		}
	}
	if slices.Contains(parts, "core") {
		out, err := exec.Command("gcore", "-o", b.path("core-"+g.name), fmt.Sprint(pid)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("gcore: %w\n%s", err, out)
		}
		end()
		end = func() {}
		exe, core := b.path("bigmap-"+g.name), b.path(fmt.Sprintf("core-%s.%d", g.name, pid))
		defer os.Remove(core)
		fes, err := inFile(core, es)
		if err != nil {
			return err
		}
		p := place{
			name: "core", open: func() (*target.Target, error) { return target.OpenCore(exe, core) },
			floor:   func() error { return readFile(core, fes) },
			command: []string{"core", "-e", "main.big", exe, core},
		}
		if err := b.measure(g, p); err != nil {
			return err
		}
	}
	return nil
}

// measure runs the floor, the inspection and the command in turn.
func (b *bench) measure(g generation, p place) error {
	var floor, inspect, command []time.Duration
	var peak int64
	for i := range b.rounds + 1 {
		if i == 1 { // the first round warms up
			floor, inspect, command = nil, nil, nil
		}
		if err := timed(&floor, p.floor); err != nil {
			return err
		}
		t, err := p.open()
		if err != nil {
			return err
		}
		s, err := find(t)
		if err == nil {
			err = timed(&inspect, func() error {
				_, err := hmap.Inspect(s.Memory(), s.typ, s.addr, hmap.Options{})
				return err
			})
		}
		if err := errors.Join(err, t.Close()); err != nil {
			return err
		}
		if err := b.command(&command, &peak, p.command...); err != nil {
			return err
		}
	}
	f, in, c := median(floor), median(inspect), median(command)
	if p.name == "live" {
		b.perEntry[g.name] = in / time.Duration(b.entries)
	}
	b.printf("  %s: floor %v; inspection %v, %s the floor; command %v, %s the floor, peak memory %d MiB\n",
		p.name, round(f), round(in), ratio(in, f), round(c), ratio(c, f), peak>>10)
	b.printf("        inspection %v to %v; command %v to %v\n", round(inspect[0]), round(inspect[len(inspect)-1]),
		round(command[0]), round(command[len(command)-1]))
	return nil
}

func round(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Nanosecond)
}

// session is a dlv that reads commands from a pipe.
type session struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   io.Reader
	buf   []byte
}

func (b *bench) dlv(args ...string) (*session, error) {
	args = append([]string{args[0], "--allow-non-terminal-interactive=true", "--check-go-version=false"}, args[1:]...)
	s := &session{cmd: exec.Command(b.path("dlv"), args...), buf: make([]byte, 64<<10)}
	s.cmd.Env = append(os.Environ(), "TERM=dumb") // a prompt even where there is no terminal
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if s.out, err = s.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return s, s.cmd.Start()
}

// prompt waits for the next prompt and returns how many bytes came before it.
func (s *session) prompt() (int, error) {
	const mark = "(dlv) "
	var tail []byte
	for total := 0; ; {
		n, err := s.out.Read(s.buf)
		total += n
		tail = append(tail, s.buf[:n]...)
		if len(tail) > len(mark) {
			tail = tail[len(tail)-len(mark):]
		}
		if string(tail) == mark {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("dlv: no prompt: %w", err)
		}
	}
}

func (s *session) say(line string) (int, error) {
	if _, err := io.WriteString(s.stdin, line+"\n"); err != nil {
		return 0, err
	}
	return s.prompt()
}

// end leaves dlv; answer is for the question whether the process shall be killed.
func (s *session) end(answer string) {
	io.WriteString(s.stdin, "exit\n"+answer)
	s.stdin.Close()
	io.Copy(io.Discard, s.out)
	s.cmd.Wait()
}

// print measures Delve's print on a map of 100,000 entries, and Inspect on the
// same map.
func (b *bench) print(g generation) error {
	pid, end, err := b.waiting(g, printed)
	if err != nil {
		return err
	}
	defer end()
	var delve, inspect []time.Duration
	for range b.rounds {
		s, err := b.dlv("attach", fmt.Sprint(pid))
		if err != nil {
			return err
		}
		_, err = s.prompt()
		if err == nil {
			_, err = s.say(fmt.Sprintf("config max-array-values %d", printed))
		}
		n := 0
		if err == nil {
			err = timed(&delve, func() error {
				n, err = s.say("print main.big")
				return err
			})
		}
		s.end("n\n")
		if err != nil {
			return err
		}
		if n < 6*printed {
			return fmt.Errorf("dlv printed %d bytes: not the whole map", n)
		}
		t, err := target.Attach(pid)
		if err != nil {
			return err
		}
		m, err := find(t)
		if err == nil {
			err = timed(&inspect, func() error {
				_, err := hmap.Inspect(m.Memory(), m.typ, m.addr, hmap.Options{})
				return err
			})
		}
		if err := errors.Join(err, t.Close()); err != nil {
			return err
		}
	}
	d, in := median(delve), median(inspect)
	b.printf("%s, %d entries: dlv print %v, %v an entry; inspection %v, %s an entry: %.0f times faster\n",
		g.name, printed, round(d), round(d/printed), round(in), nanos(in, printed), float64(d)/float64(in))
	if per := b.perEntry[g.name]; per > 0 {
		b.printf("  the inspection of %d entries, %v an entry: %.0f times faster than dlv print\n", b.entries, per, float64(d)/printed/float64(per))
	}
	return nil
}

func nanos(d time.Duration, n int) string {
	return fmt.Sprintf("%.1fns", float64(d.Nanoseconds())/float64(n))
}

// start measures the time to the table on a large binary.
func (b *bench) start() error {
	exe := b.path("dlv")
	info, err := os.Stat(exe)
	if err != nil {
		return err
	}
	var table, whole, prompt []time.Duration
	var peak int64
	for range 2*b.rounds + 1 {
		if err := b.command(&whole, &peak, exe, "--", "version"); err != nil {
			return err
		}
		if err := b.table(&table, exe, "--", "version"); err != nil {
			return err
		}
		var s *session
		err := timed(&prompt, func() error {
			if s, err = b.dlv("exec", exe); err != nil {
				return err
			}
			_, err = s.prompt()
			return err
		})
		if err != nil {
			return err
		}
		s.end("")
	}
	t, w, p := median(table), median(whole), median(prompt)
	b.printf("start, a binary of %.1f MiB: hmapdump to its table %v, dlv exec to its prompt %v: %s; hmapdump to its end %v: %s; peak memory %d MiB\n",
		float64(info.Size())/(1<<20), round(t), round(p), ratio(t, p), round(w), ratio(w, p), peak>>10)
	return nil
}

// table adds how long it takes from the start of hmapdump until the head of the
// table can be read.
func (b *bench) table(to *[]time.Duration, args ...string) error {
	cmd := exec.Command(b.path("hmapdump"), args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	err = timed(to, func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		for in := bufio.NewReader(stdout); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("hmapdump %s: no table: %w", strings.Join(args, " "), err)
			}
			if strings.HasSuffix(line, "  MAP\n") {
				return nil
			}
		}
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stdout)
	return errors.Join(err, cmd.Wait())
}
