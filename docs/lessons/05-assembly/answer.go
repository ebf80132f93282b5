package main

//go:noinline
func answer() int { x := 42; return x }
