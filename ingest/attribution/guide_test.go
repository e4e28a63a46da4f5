package attribution

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The pages of docs/sources are the guides, word for word, and a guide answers for every part.
func TestSourcePages(t *testing.T) {
	pages := 0
	for _, g := range Guides() {
		if len(g.Emit) == 0 {
			continue
		}
		pages++
		for _, p := range Parts() {
			if g.Emit[p] == "" {
				t.Errorf("%s: the guide says nothing about %s", g.Format, p)
			}
		}
		for _, u := range g.UserSet {
			if _, why, ok := strings.Cut(u, ": "); !ok || why == "" {
				t.Errorf("%s: %q does not say who can choose it", g.Format, u)
			}
		}
		file := filepath.Join("..", "..", "docs", "sources", g.Format+".md")
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(g.Markdown()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(file); err != nil || string(have) != g.Markdown() {
			t.Errorf("%s is not the guide (go test ./ingest/attribution -run SourcePages -update): %v", file, err)
		}
	}
	if pages == 0 {
		t.Error("no format has a guide")
	}
}
