package appliance

import (
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"
)

// The floors of DESIGN.md. A package imports packages of lower floors only, and of
// its own floor those that sameFloor names. A package that stands in no row is an
// error: new packages get a place before they get code.
var floors = map[string]int{
	"custody/ingest/record": 0,

	"custody/ingest":             1,
	"custody/ingest/syslog":      1,
	"custody/ingest/tail":        1,
	"custody/ingest/attribution": 1,
	"custody/ingest/record/ocsf": 1,

	"custody/index/seal":   2,
	"custody/index/query":  2,
	"custody/index/store":  2,
	"custody/index/search": 2,
	"custody/index/chain":  2,

	"custody/index":        3,
	"custody/index/verify": 3,
	"custody/index/bundle": 3,

	"custody/retention": 4,
	"custody/redact":    4,

	"custody/appliance/auth":    5,
	"custody/appliance/alert":   5,
	"custody/appliance/anchor":  5,
	"custody/appliance/witness": 5,
	"custody/appliance/backup":  5,
	"custody/appliance/admin":   5,
	"custody/appliance/demo":    5,

	"custody/appliance/web":     6,
	"custody/appliance":         7,
	"custody/appliance/command": 8,
	"custody":                   9,
}

var sameFloor = map[string][]string{
	"custody/ingest/syslog":      {"custody/ingest"},
	"custody/ingest/tail":        {"custody/ingest"},
	"custody/ingest/attribution": {"custody/ingest"},
	"custody/index/store":        {"custody/index/seal"},
	"custody/index/search":       {"custody/index/query"},
	"custody/index":              {"custody/index/verify"}, // the ledger supplies the verifier's readers
}

// tools are programs beside the product; they may import anything.
var tools = []string{"custody/appliance/bench", "custody/appliance/scenario"}

func TestFloors(t *testing.T) {
	for pkg, imports := range imports(t) {
		floor, ok := floors[pkg]
		if !ok {
			if !isTool(pkg) {
				t.Errorf("%s stands on no floor of DESIGN.md", pkg)
			}
			continue
		}
		for _, imp := range imports {
			if !strings.HasPrefix(imp, "custody/") {
				if floor == 0 && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
					t.Errorf("%s imports %s; floor 0 has the standard library only", pkg, imp)
				}
				continue
			}
			below, known := floors[imp]
			switch {
			case !known:
				t.Errorf("%s imports %s, which stands on no floor", pkg, imp)
			case below < floor:
			case below == floor && slices.Contains(sameFloor[pkg], imp):
			default:
				t.Errorf("%s (floor %d) imports %s (floor %d)", pkg, floor, imp, below)
			}
		}
	}
}

// The stores stand behind one package each.
func TestStoresHaveOneHome(t *testing.T) {
	homes := map[string]string{
		"go.etcd.io/bbolt":          "custody/index/store",
		"github.com/blevesearch/":   "custody/index/search",
		"github.com/BurntSushi/":    "custody/appliance",
		"github.com/hashicorp/go-s": "custody/appliance/demo",
	}
	for pkg, imports := range imports(t) {
		if isTool(pkg) {
			continue
		}
		for _, imp := range imports {
			for prefix, home := range homes {
				// Bleve keeps its root in a bbolt file, whose errors tell damage from a lock.
				if imp == "go.etcd.io/bbolt/errors" && pkg == "custody/index/search" {
					continue
				}
				if strings.HasPrefix(imp, prefix) && pkg != home {
					t.Errorf("%s imports %s, whose home is %s", pkg, imp, home)
				}
			}
		}
	}
}

// imports lists the direct imports of every package of the module, tests apart.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		sort.Strings(f[1:])
		found[f[0]] = f[1:]
	}
	if len(found["custody/appliance"]) == 0 || len(found) < 5 {
		t.Fatalf("go list found %d packages only", len(found))
	}
	return found
}

func isTool(pkg string) bool {
	for _, tool := range tools {
		if pkg == tool || strings.HasPrefix(pkg, tool+"/") {
			return true
		}
	}
	return false
}
