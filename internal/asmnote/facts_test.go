package asmnote_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"hmaptools/internal/asmnote"
	"hmaptools/internal/disasm"
	"hmaptools/internal/testenv"
)

// What was saved and loaded leads to the same operations and outcomes.
func TestFacts(t *testing.T) {
	l := load(t, testenv.Host(), "amd64", "./asmcorpus", 0)
	fresh := load(t, testenv.Host(), "amd64", "./asmcorpus", 0)
	again := asmnote.NewSource(l.target)
	var saved bytes.Buffer
	source := reload(t, l)
	if err := source.Save(&saved); err != nil {
		t.Fatal(err)
	}
	if err := again.Load(bytes.NewReader(saved.Bytes())); err != nil {
		t.Fatal(err)
	}
	a := asmnote.NewAnnotator(l.target, again)
	a.Insts = func(*asmnote.Func) bool { return true }
	r := disasm.NewReader(bytes.NewReader(l.listing))
	r.Arch = "amd64"
	i := 0
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n := a.Func(f)
		if n == nil {
			continue
		}
		got, err1 := json.Marshal(n)
		want, err2 := json.Marshal(fresh.funcs[i])
		if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s:\n got %s\nwant %s", n.Name, got, want)
		}
		i++
	}
	if i != len(fresh.funcs) || i < 300 {
		t.Errorf("%d functions, want %d", i, len(fresh.funcs))
	}
	was, is := fresh.ann.Outcomes(), a.Outcomes()
	if len(was) != len(is) || len(was) < 200 {
		t.Fatalf("%d outcomes, want %d", len(is), len(was))
	}
	for i := range was {
		if was[i].How != is[i].How || was[i].Reason != is[i].Reason || was[i].Op.Expr != is[i].Op.Expr {
			t.Errorf("outcome %d: %+v, want %+v", i, is[i], was[i])
		}
	}
	// Damage is refused, whatever it is, and leaves nothing behind.
	for n := 0; n < saved.Len(); n += 97 {
		cut := asmnote.NewSource(l.target)
		if err := cut.Load(bytes.NewReader(saved.Bytes()[:n])); err == nil || len(cut.Ops) > 0 {
			t.Fatalf("%d of %d bytes are taken: %v", n, saved.Len(), err)
		}
	}
}

// reload type-checks again, for a Source that no Annotator has used.
func reload(t *testing.T, l *loaded) *asmnote.Source {
	t.Helper()
	s := asmnote.NewSource(l.target)
	for _, p := range l.packages {
		if err := s.AddPackage(p, l.deps); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
