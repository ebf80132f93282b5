package disasm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"hmaptools/internal/disasm"
	"hmaptools/internal/testenv"
)

func jsonString(b []byte) []byte {
	out, err := json.Marshal(string(b))
	if err != nil {
		panic(err)
	}
	return out
}

// calls are the map routines that each function of package main calls, and the
// map types that it names, in the order of the code.
type calls map[string][]string

func isMapRoutine(sym string) bool {
	name, ok := strings.CutPrefix(sym, "runtime.")
	return ok && (strings.HasPrefix(name, "map") || strings.HasPrefix(name, "makemap")) && !strings.HasPrefix(name, "mapzero")
}

func noTypeArgs(name string) string {
	if i := strings.IndexByte(name, '['); i >= 0 {
		if j := strings.LastIndexByte(name, ']'); j > i {
			return name[:i] + "[...]" + name[j+1:]
		}
	}
	return name
}

// fromListing takes the calls from the text of a listing.
func fromListing(t *testing.T, listing []byte, arch string) calls {
	t.Helper()
	funcs, _, err := readAll(t, string(listing), arch)
	if err != nil {
		t.Fatal(err)
	}
	all := calls{}
	isMap := map[string]bool{}
	for _, f := range funcs {
		if _, err := disasm.ListedMapType(f, arch); err == nil {
			isMap[f.Name] = true
		}
	}
	for _, f := range funcs {
		if !f.Text || !strings.HasPrefix(f.Name, "main.") && !strings.HasPrefix(f.Name, `"".`) || len(f.Insts) == 0 {
			continue
		}
		var got []string
		for i := range f.Insts {
			in := &f.Insts[i]
			switch {
			case in.Kind == disasm.Call && isMapRoutine(in.Sym):
				got = append(got, in.Sym)
			case in.Use == disasm.Addr && isMap[in.Sym] && in.Op != "WORD":
				got = append(got, "type:"+in.Sym[len("type:"):]) // Go 1.18 has "type."
			}
		}
		all[noTypeArgs(strings.Replace(f.Name, `"".`, "main.", 1))] = got
	}
	return all
}

func fromBinary(t *testing.T, path string, stripped bool) (calls, *disasm.Binary) {
	t.Helper()
	b, err := disasm.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.Stripped != stripped || b.Warning != nil {
		t.Errorf("stripped %v, warning %v", b.Stripped, b.Warning)
	}
	all := calls{}
	var mu sync.Mutex
	err = b.Each(b.Functions(), true, func(i int, f *disasm.Func) error {
		if !strings.HasPrefix(f.Name, "main.") {
			return nil
		}
		var got []string
		for i := range f.Insts {
			in := &f.Insts[i]
			switch {
			case in.Kind == disasm.Call && isMapRoutine(in.Sym):
				got = append(got, in.Sym)
			case in.Use == disasm.Addr && in.Op != "WORD":
				if m, err := b.MapTypeAt(in.Ref); err == nil {
					got = append(got, "type:"+m.Name)
				}
			}
		}
		mu.Lock()
		all[noTypeArgs(f.Name)] = got
		mu.Unlock()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, b
}

// Machine code and listing are read by different code: they must tell the same of
// every function, and of the stripped binary.
func TestBinaries(t *testing.T) {
	type row struct {
		name         string
		tc           testenv.Toolchain
		goos, goarch string
		flags        []string
	}
	var rows []row
	for _, tc := range testenv.Toolchains(t) {
		rows = append(rows, row{tc.Name, tc, "linux", "amd64", nil})
	}
	host := testenv.Host()
	for _, arch := range testenv.Archs() {
		if slices.Contains(disasm.Archs(), arch) {
			rows = append(rows, row{arch, host, "linux", arch, nil})
		}
	}
	rows = append(rows, row{"darwin-arm64", host, "darwin", "arm64", nil}, row{"darwin-amd64", host, "darwin", "amd64", nil},
		row{"windows-amd64", host, "windows", "amd64", nil}, row{"pie", host, "linux", "amd64", []string{"-buildmode=pie"}},
		row{"pie-arm64", host, "linux", "arm64", []string{"-buildmode=pie"}})
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			whole := testenv.Compile(t, r.tc, r.goos, r.goarch, "./asmcorpus", r.flags...)
			want := fromListing(t, whole.Listing, r.goarch)
			stripped := testenv.Compile(t, r.tc, r.goos, r.goarch, "./asmcorpus", append(r.flags, "-ldflags=-s -w")...)
			for _, v := range []struct {
				name, path string
				stripped   bool
			}{{"whole", whole.Binary, false}, {"stripped", stripped.Binary, true}} {
				got, b := fromBinary(t, v.path, v.stripped)
				if b.Arch != r.goarch {
					t.Errorf("%s: arch %s", v.name, b.Arch)
				}
				n, funcs := 0, 0
				for name, g := range got {
					w, ok := want[name]
					if !ok || strings.Contains(name, "[...]") {
						continue // the runtime's own, or several of one name
					}
					funcs++
					n += len(g)
					if !slices.Equal(onlyCalls(g), onlyCalls(w)) {
						t.Errorf("%s: %s: calls %q, listing %q", v.name, name, onlyCalls(g), onlyCalls(w))
					}
					if !slices.Equal(onlyTypes(g), onlyTypes(w)) {
						t.Errorf("%s: %s: types %q, listing %q", v.name, name, onlyTypes(g), onlyTypes(w))
					}
				}
				if funcs < 150 || n < 300 {
					t.Errorf("%s: %d functions, %d calls and types", v.name, funcs, n)
				}
			}
		})
	}
}

func onlyCalls(s []string) []string {
	return slices.DeleteFunc(slices.Clone(s), func(s string) bool { return strings.HasPrefix(s, "type:") })
}

// onlyTypes drops repetitions: a listing names a type once where two machine
// instructions load it, and literals are shared.
func onlyTypes(s []string) []string {
	s = slices.DeleteFunc(slices.Clone(s), func(s string) bool { return !strings.HasPrefix(s, "type:") })
	for i := range s { // a local type's number is not in the descriptor
		s[i] = strings.NewReplacer("·1", "", "·2", "", `"".`, "main.").Replace(s[i])
	}
	slices.Sort(s)
	return slices.Compact(s)
}

func TestNotABinary(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	prog, err := os.ReadFile(testenv.Compile(t, testenv.Host(), "linux", "amd64", "./asmcorpus").Binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want any
	}{
		{write("empty", nil), new(*disasm.FormatError)},
		{write("text", []byte("#!/bin/sh\necho no\n")), new(*disasm.FormatError)},
		{write("cut", prog[:len(prog)/20]), new(*disasm.FormatError)},
		{write("head", prog[:100]), new(*disasm.FormatError)},
		{dir, new(*disasm.FormatError)},
		{testenv.Compile(t, testenv.Host(), "linux", "mips64le", "./asmcorpus").Binary, new(*disasm.ArchError)},
		{testenv.Compile(t, testenv.Host(), "js", "wasm", "./asmcorpus").Binary, new(*disasm.ArchError)},
	} {
		if _, err := disasm.Open(tt.path); err == nil || !errors.As(err, tt.want) {
			t.Errorf("%s: %v, want a %T", tt.path, err, tt.want)
		}
	}
	if _, err := disasm.Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Damaged binaries neither panic nor hang.
func TestDamaged(t *testing.T) {
	prog, err := os.ReadFile(testenv.Compile(t, testenv.Host(), "linux", "386", "./asmcorpus", "-ldflags=-s -w").Binary)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for i := range 40 {
		data := slices.Clone(prog)
		for at := i * 37; at < len(data); at += 5003 + 911*i {
			data[at] ^= byte(1 + i*7)
		}
		b, err := disasm.NewBinary(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			continue
		}
		opened++
		err = b.Each(b.Functions(), true, func(int, *disasm.Func) error { return nil })
		_ = err // damaged functions may lie outside of the file
	}
	t.Logf("%d of 40 could still be opened", opened)
	if opened == 0 {
		t.Error("none could be opened: nothing was tested")
	}
}

func FuzzDecode(f *testing.F) {
	for _, arch := range disasm.Archs() {
		f.Add(arch, []byte("\x48\x8d\x05\x00\x00\x00\x00\xe8\x00\x00\x00\x00\xc3"))
	}
	f.Fuzz(func(t *testing.T, arch string, code []byte) {
		if !slices.Contains(disasm.Archs(), arch) || len(code) == 0 || len(code) > 4096 {
			return
		}
		c, err := disasm.NewSelfCheck(arch)
		if err != nil {
			t.Fatal(err)
		}
		fn := &disasm.Func{Name: "f", Text: true, Code: code, Size: int64(len(code)), Insts: []disasm.Inst{{Op: "X", Len: len(code)}}}
		if err := c.Check(fn); err != nil {
			t.Error(err)
		}
		if c.Insts+c.Unknown == 0 {
			t.Errorf("nothing was decoded of % x", code)
		}
	})
}
