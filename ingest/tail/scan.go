package tail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const maxWatches = 4096 // directories

// recall finds files that were rotated away, within their directory, while
// nothing was running: their cursor's inode is no longer at their path.
func (t *Tailer) recall() error {
	return t.cursors.EachCursor(keyPrefix, func(key string, value []byte) error {
		if _, ok := parseFamily(key); !ok {
			return fmt.Errorf("%w: %s", ErrCursor, key)
		}
		c, err := t.reg.keys.open(key, value)
		if err != nil {
			return err
		}
		if c.kind != kindPlain || !t.wants(c.path) {
			return nil
		}
		t.known = true
		id := inode{c.dev, c.ino}
		if fi, err := os.Stat(c.path); err == nil && inodeOf(fi) == id {
			return nil
		}
		f := openInode(c.path, c.dev, c.ino)
		if f == nil {
			return nil
		}
		defer func() { _ = f.Close() }()
		fi, err := f.Stat()
		// A number that was given to another file since is not followed.
		if err != nil || t.streams[id] != nil || !t.proves(&head{cur: *c}, f, fi.Size()) {
			return nil
		}
		t.mu.Lock()
		t.streams[id] = &stream{
			id: id, path: f.Name(), renamedAt: t.now(), size: fi.Size(), mtime: fi.ModTime().UnixNano(), waits: true,
		}
		t.mu.Unlock()
		return nil
	})
}

// wants says whether the patterns name path.
func (t *Tailer) wants(path string) bool {
	for _, g := range t.excludes {
		if g.match(path) {
			return false
		}
	}
	for _, g := range t.globs {
		if g.match(path) {
			return true
		}
	}
	return false
}

// scan looks for files and asks for a turn of those that changed. It returns
// the directories in which changes matter.
func (t *Tailer) scan() map[string]bool {
	dirs, files := map[string]bool{}, map[string]os.FileInfo{}
	dir := func(d string) { dirs[d] = true }
	file := func(path string) {
		if isGzip(path) && !t.cfg.ReadGzip || files[path] != nil {
			return
		}
		for _, g := range t.excludes {
			if g.match(path) {
				return
			}
		}
		fi, err := os.Stat(path)
		if err != nil || !fi.Mode().IsRegular() {
			return
		}
		files[path] = fi
		if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
			dir(filepath.Dir(target))
		}
	}
	for _, g := range t.globs {
		g.expand(file, dir)
	}
	t.merge(files)
	t.signal()
	return dirs
}

// merge brings the streams in line with what a scan saw.
func (t *Tailer) merge(files map[string]os.FileInfo) {
	now := t.now()
	var reused []*stream
	t.mu.Lock()
	defer func() {
		t.mu.Unlock()
		for _, s := range reused {
			t.remove(s)
		}
	}()
	t.scans++
	paths := make(map[string]*stream, len(files))
	for path, fi := range files {
		id := inodeOf(fi)
		s := t.streams[id]
		if s != nil && s.gz != isGzip(path) && (files[s.path] == nil || inodeOf(files[s.path]) != id) {
			// The number of a removed file was given to another one.
			if s.running || s.queued {
				continue // the next scan sees to it
			}
			s.closed = true
			reused = append(reused, s)
			delete(t.streams, id)
			s = nil
		}
		if s == nil {
			if len(t.streams) >= t.cfg.MaxFiles {
				if !t.full {
					t.log.Error("too many files to follow, leaving out", "path", path, "limit", t.cfg.MaxFiles)
				}
				t.full = true
				t.errs[path] = "left out: too many files"
				continue
			}
			s = &stream{id: id, path: path, gz: isGzip(path), size: -1}
			if t.cfg.FromStart != nil && !*t.cfg.FromStart && t.scans == 1 && !t.known {
				if s.gz {
					continue
				}
				s.base = fi.Size()
			}
			t.streams[id] = s
		}
		paths[path] = s
		if s.seen != t.scans || path < s.path { // of several paths, the first
			if old := files[s.path]; s.path != path && (old == nil || inodeOf(old) != id) {
				s.renamedAt = now
				s.path = path
			}
		}
		s.seen, s.goneAt = t.scans, time.Time{}
		changed := fi.Size() != s.size || fi.ModTime().UnixNano() != s.mtime
		if changed {
			s.size, s.mtime = fi.Size(), fi.ModTime().UnixNano()
		}
		if changed || !s.notBefore.IsZero() && !now.Before(s.notBefore) || s.waits {
			if now.Before(s.notBefore) {
				continue
			}
			t.enqueueLocked(s)
		}
	}
	for _, s := range t.streams {
		if s.seen == t.scans {
			continue
		}
		if s.goneAt.IsZero() {
			s.goneAt = now
		}
		if !now.Before(s.notBefore) {
			t.enqueueLocked(s)
		}
	}
	t.paths = paths
}

// watcher is the kernel's notifications about directories.
type watcher struct {
	*fsnotify.Watcher
	t    *Tailer
	mu   sync.Mutex
	dirs map[string]bool
}

// watcher returns nil where notifications do not work.
func (t *Tailer) watcher() *watcher {
	if t.cfg.NoNotify {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.log.Warn("no file notifications, polling only", "error", err)
		return nil
	}
	return &watcher{Watcher: w, t: t, dirs: map[string]bool{}}
}

// set makes dirs the watched directories.
func (w *watcher) set(dirs map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d := range w.dirs {
		if !dirs[d] {
			_ = w.Remove(d) // gone already, most often
			delete(w.dirs, d)
		}
	}
	added := false
	for d := range dirs {
		if w.dirs[d] || len(w.dirs) >= maxWatches {
			continue
		}
		if w.Add(d) == nil { // otherwise polling has to do
			w.dirs[d], added = true, true
		}
	}
	if added {
		w.t.askScan() // for what came between the scan and the watch
	}
}

func (w *watcher) lost(dir string) {
	w.mu.Lock()
	delete(w.dirs, dir)
	w.mu.Unlock()
}

func (t *Tailer) askScan() {
	select {
	case t.rescan <- struct{}{}:
	default:
	}
}

// listen turns notifications into turns and scans.
func (t *Tailer) listen(ctx context.Context, w *watcher) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			t.mu.Lock()
			s := t.paths[e.Name]
			if s != nil && e.Has(fsnotify.Chmod) {
				s.notBefore = time.Time{} // permission may have healed
			}
			t.mu.Unlock()
			if s != nil && e.Op&^(fsnotify.Write|fsnotify.Chmod) == 0 {
				t.enqueue(s)
				continue
			}
			if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
				w.lost(e.Name)
			}
			t.askScan()
		case _, ok := <-w.Errors: // an overflow: something was missed
			if !ok {
				return
			}
			t.askScan()
		}
	}
}
