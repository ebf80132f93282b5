package target

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// checkProcess fails with a *ProcessError if the process cannot be attached to,
// as far as that can be seen beforehand.
func checkProcess(pid int) error {
	if pid <= 0 {
		return &ProcessError{pid, NoProcess, "not a process id"}
	}
	if pid == os.Getpid() {
		return &ProcessError{pid, Self, ""}
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return &ProcessError{pid, NoProcess, ""}
	}
	defer p.Release()
	denied := false
	switch err := p.Signal(syscall.Signal(0)); {
	case errors.Is(err, os.ErrProcessDone), errors.Is(err, syscall.ESRCH):
		return &ProcessError{pid, NoProcess, ""}
	case errors.Is(err, os.ErrPermission):
		denied = true
	}
	if runtime.GOOS == "linux" {
		status, err := procStatus(pid)
		switch {
		case err != nil && !denied:
			return &ProcessError{pid, NoProcess, ""}
		case strings.HasPrefix(status["State"], "Z"), strings.HasPrefix(status["State"], "X"):
			return &ProcessError{pid, Zombie, ""}
		case status["Tgid"] != "" && status["Tgid"] != strconv.Itoa(pid):
			return &ProcessError{pid, NoProcess, "it is a thread of process " + status["Tgid"]}
		}
		if tracer, _ := strconv.Atoi(status["TracerPid"]); tracer != 0 {
			return &ProcessError{pid, Traced, tracerWords(tracer)}
		}
	}
	if denied {
		return &ProcessError{pid, NoPermission, "it belongs to another user"}
	}
	return nil
}

// tracerWords names the process to which a thread that traces belongs.
func tracerWords(tid int) string {
	st, err := procStatus(tid)
	if err != nil {
		return fmt.Sprintf("process %d", tid)
	}
	if leader, err := strconv.Atoi(st["Tgid"]); err == nil && leader != tid {
		if process, err := procStatus(leader); err == nil {
			tid, st = leader, process
		}
	}
	return fmt.Sprintf("process %d (%s)", tid, st["Name"])
}

// procStatus reads /proc/PID/status.
func procStatus(pid int) (map[string]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	st := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			st[k] = strings.TrimSpace(v)
		}
	}
	return st, nil
}

// trapPending reports whether the process, or its main thread, has a SIGTRAP that
// was not delivered yet.
func trapPending(pid int) bool {
	st, err := procStatus(pid)
	if err != nil {
		return false
	}
	for _, k := range []string{"ShdPnd", "SigPnd"} {
		if set, err := strconv.ParseUint(st[k], 16, 64); err == nil && set&(1<<(syscall.SIGTRAP-1)) != 0 {
			return true
		}
	}
	return false
}
