package target

import (
	"errors"
	"fmt"
	"net/rpc"
	"regexp"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/go-delve/delve/service/rpc2"
)

const (
	// remoteBlock is how much memory is asked for at a time, a whole number of pages:
	// what one call of ExamineMemory gives. Older servers give 1000 bytes (Delve 1.22
	// does), which remoteMemory.limit finds out.
	remoteBlock = rpc2.ExamineMemoryLengthLimit
	remotePage  = 4096
	// remoteAhead is how many blocks are asked for before the answers are waited for.
	remoteAhead = 32
	// remoteMost is how many blocks are kept, 1 GiB of them. With more, all are thrown
	// away: a census goes through memory in the order of addresses, by and large.
	remoteMost = 1 << 14
)

// remoteMemory reads the memory of a process that a server debugs and that stands still:
// what was read is kept. Reading may be done by several goroutines at a time.
type remoteMemory struct {
	srv   *server
	fixed []segment // what the binary holds, sorted by address
	limit atomic.Int64

	mu     sync.Mutex
	blocks map[uint64]*block // by address
}

// block is a stretch of remoteBlock bytes.
type block struct {
	ready chan struct{} // closed when the rest is there
	data  []byte
	has   [remoteBlock / remotePage]bool // the pages that are there
	err   error                          // of the connection
}

func newRemoteMemory(s *server, fixed []segment) *remoteMemory {
	m := &remoteMemory{srv: s, fixed: fixed, blocks: make(map[uint64]*block)}
	sort.Slice(m.fixed, func(i, j int) bool { return m.fixed[i].addr < m.fixed[j].addr })
	m.limit.Store(remoteBlock)
	return m
}

// ReadMemory implements hmap.Memory, and Delve's reader.
func (m *remoteMemory) ReadMemory(buf []byte, addr uint64) (n int, err error) {
	for n < len(buf) {
		at := addr + uint64(n)
		if at < addr {
			return n, fmt.Errorf("read memory at %#x: no memory there", at)
		}
		k, ok, err := m.readFixed(buf[n:], at)
		if !ok {
			k, err = m.readBlocks(buf[n:n+int(min(uint64(len(buf)-n), m.untilFixed(at)))], at)
		}
		n += k
		if err != nil {
			return n, fmt.Errorf("read memory at %#x: %w", addr+uint64(n), err)
		}
	}
	return n, nil
}

var errNoMemoryThere = errors.New("no memory there")

// readFixed reads memory that the binary holds, up to the end of its segment.
func (m *remoteMemory) readFixed(buf []byte, addr uint64) (n int, ok bool, err error) {
	for i := range m.fixed {
		s := &m.fixed[i]
		if addr < s.addr || addr-s.addr >= s.size {
			continue
		}
		in := addr - s.addr
		n, err = s.r.ReadAt(buf[:min(uint64(len(buf)), s.size-in)], s.off+int64(in))
		return n, true, err
	}
	return 0, false, nil
}

// untilFixed is how far it is from addr to the next memory that the binary holds.
func (m *remoteMemory) untilFixed(addr uint64) uint64 {
	for i := range m.fixed {
		if m.fixed[i].addr > addr {
			return m.fixed[i].addr - addr
		}
	}
	return ^uint64(0)
}

// readBlocks reads memory of the server.
func (m *remoteMemory) readBlocks(buf []byte, addr uint64) (n int, err error) {
	first, last := addr&^(remoteBlock-1), (addr+uint64(len(buf))-1)&^(remoteBlock-1)
	for {
		// As many as are waited for at a time.
		var batch []*block
		for a := first; a <= last && len(batch) < remoteAhead; a += remoteBlock {
			batch = append(batch, nil)
			if a+remoteBlock < a {
				break
			}
		}
		m.fetch(first, batch)
		for i, b := range batch {
			<-b.ready
			if b.err != nil {
				return n, b.err
			}
			at := first + uint64(i)*remoteBlock
			for off := max(addr+uint64(n), at) - at; off < remoteBlock && n < len(buf); {
				page := off / remotePage
				if !b.has[page] {
					return n, errNoMemoryThere
				}
				k := copy(buf[n:], b.data[off:(page+1)*remotePage])
				n += k
				off += uint64(k)
			}
		}
		if n == len(buf) {
			return n, nil
		}
		first += uint64(len(batch)) * remoteBlock
	}
}

// fetch fills batch with the blocks from address first on; those that are not there yet
// are asked for all at once.
func (m *remoteMemory) fetch(first uint64, batch []*block) {
	var mine []int
	m.mu.Lock()
	if len(m.blocks) > remoteMost {
		clear(m.blocks)
	}
	for i := range batch {
		at := first + uint64(i)*remoteBlock
		b := m.blocks[at]
		if b == nil {
			b = &block{ready: make(chan struct{})}
			m.blocks[at] = b
			mine = append(mine, i)
		}
		batch[i] = b
	}
	m.mu.Unlock()

	asked := make([]*request, len(mine))
	for k, i := range mine {
		asked[k] = m.ask(first+uint64(i)*remoteBlock, remoteBlock)
	}
	for k, i := range mine {
		m.fill(batch[i], first+uint64(i)*remoteBlock, asked[k])
		close(batch[i].ready)
	}
}

// fill makes a block of the answer; where the server says no, of the pages that it has.
func (m *remoteMemory) fill(b *block, at uint64, whole *request) {
	data, err := whole.wait()
	if err == nil {
		b.data = data
		for i := range b.has {
			b.has[i] = true
		}
		return
	}
	if b.err = m.srv.lostError(); b.err != nil {
		return
	}
	var pages [len(b.has)]*request
	for i := range pages {
		pages[i] = m.ask(at+uint64(i)*remotePage, remotePage)
	}
	for i := range pages {
		data, err := pages[i].wait()
		if err != nil {
			continue
		}
		if b.data == nil {
			b.data = make([]byte, remoteBlock)
		}
		copy(b.data[i*remotePage:], data)
		b.has[i] = true
	}
	b.err = m.srv.lostError()
}

// request is a read that is under way, in as many calls as the server's limit takes.
type request struct {
	m     *remoteMemory
	addr  uint64
	size  int
	calls []*rpc.Call
}

func (m *remoteMemory) ask(addr uint64, size int) *request {
	r := &request{m: m, addr: addr, size: size}
	r.start()
	return r
}

func (r *request) start() {
	limit := int(r.m.limit.Load())
	r.calls = nil
	for off := 0; off < r.size; off += limit {
		in := rpc2.ExamineMemoryIn{Address: r.addr + uint64(off), Length: min(limit, r.size-off)}
		r.calls = append(r.calls, r.m.srv.start("ExamineMemory", in, &rpc2.ExaminedMemoryOut{}))
	}
}

func (r *request) wait() ([]byte, error) {
	data, err := r.collect()
	var answer rpc.ServerError
	if errors.As(err, &answer) {
		// An older server.
		if f := lengthLimit.FindStringSubmatch(string(answer)); f != nil {
			if n, _ := strconv.Atoi(f[1]); n > 0 && n < r.size {
				r.m.limit.Store(int64(n))
				r.start()
				return r.collect()
			}
		}
	}
	return data, err
}

var lengthLimit = regexp.MustCompile(`^len must be less than or equal to (\d+)`)

func (r *request) collect() ([]byte, error) {
	var data []byte
	var failed error
	for _, c := range r.calls {
		err := wait(c, answerLimit)
		var answer rpc.ServerError
		switch {
		case err == nil:
			mem := c.Reply.(*rpc2.ExaminedMemoryOut).Mem
			if in := c.Args.(rpc2.ExamineMemoryIn); len(mem) != in.Length {
				failed = fmt.Errorf("the server gave %d bytes for %d", len(mem), in.Length)
			}
			if data == nil && len(r.calls) == 1 {
				data = mem
			} else {
				data = append(data, mem...)
			}
		case errors.As(err, &answer):
			if failed == nil {
				failed = err
			}
		default:
			return nil, r.m.srv.lose("ExamineMemory", err)
		}
	}
	if failed != nil {
		return nil, failed
	}
	return data, nil
}

func (m *remoteMemory) WriteMemory(uint64, []byte) (int, error) { return 0, errStill }
