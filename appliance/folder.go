package appliance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeFolder makes a folder and its parents as os.MkdirAll does, and sees to it
// that a power cut does not take them away again with all that is in them.
func makeFolder(path string) error {
	parent := filepath.Dir(path)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	// It fails as well where there is a file.
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	// Also when it was there: who made it may have been killed before this.
	d, err := os.Open(parent)
	if errors.Is(err, fs.ErrPermission) {
		return nil // a folder of somebody else, who made this one
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
