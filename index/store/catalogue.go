package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Catalogue is the small changing state beside the segments: identity,
// checkpoints, users and sessions. Safe for
// concurrent use; a write is durable when its call returns.
type Catalogue struct{ db *bolt.DB }

// Erasure says what happens to a bucket's content when records are erased.
type Erasure uint8

const (
	// ContentFree: holds nothing of any record.
	ContentFree Erasure = iota
)

// catalogueBuckets lists every bucket with its erasure rule.
var catalogueBuckets = map[string]Erasure{
	"identity":   ContentFree,
	"checkpoint": ContentFree,
	"auth":       ContentFree,
}

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

// OpenCatalogue opens the catalogue at path. It never creates one.
func OpenCatalogue(path string, opts Options) (*Catalogue, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	o := boltOptions(opts.ReadOnly, opts.OpenFile)
	o.InitialMmapSize = 0
	db, err := bolt.Open(path, 0o600, o)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open catalogue: %w", ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	if !opts.ReadOnly {
		if err := makeBuckets(db); err != nil {
			return nil, errors.Join(fmt.Errorf("open catalogue: %w", err), db.Close())
		}
	}
	return &Catalogue{db}, nil
}

// Close closes the file.
func (c *Catalogue) Close() error { return c.db.Close() }

func (c *Catalogue) with(bucket string, write bool, fn func(*bolt.Bucket) error) error {
	run := c.db.View
	if write {
		run = c.db.Update
	}
	return run(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return fmt.Errorf("%w %q", ErrNoBucket, bucket)
		}
		return fn(b)
	})
}

// Get returns a copy of a value, nil when there is none.
func (c *Catalogue) Get(bucket, key string) (v []byte, err error) {
	err = c.with(bucket, false, func(b *bolt.Bucket) error {
		v = bytes.Clone(b.Get([]byte(key)))
		return nil
	})
	return v, err
}

// Put stores a value.
func (c *Catalogue) Put(bucket, key string, value []byte) error {
	return c.with(bucket, true, func(b *bolt.Bucket) error { return b.Put([]byte(key), value) })
}

// Delete removes a value; it is no error when there is none.
func (c *Catalogue) Delete(bucket, key string) error {
	return c.with(bucket, true, func(b *bolt.Bucket) error { return b.Delete([]byte(key)) })
}

// Each calls fn for every value of a bucket in key order. fn must not keep the
// slices, and must not call the catalogue.
func (c *Catalogue) Each(bucket string, fn func(key string, value []byte) error) error {
	return c.EachFrom(bucket, "", fn)
}

// EachFrom is Each beginning at the key from.
func (c *Catalogue) EachFrom(bucket, from string, fn func(key string, value []byte) error) error {
	return c.with(bucket, false, func(b *bolt.Bucket) error {
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
	return c.db.Update(func(tx *bolt.Tx) error {
		for _, ch := range changes {
			b := tx.Bucket([]byte(ch.Bucket))
			if b == nil {
				return fmt.Errorf("%w %q", ErrNoBucket, ch.Bucket)
			}
			var err error
			if ch.Value == nil {
				err = b.Delete([]byte(ch.Key))
			} else {
				err = b.Put([]byte(ch.Key), ch.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
