//go:build linux

package appliance_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// interrupted takes the calls that a killed process was in: a copy of the folder
// from then says how far they came.
func (d *disk) interrupted(open []*sysCall, line int, folder string) error {
	real := func(p string) string { return folder + strings.TrimPrefix(p, d.base) }
	exists := func(p string) bool { _, err := os.Lstat(real(p)); return err == nil }
	// What is there of a file now counts as written.
	reread := func(node *inode) error {
		p := d.path(node)
		if p == "" {
			return nil // unlinked: nobody sees it again
		}
		b, err := os.ReadFile(real(p))
		if err != nil {
			return err
		}
		node.change(dataChange{when: line, at: int64(len(b))})
		node.change(dataChange{when: line, data: b})
		return nil
	}
	for _, c := range open {
		c.end = line
		var err error
		switch n, _ := c.number(0); c.name {
		case "write", "pwrite64", "ftruncate":
			if f := d.fds[n]; f != nil {
				err = reread(f.node)
			}
		case "copy_file_range":
			if n, _ := c.number(2); d.fds[n] != nil {
				err = reread(d.fds[n].node)
			}
		case "openat", "mkdirat", "unlinkat", "renameat", "linkat":
			i := map[string]int{"renameat": 3, "linkat": 3}[c.name]
			if i == 0 {
				i = 1
			}
			var p string
			if p, err = c.text(i); err != nil {
				break
			}
			folder, name, node, inside := d.find(c.arg(i-1), p)
			if !inside || folder == nil || d.path(folder) == "" {
				break
			}
			there := exists(filepath.Join(d.path(folder), name))
			done := map[string]bool{
				"openat": there && node == nil, "mkdirat": there && node == nil, "unlinkat": !there && node != nil, "linkat": there && node == nil,
			}[c.name]
			if c.name == "renameat" {
				var from string
				from, err = c.text(1)
				done = err == nil && !exists(from)
			}
			if done {
				c.ret = 1 << 30 // of openat: no descriptor that is used
				err = d.ended(c)
			}
		}
		if err != nil {
			return fmt.Errorf("interrupted %s: %w", c.name, err)
		}
	}
	return nil
}

// path finds where a file is now, "" when it has no name.
func (d *disk) path(node *inode) (found string) {
	var walk func(n *inode, p string)
	walk = func(n *inode, p string) {
		if n == node {
			found = p
		}
		for name, below := range n.entries {
			walk(below, filepath.Join(p, name))
		}
	}
	walk(d.root, d.base)
	return found
}

// compare holds what programs see by the model against the real folder: whatever
// the trace or the model leaves out shows here.
func (d *disk) compare(folder string) error {
	err := filepath.WalkDir(folder, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSocket != 0 {
			return err
		}
		_, _, node, _ := d.find("", d.base+strings.TrimPrefix(p, folder))
		if node == nil || node.folder != e.IsDir() {
			return fmt.Errorf("%s is on the disk and not in the model", p)
		}
		if node.folder {
			return nil
		}
		b, err := os.ReadFile(p)
		if err == nil && string(b) != string(node.now) {
			err = fmt.Errorf("%s has other bytes in the model", p)
		}
		return err
	})
	// All of the disk is in the model; what the model has beyond that is found by its names.
	var walk func(n *inode, p string) error
	walk = func(n *inode, p string) error {
		if _, err := os.Lstat(p); err != nil {
			return fmt.Errorf("in the model, not on the disk: %w", err)
		}
		for name, below := range n.entries {
			if err := walk(below, filepath.Join(p, name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err == nil {
		err = walk(d.root, folder)
	}
	return err
}
