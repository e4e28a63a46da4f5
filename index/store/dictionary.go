package store

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"custody/ingest/record"
)

// A packed segment keeps one dictionary: some of its own frames' text, that the
// others repeat. With it a piece of 32 rows compresses nearly as well as if the
// whole segment were one piece, and still decompresses alone. It is made anew, of
// the rows that stay, by every rewrite: nothing erased lives on in it.

// MaxDictionary is the length of a dictionary in bytes, at most.
const MaxDictionary = 512 << 10

// dictionaryID is what zstd writes into frames that need the dictionary.
const dictionaryID = 1

var keyDictionary = []byte("dictionary")

// dictionaries hold what the segments read last keep beside their blocks. It takes
// half a megabyte and more, and there may be thousands of segments.
type dictionaries struct {
	mu   sync.Mutex
	used []*loadedDictionary // last used first
}

type loadedDictionary struct {
	seg    *Segment
	text   sync.Once
	dec    *zstd.Decoder
	err    error
	column sync.Once
	values [record.NumFields][]string
	verr   error
}

const maxDictionaries = 24

// decoder is the one for the frames' text of a segment.
func (d *dictionaries) decoder(s *Segment) (*zstd.Decoder, error) {
	l := d.of(s)
	l.text.Do(func() { l.dec, l.err = s.loadDictionary() })
	if l.err != nil {
		d.forget(s) // it is tried again
	}
	return l.dec, l.err
}

// table is the one of a keyword field's values in a segment.
func (d *dictionaries) table(s *Segment, f record.Field) ([]string, error) {
	l := d.of(s)
	l.column.Do(func() { l.values, l.verr = s.loadValues() })
	if l.verr != nil {
		d.forget(s)
	}
	return l.values[f], l.verr
}

func (d *dictionaries) of(s *Segment) *loadedDictionary {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := -1
	for i, l := range d.used {
		if l.seg == s {
			at = i
			break
		}
	}
	var l *loadedDictionary
	if at >= 0 {
		l = d.used[at]
		copy(d.used[1:at+1], d.used[:at])
	} else {
		l = &loadedDictionary{seg: s}
		if len(d.used) < maxDictionaries {
			d.used = append(d.used, nil)
		}
		copy(d.used[1:], d.used)
	}
	d.used[0] = l
	return l
}

// forget drops the decoder of a segment that is closed.
func (d *dictionaries) forget(s *Segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, l := range d.used {
		if l.seg == s {
			d.used = append(d.used[:i], d.used[i+1:]...)
			return
		}
	}
}

func (s *Segment) loadDictionary() (*zstd.Decoder, error) {
	var dict []byte
	err := s.db.View(func(tx *bolt.Tx) error {
		packed := tx.Bucket(bucketMeta).Get(keyDictionary)
		if packed == nil {
			return damaged("segment without its dictionary")
		}
		var err error
		if dict, err = decoder().DecodeAll(packed, nil); err != nil || len(dict) > MaxDictionary {
			return damaged("dictionary")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBlockSize),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderDictRaw(dictionaryID, dict))
	if err != nil {
		return nil, fmt.Errorf("%w: dictionary: %w", ErrDamaged, err)
	}
	return dec, nil
}

// SetDictionary stores the dictionary that the blocks to come were encoded with.
func (w *Rewriter) SetDictionary(dict []byte) error {
	if len(dict) == 0 {
		return nil
	}
	zw, err := newCompressor(zstd.SpeedBetterCompression)
	if err != nil {
		return err
	}
	err = w.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyDictionary, zw.EncodeAll(dict, nil))
	})
	if err != nil {
		return fmt.Errorf("rewrite segment %d: store dictionary: %w", w.seg.ID, err)
	}
	return nil
}

// SampleFrames is how many frames make a dictionary for a segment of rows rows.
// A small segment gets a small one, for it is stored with it; none pays for fewer
// than some thousand rows.
func SampleFrames(rows int) int {
	const rowsPerFrame = 2500 // that one frame of the dictionary is for
	return min(rows/rowsPerFrame, MaxDictionary/(FrameRows*400))
}

// SampleBlock appends the text of a block's first frame to a dictionary.
func SampleBlock(dict []byte, b *Block) ([]byte, error) {
	if err := b.layout(); err != nil {
		return dict, err
	}
	for i := 1; i < min(len(b.frames), 2*FrameRows/pieceRows); i += 2 {
		text, err := b.loadText(b.frames[i])
		if err != nil {
			return dict, err
		}
		dict = append(dict, text[:min(len(text), MaxDictionary-len(dict))]...)
	}
	return dict, nil
}

// Sample appends the text of the first frame of rows to a dictionary, as far as
// there is room: rows must be what is stored, redactions applied.
func (e *Encoder) Sample(dict []byte, rows []*record.Record) []byte {
	for rows = rows[:min(len(rows), FrameRows)]; len(rows) > 0; {
		n := min(len(rows), pieceRows)
		text, _ := e.frame.build(rows[:n])
		dict = append(dict, text[:min(len(text), MaxDictionary-len(dict))]...)
		rows = rows[n:]
	}
	return dict
}
