package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
)

// collector sets how much garbage this process may have beside what it uses: a lot while
// it is small, and as much as a budget allows when it is large. A fixed percentage costs
// either half of the time or twice the memory.
type collector struct {
	budget  atomic.Uint64
	adapted bool // the percentage is not the user's
}

const (
	// baseBudget is what may be taken whatever the target is; a sixteenth of the
	// target's own memory is added.
	baseBudget             = 400 << 20
	minPercent, maxPercent = 60, 400
	// bytesPerObject is what a census takes at most for an object that it looks at.
	bytesPerObject = 500
)

// paceCollector starts to adapt the percentage after each collection, unless GOGC is set.
func paceCollector() *collector {
	c := &collector{}
	c.budget.Store(baseBudget)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(maxPercent)
		c.adapted = true
		c.arm()
	}
	return c
}

// grow adds to the budget for a target that has so many bytes.
func (c *collector) grow(target uint64) { c.budget.Store(baseBudget + target/16) }

// arm has the next collection call adapt: an object without a reference is finalised
// then.
func (c *collector) arm() {
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		c.adapt()
		c.arm()
	})
}

func (c *collector) adapt() {
	if live := c.live(); live > 0 {
		debug.SetGCPercent(min(max(percent(live, c.budget.Load()), minPercent), maxPercent))
	}
}

// expect says how much will be needed beside what is there. To collect on the way to
// that finds nothing: the next collection waits for it, or for the budget.
func (c *collector) expect(bytes uint64) {
	if live := c.live(); c.adapted && live > 0 {
		if p := percent(live, min(live+bytes, c.budget.Load())); p > maxPercent {
			debug.SetGCPercent(p)
		}
	}
}

// percent is how much garbage there may be beside what is live.
func percent(live, budget uint64) int {
	if live >= budget {
		return 0
	}
	return int(100 * (budget - live) / live)
}

// live is what the last collection left, 0 if that cannot be told.
func (c *collector) live() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

// resident is how much memory a process has, 0 if that cannot be told.
func resident(pid int) uint64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
	return pages * uint64(os.Getpagesize())
}
