package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// file is one to be written: a path below the log's folder, and its bytes.
type file struct {
	path string
	data []byte
}

// files writes the log's files durably. Not safe for concurrent use.
type files struct {
	dir     string
	workers int // files written and fsynced at the same time
	// step is called before ("before …") and after every operation that changes
	// the disk; an error ends the writing there. Tests crash with it. May be nil.
	step func(op, path string) error
	made map[string]bool // directories known to exist, durably
}

func newFiles(dir string) *files { return &files{dir: dir, workers: 4, made: make(map[string]bool)} }

func (w *files) do(op, path string, f func() error) error {
	if w.step == nil {
		return f()
	}
	if err := w.step("before "+op, path); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return w.step(op, path)
}

// write makes all files durable under their names, replacing older ones: temp
// and fsync for each, then the renames in order, then each directory once.
func (w *files) write(batch []file) error {
	dirty := make(map[string]bool)
	for _, f := range batch {
		dir := filepath.Dir(f.path)
		if err := w.mkdir(dir, dirty); err != nil {
			return fmt.Errorf("make folder %s: %w", dir, err)
		}
		dirty[dir] = true
	}
	if err := w.temps(batch); err != nil {
		return err
	}
	for i, f := range batch {
		err := w.do("rename", f.path, func() error {
			return os.Rename(w.temp(i), filepath.Join(w.dir, f.path))
		})
		if err != nil {
			return fmt.Errorf("rename to %s: %w", f.path, err)
		}
	}
	for dir := range dirty {
		err := w.do("syncdir", dir, func() error { return syncDir(filepath.Join(w.dir, dir)) })
		if err != nil {
			return fmt.Errorf("sync folder %s: %w", dir, err)
		}
	}
	for dir := range dirty {
		w.made[dir] = true
	}
	return nil
}

func (w *files) temp(i int) string { return filepath.Join(w.dir, tmpDir, fmt.Sprint(i)) }

// temps writes and fsyncs the batch under temporary names.
func (w *files) temps(batch []file) error {
	var wg sync.WaitGroup
	workers := min(w.workers, len(batch))
	errs := make([]error, workers)
	for k := range workers {
		wg.Go(func() {
			for i := k; i < len(batch) && errs[k] == nil; i += workers {
				if err := w.writeTemp(i, batch[i]); err != nil {
					errs[k] = fmt.Errorf("write %s: %w", batch[i].path, err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (w *files) writeTemp(i int, f file) error {
	name := w.temp(i)
	var out *os.File
	err := w.do("create", f.path, func() (err error) {
		out, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
		return err
	})
	if err != nil {
		if out != nil {
			err = errors.Join(err, out.Close())
		}
		return err
	}
	err = w.do("write", f.path, func() error {
		_, err := out.Write(f.data)
		return err
	})
	if err == nil {
		err = w.do("sync", f.path, out.Sync)
	}
	return errors.Join(err, out.Close())
}

// mkdir makes a folder and its parents, and marks the folders they were made in.
func (w *files) mkdir(dir string, dirty map[string]bool) error {
	if w.made[dir] || dirty[dir] {
		return nil
	}
	if dir != "." {
		parent := filepath.Dir(dir)
		if err := w.mkdir(parent, dirty); err != nil {
			return err
		}
		err := w.do("mkdir", dir, func() error { return os.Mkdir(filepath.Join(w.dir, dir), 0o755) })
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		// Even one that exists may be there without being durable, after a crash.
		dirty[parent] = true
	}
	return nil
}

// remove deletes a file or folder below the log's folder.
func (w *files) remove(path string) error {
	return w.do("remove", path, func() error { return os.RemoveAll(filepath.Join(w.dir, path)) })
}
