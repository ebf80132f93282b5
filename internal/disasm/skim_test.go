package disasm_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"hmaptools/internal/disasm"
	"hmaptools/internal/testenv"
)

// A Skimmer finds the symbols that a Reader reads, each with all positions and calls of
// its instructions, and every block reads as it does in the whole listing.
func TestSkim(t *testing.T) {
	check := func(t *testing.T, arch string, listing []byte) {
		var want []*disasm.Func
		r := disasm.NewReader(bytes.NewReader(listing))
		r.Arch = arch
		for {
			f, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, f.Clone())
		}
		s := disasm.NewSkimmer()
		foreign := 0
		s.Foreign = func([]byte) { foreign++ }
		one := disasm.NewReader(nil)
		one.Arch = arch
		i, lines := 0, 0
		s.Skim(listing, func(b *disasm.Block) {
			if i >= len(want) {
				t.Fatalf("block %d: %s: the Reader has %d symbols", i, b.Name, len(want))
			}
			f := want[i]
			i++
			if b.Name != f.Name || b.Code != f.Text || b.Pkg != f.Pkg || !bytes.Equal(b.Text, listing[b.At:b.At+len(b.Text)]) {
				t.Fatalf("block %d is %s of %q, want %s of %q", i, b.Name, b.Pkg, f.Name, f.Pkg)
			}
			for k := range f.Insts {
				in := &f.Insts[k]
				if in.Line > 0 && !slices.Contains(b.Lines, in.Pos()) {
					t.Errorf("%s: the position %v is missing", f.Name, in.Pos())
				}
				if in.Kind == disasm.Call && in.Sym == "runtime.mapassign_faststr" && !slices.ContainsFunc(b.Calls, func(c []byte) bool { return string(c) == in.Sym }) {
					t.Errorf("%s: the call of %s is missing", f.Name, in.Sym)
				}
			}
			lines += len(b.Lines)
			one.Reset(bytes.NewReader(b.Text))
			again, err := one.Next()
			if err != nil || len(again.Insts) != len(f.Insts) || !slices.Equal(again.Relocs, f.Relocs) || !bytes.Equal(again.Code, f.Code) {
				t.Fatalf("%s: its block reads differently: %v", f.Name, err)
			}
		})
		if i != len(want) || i < 500 || lines < 500 || foreign != int(r.Stats().Foreign) {
			t.Errorf("%d blocks with %d positions and %d foreign lines; the Reader has %d symbols and %d", i, lines, foreign, len(want), r.Stats().Foreign)
		}
	}
	for _, tc := range testenv.Toolchains(t) {
		t.Run(tc.Name, func(t *testing.T) {
			check(t, "amd64", testenv.Compile(t, tc, "linux", "amd64", "./asmcorpus").Listing)
		})
	}
	for _, arch := range testenv.Archs() {
		t.Run(arch, func(t *testing.T) {
			os := "linux"
			if arch == "wasm" {
				os = "js"
			}
			check(t, arch, testenv.Compile(t, testenv.Host(), os, arch, "./asmcorpus").Listing)
		})
	}
}

// What is no listing is foreign, and nothing is lost.
func FuzzSkim(f *testing.F) {
	f.Add([]byte("# p\np.f STEXT size=1 args=0x0 locals=0x0 funcid=0x0 align=0x0\n\t0x0000 00000 (/a.go:3)\tTEXT\tp.f(SB), ABIInternal, $0-0\n\t0x0000 c3  .\n\trel 0+4 t=R_CALL runtime.mapassign+0\nodd\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := disasm.NewSkimmer()
		at := 0
		s.Skim(text, func(b *disasm.Block) {
			if b.At < at || b.At+len(b.Text) > len(text) {
				t.Fatalf("block at %d after %d of %d bytes", b.At, at, len(text))
			}
			at = b.At + len(b.Text)
		})
	})
}
