package watch

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin makes all threads of a process, and ours, share one processor, and returns a
// function that puts them back. A thread that is started meanwhile inherits it, and
// is given what its process had.
func pin(pid int) (unpin func() error, err error) {
	was := map[int]unix.CPUSet{}
	var first, ours, theirs unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &theirs); err != nil {
		return nil, fmt.Errorf("processors of process %d: %w", pid, err)
	}
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		return nil, fmt.Errorf("processors: %w", err)
	}
	for cpu := 0; first.Count() == 0; cpu++ {
		if cpu >= 1024 {
			return func() error { return nil }, nil // they share none
		}
		if theirs.IsSet(cpu) && ours.IsSet(cpu) {
			first.Set(cpu)
		}
	}
	each := func(of int, f func(tid int)) {
		dirs, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", of))
		for _, d := range dirs {
			if tid, err := strconv.Atoi(d.Name()); err == nil {
				f(tid)
			}
		}
	}
	both := map[int]unix.CPUSet{pid: theirs, os.Getpid(): ours}
	for of := range both {
		each(of, func(tid int) {
			var set unix.CPUSet
			if unix.SchedGetaffinity(tid, &set) == nil {
				was[tid] = set
				_ = unix.SchedSetaffinity(tid, &first) // it may have ended
			}
		})
	}
	return func() error {
		for of, standard := range both {
			each(of, func(tid int) {
				set, ok := was[tid]
				if !ok {
					set = standard
				}
				_ = unix.SchedSetaffinity(tid, &set)
			})
		}
		return nil
	}, nil
}
