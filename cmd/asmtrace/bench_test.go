package main

import (
	"io"
	"testing"
)

// BenchmarkPackage annotates net/http from a warm build cache, as
// scripts/bench/asmtrace.sh does from outside.
func BenchmarkPackage(b *testing.B) {
	for b.Loop() {
		if status := run([]string{"net/http"}, nil, io.Discard, io.Discard); status != 0 {
			b.Fatalf("exit status %d", status)
		}
	}
}
