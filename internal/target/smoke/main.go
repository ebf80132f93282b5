package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"hmaptools/internal/target"
)

func main() {
	t0 := time.Now()
	lap := func(s string) { fmt.Fprintf(os.Stderr, "## %-24s %v\n", s, time.Since(t0)); t0 = time.Now() }
	var t *target.Target
	var err error
	at := os.Getenv("AT")
	hit, _ := strconv.Atoi(os.Getenv("HIT"))
	switch os.Args[1] {
	case "run":
		t, err = target.Launch(os.Args[2], os.Args[3:], target.LaunchOptions{})
	case "attach":
		pid, _ := strconv.Atoi(os.Args[2])
		t, err = target.Attach(pid)
	case "core":
		t, err = target.OpenCore(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Printf("ERR %T %v\n", err, err)
		os.Exit(1)
	}
	defer func() { fmt.Println("close:", t.Close()); lap("close") }()
	lap("open")
	if os.Args[1] == "run" {
		s, err := t.Continue(context.Background(), target.Until{At: at, Hit: hit})
		lap("continue")
		fmt.Printf("STOP %+v err=%v\n", s, err)
		if s.Reason == target.Exited {
			fmt.Println(*s.ExitStatus)
			return
		}
	} else {
		fmt.Printf("STOP %+v\n", t.Stop())
	}
	if s := t.Stop(); s.ExitStatus != nil {
		fmt.Println("status", *s.ExitStatus)
	}
	fmt.Println(t.GoVersion(), t.Arch(), t.Path(), t.Pid(), t.Optimised(), t.Warnings())
	g, err := t.Globals()
	lap("globals")
	fmt.Println(len(g), err)
	for _, r := range g {
		if strings.HasPrefix(r.Name, "main.") {
			fmt.Printf("G %s %v %#x %v\n", r.Name, r.Type, r.Addr, r.Err)
		}
	}
	l, err := t.Locals()
	lap("locals")
	fmt.Println(len(l), err)
	for _, r := range l {
		if strings.HasPrefix(r.Func, "main.") || os.Getenv("ALL") != "" {
			fmt.Printf("L g%d f%d %s:%d %s %s %v %#x raw=%x lost=%v err=%v esc=%v decl=%d\n", r.Goroutine, r.Frame, r.Func, r.Line, r.Kind, r.Name, r.Type, r.Addr, r.Raw, r.Lost, r.Err, r.Escaped, r.DeclLine)
		}
	}
	if e := os.Getenv("EXPR"); e != "" {
		r, err := t.Eval(e)
		fmt.Printf("E %+v %v\n", r, err)
		lap("eval")
	}
	gs, err := t.Goroutines()
	fmt.Println(len(gs), err)
	lap("goroutines")
}
