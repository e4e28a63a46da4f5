package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Catalogue is the small changing state beside the segments: identity,
// checkpoints, users and sessions. Safe for concurrent use; a write is durable
// when its call returns.
type Catalogue struct {
	path string
	opts Options

	mu sync.RWMutex // held for writing while the file is swapped or closed
	db *bolt.DB
}

// Erasure says what happens to a bucket's content when it is deleted.
type Erasure uint8

const (
	// ContentFree: holds nothing of any record and nothing about a person.
	ContentFree Erasure = iota
	// Compacted: what is deleted must be gone from the disk. A deleted value stays
	// in the file until its page is used again, so the file is written anew.
	Compacted
)

// catalogueBuckets lists every bucket with its erasure rule.
var catalogueBuckets = map[string]Erasure{
	"identity":   ContentFree, // origin; and, while a compaction is due, that it is
	"checkpoint": ContentFree, // signed size and root
	"auth":       Compacted,   // names of people and of tokens, digests of their secrets
	"erasing":    Compacted,   // places (not values) that an erasure under way is to blank
}

// Where it stands that something was deleted from a compacted bucket since the
// file was last written anew: in the transaction of the deletion, so that a crash
// does not forget it.
const (
	dueBucket = "identity"
	dueKey    = "compaction_due"
)

// ErrNoBucket: a bucket that the catalogue does not declare.
var ErrNoBucket = errors.New("undeclared catalogue bucket")

// CreateCatalogue makes an empty catalogue; it is an error if the file exists.
func CreateCatalogue(path string, opts Options) (*Catalogue, error) {
	if _, err := os.Stat(path); err == nil {
		return nil, fmt.Errorf("create catalogue: %s exists", path)
	}
	tmp := path + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("create catalogue: %w", err)
	}
	db, err := bolt.Open(tmp, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, OpenFile: opts.OpenFile})
	if err != nil {
		return nil, fmt.Errorf("create catalogue: %w", err)
	}
	if err := errors.Join(makeBuckets(db), db.Close()); err != nil {
		return nil, fmt.Errorf("create catalogue: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("create catalogue: %w", err)
	}
	return OpenCatalogue(path, opts)
}

func makeBuckets(db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		for name := range catalogueBuckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// compactFile is the file that a compaction writes.
func compactFile(path string) string { return path + ".compact" }

// OpenCatalogue opens the catalogue at path. It never creates one.
func OpenCatalogue(path string, opts Options) (*Catalogue, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	db, err := bolt.Open(path, 0o600, catalogueOptions(opts))
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open catalogue: %w", ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	if !opts.ReadOnly {
		// The left-over of an interrupted compaction holds what the catalogue holds.
		if err := errors.Join(os.RemoveAll(compactFile(path)), makeBuckets(db)); err != nil {
			return nil, errors.Join(fmt.Errorf("open catalogue: %w", err), db.Close())
		}
	}
	return &Catalogue{path: path, opts: opts, db: db}, nil
}

func catalogueOptions(opts Options) *bolt.Options {
	o := boltOptions(opts.ReadOnly, opts.OpenFile)
	o.InitialMmapSize = 0
	return o
}

// Close closes the file.
func (c *Catalogue) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.db.Close()
}

// Buckets returns the names of all buckets that the file holds with their
// erasure rules; declared is false for one that this program does not know.
func (c *Catalogue) Buckets(fn func(name string, rule Erasure, declared bool)) error {
	return c.view(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
			rule, ok := catalogueBuckets[string(name)]
			fn(string(name), rule, ok)
			return nil
		})
	})
}

// CompactionDue reports whether something was deleted from a compacted bucket
// and may still stand in the file.
func (c *Catalogue) CompactionDue() (bool, error) {
	v, err := c.Get(dueBucket, dueKey)
	return v != nil, err
}

// Compact writes the catalogue anew without what was deleted and puts it in the
// old one's place by one rename; readers and writers wait meanwhile. A crash
// leaves the one or the other. After an error the catalogue is as usable as before.
func (c *Catalogue) Compact() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	tmp := compactFile(c.path)
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("compact catalogue: %w", err)
	}
	next, err := c.copyTo(tmp)
	if err != nil {
		return errors.Join(fmt.Errorf("compact catalogue: %w", err), os.RemoveAll(tmp))
	}
	// The new file is locked since it was made: nobody can come in between.
	if err := os.Rename(tmp, c.path); err != nil {
		return errors.Join(fmt.Errorf("compact catalogue: %w", err), next.Close(), os.RemoveAll(tmp))
	}
	old := c.db
	c.db = next
	if err := errors.Join(syncDir(filepath.Dir(c.path)), old.Close()); err != nil {
		// Either may be on the disk now, or the old one still be open.
		return errors.Join(fmt.Errorf("compact catalogue: %w", err), c.change(markDue))
	}
	return nil
}

// copyTo writes all buckets to a new file, synced, and returns it open.
func (c *Catalogue) copyTo(path string) (*bolt.DB, error) {
	next, err := bolt.Open(path, 0o600, catalogueOptions(c.opts))
	if err != nil {
		return nil, err
	}
	err = bolt.Compact(next, c.db, 0)
	if err == nil {
		err = next.Update(func(tx *bolt.Tx) error {
			if b := tx.Bucket([]byte(dueBucket)); b != nil {
				return b.Delete([]byte(dueKey))
			}
			return nil
		})
	}
	if err != nil {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}

func markDue(tx *bolt.Tx) error {
	return tx.Bucket([]byte(dueBucket)).Put([]byte(dueKey), []byte{1})
}

func (c *Catalogue) view(fn func(*bolt.Tx) error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.db.View(fn)
}

func (c *Catalogue) update(fn func(*bolt.Tx) error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.change(fn)
}

// change is update for a caller that holds the lock.
func (c *Catalogue) change(fn func(*bolt.Tx) error) error { return c.db.Update(fn) }

func (c *Catalogue) with(bucket string, fn func(*bolt.Bucket) error) error {
	return c.view(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return fmt.Errorf("%w %q", ErrNoBucket, bucket)
		}
		return fn(b)
	})
}

// Get returns a copy of a value, nil when there is none.
func (c *Catalogue) Get(bucket, key string) (v []byte, err error) {
	err = c.with(bucket, func(b *bolt.Bucket) error {
		v = bytes.Clone(b.Get([]byte(key)))
		return nil
	})
	return v, err
}

// Put stores a value.
func (c *Catalogue) Put(bucket, key string, value []byte) error {
	if value == nil {
		value = []byte{} // nil deletes in Apply
	}
	return c.Apply([]Change{{bucket, key, value}})
}

// Delete removes a value; it is no error when there is none.
func (c *Catalogue) Delete(bucket, key string) error {
	return c.Apply([]Change{{Bucket: bucket, Key: key}})
}

// Each calls fn for every value of a bucket in key order. fn must not keep the
// slices, and must not call the catalogue.
func (c *Catalogue) Each(bucket string, fn func(key string, value []byte) error) error {
	return c.EachFrom(bucket, "", fn)
}

// EachFrom is Each beginning at the key from.
func (c *Catalogue) EachFrom(bucket, from string, fn func(key string, value []byte) error) error {
	return c.with(bucket, func(b *bolt.Bucket) error {
		cur := b.Cursor()
		for k, v := cur.Seek([]byte(from)); k != nil; k, v = cur.Next() {
			if err := fn(string(k), v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Change is one step of an Apply. A nil Value deletes.
type Change struct {
	Bucket, Key string
	Value       []byte
}

// Apply makes all changes in one transaction.
func (c *Catalogue) Apply(changes []Change) error {
	return c.update(func(tx *bolt.Tx) error {
		due := false
		for _, ch := range changes {
			b := tx.Bucket([]byte(ch.Bucket))
			if b == nil {
				return fmt.Errorf("%w %q", ErrNoBucket, ch.Bucket)
			}
			key := []byte(ch.Key)
			if ch.Value != nil {
				if err := b.Put(key, ch.Value); err != nil {
					return err
				}
				continue
			}
			due = due || catalogueBuckets[ch.Bucket] == Compacted && b.Get(key) != nil
			if err := b.Delete(key); err != nil {
				return err
			}
		}
		if due {
			return markDue(tx)
		}
		return nil
	})
}
