//go:build linux

package appliance_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// disk follows a trace and knows at every moment what of a folder must be there
// after a power cut, and what may be.
//
// Strict: the bytes and the size of a file are there when an fsync or fdatasync of
// it began after they were written; a name is, when an fsync of its folder began
// after it was made, and removing one likewise. Of everything else any part may be
// there: sectors of writes, names and removals in any order. A rename happens as a
// whole or not at all, and with the folder that it leads to.
//
// With a journal, as ext4 and XFS have one: names come and go in order, and any
// fsync makes durable what was done to names before it.
type disk struct {
	base    string // the folder
	journal bool
	root    *inode
	fds     map[int64]*descriptor
	names   []*nameChange // not durable, in order
}

type inode struct {
	folder bool
	perm   fs.FileMode

	now     []byte // what programs see of a file
	synced  []byte // what is durable of it
	changes []dataChange

	entries map[string]*inode // what programs see of a folder
	durable map[string]*inode
	settled map[string]int // name → the change that durable has of it
}

type descriptor struct {
	node    *inode
	pos     int64
	appends bool
}

// dataChange is a write, or with nil data a truncation to size at.
type dataChange struct {
	when int // line of its end
	at   int64
	data []byte
}

// nameChange sets names at once; nil removes. It is durable with the last folder.
type nameChange struct {
	when int
	sets []nameSet
}

type nameSet struct {
	folder *inode
	name   string
	node   *inode
}

const sector = 512

func newFolder() *inode {
	return &inode{folder: true, perm: 0o700, entries: map[string]*inode{}, durable: map[string]*inode{}, settled: map[string]int{}}
}

// newDisk follows what happens below base, which is empty and durable.
func newDisk(base string, journal bool) *disk {
	return &disk{base: base, journal: journal, root: newFolder(), fds: map[int64]*descriptor{}}
}

// restart forgets the descriptors of a process that has ended.
func (d *disk) restart() { clear(d.fds) }

// find resolves a path: the folder it is in, its last name, and what is there.
func (d *disk) find(dirfd, p string) (folder *inode, name string, node *inode, inside bool) {
	from := d.root
	if !path.IsAbs(p) {
		n, err := strconv.ParseInt(dirfd, 0, 64) // or AT_FDCWD, which is elsewhere
		f := d.fds[n]
		if err != nil || f == nil || !f.node.folder {
			return nil, "", nil, false
		}
		from = f.node
	} else {
		p = path.Clean(p)
		if p == d.base {
			return nil, "", d.root, true
		}
		var ok bool
		if p, ok = strings.CutPrefix(p, d.base+"/"); !ok {
			return nil, "", nil, false
		}
	}
	dir, name := path.Split(path.Clean(p))
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if part == "" {
			continue
		}
		if from = from.entries[part]; from == nil || !from.folder {
			return nil, "", nil, false
		}
	}
	return from, name, from.entries[name], true
}

// lookup finds a file by its path below the folder.
func (d *disk) lookup(p string) *inode {
	_, _, node, _ := d.find("", path.Join(d.base, p))
	return node
}

func (d *disk) rename(when int, sets ...nameSet) {
	for _, s := range sets {
		if s.node == nil {
			delete(s.folder.entries, s.name)
		} else {
			s.folder.entries[s.name] = s.node
		}
	}
	d.names = append(d.names, &nameChange{when, sets})
}

func (n *inode) change(c dataChange) {
	n.now = c.apply(n.now)
	n.changes = append(n.changes, c)
}

func (c *dataChange) apply(b []byte) []byte {
	if c.data == nil {
		return resize(b, c.at)
	}
	b = resize(b, max(int64(len(b)), c.at+int64(len(c.data))))
	copy(b[c.at:], c.data)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size] // what comes behind is zero when it grows again
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// sync makes durable what an fsync of node does that began at the line start.
func (d *disk) sync(node *inode, start int) {
	if !node.folder {
		for len(node.changes) > 0 && node.changes[0].when < start {
			node.synced = node.changes[0].apply(node.synced)
			node.changes = node.changes[1:]
		}
	}
	d.names = slices.DeleteFunc(d.names, func(c *nameChange) bool {
		if c.when >= start || !d.journal && c.sets[len(c.sets)-1].folder != node {
			return false
		}
		for _, s := range c.sets {
			s.settle(s.folder.durable, s.folder.settled, c.when)
		}
		return true
	})
}

// settle puts a name into a folder unless a later change of it is there already.
func (s *nameSet) settle(names map[string]*inode, settled map[string]int, when int) {
	if at, ok := settled[s.name]; ok && at > when {
		return
	}
	settled[s.name] = when
	if s.node == nil {
		delete(names, s.name)
	} else {
		names[s.name] = s.node
	}
}

// losses says how much of what is not durable a power cut spares.
type losses struct{ names, data float64 }

// cut writes the folder to dst as it may be after a power cut now.
func (d *disk) cut(dst string, rng *rand.Rand, l losses) error {
	type state struct {
		names   map[string]*inode
		settled map[string]int
	}
	after := map[*inode]state{}
	for i, c := range d.names {
		if d.journal && float64(i) >= l.names*float64(len(d.names)) {
			break
		}
		if !d.journal && rng.Float64() >= l.names {
			continue
		}
		for _, s := range c.sets {
			if after[s.folder].names == nil {
				after[s.folder] = state{maps.Clone(s.folder.durable), maps.Clone(s.folder.settled)}
			}
			s.settle(after[s.folder].names, after[s.folder].settled, c.when)
		}
	}
	names := func(n *inode) map[string]*inode {
		if st := after[n]; st.names != nil {
			return st.names
		}
		return n.durable
	}
	return d.root.write(dst, names, func(n *inode) []byte { return n.survivors(rng, l.data) })
}

// write puts n and what is below it to p.
func (n *inode) write(p string, names func(*inode) map[string]*inode, content func(*inode) []byte) error {
	if !n.folder {
		return os.WriteFile(p, content(n), n.perm)
	}
	if err := os.Mkdir(p, 0o700); err != nil {
		return err
	}
	below := names(n)
	for _, name := range slices.Sorted(maps.Keys(below)) { // the same for the same seed
		if err := below[name].write(filepath.Join(p, name), names, content); err != nil {
			return err
		}
	}
	return nil
}

// survivors is what a file may hold after a power cut.
func (n *inode) survivors(rng *rand.Rand, share float64) []byte {
	b := slices.Clone(n.synced)
	spared := func() bool { return rng.Float64() < share }
	for _, c := range n.changes {
		if c.data == nil {
			if spared() {
				b = c.apply(b)
			}
			continue
		}
		end := c.at + int64(len(c.data))
		if end > int64(len(b)) && spared() {
			b = resize(b, end) // the size is there, whether or not the bytes are
		}
		end = min(end, int64(len(b)))
		for at := c.at; at < end; {
			next := min(end, (at/sector+1)*sector)
			if spared() {
				copy(b[at:next], c.data[at-c.at:next-c.at])
			}
			at = next
		}
	}
	return b
}

// ended takes the calls of a trace in the order of their ends. A call that changes
// the folder in a way that the model doesn't know is an error.
func (d *disk) ended(c *sysCall) error {
	if c.ret < 0 {
		return nil
	}
	var f *descriptor
	if n, ok := c.number(0); ok {
		f = d.fds[n]
	}
	var err error
	switch c.name {
	case "openat":
		return d.open(c)
	case "dup":
		if f != nil {
			d.fds[c.ret] = f
		}
	case "fcntl":
		if f != nil && strings.HasPrefix(c.arg(1), "F_DUPFD") {
			d.fds[c.ret] = f
		}
	case "lseek":
		if f != nil {
			f.pos = c.ret
		}
	case "fsync", "fdatasync":
		if f != nil {
			d.sync(f.node, c.start)
		}
	case "write", "pwrite64":
		if f == nil {
			return nil
		}
		var s string
		if s, err = c.text(1); err != nil {
			return err
		}
		at := f.pos
		if c.name == "pwrite64" {
			at, _ = c.number(3)
		} else {
			if f.appends {
				at = int64(len(f.node.now))
			}
			f.pos = at + c.ret
		}
		f.node.change(dataChange{c.end, at, []byte(s[:c.ret])})
	case "ftruncate":
		if size, ok := c.number(1); f != nil && ok {
			f.node.change(dataChange{when: c.end, at: size})
		}
	case "copy_file_range":
		in, out := f, (*descriptor)(nil)
		if n, ok := c.number(2); ok {
			out = d.fds[n]
		}
		if out == nil || c.ret == 0 {
			return nil
		}
		if in == nil || c.arg(1) != "NULL" || c.arg(3) != "NULL" {
			return fmt.Errorf("line %d: the model does not know such a copy_file_range", c.start+1)
		}
		out.node.change(dataChange{c.end, out.pos, slices.Clone(in.node.now[in.pos : in.pos+c.ret])})
		in.pos, out.pos = in.pos+c.ret, out.pos+c.ret
	case "mkdir":
		return d.mkdir(c, "AT_FDCWD", 0)
	case "mkdirat":
		return d.mkdir(c, c.arg(0), 1)
	case "unlink", "rmdir":
		return d.unlink(c, "AT_FDCWD", 0)
	case "unlinkat":
		return d.unlink(c, c.arg(0), 1)
	case "rename":
		return d.move(c, "AT_FDCWD", 0, "AT_FDCWD", 1, true)
	case "renameat", "renameat2":
		if c.name == "renameat2" && c.arg(4) != "0" && c.arg(4) != "RENAME_NOREPLACE" {
			return fmt.Errorf("line %d: the model does not know renameat2 with %s", c.start+1, c.arg(4))
		}
		return d.move(c, c.arg(0), 1, c.arg(2), 3, true)
	case "linkat":
		return d.move(c, c.arg(0), 1, c.arg(2), 3, false)
	case "close", "accept4": // a close counts from its beginning
	case "mmap":
		n, _ := c.number(4)
		if d.fds[n] != nil && strings.Contains(c.arg(2), "PROT_WRITE") && strings.Contains(c.arg(3), "MAP_SHARED") {
			return fmt.Errorf("line %d: a file is mapped for writing: its writes are in no trace", c.start+1)
		}
	case "io_uring_setup":
		return fmt.Errorf("line %d: the program uses io_uring: its writes are in no trace", c.start+1)
	default:
		if f != nil {
			return fmt.Errorf("line %d: the model does not know %s", c.start+1, c.name)
		}
		for i := range c.args {
			if s, err := c.text(i); err == nil && path.IsAbs(s) {
				if _, _, _, inside := d.find("", s); inside {
					return fmt.Errorf("line %d: the model does not know %s", c.start+1, c.name)
				}
			}
		}
	}
	return nil
}

// began takes the calls in the order of their beginnings: a descriptor that is
// being closed may be given to another thread before close returns.
func (d *disk) began(c *sysCall) {
	if n, ok := c.number(0); ok && c.name == "close" {
		delete(d.fds, n)
	}
}

func (d *disk) open(c *sysCall) error {
	p, err := c.text(1)
	if err != nil {
		return err
	}
	folder, name, node, inside := d.find(c.arg(0), p)
	if !inside {
		return nil
	}
	flags := strings.Split(c.arg(2), "|")
	if node == nil {
		if !slices.Contains(flags, "O_CREAT") {
			return fmt.Errorf("line %d: %s was opened, and the model has no such file", c.start+1, p)
		}
		perm, _ := c.number(3)
		node = &inode{perm: fs.FileMode(perm)}
		d.rename(c.end, nameSet{folder, name, node})
	} else if slices.Contains(flags, "O_TRUNC") {
		node.change(dataChange{when: c.end})
	}
	d.fds[c.ret] = &descriptor{node: node, appends: slices.Contains(flags, "O_APPEND")}
	return nil
}

func (d *disk) mkdir(c *sysCall, dirfd string, i int) error {
	p, err := c.text(i)
	if err != nil {
		return err
	}
	if folder, name, _, inside := d.find(dirfd, p); inside {
		d.rename(c.end, nameSet{folder, name, newFolder()})
	}
	return nil
}

func (d *disk) unlink(c *sysCall, dirfd string, i int) error {
	p, err := c.text(i)
	if err != nil {
		return err
	}
	if folder, name, node, inside := d.find(dirfd, p); inside && node != nil { // a socket is no file here
		d.rename(c.end, nameSet{folder, name, nil})
	}
	return nil
}

// move is a rename or a link.
func (d *disk) move(c *sysCall, fromfd string, from int, tofd string, to int, gone bool) error {
	a, err := c.text(from)
	b, err2 := c.text(to)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	fromFolder, fromName, node, inside := d.find(fromfd, a)
	toFolder, toName, _, inside2 := d.find(tofd, b)
	if !inside && !inside2 {
		return nil
	}
	if !inside || !inside2 || node == nil {
		return fmt.Errorf("line %d: %s of %s to %s: the model has no such file, or it leaves the folder", c.start+1, c.name, a, b)
	}
	sets := []nameSet{{toFolder, toName, node}}
	if gone {
		sets = slices.Insert(sets, 0, nameSet{fromFolder, fromName, nil})
	}
	d.rename(c.end, sets...)
	return nil
}
