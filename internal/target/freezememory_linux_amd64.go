package target

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A copy takes a second set of page tables at once, and while it is there each page
// that the process writes to is there twice. A process that does not write to more
// than spareShare of its memory during a census must find room for that; one that
// does may push the system into killing the copy (see oom_score_adj in take).
const (
	spareShare = 8       // one part in
	spareMin   = 8 << 20 // bytes
)

// checkMemory fails if there is not enough memory for a copy: of the machine, or of
// a control group that the process is in.
func (im *image) checkMemory(status map[string]string) error {
	need := kB(status["VmPTE"]) + max(kB(status["RssAnon"])/spareShare, spareMin)
	avail, where := freeMemory(fmt.Sprintf("/proc/%d/cgroup", im.pid), "/proc/meminfo", "/sys/fs/cgroup")
	if need > avail {
		return im.fail(FreezeNoMemory, nil, "a copy needs %d MiB, %d MiB %s are free", need>>20, avail>>20, where)
	}
	return nil
}

// freeMemory is how many bytes a process may still take, and what limits it: the
// machine, as meminfo says, or one of the control groups that the file groups names,
// which are mounted at root. It is practically endless where nothing can be read.
func freeMemory(groups, meminfo, root string) (free uint64, where string) {
	free = 1 << 63
	if b, err := os.ReadFile(meminfo); err == nil {
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
				free, where = kB(v), "of this machine"
			}
		}
	}
	b, err := os.ReadFile(groups)
	if err != nil {
		return free, where
	}
	for line := range strings.Lines(string(b)) {
		// "0::/user.slice" of version 2, "4:memory:/user.slice" of version 1.
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 || f[1] != "" && f[1] != "memory" {
			continue
		}
		v := groupV2
		if f[1] != "" {
			v = groupV1
		}
		for dir := path.Clean("/" + f[2]); ; dir = path.Dir(dir) {
			if n, ok := v.free(path.Join(root, f[1], dir)); ok && n < free {
				free, where = n, "of control group "+dir
			}
			if dir == "/" {
				break
			}
		}
	}
	return free, where
}

// groupFiles are the names of a memory control group's files, and in stat the quantities
// of page cache, which is as good as free.
type groupFiles struct {
	limit, usage string
	cache        []string
}

var (
	groupV2 = groupFiles{"memory.max", "memory.current", []string{"inactive_file", "active_file"}}
	groupV1 = groupFiles{"memory.limit_in_bytes", "memory.usage_in_bytes", []string{"total_inactive_file", "total_active_file"}}
)

// free is how many bytes a control group may still take, if it has a limit.
func (v groupFiles) free(dir string) (uint64, bool) {
	limit, err1 := readNumber(path.Join(dir, v.limit)) // "max": none
	used, err2 := readNumber(path.Join(dir, v.usage))
	if err1 != nil || err2 != nil {
		return 0, false
	}
	if b, err := os.ReadFile(path.Join(dir, "memory.stat")); err == nil {
		for line := range strings.Lines(string(b)) {
			k, n, _ := strings.Cut(strings.TrimSpace(line), " ")
			if n, err := strconv.ParseUint(n, 10, 64); err == nil && slices.Contains(v.cache, k) {
				used -= min(n, used)
			}
		}
	}
	return limit - min(used, limit), true
}

func readNumber(file string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
}

// kB parses a quantity of /proc: "1300 kB". It is 0 where there is none.
func kB(s string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(s), " kB"), 10, 64)
	return n << 10
}
