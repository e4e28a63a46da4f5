package appliance

import (
	"fmt"
	"slices"
	"time"

	"custody/ingest"
	"custody/ingest/attribution"
)

// Registry returns the formats and mappings of the configuration.
func (c *Config) Registry(clock func() time.Time) (*attribution.Registry, error) {
	return attribution.New(attribution.Options{Mappings: c.Mapping, Clock: clock})
}

// Files lists the files that the configuration names and serve will open.
func (c *Config) Files() []string {
	files := []string{c.HTTP.TLSCert, c.HTTP.TLSKey}
	for _, list := range [][]Syslog{c.Syslog, c.RELP} {
		for i := range list {
			files = append(files, list[i].TLSCert, list[i].TLSKey, list[i].ClientCA)
		}
	}
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}

// Source returns the settings of the named source, a listener or a tail.
func (c *Config) Source(name string) (*ingest.Source, error) {
	var names []string
	for i := range c.Syslog {
		if c.Syslog[i].Name == name {
			return c.Syslog[i].source(syslogTransports[c.Syslog[i].Network])
		}
		names = append(names, c.Syslog[i].Name)
	}
	for i := range c.RELP {
		if c.RELP[i].Name == name {
			return c.RELP[i].source(ingest.RELP)
		}
		names = append(names, c.RELP[i].Name)
	}
	for i := range c.Tail {
		if c.Tail[i].Name == name {
			return c.Tail[i].source()
		}
		names = append(names, c.Tail[i].Name)
	}
	if s := nearest(name, names); s != "" {
		return nil, fmt.Errorf("there is no source %q; did you mean %q?", name, s)
	}
	return nil, fmt.Errorf("there is no source %q", name)
}

var syslogTransports = map[string]string{
	"udp": ingest.UDP, "tcp": ingest.TCP, "tls": ingest.TLS, "unix": ingest.UnixStream, "unixgram": ingest.UnixDgram,
}

func (s *Syslog) source(transport string) (*ingest.Source, error) {
	loc, err := zone(s.Zone)
	if err != nil {
		return nil, err
	}
	return &ingest.Source{
		Name: s.Name, Tenant: s.Tenant, Transport: transport, Format: s.Format, Mapping: s.Mapping, Product: s.Product,
		Syslog: true, Zone: loc, Trusted: s.Trusted, AuthoritativeFor: s.AuthoritativeFor,
	}, nil
}

func (t *Tail) source() (*ingest.Source, error) {
	loc, err := zone(t.Zone)
	if err != nil {
		return nil, err
	}
	return &ingest.Source{
		Name: t.Name, Tenant: t.Tenant, Transport: ingest.File, Format: t.Format, Mapping: t.Mapping, Product: t.Product,
		Syslog: t.Syslog, Zone: loc, Trusted: *t.Trusted, AuthoritativeFor: t.AuthoritativeFor,
	}, nil
}

// Pins are settings that a command gives a source. Empty ones leave it as it is.
type Pins struct{ Format, Mapping, Tenant, Product, Zone string }

// Pin checks the settings and puts them into src. What a command pins was not
// configured as a proof of anybody, so the source's trust is dropped with it.
func (c *Config) Pin(src *ingest.Source, p Pins) error {
	b := &binder{}
	c.checkSource(b, "source", map[string]string{}, sourceKeys{name: src.Name, format: p.Format, mapping: p.Mapping, zone: p.Zone})
	if len(b.problems) > 0 {
		return fmt.Errorf("%s", b.problems[0].Message)
	}
	if p.Format != "" || p.Mapping != "" {
		src.Format, src.Mapping = p.Format, p.Mapping
		src.Trusted, src.AuthoritativeFor = false, nil
	}
	if p.Zone != "" {
		loc, err := zone(p.Zone)
		if err != nil {
			return err
		}
		src.Zone = loc
	}
	if p.Tenant != "" {
		src.Tenant = p.Tenant
	}
	if p.Product != "" {
		src.Product = p.Product
	}
	return nil
}
