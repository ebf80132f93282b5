//go:build !linux || !amd64

// Record measures inline probes, which exist for linux/amd64 alone.
package main

import "fmt"

func main() { fmt.Println("inline probes exist for linux/amd64 alone") }
