package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const maxDepth = 64 // of directories below a "**"

// glob is a path pattern: filepath.Match in each element, and "**" for any
// number of directories. "**" does not enter symbolic links.
type glob struct{ elems []string }

func parseGlob(pattern string) (glob, error) {
	abs, err := filepath.Abs(pattern)
	if pattern == "" || err != nil {
		return glob{}, fmt.Errorf("parse glob %q: not a path", pattern)
	}
	elems := strings.Split(strings.TrimPrefix(abs, "/"), "/")
	for i, e := range elems {
		if _, err := filepath.Match(e, ""); err != nil {
			return glob{}, fmt.Errorf("parse glob %q: %w", pattern, err)
		}
		if e == "**" && i == len(elems)-1 {
			elems = append(elems, "*")
		}
	}
	return glob{elems}, nil
}

func magic(elem string) bool { return strings.ContainsAny(elem, `*?[\`) }

// expand calls file for each path that matches and dir for each directory in
// which a new entry could make another one match.
func (g glob) expand(file, dir func(path string)) { g.walk("/", g.elems, 0, file, dir) }

func (g glob) walk(at string, elems []string, depth int, file, dir func(string)) {
	e, last := elems[0], len(elems) == 1
	if !magic(e) {
		path := filepath.Join(at, e)
		switch _, err := os.Lstat(path); {
		case last:
			dir(at)
			if err == nil {
				file(path)
			}
		case err != nil:
			dir(at)
		default:
			g.walk(path, elems[1:], depth, file, dir)
		}
		return
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return
	}
	dir(at)
	if e == "**" {
		g.walk(at, elems[1:], depth, file, dir)
		if depth < maxDepth {
			for _, entry := range entries {
				if entry.IsDir() {
					g.walk(filepath.Join(at, entry.Name()), elems, depth+1, file, dir)
				}
			}
		}
		return
	}
	for _, entry := range entries {
		if ok, _ := filepath.Match(e, entry.Name()); !ok {
			continue
		}
		path := filepath.Join(at, entry.Name())
		if last {
			file(path)
		} else if fi, err := os.Stat(path); err == nil && fi.IsDir() {
			g.walk(path, elems[1:], depth, file, dir)
		}
	}
}

// match says whether path, absolute and clean, matches.
func (g glob) match(path string) bool {
	return matchElems(g.elems, strings.Split(strings.TrimPrefix(path, "/"), "/"))
}

func matchElems(pattern, elems []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := 0; i <= len(elems); i++ {
				if matchElems(pattern[1:], elems[i:]) {
					return true
				}
			}
			return false
		}
		if len(elems) == 0 {
			return false
		}
		if ok, _ := filepath.Match(pattern[0], elems[0]); !ok {
			return false
		}
		pattern, elems = pattern[1:], elems[1:]
	}
	return len(elems) == 0
}
