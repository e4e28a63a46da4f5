package appliance

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"custody/index/query"
	"custody/ingest/attribution"
)

// checkMatch says what is wrong with the match of a policy, "" when it is sound.
func checkMatch(match string) string {
	_, err := query.Parse(match)
	if err == nil {
		return ""
	}
	var e *query.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return e.Error()
}

// checkMappings tries each mapping alone, so that each problem has its place.
func (c *Config) checkMappings(b *binder) {
	names := map[string]int{}
	for i := range c.Mapping {
		path := fmt.Sprintf("mapping[%d]", i)
		if first, dup := names[c.Mapping[i].Name]; dup {
			b.bad(path+".name", "%q is already the name of mapping[%d]", c.Mapping[i].Name, first)
			continue
		}
		names[c.Mapping[i].Name] = i
		if _, err := attribution.New(attribution.Options{Mappings: c.Mapping[i : i+1]}); err != nil {
			msg := strings.TrimPrefix(err.Error(), fmt.Sprintf("mapping %q: ", c.Mapping[i].Name))
			if key, rest, ok := strings.Cut(msg, ": "); ok {
				if _, stands := b.places[path+"."+key]; stands {
					path, msg = path+"."+key, rest
				}
			}
			b.bad(path, "%s", msg)
		}
	}
}

// checkFormat checks what a source pins.
func (c *Config) checkFormat(b *binder, path string, s sourceKeys) {
	if s.mapping != "" {
		var names []string
		for i := range c.Mapping {
			names = append(names, c.Mapping[i].Name)
		}
		if len(names) == 0 {
			b.bad(path+".mapping", "there is no [[mapping]]")
		} else if !slices.Contains(names, s.mapping) {
			oneOf(b, path+".mapping", s.mapping, names)
		}
	}
	if s.format == "" {
		return
	}
	builtin, err := attribution.New(attribution.Options{})
	if err != nil {
		b.bad(path+".format", "%v", err)
		return
	}
	if !slices.Contains(builtin.Formats(), s.format) {
		oneOf(b, path+".format", s.format, builtin.Formats())
	}
}
