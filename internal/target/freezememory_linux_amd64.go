package target

import (
	"bytes"
	"fmt"
	"os"
	"path"
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
	avail, where := uint64(1)<<63, ""
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
				avail, where = kB(v), "of this machine"
			}
		}
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", im.pid)); err == nil {
		for line := range strings.Lines(string(b)) {
			dir, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
			for ; ok && dir != ""; dir = path.Dir(dir) {
				if free, ok := groupFree("/sys/fs/cgroup" + dir); ok && free < avail {
					avail, where = free, "of control group "+dir
				}
				if dir == "/" || dir == "." {
					break
				}
			}
		}
	}
	if need > avail {
		return im.fail(FreezeNoMemory, nil, "a copy needs %d MiB, %d MiB %s are free", need>>20, avail>>20, where)
	}
	return nil
}

// groupFree is how much memory a control group (version 2) may still take, the page
// cache counted as free.
func groupFree(dir string) (uint64, bool) {
	limit, err1 := readNumber(dir + "/memory.max") // "max": none
	used, err2 := readNumber(dir + "/memory.current")
	if err1 != nil || err2 != nil {
		return 0, false
	}
	if b, err := os.ReadFile(dir + "/memory.stat"); err == nil {
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
			if n, err := strconv.ParseUint(v, 10, 64); err == nil && (k == "inactive_file" || k == "active_file") {
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
