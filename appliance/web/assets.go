package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets templates
var files embed.FS

// assetSet serves the embedded scripts and styles. Their address holds the
// digest of all of them, so a browser may keep them for ever.
type assetSet struct {
	hash  string
	bytes map[string][]byte
}

// htmx and its extensions are one script. As scripts of their own the browser
// runs each when it has arrived, and htmx goes over the page on a timer that it
// sets when it runs itself: an extension that is later than that finds no live
// tail to open, or no policy under which a fragment may be shown.
const htmxBundle = "vendor/htmx.bundle.js"

var htmxParts = []string{"vendor/htmx.min.js", "vendor/hx-csp.min.js", "vendor/hx-sse.min.js"}

func loadAssets() (*assetSet, error) {
	a := &assetSet{bytes: make(map[string][]byte)}
	sum := sha256.New()
	err := fs.WalkDir(files, "assets", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, "assets/")
		a.bytes[name] = b
		fmt.Fprintf(sum, "%s %d\n", name, len(b))
		sum.Write(b)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load assets: %w", err)
	}
	for _, name := range htmxParts {
		a.bytes[htmxBundle] = append(append(a.bytes[htmxBundle], a.bytes[name]...), "\n;\n"...)
	}
	a.hash = hex.EncodeToString(sum.Sum(nil))[:16]
	return a, nil
}

// url is where the named asset is found.
func (a *assetSet) url(name string) (string, error) {
	if a.bytes[name] == nil {
		return "", fmt.Errorf("no asset %q", name)
	}
	return "/assets/" + a.hash + "/" + name, nil
}

func (a *assetSet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	b := a.bytes[name]
	if b == nil || r.PathValue("hash") != a.hash {
		http.Error(w, "no such asset", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	switch path.Ext(name) {
	case ".js":
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	case ".css":
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
	case ".svg":
		w.Header().Set("Content-Type", "image/svg+xml")
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}
