package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// errWait says that what was taken cannot be known yet.
var errWait = errors.New("content still incomplete")

// found is how far a content was taken by others.
type found struct {
	to    int64 // offset up to which all is taken
	lines int64 // newlines passed on the way
	by    *head // whose cursor proved it
	// [holeFrom, holeTo) of it was passed over by all of them.
	holeFrom, holeTo uint64
}

// hole finds what none of the matched cursors has taken before res.to.
func (res *found) hole(matched []*head) {
	if res.by == nil {
		return
	}
	res.holeFrom, res.holeTo = res.by.cur.holeFrom, res.by.cur.holeTo
	for _, h := range matched {
		c := &h.cur
		if c.holeFrom == c.holeTo {
			res.holeFrom = max(res.holeFrom, min(c.offset, res.holeTo))
		} else if c.offset >= res.holeTo {
			res.holeFrom, res.holeTo = max(res.holeFrom, c.holeFrom), min(res.holeTo, c.holeTo)
		}
	}
	if res.holeFrom >= res.holeTo {
		res.holeFrom, res.holeTo = 0, 0
	}
}

// ending is what the end of a source means.
type ending byte

const (
	growing ending = iota // a live file: only its complete lines count
	whole                 // an import: io.EOF is the end, all else an error
	pending               // a compressed file that may still be written: an error is to be waited for
	damaged               // one that has stopped growing: an error is its end
)

// resolve moves l, and src with it, over what others took of the same content.
// The only proof is content: a cursor counts when its whole content begins this
// one, or when its file, still there, begins with all of this one. It returns
// errWait when that cannot be known yet.
// The caller holds the family; src stands at l.off.
func (l *lane) resolve(ctx context.Context, src source, e ending) (found, error) {
	res := found{to: l.off}
	targets := l.targets()
	if len(targets) == 0 {
		return res, nil
	}
	begin := l.mark()
	best, stop := begin, begin
	stopAt, stopSeen := int64(-1), int64(0) // a live file's last newline
	if fs, ok := src.(*fileSource); ok && e == growing {
		var err error
		if stopAt, err = lastLine(fs.f, l.off, fs.size); err != nil {
			return res, err
		}
	}
	src.record()
	buf := make([]byte, 256<<10)
	var seen int64
	var matched []*head
	end := false
	for len(targets) > 0 && !end {
		limit := int64(targets[0].cur.offset)
		if l.off < stopAt {
			limit = min(limit, stopAt)
		}
		for l.off < limit && !end {
			err := ctx.Err()
			n := 0
			if err == nil {
				n, err = src.Read(buf[:min(int64(len(buf)), limit-l.off)])
			}
			seen += int64(bytes.Count(buf[:n], []byte{'\n'}))
			l.take(buf[:n])
			switch {
			case err == nil:
			case errors.Is(err, io.EOF) || (e == damaged && ctx.Err() == nil):
				end = true
			case e == pending && ctx.Err() == nil:
				return res, errors.Join(errWait, err, l.rewind(src, begin, begin))
			default:
				return res, errors.Join(err, l.rewind(src, begin, begin))
			}
		}
		if l.off == stopAt {
			stop, stopSeen = l.mark(), seen
		}
		if l.off < limit || int64(targets[0].cur.offset) > l.off {
			continue
		}
		here := l.roll.state()
		for len(targets) > 0 && int64(targets[0].cur.offset) == l.off {
			h := targets[0]
			targets = targets[1:]
			if h.cur.state != here {
				l.differs[h] = true
				continue
			}
			matched = append(matched, h)
			best = l.mark()
			res.to, res.lines, res.by = l.off, seen, h
		}
	}
	if e != growing {
		stop, stopSeen = l.mark(), seen
	}
	if len(targets) > 0 && stop.off > res.to {
		for _, h := range targets {
			taken, err := l.reg.holds(ctx, h, stop.off, &stop.state)
			if err != nil {
				return res, errors.Join(err, l.rewind(src, begin, begin))
			}
			if taken {
				best = stop
				res.to, res.lines, res.by = stop.off, stopSeen, h
				break
			}
		}
	}
	res.hole(matched)
	return res, l.rewind(src, begin, best)
}

// rewind sets the lane to m and src with it; src recorded since begin.
func (l *lane) rewind(src source, begin, m mark) error {
	at := l.off
	if err := l.restore(m); err != nil {
		return err
	}
	if at == m.off {
		src.forget()
		return nil
	}
	if err := src.back(); err != nil {
		return err
	}
	return skip(src, m.off-begin.off)
}

// lastLine is the offset after the last newline in [from, to), from when there
// is none.
func lastLine(f io.ReaderAt, from, to int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := to; end > from; {
		b := buf[:min(int64(len(buf)), end-from)]
		n, err := f.ReadAt(b, end-int64(len(b)))
		if n < len(b) {
			return from, fmt.Errorf("read last line: %w", err)
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return end - int64(len(b)) + int64(i) + 1, nil
		}
		end -= int64(len(b))
	}
	return from, nil
}

// holds says whether the file that h was made from is still there and begins
// with the n bytes of state want, all of which h has taken.
func (r *Registry) holds(ctx context.Context, h *head, n int64, want *state) (bool, error) {
	if h.cur.kind != kindPlain || h.cur.ino == 0 || int64(h.cur.offset) < n || h.cur.holeFrom < h.cur.holeTo {
		return false, nil
	}
	f := openInode(h.cur.path, h.cur.dev, h.cur.ino)
	if f == nil {
		return false, nil
	}
	defer func() { _ = f.Close() }()
	roll := r.keys.rolling()
	buf := make([]byte, 256<<10)
	// Up to the cursor's own offset, for the file may have been written anew since.
	for at, to := int64(0), n; ; {
		if at == n && roll.state() != *want {
			return false, nil
		}
		if at >= n {
			to = int64(h.cur.offset)
		}
		if at == to {
			return roll.state() == h.cur.state, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		m, err := f.Read(buf[:min(int64(len(buf)), to-at)])
		roll.write(buf[:m])
		at += int64(m)
		if err != nil && at < to {
			return false, nil
		}
	}
}

// inode is a file's device and inode number.
type inode struct{ dev, ino uint64 }

func inodeOf(fi os.FileInfo) inode {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return inode{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is int32 on some systems
	}
	return inode{}
}

// openInode opens a file by its inode: at path, or renamed within path's
// directory (and that of the symbolic link's target). nil when it is not there.
func openInode(path string, dev, ino uint64) *os.File {
	is := func(p string) *os.File {
		fi, err := os.Stat(p)
		if err != nil || !fi.Mode().IsRegular() || inodeOf(fi) != (inode{dev, ino}) {
			return nil
		}
		f, err := os.Open(p)
		if err != nil {
			return nil
		}
		if fi, err = f.Stat(); err != nil || inodeOf(fi) != (inode{dev, ino}) {
			_ = f.Close()
			return nil
		}
		return f
	}
	if path == "" {
		return nil
	}
	if f := is(path); f != nil {
		return f
	}
	dirs := []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(1 << 16)
		_ = d.Close()
		for _, name := range names {
			p := filepath.Join(dir, name)
			if fi, err := os.Lstat(p); err != nil || !fi.Mode().IsRegular() || inodeOf(fi) != (inode{dev, ino}) {
				continue
			}
			if f := is(p); f != nil {
				return f
			}
		}
	}
	return nil
}
