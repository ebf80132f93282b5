//go:build race

package main

// A sync.Pool drops some of what is put into it, at random.
const race = true
