package seal

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"custody/ingest/record"
)

// Domains of the hashes. None is a prefix of another.
const (
	slotDomain    = "custody/slot/v1"
	elementDomain = "custody/element/v1"
	listDomain    = "custody/list/v1"
	groupDomain   = "custody/group/v1"
	recordDomain  = "custody/record/v1"
)

// PieceSize is the number of bytes of the raw line under one digest.
const PieceSize = 64

const (
	numSlots  = int(record.NumFields)
	groupSize = record.SlotGroup
	numGroups = numSlots / groupSize
	absent    = 0
	present   = 1
)

// isList reports whether the slot is committed element by element.
func isList(f record.Field) bool { return f == record.Raw || f.IsList() }

// Lengths of the preimages without the value.
const (
	slotHeader    = len(slotDomain) + len(Salt{}) + 2 + 1 + 4
	elementHeader = len(elementDomain) + len(Salt{}) + 2 + 4 + 1 + 4
	groupHeader   = len(groupDomain) + 2 + 1
	groupPreimage = groupHeader + groupSize*len(Digest{})
)

// putSlot writes domain ‖ salt ‖ u16 slot ‖ presence ‖ u32 length ‖ value.
func putSlot(b []byte, salt *Salt, slot int, presence byte, value string) {
	n := copy(b, slotDomain)
	n += copy(b[n:], salt[:])
	binary.BigEndian.PutUint16(b[n:], uint16(slot))
	b[n+2] = presence
	binary.BigEndian.PutUint32(b[n+3:], uint32(len(value)))
	copy(b[n+7:], value)
}

// putElement writes domain ‖ salt ‖ u16 slot ‖ u32 element ‖ presence ‖ u32 length ‖ value.
func putElement(b []byte, salt *Salt, slot, elem int, presence byte, value string) {
	n := copy(b, elementDomain)
	n += copy(b[n:], salt[:])
	binary.BigEndian.PutUint16(b[n:], uint16(slot))
	binary.BigEndian.PutUint32(b[n+2:], uint32(elem))
	b[n+6] = presence
	binary.BigEndian.PutUint32(b[n+7:], uint32(len(value)))
	copy(b[n+11:], value)
}

// putGroup writes domain ‖ u16 group ‖ 0x01 ‖ eight slot digests.
func putGroup(b []byte, group int, slots *[groupSize]Digest) {
	n := copy(b, groupDomain)
	binary.BigEndian.PutUint16(b[n:], uint16(group))
	b[n+2] = present
	n += 3
	for i := range slots {
		n += copy(b[n:], slots[i][:])
	}
}

// putAbsentGroup writes domain ‖ u16 group ‖ 0x00 ‖ salt.
func putAbsentGroup(b []byte, salt *Salt, group int) {
	n := copy(b, groupDomain)
	binary.BigEndian.PutUint16(b[n:], uint16(group))
	b[n+2] = absent
	copy(b[n+3:], salt[:])
}

func slotDigest(salt *Salt, slot int, presence byte, value string) Digest {
	b := make([]byte, slotHeader+len(value))
	putSlot(b, salt, slot, presence, value)
	return sha256.Sum256(b)
}

func elementDigest(salt *Salt, slot, elem int, presence byte, value string) Digest {
	b := make([]byte, elementHeader+len(value))
	putElement(b, salt, slot, elem, presence, value)
	return sha256.Sum256(b)
}

func groupDigest(group int, slots *[groupSize]Digest) Digest {
	var b [groupPreimage]byte
	putGroup(b[:], group, slots)
	return sha256.Sum256(b[:])
}

func absentGroupDigest(salt *Salt, group int) Digest {
	var b [groupHeader + len(Salt{})]byte
	putAbsentGroup(b[:], salt, group)
	return sha256.Sum256(b[:])
}

// appendListHeader starts the preimage of a list of 2^log elements; the digests
// of the elements follow.
func appendListHeader(dst []byte, slot, log int) []byte {
	dst = append(dst, listDomain...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(slot))
	return append(dst, byte(log))
}

func listDigest(buf []byte, slot int, elems []Digest) (Digest, []byte) {
	buf = appendListHeader(buf[:0], slot, bits.TrailingZeros(uint(len(elems))))
	for i := range elems {
		buf = append(buf, elems[i][:]...)
	}
	return sha256.Sum256(buf), buf
}

func rootDigest(groups *[numGroups]Digest) Digest {
	var b [len(recordDomain) + numGroups*32]byte
	n := copy(b[:], recordDomain)
	for i := range groups {
		n += copy(b[n:], groups[i][:])
	}
	return sha256.Sum256(b[:])
}

// padded is the number of digests under a list of n elements: the next power of
// two, so that a digest tells no more of the number than that.
func padded(n int) int { return 1 << bits.Len(uint(n-1)) }

// pieces is the number of pieces of a raw line.
func pieces(n int) int { return (n + PieceSize - 1) / PieceSize }

// piece is the i-th piece of the raw line.
func piece(raw []byte, i int) []byte { return raw[i*PieceSize : min((i+1)*PieceSize, len(raw))] }
