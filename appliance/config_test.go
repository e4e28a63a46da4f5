package appliance

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden files")

// Every file of testdata/config is refused, with the problems of the golden file beside it.
func TestRefusedConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.toml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseConfig(filepath.Base(file), src)
			var refused *ConfigError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want a ConfigError", err)
			}
			got := refused.Error() + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestExampleIsValid(t *testing.T) {
	src, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig("config.example.toml", src)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	if c.HTTP != want.HTTP || c.Storage != want.Storage || c.Log != want.Log {
		t.Errorf("the example's [http], [storage] and [log] are not the defaults:\n%+v %+v %+v\n%+v %+v %+v",
			c.HTTP, c.Storage, c.Log, want.HTTP, want.Storage, want.Log)
	}
	// The lines that are off must be known keys too; the two that exclude others may be refused for that.
	on := regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(string(src), "$1")
	_, err = ParseConfig("config.example.toml", []byte(on))
	var refused *ConfigError
	if err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if refused != nil {
		for _, p := range refused.Problems {
			if !strings.Contains(p.Message, "excludes format") && !strings.Contains(p.Message, "only kind regexp") {
				t.Error(p)
			}
		}
	}
}

// Every key of every section stands in the example, on or off.
func TestExampleIsComplete(t *testing.T) {
	src, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	on := regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(string(src), "$1")
	places := scanPositions(on)
	stands := map[string]bool{}
	elem := regexp.MustCompile(`\[\d+\]`)
	for p := range places {
		stands[elem.ReplaceAllString(p, "")] = true
	}
	sections := 0
	for name, index := range tomlFields(reflect.TypeFor[Config]()) {
		section := reflect.TypeFor[Config]().FieldByIndex(index).Type
		if section.Kind() == reflect.Slice {
			section = section.Elem()
		}
		if section.Kind() != reflect.Struct {
			continue
		}
		if name == "relp" {
			continue // the keys of [[syslog]]
		}
		sections++
		for key := range tomlFields(section) {
			if !stands[name+"."+key] {
				t.Errorf("config.example.toml has no %s.%s", name, key)
			}
		}
	}
	if sections < 9 {
		t.Errorf("looked at %d sections only", sections)
	}
}

func TestDefaults(t *testing.T) {
	c, err := ParseConfig("empty.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, DefaultConfig()) {
		t.Errorf("an empty file gives %+v, want %+v", c, DefaultConfig())
	}
	if len(c.Syslog) != 2 || c.Syslog[0].Listen != "127.0.0.1:5514" || c.Syslog[0].Network != "udp" || c.Syslog[1].Network != "tcp" {
		t.Errorf("default listeners are %+v", c.Syslog)
	}
	if c.HTTP.Addr != "127.0.0.1:8484" || c.Storage.Data != "./custody-data" {
		t.Errorf("defaults are %+v %+v", c.HTTP, c.Storage)
	}
	none, err := ParseConfig("none.toml", []byte("syslog = []\n[storage]\nreserve = 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(none.Syslog) != 0 || none.Storage.Reserve != 0 {
		t.Errorf("explicit nothing became %+v, %v", none.Syslog, none.Storage.Reserve)
	}
}

func TestOverrides(t *testing.T) {
	c := DefaultConfig()
	if err := c.Apply(Overrides{Data: "/d", HTTP: "[::1]:1", Syslog: "0.0.0.0:514"}); err != nil {
		t.Fatal(err)
	}
	if c.Storage.Data != "/d" || c.HTTP.Addr != "[::1]:1" || len(c.Syslog) != 2 || c.Syslog[1].Listen != "0.0.0.0:514" || c.Syslog[1].MaxMessage != 64<<10 {
		t.Errorf("got %+v", c)
	}
	if err := DefaultConfig().Apply(Overrides{HTTP: "0.0.0.0:8484"}); err == nil {
		t.Error("plain HTTP off loopback was taken")
	}
}

func TestUnits(t *testing.T) {
	sizes := map[string]Size{"0": 0, "480": 480, "64KiB": 65536, "2GB": 2e9, "1 MiB": 1 << 20, "7B": 7}
	for text, want := range sizes {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("size %q is %d, %v; want %d", text, s, err, want)
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q does not read back: %d, %v", s.String(), again, err)
		}
	}
	for _, text := range []string{"", "-1", "KiB", "1.5GiB", "99999999TiB", "1XB"} {
		var s Size
		if s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("size %q was taken as %d", text, s)
		}
	}
	durations := map[string]Duration{"0": 0, "400d": 400 * day, "1h30m": Duration(90 * time.Minute), "2w": 14 * day, "7y": 7 * 365 * day, "250ms": Duration(250 * time.Millisecond)}
	for text, want := range durations {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d != want {
			t.Errorf("duration %q is %v, %v; want %v", text, d, err, want)
		}
		var again Duration
		if err := again.UnmarshalText([]byte(strings.Replace(d.String(), "0s", "0", 1))); d == 0 && (err != nil || again != d) {
			t.Errorf("%q does not read back: %v, %v", d.String(), again, err)
		}
	}
	for _, text := range []string{"", "5", "d", "-3d", "1.5h", "400 days", "999999y"} {
		var d Duration
		if d.UnmarshalText([]byte(text)) == nil {
			t.Errorf("duration %q was taken as %v", text, d)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	files, _ := filepath.Glob("testdata/config/*.toml")
	for _, file := range append(files, "../config.example.toml") {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src))
	}
	f.Fuzz(func(t *testing.T, src string) {
		c, err := ParseConfig("f", []byte(src))
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", c, err)
		}
		lines := strings.Count(src, "\n") + 1
		if refused, ok := errors.AsType[*ConfigError](err); ok {
			for _, p := range refused.Problems {
				if p.Line > lines {
					t.Fatalf("%v is behind the file's end (%d lines)", p, lines)
				}
			}
		}
	})
}
