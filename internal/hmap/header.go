package hmap

// Header is a map header: the fields of the generation that it belongs to under
// the runtime's names, those of the other one zero.
//
// Each generation's fields stand together and in the runtime's order, so that
// on 64-bit systems [Of] copies them as one block of memory; TestHeaderLayout
// holds the order.
type Header struct {
	Addr       Addr
	Generation Generation

	// Swiss: internal/runtime/maps.Map.
	Used              uint64 // entries
	Seed              uint64 // hash seed
	DirPtr            Addr   // the directory; with DirLen 0 the one group of a small map
	DirLen            int64  // pointers in the directory: 0 or 2^GlobalDepth
	GlobalDepth       uint8  // bits of the hash that select the table
	GlobalShift       uint8  // 64 (32 on 32-bit systems) - GlobalDepth
	Writing           uint8  // toggled by a writer on entry and on leaving
	TombstonePossible bool   // since Go 1.25: a tombstone may exist

	// Both, since Go 1.24.
	ClearSeq uint64 // how many times the map was cleared

	// Classic: runtime.hmap.
	Count      int64  // entries
	Flags      uint8  // see FlagNames
	B          uint8  // log2 of the number of buckets
	NOverflow  uint16 // overflow buckets; an estimate when B is 16 or more
	Hash0      uint32 // hash seed
	Buckets    Addr   // array of 2^B buckets, 0 before the first insert
	OldBuckets Addr   // the previous array while it is being evacuated, else 0
	NEvacuate  uint64 // every old bucket below this one has been evacuated
	Extra      Addr   // runtime.mapextra, 0 if there is none
}

// Len is the number of entries that the header states.
func (h *Header) Len() int64 {
	if h.Generation == Classic {
		return h.Count
	}
	return int64(h.Used)
}

// ReadHeader reads the header at addr.
func ReadHeader(mem Memory, l *Layout, addr Addr) (Header, error) {
	var buf [maxHeaderBytes]byte
	rec := buf[:l.Header.Size]
	if err := read(mem, "header", rec, addr); err != nil {
		return Header{Addr: addr, Generation: l.Generation}, err
	}
	return l.decodeHeader(addr, rec), nil
}

func (l *Layout) decodeHeader(addr Addr, rec []byte) Header {
	f := &l.hdr
	h := Header{Addr: addr, Generation: l.Generation}
	if l.Generation == Classic {
		h.Count = f.count.Int(rec)
		h.Flags, h.B = uint8(f.flags.Uint(rec)), uint8(f.b.Uint(rec))
		h.NOverflow, h.Hash0 = uint16(f.noverflow.Uint(rec)), uint32(f.hash0.Uint(rec))
		h.Buckets, h.OldBuckets = Addr(f.buckets.Uint(rec)), Addr(f.oldbuckets.Uint(rec))
		h.NEvacuate, h.Extra = f.nevacuate.Uint(rec), Addr(f.extra.Uint(rec))
	} else {
		h.Used, h.Seed = f.used.Uint(rec), f.seed.Uint(rec)
		h.DirPtr, h.DirLen = Addr(f.dirPtr.Uint(rec)), f.dirLen.Int(rec)
		h.GlobalDepth, h.GlobalShift = uint8(f.globalDepth.Uint(rec)), uint8(f.globalShift.Uint(rec))
		h.Writing = uint8(f.writing.Uint(rec))
		h.TombstonePossible = f.tombstonePossible.Size > 0 && f.tombstonePossible.Uint(rec) != 0
	}
	if f.clearSeq.Size > 0 {
		h.ClearSeq = f.clearSeq.Uint(rec)
	}
	return h
}

// Value is a field of a header as it lies in memory.
type Value struct {
	RecordField
	Bits uint64
}

// FlagNames are the names of the bits that are set in a Classic header's flags,
// runtime/map.go; a bit without a name is "0x..".
func (h *Header) FlagNames(c *Consts) []string {
	names := []string{}
	rest := h.Flags
	for _, f := range []struct {
		bit  uint8
		name string
	}{
		{c.Iterator, "iterator"}, {c.OldIterator, "oldIterator"},
		{c.HashWriting, "hashWriting"}, {c.SameSizeGrow, "sameSizeGrow"},
	} {
		if rest&f.bit != 0 {
			names = append(names, f.name)
			rest &^= f.bit
		}
	}
	if rest != 0 {
		names = append(names, Addr(rest).String())
	}
	return names
}

// WriterInside reports whether the header says that a goroutine is inside a
// write operation: hashWriting is set, or writing is odd.
func (h *Header) WriterInside(c *Consts) bool {
	if h.Generation == Classic {
		return h.Flags&c.HashWriting != 0
	}
	return h.Writing&1 != 0
}
