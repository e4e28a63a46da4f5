package appliance

import (
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/BurntSushi/toml"
)

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 4 << 20

// LoadConfig reads and checks the file; an empty path gives the defaults. A
// refused configuration is a [*ConfigError]; any other error is one of reading.
func LoadConfig(path string) (*Config, error) {
	if path == "" {
		return DefaultConfig(), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("read configuration: %s is larger than %s", path, Size(maxConfig))
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return ParseConfig(path, src)
}

// ParseConfig checks a configuration; file names it in problems. The error is a
// [*ConfigError]. Files that the configuration names are not opened.
func ParseConfig(file string, src []byte) (*Config, error) {
	var tree map[string]any
	if _, err := toml.Decode(string(src), &tree); err != nil {
		p := Problem{File: file, Message: err.Error()}
		if pe, ok := errors.AsType[toml.ParseError](err); ok {
			p.Line, p.Col, p.Message = pe.Position.Line, pe.Position.Col, pe.Message
		}
		return nil, &ConfigError{[]Problem{p}}
	}
	b := &binder{file: file, places: scanPositions(string(src))}
	c := &Config{}
	b.table("", tree, reflect.ValueOf(c).Elem())
	c.fill(func(path string) bool { _, ok := b.places[path]; return ok })
	c.check(b)
	if err := b.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Overrides are the flags of serve that replace what the file says. Empty ones do not.
type Overrides struct {
	Data   string // storage.data
	HTTP   string // http.addr
	Syslog string // host:port; replaces all [[syslog]] listeners by UDP and TCP there
}

// Apply puts the overrides in and checks the result. The error is a [*ConfigError].
func (c *Config) Apply(o Overrides) error {
	b := &binder{file: "command line"}
	if o.Data != "" {
		c.Storage.Data = o.Data
	}
	if o.HTTP != "" {
		c.HTTP.Addr = o.HTTP
	}
	if o.Syslog != "" {
		c.Syslog = defaultListeners(o.Syslog)
		for i := range c.Syslog {
			c.Syslog[i].fill()
		}
	}
	c.check(b)
	return b.err()
}
