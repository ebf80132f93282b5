// Program server is a target to attach to. It fills its maps, parks goroutines,
// prints the truth, then ready on standard output, and blocks until standard
// input is closed; then it exits with status 0. With the argument churn a
// goroutine goes on inserting into and deleting from main.hot (owned by it) all
// the while; main.hot is then in no truth line but its address.
package main

import (
	"os"
	"runtime"

	"hmaptools/testdata/progs/truth"
)

type session struct {
	id    int
	attrs map[string]string
}

type service struct {
	sessions map[int]*session
	index    map[string]int
}

var (
	users = map[string]int{}
	cache = map[int64]int64{}
	hot   = map[int64]int64{}
	srv   = &service{sessions: map[int]*session{}, index: users}
	block = make(chan struct{})
	ready = make(chan struct{})
	pace  int64
)

//go:noinline
func handle(arg map[string]int, id int) {
	scratch := map[string]int{"handler": id}
	truth.Map("scratch", "map[string]int", scratch, truth.Str[string], truth.Int[int])
	ready <- struct{}{}
	<-block
	arg["never"] = len(scratch)
	runtime.KeepAlive(scratch)
}

//go:noinline
func churn(m map[int64]int64) {
	for i := int64(0); ; i++ {
		m[i] = i
		delete(m, i-1000)
		pace = i
	}
}

func main() {
	for i := 0; i < 1000; i++ {
		users[truth.Key(i)] = i
	}
	for i := int64(0); i < 10000; i++ {
		cache[i] = i * i
	}
	for i := 0; i < 5; i++ {
		srv.sessions[i] = &session{i, map[string]string{"id": truth.Key(i)}}
	}
	local := map[string]bool{"main": true}

	truth.Generation()
	for id := 1; id <= 3; id++ {
		go handle(users, id)
		<-ready
	}
	truth.Sums("main.users", "map[string]int", users, truth.SumStr[string], truth.SumInt[int])
	truth.Alias("main.users", users, "main.srv.index", srv.index)
	truth.Alias("main.users", users, "arg", users)
	truth.Sums("main.cache", "map[int64]int64", cache, truth.SumInt[int64], truth.SumInt[int64])
	truth.Map("main.srv.sessions", "map[int]*main.session", srv.sessions, truth.Int[int], truth.Word[*session])
	for i := 0; i < 5; i++ {
		truth.Map("main.srv.sessions["+truth.Int(i)+"].attrs", "map[string]string", srv.sessions[i].attrs, truth.Str[string], truth.Str[string])
	}
	truth.Map("local", "map[string]bool", local, truth.Str[string], truth.Bool[bool])
	truth.Shape("main.users", users)
	truth.Shape("main.cache", cache)
	if len(os.Args) > 1 && os.Args[1] == "churn" {
		truth.Addr("main.hot", "map[int64]int64", hot)
		go churn(hot)
	} else {
		truth.Map("main.hot", "map[int64]int64", hot, truth.Int[int64], truth.Int[int64])
	}
	os.Stdout.WriteString("ready\n")
	var buf [64]byte
	for {
		if n, err := os.Stdin.Read(buf[:]); n == 0 || err != nil {
			break
		}
	}
	runtime.KeepAlive(local)
}
