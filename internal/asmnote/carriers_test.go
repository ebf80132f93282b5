package asmnote_test

import (
	"testing"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/testenv"
)

// What is in which register or stack slot at a call: of mapassign_faststr, by the
// calling convention of each architecture and version. That the type is found there
// in the code shows that the place is right, and so does the store through the
// result.
func TestCarriers(t *testing.T) {
	type row struct {
		tc    testenv.Toolchain
		arch  string
		in    [4]string
		out   string
		store bool // the result is followed
	}
	host := testenv.Host()
	rows := []row{
		{host, "amd64", [4]string{"AX", "BX", "CX", "DI"}, "AX", true},
		{host, "arm64", [4]string{"R0", "R1", "R2", "R3"}, "R0", true},
		{host, "ppc64le", [4]string{"R3", "R4", "R5", "R6"}, "R3", true},
		{host, "riscv64", [4]string{"X10", "X11", "X12", "X13"}, "X10", true},
		{host, "loong64", [4]string{"R4", "R5", "R6", "R7"}, "R4", true},
		{host, "s390x", [4]string{"R2", "R3", "R4", "R5"}, "R2", true},
		{host, "386", [4]string{"0(SP)", "4(SP)", "8(SP)", "12(SP)"}, "16(SP)", true},
		{host, "arm", [4]string{"4(R13)", "8(R13)", "12(R13)", "16(R13)"}, "20(R13)", true},
		{host, "mips64le", [4]string{"8(R29)", "16(R29)", "24(R29)", "32(R29)"}, "40(R29)", true},
		{host, "wasm", [4]string{"0(SP)", "8(SP)", "16(SP)", "24(SP)"}, "32(SP)", false},
	}
	for _, tc := range testenv.Toolchains(t) {
		switch tc.Name {
		case "go1.18":
			rows = append(rows, row{tc, "riscv64", [4]string{"8(SP)", "16(SP)", "24(SP)", "32(SP)"}, "40(SP)", true})
		case "go1.21":
			rows = append(rows, row{tc, "loong64", [4]string{"8(R3)", "16(R3)", "24(R3)", "32(R3)"}, "40(R3)", true})
		case "go1.25":
			rows = append(rows, row{tc, "s390x", [4]string{"8(R15)", "16(R15)", "24(R15)", "32(R15)"}, "40(R15)", true})
		}
	}
	for _, r := range rows {
		t.Run(r.tc.Name+"/"+r.arch, func(t *testing.T) {
			var op *asmnote.Op
			for _, f := range load(t, r.tc, r.arch, "./asmcorpus", minorOf(r.tc)).funcs {
				if f.Name == "main.AsgStr" || f.Name == `"".AsgStr` {
					op = &f.Ops[0]
				}
			}
			if op == nil || len(op.Args) != 4 || op.Result == nil {
				t.Fatalf("%+v", op)
			}
			for i, name := range []string{"typ", "m", "key.ptr", "key.len"} {
				if a := op.Args[i]; a.Name != name || a.In != r.in[i] {
					t.Errorf("argument %d is %s in %s, want %s in %s", i, a.Name, a.In, name, r.in[i])
				}
			}
			typ := op.Args[0].Value
			if r.arch != "wasm" && typ != "type:map[string]int" && typ != "type.map[string]int" {
				t.Errorf("typ is %q", typ)
			}
			if op.MapType != "map[string]int" {
				t.Errorf("the map type is %q", op.MapType)
			}
			if op.Result.In != r.out || (op.Result.Store != "") != r.store {
				t.Errorf("the result is %+v, want it in %s", *op.Result, r.out)
			}
		})
	}
}
