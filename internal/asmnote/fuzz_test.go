package asmnote_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"testing"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
)

// Whatever a listing says, annotating it neither panics nor hangs, and every call
// that is counted is in the code.
func FuzzAnnotate(f *testing.F) {
	f.Add([]byte("main.f STEXT size=9 args=0x0 locals=0x0 funcid=0x0 align=0x0\n"+
		"\t0x0000 00000 (x.go:3)\tTEXT\tmain.f(SB), ABIInternal, $0-0\n"+
		"\t0x0000 00000 (x.go:3)\tLEAQ\ttype:map[string]int(SB), AX\n"+
		"\t0x0001 00001 (x.go:3)\tCALL\truntime.mapassign_faststr(SB)\n"+
		"\t0x0002 00002 (x.go:3)\tMOVQ\t$1, (AX)\n"+
		"\t0x0003 00003 (x.go:4)\tCALL\truntime.mapIterStart(SB)\n"+
		"\t0x0004 00004 (x.go:4)\tCALL\truntime.mapIterNext(SB)\n"+
		"\t0x0005 00005 (x.go:4)\tSTMG\tR1, R4, 8(R15)\n"+
		"main.g SBSS size=1\n"), "amd64")
	f.Add([]byte("main.f STEXT size=9\n\t0x0000 00000 (x.go:3)\tXCHGL\tAX, AX\n\t0x0000 00000 (x.go:3)\tCall\tmaps.clone(SB)\nx SBSS size=1\n"), "wasm")
	const src = "package p\n\nfunc f(m map[string]int, a, b map[int]int) { m[\"a\"] = 1; a = b }\nfunc g(m map[string]int) { for k := range m { delete(m, k) } }\n"
	f.Fuzz(func(t *testing.T, listing []byte, arch string) {
		s := asmnote.NewSource(asmnote.Target{Arch: arch})
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.AddFile(fset, file, nil)
		a := asmnote.NewAnnotator(asmnote.Target{Arch: arch}, s)
		a.Insts = func(*asmnote.Func) bool { return true }
		r := disasm.NewReader(bytes.NewReader(listing))
		for {
			fn, err := r.Next()
			if err != nil {
				break
			}
			n := a.Func(fn)
			if n == nil {
				continue
			}
			calls := 0
			for i := range n.Ops {
				calls += len(n.Ops[i].Calls)
			}
			if calls > len(fn.Insts) {
				t.Errorf("%d calls in %d instructions", calls, len(fn.Insts))
			}
		}
		a.Outcomes()
	})
}
