package census

import "hmaptools/internal/hmap"

const (
	pageBytes = 16 << 10
	cachePool = 1024 // pages: 16 MiB
	// cachedBytes is the largest read that goes through the cache; a longer one
	// gains nothing.
	cachedBytes = 4 << 10
)

// cache keeps the pages of a target that stands still: small objects lie side by
// side, and a read of each alone costs a system call. Each page has one place, so
// that a lookup is an index and what is kept is bounded.
type cache struct {
	mem   hmap.Memory
	pages [cachePool]page
}

type page struct {
	addr uint64
	data []byte // nil: empty, or the page cannot be read whole
	bad  bool
}

// ReadMemory implements hmap.Memory.
func (c *cache) ReadMemory(buf []byte, addr uint64) (int, error) {
	if len(buf) > cachedBytes || addr+uint64(len(buf)) < addr {
		return c.mem.ReadMemory(buf, addr)
	}
	for n := 0; n < len(buf); {
		at := addr + uint64(n)
		p := c.page(at &^ (pageBytes - 1))
		if p.bad {
			k, err := c.mem.ReadMemory(buf[n:], at)
			return n + k, err
		}
		n += copy(buf[n:], p.data[at-p.addr:])
	}
	return len(buf), nil
}

func (c *cache) page(addr uint64) *page {
	p := &c.pages[addr/pageBytes%cachePool]
	if p.addr == addr && (p.bad || p.data != nil) {
		return p
	}
	if p.data == nil {
		p.data = make([]byte, pageBytes)
	}
	n, _ := c.mem.ReadMemory(p.data, addr)
	p.addr, p.bad = addr, n < pageBytes
	return p
}
