// Program exits leaves through os.Exit, deep in a call, with status 3.
package main

import (
	"os"
	"runtime"

	"hmaptools/testdata/progs/truth"
)

var global = map[string]int{"a": 1, "b": 2}

//go:noinline
func leave(arg map[string]int) {
	local := map[int]int{1: 10, 2: 20}
	truth.Generation()
	truth.Map("main.global", "map[string]int", global, truth.Str[string], truth.Int[int])
	truth.Alias("main.global", global, "arg", arg)
	truth.Map("local", "map[int]int", local, truth.Int[int], truth.Int[int])
	os.Exit(3)
	arg["never"] = len(local)
	runtime.KeepAlive(local)
}

func main() {
	leave(global)
}
