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
type collector struct{ budget atomic.Uint64 }

const (
	// baseBudget is what may be taken whatever the target is; a sixteenth of the
	// target's own memory is added.
	baseBudget             = 400 << 20
	minPercent, maxPercent = 60, 400
)

// paceCollector starts to adapt the percentage after each collection, unless GOGC is set.
func paceCollector() *collector {
	c := &collector{}
	c.budget.Store(baseBudget)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(maxPercent)
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
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	live := max(s[0].Value.Uint64(), 1)
	percent := 0
	if b := c.budget.Load(); live < b {
		percent = int(100 * (b - live) / live)
	}
	debug.SetGCPercent(min(max(percent, minPercent), maxPercent))
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
