package search

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// A reader of bbolt files that trusts nothing. bbolt follows page numbers into
// its mapping unchecked: a damaged file can end the process, and its own check
// runs in a goroutine where that can't be recovered. Format: bbolt 1.5,
// internal/common/{meta,page,inode,bucket}.go, in the byte order of the machine.
const (
	boltMagic     = 0xED0CDAED
	boltVersion   = 2
	boltHeader    = 16 // id u64, flags u16, count u16, overflow u32
	boltElement   = 16 // branch: pos, ksize u32, pgid u64; leaf: flags, pos, ksize, vsize u32
	boltMetaSize  = 64 // magic, version, pageSize, flags u32, root pgid, sequence, freelist, high water mark, txid, checksum u64
	flagBranch    = 0x01
	flagLeaf      = 0x02
	flagFreelist  = 0x10
	flagBucket    = 0x01
	noFreelist    = ^uint64(0)
	maxBoltDepth  = 32
	maxBoltBucket = 8
)

var native = binary.NativeEndian

// boltBucket is a bucket, read.
type boltBucket struct {
	values  map[string][]byte
	buckets map[string]*boltBucket
	last    string // greatest name of a bucket in it
}

type boltMeta struct {
	pageSize             uint64
	root, freelist, high uint64
	tx                   uint64
}

type boltFile struct {
	data []byte
	meta boltMeta
	seen map[uint64]bool // pages in use
}

// parseBolt reads the newest state of a bbolt file: all buckets, and that pages
// are inside the file, used once and not listed as free.
func parseBolt(data []byte) (*boltBucket, error) {
	meta, err := newestMeta(data)
	if err != nil {
		return nil, err
	}
	if meta.high < 3 || meta.high > uint64(len(data))/meta.pageSize {
		return nil, fmt.Errorf("%d pages in a file of %d bytes", meta.high, len(data))
	}
	f := &boltFile{data: data, meta: meta, seen: map[uint64]bool{0: true, 1: true}}
	root, err := f.bucket(meta.root, 0)
	if err != nil {
		return nil, err
	}
	if err := f.checkFree(); err != nil {
		return nil, err
	}
	return root, nil
}

// newestMeta finds the page size and chooses between the two meta pages as bbolt
// does: the valid one of the later transaction.
func newestMeta(data []byte) (boltMeta, error) {
	first, ok := readMeta(data, 0)
	for size := uint64(1 << 9); !ok && size <= 1<<16; size <<= 1 {
		if first, ok = readMeta(data, size); ok {
			ok = first.pageSize == size
		}
	}
	if !ok {
		return boltMeta{}, errors.New("no valid meta page")
	}
	best := first
	for _, at := range []uint64{0, first.pageSize} {
		if m, ok := readMeta(data, at); ok && m.pageSize == first.pageSize && m.tx > best.tx {
			best = m
		}
	}
	return best, nil
}

func readMeta(data []byte, at uint64) (boltMeta, bool) {
	if at+boltHeader+boltMetaSize > uint64(len(data)) {
		return boltMeta{}, false
	}
	b := data[at+boltHeader:][:boltMetaSize]
	sum := fnv.New64a()
	sum.Write(b[:boltMetaSize-8])
	if native.Uint32(b) != boltMagic || native.Uint32(b[4:]) != boltVersion || native.Uint64(b[56:]) != sum.Sum64() {
		return boltMeta{}, false
	}
	m := boltMeta{
		pageSize: uint64(native.Uint32(b[8:])),
		root:     native.Uint64(b[16:]),
		freelist: native.Uint64(b[32:]),
		high:     native.Uint64(b[40:]),
		tx:       native.Uint64(b[48:]),
	}
	return m, m.pageSize >= 1<<9 && m.pageSize <= 1<<16 && m.pageSize&(m.pageSize-1) == 0
}

// page returns a page with its overflow, and marks it as used.
func (f *boltFile) page(id uint64) ([]byte, error) {
	if id < 2 || id >= f.meta.high {
		return nil, fmt.Errorf("page %d of %d", id, f.meta.high)
	}
	p := f.data[id*f.meta.pageSize:]
	if native.Uint64(p) != id {
		return nil, fmt.Errorf("page %d says it is %d", id, native.Uint64(p))
	}
	n := 1 + uint64(native.Uint32(p[12:]))
	if n > f.meta.high-id {
		return nil, fmt.Errorf("page %d overflows the file", id)
	}
	for i := range n {
		if f.seen[id+i] {
			return nil, fmt.Errorf("page %d is used twice", id+i)
		}
		f.seen[id+i] = true
	}
	return p[:n*f.meta.pageSize], nil
}

func (f *boltFile) bucket(root uint64, level int) (*boltBucket, error) {
	b := &boltBucket{values: map[string][]byte{}, buckets: map[string]*boltBucket{}}
	var prev []byte
	return b, f.tree(root, b, &prev, 0, level)
}

func (f *boltFile) tree(id uint64, b *boltBucket, prev *[]byte, depth, level int) error {
	if depth > maxBoltDepth {
		return errors.New("tree is too deep")
	}
	p, err := f.page(id)
	if err != nil {
		return err
	}
	switch native.Uint16(p[8:]) {
	case flagLeaf:
		return f.leaf(p, b, prev, level)
	case flagBranch:
		for i := range uint64(native.Uint16(p[10:])) {
			at := boltHeader + i*boltElement
			if at+boltElement > uint64(len(p)) {
				return fmt.Errorf("page %d: too many elements", id)
			}
			e := p[at:]
			key, err := within(e, native.Uint32(e), native.Uint32(e[4:]))
			if err != nil {
				return fmt.Errorf("page %d: %w", id, err)
			}
			if bytes.Compare(key, *prev) < 0 {
				return fmt.Errorf("page %d: keys out of order", id)
			}
			if err := f.tree(native.Uint64(e[8:]), b, prev, depth+1, level); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("page %d: flags %#x", id, native.Uint16(p[8:]))
}

func (f *boltFile) leaf(p []byte, b *boltBucket, prev *[]byte, level int) error {
	for i := range uint64(native.Uint16(p[10:])) {
		at := boltHeader + i*boltElement
		if at+boltElement > uint64(len(p)) {
			return errors.New("leaf: too many elements")
		}
		e := p[at:]
		flags, pos, ksize, vsize := native.Uint32(e), native.Uint32(e[4:]), native.Uint32(e[8:]), native.Uint32(e[12:])
		key, err := within(e, pos, ksize)
		if err != nil {
			return err
		}
		value, err := within(e[uint64(pos)+uint64(ksize):], 0, vsize)
		if err != nil {
			return err
		}
		if len(key) == 0 || *prev != nil && bytes.Compare(key, *prev) <= 0 {
			return errors.New("leaf: keys out of order")
		}
		*prev = key
		switch flags {
		case 0:
			b.values[string(key)] = value
		case flagBucket:
			sub, err := f.sub(value, level+1)
			if err != nil {
				return fmt.Errorf("bucket %x: %w", key, err)
			}
			b.buckets[string(key)] = sub
			b.last = string(key)
		default:
			return fmt.Errorf("leaf: flags %#x", flags)
		}
	}
	return nil
}

// sub reads a bucket from its value: root page and sequence, then, when the root
// is 0, the only page itself.
func (f *boltFile) sub(value []byte, level int) (*boltBucket, error) {
	if level > maxBoltBucket {
		return nil, errors.New("buckets are too deep")
	}
	if len(value) < 16 {
		return nil, errors.New("short bucket")
	}
	if root := native.Uint64(value); root != 0 {
		return f.bucket(root, level)
	}
	p := value[16:]
	if len(p) < boltHeader || native.Uint64(p) != 0 || native.Uint16(p[8:]) != flagLeaf || native.Uint32(p[12:]) != 0 {
		return nil, errors.New("bad inline bucket")
	}
	b := &boltBucket{values: map[string][]byte{}, buckets: map[string]*boltBucket{}}
	var prev []byte
	return b, f.leaf(p, b, &prev, level)
}

// checkFree reads the list of free pages, which the next transactions overwrite.
func (f *boltFile) checkFree() error {
	if f.meta.freelist == noFreelist {
		return nil
	}
	p, err := f.page(f.meta.freelist)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	if native.Uint16(p[8:]) != flagFreelist {
		return fmt.Errorf("freelist: flags %#x", native.Uint16(p[8:]))
	}
	ids := p[boltHeader:]
	n := uint64(native.Uint16(p[10:]))
	if n == 0xffff {
		n, ids = native.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids))/8 {
		return fmt.Errorf("freelist: %d pages", n)
	}
	for i := range n {
		id := native.Uint64(ids[i*8:])
		if id < 2 || id >= f.meta.high || f.seen[id] {
			return fmt.Errorf("freelist: page %d is in use or beyond the end", id)
		}
		f.seen[id] = true
	}
	return nil
}

// within returns b[pos:pos+n] if that exists.
func within(b []byte, pos, n uint32) ([]byte, error) {
	if uint64(pos)+uint64(n) > uint64(len(b)) {
		return nil, errors.New("element points beyond its page")
	}
	return b[pos:][:n], nil
}
