//go:build linux
// +build linux

// Forker is a process that forks: the floor of a frozen copy.
//
//	forker ENTRIES THREADS
//
// It holds a map of so many entries and so many threads in a read that blocks, beside
// those of the runtime, says ready, and then answers every line with how many
// nanoseconds a bare fork of it took, in the parent.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

var big = map[int64]int64{}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "forker:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want the number of entries and the number of threads")
	}
	entries, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	threads, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := int64(0); i < entries; i++ {
		big[i] = i
	}
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		return err
	}
	for i := 0; i < threads; i++ {
		go func() {
			runtime.LockOSThread()
			var b [1]byte
			_, _ = syscall.Read(pipe[0], b[:])
		}()
	}
	time.Sleep(time.Second) // until they all block
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		d, err := fork()
		if err != nil {
			return err
		}
		fmt.Println(d.Nanoseconds())
	}
	return nil
}

// fork returns how long a bare fork took; the child has ended.
func fork() (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	d := time.Since(start)
	if errno != 0 {
		return 0, errno
	}
	_, err := syscall.Wait4(int(pid), nil, 0, nil)
	return d, err
}
