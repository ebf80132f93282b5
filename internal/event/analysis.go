package event

import (
	"cmp"
	"slices"

	"hmaptools/internal/hmap"
)

// Analysis is what follows from a sequence of events. Add takes them in the order
// in which they happened.
type Analysis struct {
	Events     uint64
	Ops        [NumOps]uint64
	FirstT     int64
	LastT      int64
	Lives      []*Life // in the order of their first events
	Sites      map[SiteOp]*SiteCount
	Goroutines map[int64]*Share
	// Folded is how many lives were added up with others of their type that were
	// made at the same place, because there were more than MaxLives.
	Folded uint64

	at     map[hmap.Addr]*Life
	seeds  map[uint64]*Life // of Swiss maps; nil for a seed that a map has in common with its clones
	folds  map[foldKey]*Life
	cache  []cached
	recent *cached // of the last event
}

// NumOps is one more than the largest Op.
const NumOps = numOps

// MaxLives is how many lives an Analysis tells apart. When there are more, those
// that have ended are added up by type and by where they were made.
const MaxLives = 200_000

// Limits of what is kept of a life in full; the rest is counted.
const (
	MaxGrowths   = 1000
	MaxConflicts = 20
)

// SiteOp is an operation at a site.
type SiteOp struct {
	Site *Site
	Op   Op
}

// SiteCount is how often an operation was done at a site.
type SiteCount struct {
	N     uint64
	Bytes int64 // of new buckets or groups that growth allocated there
}

// Share is what a goroutine did.
type Share struct{ Reads, Writes uint64 }

// Life is a map from the first to the last operation on it.
type Life struct {
	Addr hmap.Addr
	Type *Type // nil if no operation told it
	// Made is where it was made; nil if that was not seen: it was made before the
	// recording began, or in place by the compiler.
	Made   *Site
	Hint   int64 // that make was given; 0 also if it was not seen
	FirstT int64
	LastT  int64
	// Len is the number of entries as the last operation found it, MaxLen the most
	// that one found: what the very last one did is not seen.
	Len        int64
	MaxLen     int64
	Ops        [NumOps]uint64
	Goroutines map[int64]*Share
	Sites      map[SiteOp]*SiteCount
	Growths    []Growth
	Grown      uint64 // how often it grew; Growths holds the first MaxGrowths
	// Churn is how often it grew with no more entries than at its growth before:
	// deletes and inserts made it grow.
	Churn uint64
	// Evacuations is how many old buckets were evacuated.
	Evacuations   uint64
	Conflicts     []Conflict
	Conflicting   uint64 // how many; Conflicts holds the first MaxConflicts
	Folded        uint64 // lives that are added up in this one, beside the first
	Moved         uint64 // how often its header went to another address
	seed          uint64
	last          Touch
	other         Touch // the last write of another goroutine than lastWrite's
	lastWrite     Touch
	grewAt        int64
	evacuated     []uint64 // set of old buckets of the growth that is going on
	evacuatedSize int64
	ended         bool // a later life has its address
	gone          bool // it was added to another
}

// Touch is one operation of a life, by whom and where.
type Touch struct {
	T         int64
	Goroutine int64
	Op        Op
	Site      *Site
}

// Growth is one growth of a map: of its bucket array (Classic), or of a table or of
// its first group (Swiss).
type Growth struct {
	T          int64
	Op         Op // Grow, Split, Rehash
	Goroutine  int64
	Site       *Site // of the operation that brought it about
	Len        int64 // entries of the map
	OldSlots   int64
	NewSlots   int64
	Tombstones int64
	SameSize   bool // Classic: as many buckets, because of too many overflow buckets
	Evacuated  int64
	OldBuckets int64 // Classic: to evacuate; known with the first evacuation
	EndT       int64 // Classic: when the last old bucket was evacuated; 0 if not seen
}

// Conflict is a proven concurrent access: B entered while the header said that a
// writer was inside. A is the last write before it by another goroutine; its Site
// is nil where none was recorded.
type Conflict struct{ A, B Touch }

type foldKey struct {
	typ  *Type
	made *Site
}

type cached struct {
	life  *Life
	site  *Site
	g     int64
	op    Op
	inOne *SiteCount
	inAll *SiteCount
	share *Share
	whole *Share
}

// NewAnalysis returns an Analysis without events.
func NewAnalysis() *Analysis {
	return &Analysis{
		Sites: map[SiteOp]*SiteCount{}, Goroutines: map[int64]*Share{},
		at: map[hmap.Addr]*Life{}, seeds: map[uint64]*Life{}, folds: map[foldKey]*Life{}, cache: make([]cached, 1<<12),
	}
}

// Add takes an event in, of which it keeps Type and Site.
func (a *Analysis) Add(e *Event) {
	op := e.Func.Op
	if a.Events == 0 {
		a.FirstT = e.T
	}
	site := e.Site
	if op.Growth() && len(site.PCs) == 1 {
		// The growing function was called by the runtime; who called that is the last
		// operation of this goroutine.
		if l := a.at[e.Map]; l != nil && l.last.Site != nil && l.last.Goroutine == e.Goroutine {
			site = l.last.Site
		}
	}
	h := (uint64(e.Map)>>4*0x9e3779b97f4a7c15 ^ uint64(e.Goroutine)*0xc2b2ae3d27d4eb4f ^ site.PCs[0]*0x165667b19e3779f9 ^ uint64(op)<<60) >> 52
	c := &a.cache[h]
	l := c.life
	hit := l != nil && l.Addr == e.Map && c.site == site && c.g == e.Goroutine && c.op == op && op != Make
	if !hit || l.ended || !l.same(e) {
		l = a.life(e)
		*c = cached{life: l, site: site, g: e.Goroutine, op: op}
		c.inOne = count(l.Sites, site, op)
		c.inAll = count(a.Sites, site, op)
		c.share = share(l.Goroutines, e.Goroutine)
		c.whole = share(a.Goroutines, e.Goroutine)
	}
	if l.Type == nil {
		l.Type = e.Type
	}
	n := int64(-1)
	if e.Header.Addr != 0 {
		n = e.Header.Len()
		l.seed = seed(e)
	}
	if op == Clone && e.Header.Generation == hmap.Swiss && len(a.seeds) < MaxLives {
		a.seeds[e.Header.Seed] = nil
	}
	this := Touch{e.T, e.Goroutine, op, e.Site}
	if e.Concurrent() {
		a.conflict(l, e, this)
	}
	a.tally(c, n, this)
	switch {
	case op == Evacuate:
		l.evacuate(e)
	case op.Growth():
		a.grow(l, e, site)
	}
	a.recent = c
}

// tally counts an operation, with n entries in the map, -1 if that is not known.
func (a *Analysis) tally(c *cached, n int64, this Touch) {
	l, op := c.life, c.op
	a.Events++
	a.Ops[op]++
	a.LastT = max(a.LastT, this.T)
	l.LastT = max(l.LastT, this.T)
	c.inOne.N++
	c.inAll.N++
	l.Ops[op]++
	if n >= 0 {
		l.Len = n
		if n > l.MaxLen && n < 1<<40 {
			l.MaxLen = n
		}
	}
	switch {
	case op.Growth():
		return
	case op.Writes():
		c.share.Writes++
		c.whole.Writes++
		if l.lastWrite.Goroutine != this.Goroutine {
			l.other = l.lastWrite
		}
		l.lastWrite = this
	case op.Reads():
		c.share.Reads++
		c.whole.Reads++
	}
	l.last = this
}

// usual is what came up lately: events like it, on a map that is still the same, are
// only counted.
type usual struct {
	last Raw
	seed uint64
	cached
}

// AddAll adds events that have neither stacks nor keys to a, as Add does what Event
// makes of them. ns converts a reading of the clock to nanoseconds.
func (as *Assembler) AddAll(a *Analysis, rs []Raw, ns func(clock uint64) int64) {
	for i := range rs {
		r := &rs[i]
		u := &as.usual[recentAt(r)]
		if l := u.life; l != nil && u.last.like(r) && l.seed == u.seed && !l.ended && uint64(l.Addr) == r.Map {
			a.tally(&u.cached, int64(header0(r)), Touch{ns(r.Clock), int64(r.Goroutine), u.op, u.site})
			continue
		}
		e := as.Event(r, nil, nil, ns(r.Clock))
		a.Add(e)
		u.life = nil
		if e.Header.Addr != 0 && e.Func.Op != Make && !e.Func.Op.Growth() && !e.Concurrent() {
			*u = usual{*r, seed(e), *a.recent}
		}
	}
}

func count(m map[SiteOp]*SiteCount, s *Site, op Op) *SiteCount {
	k := SiteOp{s, op}
	c := m[k]
	if c == nil {
		c = &SiteCount{}
		m[k] = c
	}
	return c
}

func share(m map[int64]*Share, g int64) *Share {
	s := m[g]
	if s == nil {
		s = &Share{}
		m[g] = s
	}
	return s
}

// seed is the map's hash seed: it tells maps apart that lie at one address one
// after the other.
func seed(e *Event) uint64 {
	if e.Header.Generation == hmap.Classic {
		return uint64(e.Header.Hash0)
	}
	return e.Header.Seed
}

// same reports whether the event is on this life, and not on a later map at its
// address. A map gets another seed when it is cleared and when its last entry is
// deleted, and only then; it is empty at that moment.
func (l *Life) same(e *Event) bool {
	if e.Header.Addr == 0 || l.FirstT == l.LastT && l.seed == 0 {
		return true
	}
	if seed(e) == l.seed || l.seed == 0 {
		return true
	}
	return e.Header.Len() == 0 && (l.lastWrite.Op == Clear || l.lastWrite.Op == Delete)
}

func (a *Analysis) life(e *Event) *Life {
	l := a.at[e.Map]
	if l != nil && e.Func.Op != Make && l.same(e) {
		return l
	}
	if moved := a.moved(e); moved != nil {
		return moved
	}
	if l != nil {
		l.ended = true
		if len(a.Lives) > MaxLives {
			a.fold(l)
		}
	}
	l = &Life{Addr: e.Map, Type: e.Type, FirstT: e.T, LastT: e.T, Goroutines: map[int64]*Share{}, Sites: map[SiteOp]*SiteCount{}}
	if e.Func.Op == Make {
		l.Made, l.Hint = e.Site, int64(e.Arg)
	}
	a.at[e.Map] = l
	a.Lives = append(a.Lives, l)
	if e.Header.Generation == hmap.Swiss && e.Header.Seed != 0 && len(a.seeds) < MaxLives {
		if old, ok := a.seeds[e.Header.Seed]; !ok || old != nil {
			a.seeds[e.Header.Seed] = l
		}
	}
	return l
}

// moved returns the life of a map whose header has come to another address: one that
// the compiler keeps on a goroutine's stack moves with the stack. Its seed, 64 random
// bits, says so: only a clone has that of its original ((*Map).Clone, Go 1.25 and
// later), so a seed that was cloned says nothing. A map on a stack does not escape, so
// that no other goroutine has ever used it. (Classic seeds have 32 bits.)
func (a *Analysis) moved(e *Event) *Life {
	if e.Func.Op == Make || e.Header.Generation != hmap.Swiss || e.Header.Seed == 0 {
		return nil
	}
	l := a.seeds[e.Header.Seed]
	if l == nil || l.gone || l.Type != e.Type || l.Addr == e.Map && !l.ended {
		return nil
	}
	for g := range l.Goroutines {
		if g != e.Goroutine {
			return nil
		}
	}
	// A map that came to where this one had been may have ended its life too early.
	l.ended = false
	if a.at[l.Addr] == l {
		delete(a.at, l.Addr)
	}
	if old := a.at[e.Map]; old != nil && old != l {
		old.ended = true
	}
	l.Addr = e.Map
	l.Moved++
	a.at[e.Map] = l
	return l
}

// fold adds a life that has ended to those like it.
func (a *Analysis) fold(l *Life) {
	k := foldKey{l.Type, l.Made}
	sum := a.folds[k]
	if sum == nil {
		a.folds[k] = l
		return
	}
	a.Folded++
	sum.Folded++
	sum.LastT = max(sum.LastT, l.LastT)
	sum.MaxLen = max(sum.MaxLen, l.MaxLen)
	for i, n := range l.Ops {
		sum.Ops[i] += n
	}
	for so, c := range l.Sites {
		to := count(sum.Sites, so.Site, so.Op)
		to.N += c.N
		to.Bytes += c.Bytes
	}
	for g, s := range l.Goroutines {
		to := share(sum.Goroutines, g)
		to.Reads += s.Reads
		to.Writes += s.Writes
	}
	sum.Grown += l.Grown
	sum.Churn += l.Churn
	sum.Evacuations += l.Evacuations
	sum.Conflicting += l.Conflicting
	sum.Conflicts = append(sum.Conflicts, l.Conflicts[:min(len(l.Conflicts), MaxConflicts-len(sum.Conflicts))]...)
	l.gone = true
	if a.Folded%MaxLives == 0 {
		a.compact()
	}
}

func (a *Analysis) compact() {
	a.Lives = slices.DeleteFunc(a.Lives, func(l *Life) bool { return l.gone })
	clear(a.cache)
}

// Close ends the analysis: lives that were added to others are left out.
func (a *Analysis) Close() {
	if a.Folded > 0 {
		a.compact()
	}
}

func (a *Analysis) conflict(l *Life, e *Event, this Touch) {
	l.Conflicting++
	if len(l.Conflicts) >= MaxConflicts {
		return
	}
	c := Conflict{B: this}
	if w := l.lastWrite; w.Site != nil && w.Goroutine != e.Goroutine {
		c.A = w
	} else if w := l.other; w.Site != nil && w.Goroutine != e.Goroutine {
		c.A = w
	}
	l.Conflicts = append(l.Conflicts, c)
}

func (a *Analysis) grow(l *Life, e *Event, site *Site) {
	g := Growth{T: e.T, Op: e.Func.Op, Goroutine: e.Goroutine, Site: site, Len: e.Header.Len(), Tombstones: int64(e.Table.Tombstones())}
	g.OldSlots, g.NewSlots = e.Slots()
	g.SameSize = e.Header.Generation == hmap.Classic && g.OldSlots == g.NewSlots
	if l.Grown > 0 && g.Len <= l.grewAt || g.SameSize {
		l.Churn++
	}
	l.grewAt = g.Len
	l.Grown++
	if len(l.Growths) < MaxGrowths {
		l.Growths = append(l.Growths, g)
	}
	if e.Type != nil && e.Type.Block > 0 {
		bytes := g.NewSlots / 8 * e.Type.Block
		count(l.Sites, g.Site, e.Func.Op).Bytes += bytes
		count(a.Sites, g.Site, e.Func.Op).Bytes += bytes
	}
	l.evacuated, l.evacuatedSize = l.evacuated[:0], 0
}

// maxEvacuated bounds the set of old buckets, in words.
const maxEvacuated = 1 << 20

// evacuate counts each old bucket once: evacuate is called for those that are done
// already, too.
func (l *Life) evacuate(e *Event) {
	word, bit := e.Arg/64, uint64(1)<<(e.Arg%64)
	if word >= maxEvacuated {
		return
	}
	for uint64(len(l.evacuated)) <= word {
		l.evacuated = append(l.evacuated, 0)
	}
	if l.evacuated[word]&bit != 0 {
		return
	}
	l.evacuated[word] |= bit
	l.evacuatedSize++
	l.Evacuations++
	if l.Grown > 0 && l.Grown <= uint64(len(l.Growths)) {
		g := &l.Growths[l.Grown-1]
		g.OldBuckets = e.OldBuckets()
		g.Evacuated = l.evacuatedSize
		if g.Evacuated == g.OldBuckets {
			g.EndT = e.T
		}
	}
}

// Size is how many entries the map had at most: MaxLen, and one more if its last
// write may have been an insert that nothing has seen.
func (l *Life) Size() int64 {
	if l.last.Op == Assign && l.Len == l.MaxLen {
		return l.MaxLen + 1
	}
	return l.MaxLen
}

// Progress is how many old buckets of the growth that is going on have been
// evacuated.
func (l *Life) Progress() int64 { return l.evacuatedSize }

// At returns the life of the map that lies at addr now.
func (a *Analysis) At(addr hmap.Addr) *Life { return a.at[addr] }

// Total is how many operations there were on the map, growth left out.
func (l *Life) Total() uint64 {
	var n uint64
	for op, c := range l.Ops {
		if !Op(op).Growth() {
			n += c
		}
	}
	return n
}

// Snapshot returns an Analysis of its own with the n hottest lives and all sites, as they
// are now. Sites and types are those of in, so that they can be named while events are
// added here. It takes some milliseconds with MaxLives lives.
func (a *Analysis) Snapshot(n int, in *Interner) *Analysis {
	out := &Analysis{Events: a.Events, Ops: a.Ops, FirstT: a.FirstT, LastT: a.LastT, Goroutines: a.Goroutines, Folded: a.Folded}
	site := func(s *Site) *Site {
		if s == nil {
			return nil
		}
		return in.Site(s.PCs...)
	}
	sites := func(of map[SiteOp]*SiteCount) map[SiteOp]*SiteCount {
		to := make(map[SiteOp]*SiteCount, len(of))
		for so, c := range of {
			*count(to, site(so.Site), so.Op) = *c
		}
		return to
	}
	out.Sites = sites(a.Sites)
	out.Goroutines = make(map[int64]*Share, len(a.Goroutines))
	for g, s := range a.Goroutines {
		*share(out.Goroutines, g) = *s
	}
	type ranked struct {
		l *Life
		n uint64
	}
	var top []ranked // the hottest first
	for _, l := range a.Lives {
		r := ranked{l, l.Total()}
		if l.gone || len(top) == n && r.n <= top[n-1].n {
			continue
		}
		i, _ := slices.BinarySearchFunc(top, r, func(x, y ranked) int {
			if x.n >= y.n {
				return -1
			}
			return 1
		})
		top = slices.Insert(top, i, r)[:min(n, len(top)+1)]
	}
	for _, r := range top {
		l := *r.l
		l.Made, l.Sites = site(l.Made), sites(l.Sites)
		if l.Type != nil {
			l.Type = in.Type(uint64(l.Type.Addr))
		}
		l.Goroutines = make(map[int64]*Share, len(r.l.Goroutines))
		for g, s := range r.l.Goroutines {
			*share(l.Goroutines, g) = *s
		}
		l.Growths = slices.Clone(l.Growths)
		for i := range l.Growths {
			l.Growths[i].Site = site(l.Growths[i].Site)
		}
		l.Conflicts = slices.Clone(l.Conflicts)
		for i := range l.Conflicts {
			c := &l.Conflicts[i]
			c.A.Site, c.B.Site = site(c.A.Site), site(c.B.Site)
		}
		l.evacuated = nil
		out.Lives = append(out.Lives, &l)
	}
	return out
}

// Hottest returns the lives with the most operations first; equals by their first
// event.
func (a *Analysis) Hottest() []*Life {
	lives := slices.Clone(a.Lives)
	slices.SortStableFunc(lives, func(x, y *Life) int { return cmp.Compare(y.Total(), x.Total()) })
	return lives
}
