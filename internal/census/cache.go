package census

import (
	"sync"

	"hmaptools/internal/hmap"
)

const (
	pageBytes = 16 << 10
	// cachePages bounds what is kept: 32 MiB. What is looked at comes in the order of
	// addresses, as far as it can.
	cachePages = 1 << 10
	// cachedBytes is the largest read that goes through the cache; a longer one
	// gains nothing.
	cachedBytes = 4 << 10
)

// cache keeps the pages of a target that stands still: small objects lie side by
// side, and a read of each alone costs a system call. Each page has one place, so
// that a lookup is an index and what is kept is bounded. Several goroutines may read
// at a time if the memory behind it allows that.
type cache struct {
	mem   hmap.Memory
	pages [cachePages]page
}

type page struct {
	mu   sync.Mutex
	addr uint64
	data []byte // nil: empty
	bad  bool   // the page cannot be read whole
}

// ReadMemory implements hmap.Memory.
func (c *cache) ReadMemory(buf []byte, addr uint64) (int, error) {
	if len(buf) > cachedBytes || addr+uint64(len(buf)) < addr {
		return c.mem.ReadMemory(buf, addr)
	}
	for n := 0; n < len(buf); {
		at := addr + uint64(n)
		k, ok := c.fromPage(buf[n:], at)
		if !ok {
			k, err := c.mem.ReadMemory(buf[n:], at)
			return n + k, err
		}
		n += k
	}
	return len(buf), nil
}

// fromPage copies what lies at addr, up to the end of its page; ok is false if the
// page cannot be read whole.
func (c *cache) fromPage(buf []byte, addr uint64) (n int, ok bool) {
	base := addr &^ (pageBytes - 1)
	p := &c.pages[addr/pageBytes%cachePages]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.data == nil || p.addr != base {
		if p.data == nil {
			p.data = make([]byte, pageBytes)
		}
		k, _ := c.mem.ReadMemory(p.data, base)
		p.addr, p.bad = base, k < pageBytes
	}
	if p.bad {
		return 0, false
	}
	return copy(buf, p.data[addr-base:]), true
}
