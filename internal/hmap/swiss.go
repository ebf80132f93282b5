package hmap

import (
	"bytes"
	"math/bits"
)

// Limits that no real map reaches; what exceeds them is corrupt.
const (
	// maxDirLen: a directory of 2^32 pointers would take 32 GiB.
	maxDirLen = 1 << 32
	// batchTables is how many tables are looked at together.
	batchTables = 4096
)

func (in *inspector) swiss() {
	h, m := &in.m.Header, in.m
	if h.DirLen == 0 {
		in.smallMap()
		return
	}
	if h.DirPtr == 0 {
		in.broken("directory", h.Addr, "dirPtr is nil, dirLen is %d", h.DirLen)
		in.fail(&ReadError{"directory", 0, 0, errNil})
		return
	}
	if h.DirLen < 0 || h.DirLen > maxDirLen || h.DirLen&(h.DirLen-1) != 0 {
		in.broken("directory", h.Addr, "dirLen is %d, not a power of two up to %d", h.DirLen, int64(maxDirLen))
		in.fail(&ReadError{"directory", h.DirPtr, 0, errLimit})
		return
	}
	if depth := bits.TrailingZeros64(uint64(h.DirLen)); depth != int(h.GlobalDepth) {
		in.broken("directory", h.Addr, "dirLen is %d, but globalDepth is %d", h.DirLen, h.GlobalDepth)
	}
	if shift := 8*in.l.PtrSize - int(h.GlobalDepth); shift != int(h.GlobalShift) {
		in.broken("directory", h.Addr, "globalShift is %d, want %d", h.GlobalShift, shift)
	}
	ptr := int64(in.l.PtrSize)
	m.Bytes += int64(in.l.Alloc.RoundUp(uint64(h.DirLen*ptr), true))

	// Tables that several entries share stand in a row.
	var batch []Table
	in.tablesSeen = map[Addr]bool{}
	dir := make([]byte, min(h.DirLen*ptr, chunkBytes))
	for i := int64(0); i < h.DirLen && !in.hopeless(); {
		n := min(h.DirLen-i, int64(len(dir))/ptr)
		part := dir[:n*ptr]
		if err := read(in.mem, "directory", part, h.DirPtr+Addr(i*ptr)); err != nil {
			in.fail(err)
			break
		}
		for k := range n {
			addr := Addr(word(part[k*ptr : (k+1)*ptr]))
			if last := len(batch) - 1; last >= 0 && batch[last].Addr == addr {
				batch[last].Entries++
				continue
			}
			if in.tablesSeen[addr] && addr != 0 {
				in.broken("directory", h.DirPtr+Addr((i+k)*ptr), "entry %d points at the table %s of earlier entries, with others between", i+k, addr)
				continue
			}
			if len(batch) >= batchTables {
				in.tables(batch)
				batch = batch[:0]
			}
			in.tablesSeen[addr] = true
			batch = append(batch, Table{Addr: addr, Index: i + k, Entries: 1})
		}
		i += n
	}
	in.tables(batch)
	m.GrowIn = in.growInTables()
	if m.Tombstones > 0 && in.l.hdr.tombstonePossible.Size > 0 && !h.TombstonePossible {
		in.broken("tombstones", h.Addr, "tombstonePossible is false, but there are %d", m.Tombstones)
	}
}

// growInTables is the smallest growthLeft: the hash of a new key, which nobody
// knows, selects the table.
func (in *inspector) growInTables() int64 {
	least := int64(0)
	for i, t := range in.m.Tables {
		if left := int64(t.GrowthLeft); i == 0 || left < least {
			least = left
		}
	}
	return least
}

// smallMap reads a map without tables: one group, or none before the first
// insert. All its slots may be filled, and a deleted one is empty at once.
func (in *inspector) smallMap() {
	h, m := &in.m.Header, in.m
	m.GrowIn = int64(in.l.Block.Slots)
	if h.GlobalDepth != 0 {
		in.broken("directory", h.Addr, "a small map has globalDepth %d", h.GlobalDepth)
	}
	if h.DirPtr == 0 {
		return
	}
	m.Groups, m.Slots = 1, int64(in.l.Block.Slots)
	m.Bytes += int64(in.l.Alloc.RoundUp(uint64(in.l.Block.Size), in.l.Block.Pointers))
	in.blocks("group", h.DirPtr, 1, func(at Addr, _ int64, data []byte) {
		n := in.group(at, data)
		m.Len += int64(n[slotFull])
		m.Tombstones += int64(n[slotDeleted])
		if n[slotDeleted] > 0 {
			in.broken("tombstones", at, "a small map has %d", n[slotDeleted])
		}
		in.hashes(at, data, func(Addr, uint64) {})
	})
	m.GrowIn = m.Slots - m.Len
}

// group counts the slots of one group.
func (in *inspector) group(at Addr, data []byte) [slotClasses]int {
	var n [slotClasses]int
	b := &in.l.Block
	in.l.tally(data[b.Meta:b.Meta+b.Slots], &n)
	if n[slotInvalid] > 0 {
		in.broken("control", at, "%d control bytes have a value that the runtime never writes: % x",
			n[slotInvalid], data[b.Meta:b.Meta+b.Slots])
	}
	return n
}

// tables reads the records of some tables, then their groups, in the order of
// their addresses.
func (in *inspector) tables(ts []Table) {
	l, h := in.l, &in.m.Header
	pieces := make([]piece, 0, len(ts))
	for i := range ts {
		if ts[i].Addr == 0 {
			in.broken("directory", h.DirPtr+Addr(ts[i].Index*int64(l.PtrSize)), "entry %d is nil", ts[i].Index)
			in.fail(&ReadError{"table", 0, l.Table.Size, errNil})
			continue
		}
		pieces = append(pieces, piece{ts[i].Addr, l.Table.Size, i})
	}
	in.buf = gather(in.mem, "table", pieces, in.buf, func(p piece, rec []byte, err error) {
		if err != nil {
			in.fail(err)
			return
		}
		f, t := &l.tab, &ts[p.ref]
		t.Used, t.Capacity = uint16(f.used.Uint(rec)), uint16(f.capacity.Uint(rec))
		t.GrowthLeft, t.LocalDepth = uint16(f.growthLeft.Uint(rec)), uint8(f.localDepth.Uint(rec))
		index := f.index.Int(rec)
		t.Groups = Addr(f.data.Uint(rec))
		mask := f.lengthMask.Uint(rec)
		in.tablePlace(t, index)
		if mask >= l.Consts.MaxTableCapacity || mask&(mask+1) != 0 ||
			uint64(t.Capacity) != (mask+1)*uint64(l.Block.Slots) || uint64(t.Capacity) > l.Consts.MaxTableCapacity {
			in.broken("capacity", t.Addr, "capacity is %d, groups.lengthMask is %#x, want a power of two of groups of %d slots, at most %d slots",
				t.Capacity, mask, l.Block.Slots, l.Consts.MaxTableCapacity)
		}
		if mask >= l.Consts.MaxTableCapacity || t.Groups == 0 {
			in.fail(&ReadError{"groups", t.Groups, 0, errLimit})
			return
		}
		t.groups = int64(mask) + 1
	})

	pieces = pieces[:0]
	for i := range ts {
		if n := ts[i].groups; n > 0 {
			pieces = append(pieces, piece{ts[i].Groups, int(n) * l.Block.Size, i})
		}
	}
	in.buf = gather(in.mem, "groups", pieces, in.buf, func(p piece, data []byte, err error) {
		if err != nil {
			in.fail(err)
			return
		}
		in.groups(&ts[p.ref], p.addr, data)
	})
	for i := range ts {
		if n := ts[i].groups; n > 0 {
			in.m.Tables = append(in.m.Tables, ts[i])
			in.m.Bytes += int64(l.Alloc.RoundUp(uint64(l.Table.Size), true)) +
				int64(l.Alloc.RoundUp(uint64(n)*uint64(l.Block.Size), l.Block.Pointers))
			in.m.Groups += n
			in.m.Slots += n * int64(l.Block.Slots)
		}
	}
}

// tablePlace checks that the directory entries of a table are those that its
// depth asks for.
func (in *inspector) tablePlace(t *Table, index int64) {
	h := &in.m.Header
	if t.LocalDepth > h.GlobalDepth {
		in.broken("depth", t.Addr, "localDepth is %d, above globalDepth %d", t.LocalDepth, h.GlobalDepth)
		return
	}
	if index != t.Index {
		// An index of -1 marks a stale table, which no directory points at.
		in.broken("directory", t.Addr, "index is %d, but the first entry that points at it is %d", index, t.Index)
	}
	if want := int64(1) << (h.GlobalDepth - t.LocalDepth); want != t.Entries {
		in.broken("depth", t.Addr, "localDepth %d of %d asks for %d directory entries, %d point at it",
			t.LocalDepth, h.GlobalDepth, want, t.Entries)
	}
}

// groups counts the slots of one table, whose groups are data, and checks what
// table.checkInvariants of internal/runtime/maps/table_debug.go checks.
func (in *inspector) groups(t *Table, at Addr, data []byte) {
	b := &in.l.Block
	full, empty, deleted := 0, 0, 0
	for off := 0; off < len(data); off += b.Size {
		f, e, d := in.l.meta.swiss(loadMeta(data, off+b.Meta))
		if f+e+d != b.Slots || !in.l.meta.usable {
			n := in.group(at+Addr(off), data[off:off+b.Size])
			f, e, d = n[slotFull], n[slotEmpty], n[slotDeleted]
		}
		full, empty, deleted = full+f, empty+e, deleted+d
		if in.opts.Hash != nil {
			in.tableHashes(t, at, data, off)
		}
	}
	t.Tombstones = int64(deleted)
	in.m.Len += int64(full)
	in.m.Tombstones += t.Tombstones
	if full != int(t.Used) {
		in.broken("used", t.Addr, "used is %d, the groups hold %d", t.Used, full)
	}
	if left := in.l.maxGrowthLeft(uint64(t.Capacity)) - int64(t.Used) - t.Tombstones; left != int64(t.GrowthLeft) {
		in.broken("growth-left", t.Addr, "growthLeft is %d, want %d: capacity %d, used %d, tombstones %d",
			t.GrowthLeft, left, t.Capacity, t.Used, t.Tombstones)
	}
	if empty == 0 {
		in.broken("empty-slot", t.Addr, "no slot is empty: a lookup of an absent key would never end")
	}
}

// maxGrowthLeft is how many slots of a table may be used: table.resetGrowthLeft.
func (l *Layout) maxGrowthLeft(capacity uint64) int64 {
	slots := uint64(l.Block.Slots)
	if capacity <= slots {
		return int64(capacity) - 1
	}
	return int64(capacity * l.Consts.MaxAvgGroupLoad / slots)
}

// h2 is the part of a hash that stands in the control byte, h1 the rest, which
// selects the group: internal/runtime/maps/map.go.
func h2(hash uint64) uint8  { return uint8(hash & 0x7f) }
func h1(hash uint64) uint64 { return hash >> 7 }

// tableHashes checks the keys of the group at data[off] of a table, whose groups
// are data: their hash must select the table, and looking them up must find them.
func (in *inspector) tableHashes(t *Table, at Addr, data []byte, off int) {
	h, b := &in.m.Header, &in.l.Block
	in.hashes(at+Addr(off), data[off:off+b.Size], func(slot Addr, hash uint64) {
		i := int64(0)
		if h.GlobalDepth > 0 && int(h.GlobalShift) < 64 {
			i = int64(hash >> h.GlobalShift)
		}
		if i < t.Index || i >= t.Index+t.Entries {
			in.broken("place", slot, "the key's hash %#x selects directory entry %d, which is not its table's", hash, i)
		} else if from := h1(hash) & uint64(len(data)/b.Size-1); !in.reaches(data, from, off/b.Size) {
			in.broken("probe", slot, "the key is in group %d, but a lookup begins at group %d and ends before", off/b.Size, from)
		}
	})
}

// reaches reports whether a probe sequence from one group of a table gets to
// another: probeSeq of internal/runtime/maps/table.go. A group with an empty
// slot ends it.
func (in *inspector) reaches(data []byte, from uint64, to int) bool {
	b := &in.l.Block
	groups := uint64(len(data) / b.Size)
	for i := uint64(1); i <= groups; i++ {
		if int(from) == to {
			return true
		}
		meta := data[int(from)*b.Size+b.Meta:][:b.Slots]
		if bytes.IndexByte(meta, in.l.Consts.CtrlEmpty) >= 0 {
			return false
		}
		from = (from + i) & (groups - 1)
	}
	return false
}

// hashes checks the control byte of every key of a group where the hash can be
// had, and calls place with those that it fits.
func (in *inspector) hashes(at Addr, data []byte, place func(slot Addr, hash uint64)) {
	if in.opts.Hash == nil {
		return
	}
	b := &in.l.Block
	for i := range b.Slots {
		ctrl := data[b.Meta+i]
		if in.l.classes[ctrl] != slotFull {
			continue
		}
		hash, ok := in.hash(data[b.Keys+i*b.KeyStride:][:b.KeySize], in.m.Header.Seed)
		if !ok {
			continue
		}
		slot := at + Addr(b.Keys+i*b.KeyStride)
		if h2(hash) != ctrl {
			in.broken("hash", slot, "the control byte is %#02x, the key's H2 is %#02x", ctrl, h2(hash))
		} else {
			place(slot, hash)
		}
	}
}

// hash has the hash of a key as it lies in a slot.
func (in *inspector) hash(slot []byte, seed uint64) (uint64, bool) {
	if in.l.Block.IndirectKey {
		key := make([]byte, in.l.Key.Size)
		at := Addr(word(slot))
		if err := read(in.mem, "indirect key", key, at); err != nil {
			in.fail(err)
			return 0, false
		}
		slot = key
	}
	return in.opts.Hash(slot, seed)
}
