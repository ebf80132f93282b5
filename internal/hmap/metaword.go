package hmap

import (
	"encoding/binary"
	"math/bits"
)

// metaWord looks at the eight bytes of tophash or control of a block as at one
// word, byte i being slot i. It answers for what real maps hold; the rest is
// looked at byte by byte.
type metaWord struct {
	usable         bool   // the constants are what the tricks rely on
	toFull         uint64 // Classic: added to the low seven bits of a tophash, sets bit 7 of a full one
	empty, deleted uint64 // Swiss: eight of each
}

const (
	lsb  = 0x0101010101010101
	msb  = 0x8080808080808080
	low7 = 0x7f7f7f7f7f7f7f7f
)

func newMetaWord(l *Layout) metaWord {
	c := l.Consts
	if l.Generation == Classic {
		return metaWord{
			usable: c.EmptyRest == 0 && c.EmptyOne == 1 && c.MinTopHash > 1 && c.MinTopHash <= 0x80,
			toFull: lsb * uint64(0x80-min(c.MinTopHash, 0x80)),
		}
	}
	return metaWord{
		usable: c.CtrlEmpty&0x80 != 0 && c.CtrlDeleted&0x80 != 0 && c.CtrlEmpty != c.CtrlDeleted,
		empty:  lsb * uint64(c.CtrlEmpty), deleted: lsb * uint64(c.CtrlDeleted),
	}
}

func loadMeta(block []byte, off int) uint64 { return binary.LittleEndian.Uint64(block[off:]) }

// zeros sets bit 7 of each byte of x that is 0, and no other.
func zeros(x uint64) uint64 { return ^((x & low7) + low7 | x) & msb }

// classic counts the full slots of a bucket, and reports whether the others are
// empty and those that are emptyRest stand last.
func (w *metaWord) classic(x uint64) (full int, ok bool) {
	isFull := ((x & low7) + w.toFull | x) & msb
	others := x &^ (isFull >> 7 * 0xff)
	// The bytes that are not emptyRest, each all ones, must be the lowest ones.
	used := (zeros(x) ^ msb) >> 7 * 0xff
	return bits.OnesCount64(isFull), w.usable && others&^lsb == 0 && used&(used+1) == 0
}

// swiss counts the slots of a group by class; those that are neither full nor
// empty nor deleted are in none.
func (w *metaWord) swiss(x uint64) (full, empty, deleted int) {
	full = bits.OnesCount64(^x & msb)
	if full == 8 {
		return full, 0, 0
	}
	empty = bits.OnesCount64(zeros(x ^ w.empty))
	if full+empty == 8 {
		return full, empty, 0
	}
	return full, empty, bits.OnesCount64(zeros(x ^ w.deleted))
}
