package main

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"hmaptools/internal/testenv"
)

// again repeats a listing.
type again struct {
	text  []byte
	times int
	at    int
	most  uint64 // of the heap, in bytes
	reads int
}

func (a *again) Read(p []byte) (int, error) {
	if a.at == len(a.text) {
		if a.times--; a.times <= 0 {
			return 0, io.EOF
		}
		a.at = 0
	}
	if a.reads++; a.reads%50 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		a.most = max(a.most, m.HeapInuse)
	}
	n := copy(p, a.text[a.at:])
	a.at += n
	return n, nil
}

// A listing of any length is annotated in bounded memory: 100 MB of it here.
func TestLongListing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: 100 MB are not read")
	}
	listing := testenv.Compile(t, testenv.Host(), "linux", "amd64", "./asmcorpus").Listing
	src := &again{text: listing, times: 100<<20/len(listing) + 1}
	want := src.times
	var out counter
	var stderr bytes.Buffer
	if status := run([]string{"--summary", "-"}, src, &out, &stderr); status != 0 {
		t.Fatalf("exit status %d: %s", status, stderr.Bytes())
	}
	one := strings.Count(asmtrace(t, bytes.NewReader(listing), "--summary", "-"), "\n")
	if out.lines != want*one || one < 250 {
		t.Errorf("%d operations, want %d times %d", out.lines, want, one)
	}
	const bound = 128 << 20
	if src.most > bound || src.most == 0 {
		t.Errorf("the heap had %d bytes, over the bound of %d", src.most, bound)
	}
	t.Logf("%d MB of listing, %d operations, heap at most %d MiB", want*len(listing)/1e6, out.lines, src.most>>20)
}

type counter struct{ lines int }

func (c *counter) Write(p []byte) (int, error) {
	c.lines += bytes.Count(p, []byte("\n"))
	return len(p), nil
}
