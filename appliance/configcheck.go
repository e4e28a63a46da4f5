package appliance

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"custody/index"
	"custody/ingest/record"
)

// check notes everything that is wrong with the values of c.
func (c *Config) check(b *binder) {
	c.checkHTTP(b)
	c.checkStorage(b)
	c.checkMappings(b)
	sources := map[string]string{}
	for i := range c.Syslog {
		path := fmt.Sprintf("syslog[%d]", i)
		c.Syslog[i].check(b, path, []string{"udp", "tcp", "tls", "unix", "unixgram"})
		c.checkSource(b, path, sources, sourceKeys{
			c.Syslog[i].Name, c.Syslog[i].Format, c.Syslog[i].Mapping, c.Syslog[i].Zone,
			c.Syslog[i].Trusted, c.Syslog[i].AuthoritativeFor,
		})
	}
	for i := range c.RELP {
		path := fmt.Sprintf("relp[%d]", i)
		c.RELP[i].check(b, path, []string{"tcp", "tls"})
		c.checkSource(b, path, sources, sourceKeys{
			c.RELP[i].Name, c.RELP[i].Format, c.RELP[i].Mapping, c.RELP[i].Zone,
			c.RELP[i].Trusted, c.RELP[i].AuthoritativeFor,
		})
	}
	for i := range c.Tail {
		path := fmt.Sprintf("tail[%d]", i)
		c.Tail[i].check(b, path)
		c.checkSource(b, path, sources, sourceKeys{
			c.Tail[i].Name, c.Tail[i].Format, c.Tail[i].Mapping, c.Tail[i].Zone,
			*c.Tail[i].Trusted, c.Tail[i].AuthoritativeFor,
		})
	}
	c.checkPorts(b)
	c.checkPolicies(b)
}

func (c *Config) checkHTTP(b *binder) {
	h := &c.HTTP
	hostPort(b, "http.addr", h.Addr)
	switch {
	case h.TLSCert != "" && h.TLSKey == "":
		b.bad("http.tls_cert", "tls_cert needs tls_key")
	case h.TLSKey != "" && h.TLSCert == "":
		b.bad("http.tls_key", "tls_key needs tls_cert")
	}
	if h.Plain() && !h.AllowPlain && !loopback(h.Addr) {
		b.bad("http.addr", "plain HTTP is refused off loopback, since passwords and tokens would cross the network readable; "+
			"set tls_cert and tls_key, or allow_plain = true behind a proxy that ends TLS")
	}
}

// Plain reports whether pages are served without TLS.
func (h *HTTP) Plain() bool { return h.TLSCert == "" }

func (c *Config) checkStorage(b *binder) {
	s := &c.Storage
	between(b, "storage.segment_rows", int64(s.SegmentRows), 1000, 100_000_000)
	sizeBetween(b, "storage.queue_bytes", s.QueueBytes, 1<<20, 1<<33)
	l := &c.Log
	if strings.ContainsAny(l.Origin, "+ \t\r\n") || strings.ContainsFunc(l.Origin, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		b.bad("log.origin", "an origin has no space, plus sign or control character; write something like \"log.example.com/custody\"")
	}
	if len(l.Origin) > 255 {
		b.bad("log.origin", "longer than 255 bytes")
	}
	durationBetween(b, "log.checkpoint_interval", l.CheckpointInterval, Duration(20*time.Millisecond), second)
	durationBetween(b, "log.heartbeat", l.Heartbeat, second, day)
	durationBetween(b, "link.window", c.Link.Window, second, 7*day)
	durationBetween(b, "link.skew", c.Link.Skew, second/1000, day)
	sizeBetween(b, "link.memory", c.Link.Memory, 1<<20, 64<<30)
	sizeBetween(b, "link.credential_memory", c.Link.CredentialMemory, 1<<20, 64<<30)
	if c.Link.MaxCredentialTTL < 0 {
		b.bad("link.max_credential_ttl", "must not be negative")
	}
	if c.Link.ApprovalSteps < 1 {
		b.bad("link.approval_steps", "must be at least 1, got %d", c.Link.ApprovalSteps)
	}
}

func (s *Syslog) check(b *binder, path string, networks []string) {
	if !slices.Contains(networks, s.Network) {
		oneOf(b, path+".network", s.Network, networks)
		return
	}
	switch {
	case s.Listen == "":
		b.bad(path+".listen", "missing; the address or socket path to listen on")
	case strings.HasPrefix(s.Network, "unix"):
		if len(s.Listen) > 107 {
			b.bad(path+".listen", "a socket path has at most 107 bytes")
		}
	default:
		hostPort(b, path+".listen", s.Listen)
	}
	if s.Network == "tls" {
		if s.TLSCert == "" || s.TLSKey == "" {
			b.bad(path, "network \"tls\" needs tls_cert and tls_key")
		}
	} else {
		for key, v := range map[string]string{"tls_cert": s.TLSCert, "tls_key": s.TLSKey, "client_ca": s.ClientCA} {
			if v != "" {
				b.bad(path+"."+key, "only for network \"tls\"; this listener has %q", s.Network)
			}
		}
	}
	sizeBetween(b, path+".max_message", s.MaxMessage, 480, 16<<20)
	between(b, path+".max_connections", int64(s.MaxConnections), 1, 10_000)
	durationBetween(b, path+".idle_timeout", s.IdleTimeout, 0, 365*day)
	if s.Trusted && s.Network == "tls" && s.ClientCA == "" {
		b.bad(path+".trusted", "over TLS a sender is authenticated by its certificate only: set client_ca")
	}
}

func (t *Tail) check(b *binder, path string) {
	if len(t.Paths) == 0 {
		b.bad(path+".paths", "missing; the files to follow")
	}
	for _, list := range []struct {
		key   string
		globs []string
	}{{"paths", t.Paths}, {"exclude", t.Exclude}} {
		for i, g := range list.globs {
			at := fmt.Sprintf("%s.%s[%d]", path, list.key, i)
			if g == "" {
				b.bad(at, "empty pattern")
			} else if _, err := filepath.Match(g, ""); err != nil {
				b.bad(at, "broken pattern %q", g)
			}
		}
	}
	sizeBetween(b, path+".max_line", t.MaxLine, 480, 16<<20)
	if t.MultilineStart != "" {
		if _, err := regexp.Compile(t.MultilineStart); err != nil {
			b.bad(path+".multiline_start", "%v", err)
		}
	}
	durationBetween(b, path+".multiline_timeout", t.MultilineTimeout, Duration(10*time.Millisecond), 600*second)
	between(b, path+".multiline_max", int64(t.MultilineMax), 2, 100_000)
	durationBetween(b, path+".grace", t.Grace, Duration(100*time.Millisecond), day)
	durationBetween(b, path+".poll", t.Poll, Duration(10*time.Millisecond), 600*second)
}

// sourceKeys are the keys that all kinds of sources share.
type sourceKeys struct {
	name, format, mapping, zone string
	trusted                     bool
	authoritativeFor            []string
}

func (c *Config) checkSource(b *binder, path string, seen map[string]string, s sourceKeys) {
	switch other, dup := seen[s.name]; {
	case s.name == "":
		b.bad(path+".name", "missing; records carry it as source.name")
	case strings.ContainsFunc(s.name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		b.bad(path+".name", "has a control character")
	case dup:
		b.bad(path+".name", "%q is already the name of %s", s.name, other)
	default:
		seen[s.name] = path
	}
	if s.zone != "" {
		if _, err := zone(s.zone); err != nil {
			b.bad(path+".zone", "unknown time zone %q; want an IANA name such as \"Europe/Berlin\"", s.zone)
		}
	}
	if s.format != "" && s.mapping != "" {
		b.bad(path+".mapping", "excludes format")
	}
	c.checkFormat(b, path, s)
	if len(s.authoritativeFor) > 0 && (!s.trusted || s.format == "" && s.mapping == "") {
		b.bad(path+".authoritative_for", "has no effect: it needs trusted = true and a pinned format or mapping, "+
			"or whoever can send a line could name anybody")
	}
}

// zone finds an IANA time zone; "" is UTC. The machine's own zone is not taken,
// since the meaning of a time must not depend on where custody runs.
func zone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("unknown time zone %s", name)
	}
	return time.LoadLocation(name)
}

// checkPorts finds two listeners on one address.
func (c *Config) checkPorts(b *binder) {
	seen := map[string]string{}
	claim := func(path, network, addr string) {
		if _, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
			return // the system picks one
		}
		switch network {
		case "tls":
			network = "tcp"
		case "unixgram":
			network = "unix"
		}
		key := network + " " + addr
		if other, dup := seen[key]; dup {
			b.bad(path, "%s already listens on %s", other, addr)
			return
		}
		seen[key] = path
	}
	claim("http.addr", "tcp", c.HTTP.Addr)
	for i, s := range c.Syslog {
		claim(fmt.Sprintf("syslog[%d].listen", i), s.Network, s.Listen)
	}
	for i, s := range c.RELP {
		claim(fmt.Sprintf("relp[%d].listen", i), s.Network, s.Listen)
	}
}

func (c *Config) checkPolicies(b *binder) {
	names := map[string]string{}
	rule := func(path, section, name, match string) {
		if name == "" {
			b.bad(path+".name", "missing; records and certificates name the rule by it")
		} else if other, dup := names[section+" "+name]; dup {
			b.bad(path+".name", "%q is already the name of %s", name, other)
		}
		names[section+" "+name] = path
		if match == "" {
			b.bad(path+".match", "missing; write \"*\" to match every record")
		} else if msg := checkMatch(match); msg != "" {
			b.bad(path+".match", "%s", msg)
		}
	}
	for i, r := range c.Risk {
		path := fmt.Sprintf("risk[%d]", i)
		rule(path, "risk", r.Name, r.Match)
		oneOf(b, path+".level", r.Level, []string{"low", "medium", "high", "critical"})
	}
	for i, r := range c.Capture {
		path := fmt.Sprintf("capture[%d]", i)
		rule(path, "capture", r.Name, r.Match)
		oneOf(b, path+".mode", r.Mode, []string{"full", "metadata", "summary"})
	}
	for i, r := range c.Retention {
		path := fmt.Sprintf("retention[%d]", i)
		rule(path, "retention", r.Name, r.Match)
		if r.Keep < day {
			b.bad(path+".keep", "missing or shorter than a day")
		}
	}
	for i, r := range c.Redaction {
		path := fmt.Sprintf("redaction[%d]", i)
		rule(path, "redaction", r.Name, r.Match)
		r.check(b, path)
	}
}

func (r *Redaction) check(b *binder, path string) {
	oneOf(b, path+".mode", r.Mode, []string{"mask", "escrow", "shred"})
	if r.Mode == "mask" || r.Mode == "escrow" {
		// Taken for shred they would destroy what they are meant to keep.
		b.bad(path+".mode", "%q is not available in this version; shred is", r.Mode)
	}
	if len(r.Fields) == 0 {
		b.bad(path+".fields", "missing; the fields to redact")
	}
	for i, f := range r.Fields {
		at := fmt.Sprintf("%s.fields[%d]", path, i)
		p, ok := record.Lookup(f)
		switch {
		case !ok:
			if s := record.Suggest(f); s != "" {
				b.bad(at, "there is no field %q; did you mean %q?", f, s)
			} else {
				b.bad(at, "there is no field %q", f)
			}
		case p.Sub != "":
			b.bad(at, "%s is a part of a field; name the whole field %s", f, p.Field)
		case !index.Redactable(p.Field):
			b.bad(at, "the proof stands on %s: it is never redacted", f)
		}
	}
	if r.Basis == "" {
		b.bad(path+".basis", "missing; the legal basis, which is sealed with each redaction")
	}
}

func hostPort(b *binder, path, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		b.bad(path, "want host:port, got %q", addr)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		b.bad(path, "want a port from 0 to 65535, got %q", port)
	}
	if strings.ContainsAny(host, " /") {
		b.bad(path, "want a host name or address, got %q", host)
	}
}

// loopback reports whether an address is reachable from this host only. A name
// other than localhost may resolve to anything, so it counts as not.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return true // reported as a broken address
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func oneOf(b *binder, path, v string, allowed []string) {
	if slices.Contains(allowed, v) {
		return
	}
	list := strings.Join(allowed, ", ")
	switch s := nearest(v, slices.Clone(allowed)); {
	case v == "":
		b.bad(path, "missing; one of %s", list)
	case s != "":
		b.bad(path, "want one of %s, got %q; did you mean %q?", list, v, s)
	default:
		b.bad(path, "want one of %s, got %q", list, v)
	}
}

func between(b *binder, path string, v, low, high int64) {
	if v < low || v > high {
		b.bad(path, "want %d to %d, got %d", low, high, v)
	}
}

func sizeBetween(b *binder, path string, v, low, high Size) {
	if v < low || v > high {
		b.bad(path, "want %s to %s, got %s", low, high, v)
	}
}

func durationBetween(b *binder, path string, v, low, high Duration) {
	if v < low || v > high {
		b.bad(path, "want %s to %s, got %s", low, high, v)
	}
}
