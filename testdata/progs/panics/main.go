// Program panics dies of an unrecovered panic with maps alive. Its argument
// says of which: nothing for a string, error for an error value, index for a
// runtime error, nilmap for an assignment to a nil map, goroutine for a panic in
// a goroutine other than main, recovered for one that is recovered before (the
// program then ends well).
package main

import (
	"os"
	"runtime"

	"hmaptools/testdata/progs/truth"
)

type failure struct{ code int }

func (f *failure) Error() string { return "failure " + truth.Int(f.code) }

var (
	global  = map[string]int{"a": 1, "b": 2}
	missing map[string]int
)

//go:noinline
func die(mode string, arg map[string]int) {
	local := map[int]int{1: 10, 2: 20}
	truth.Generation()
	truth.Map("main.global", "map[string]int", global, truth.Str[string], truth.Int[int])
	truth.Alias("main.global", global, "arg", arg)
	truth.Map("main.missing", "map[string]int", missing, truth.Str[string], truth.Int[int])
	truth.Map("local", "map[int]int", local, truth.Int[int], truth.Int[int])
	switch mode {
	case "error":
		panic(&failure{7})
	case "index":
		println([]int{1}[len(local)])
	case "nilmap":
		missing["x"] = 1
	case "recovered":
		defer func() { println("recovered:", recover() != nil) }()
		panic("caught")
	default:
		panic("out of maps")
	}
	runtime.KeepAlive(local)
	runtime.KeepAlive(arg)
}

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	if mode == "goroutine" {
		go die("", global)
		select {}
	}
	die(mode, global)
}
