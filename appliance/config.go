// Package appliance composes custody: it reads the configuration, opens the
// ledger, starts receivers, pages and the administration socket around it, and
// stops them in the order that loses nothing.
//
// It guarantees that a configuration is either taken as a whole or refused with
// every problem named by file, line and column; that nothing listens before the
// ledger is open; and that on the way down receivers end first, what they handed
// over is made durable and sealed, and only then the store closes.
package appliance

import "custody/ingest/attribution"

// Config is the whole configuration. The TOML names, defaults and meanings of
// all keys are in config.example.toml, which a test keeps complete.
type Config struct {
	HTTP      HTTP                  `toml:"http"`
	Storage   Storage               `toml:"storage"`
	Log       Log                   `toml:"log"`
	Link      Link                  `toml:"link"`
	Syslog    []Syslog              `toml:"syslog"`
	RELP      []Syslog              `toml:"relp"`
	Tail      []Tail                `toml:"tail"`
	Mapping   []attribution.Mapping `toml:"mapping"`
	Risk      []Risk                `toml:"risk"`
	Capture   []Capture             `toml:"capture"`
	Retention []Retention           `toml:"retention"`
	Redaction []Redaction           `toml:"redaction"`
}

// HTTP is where pages and API are served.
type HTTP struct {
	Addr       string `toml:"addr"`        // host:port; default 127.0.0.1:8484
	TLSCert    string `toml:"tls_cert"`    // PEM file; with tls_key turns TLS on
	TLSKey     string `toml:"tls_key"`     // PEM file
	AllowPlain bool   `toml:"allow_plain"` // permits HTTP without TLS off loopback
}

// Storage is where and how records are kept.
type Storage struct {
	Data        string `toml:"data"`         // folder; default ./custody-data
	SegmentRows int    `toml:"segment_rows"` // rows after which a segment is closed; default 1,000,000
	Reserve     Size   `toml:"reserve"`      // kept free for seals, expiry and administration; default 256MiB
	QueueBytes  Size   `toml:"queue_bytes"`  // received but not yet durable, after which receivers wait; default 64MiB
}

// Log is the sealed log.
type Log struct {
	Origin             string   `toml:"origin"`              // name of the log, fixed at its creation; default custody/ and 8 random hex digits
	CheckpointInterval Duration `toml:"checkpoint_interval"` // at most this long from durable to sealed; default 250ms
	Heartbeat          Duration `toml:"heartbeat"`           // a heartbeat is sealed after this long without events; default 60s
}

// Link is how records are tied into request chains.
type Link struct {
	Enabled              *bool    `toml:"enabled"`                // default true
	Window               Duration `toml:"window"`                 // how long a record waits for what it belongs to; default 15m
	Memory               Size     `toml:"memory"`                 // for the identifiers of the window; default 64MiB
	CredentialMemory     Size     `toml:"credential_memory"`      // for the lives of credentials; default 64MiB
	Skew                 Duration `toml:"skew"`                   // how far the clocks of two sources may be apart; default 2m
	MaxCredentialTTL     Duration `toml:"max_credential_ttl"`     // longer lives are a finding; default any
	SharedAccounts       []string `toml:"shared_accounts"`        // local accounts that several people use
	HandoffsNeedApproval bool     `toml:"handoffs_need_approval"` // a hand-off between agents without one is a finding
	ApprovalSteps        int      `toml:"approval_steps"`         // changes that one approval may cover; default 20
}

// Syslog is one listener of [[syslog]] or [[relp]]. RELP listeners take the
// networks tcp (default) and tls only.
type Syslog struct {
	Name             string   `toml:"name"`              // source.name of its records; unique over all sources
	Network          string   `toml:"network"`           // udp, tcp, tls, unix or unixgram; default tcp
	Listen           string   `toml:"listen"`            // host:port, or a socket's path
	Tenant           string   `toml:"tenant"`            // default the one tenant without a name
	Format           string   `toml:"format"`            // pins the format; default detect
	Mapping          string   `toml:"mapping"`           // name of the [[mapping]] to use; default those that match
	Product          string   `toml:"product"`           // source.product; default the decoder's
	Zone             string   `toml:"zone"`              // IANA zone of times without one; default UTC
	MaxMessage       Size     `toml:"max_message"`       // longer messages are cut and marked; default 64KiB
	Trusted          bool     `toml:"trusted"`           // the transport authenticates its sender
	AuthoritativeFor []string `toml:"authoritative_for"` // issuers whose principals this source proves
	TLSCert          string   `toml:"tls_cert"`          // PEM file, network tls
	TLSKey           string   `toml:"tls_key"`           // PEM file, network tls
	ClientCA         string   `toml:"client_ca"`         // PEM file; senders must show a certificate it signed
	MaxConnections   int      `toml:"max_connections"`   // further ones are closed; default 2048
	IdleTimeout      Duration `toml:"idle_timeout"`      // connections silent for so long are closed; default never
	SocketMode       Mode     `toml:"socket_mode"`       // permissions of a unix socket; default 0660
}

// Tail is a set of followed files.
type Tail struct {
	Name             string   `toml:"name"`              // source.name of its records; unique over all sources
	Paths            []string `toml:"paths"`             // globs
	Exclude          []string `toml:"exclude"`           // globs taken out again
	Tenant           string   `toml:"tenant"`            // default the one tenant without a name
	Format           string   `toml:"format"`            // pins the format; default detect
	Mapping          string   `toml:"mapping"`           // name of the [[mapping]] to use; default those that match
	Product          string   `toml:"product"`           // source.product; default the decoder's
	Syslog           bool     `toml:"syslog"`            // lines carry a syslog header, as /var/log/syslog does
	Zone             string   `toml:"zone"`              // IANA zone of times without one; default UTC
	MaxLine          Size     `toml:"max_line"`          // longer lines are cut and marked; default 64KiB
	MultilineStart   string   `toml:"multiline_start"`   // RE2 pattern of an event's first line; default every line
	MultilineTimeout Duration `toml:"multiline_timeout"` // an event is complete after this silence; default 1s
	MultilineMax     int      `toml:"multiline_max"`     // lines after which an event ends; default 1000
	FromStart        *bool    `toml:"from_start"`        // read files found at first start from their start; default true
	Gzip             *bool    `toml:"gzip"`              // read files ending in .gz, once; default true
	Grace            Duration `toml:"grace"`             // a rotated or removed file is read on for so long; default 5s
	Trusted          *bool    `toml:"trusted"`           // only trusted writers can append; default true
	AuthoritativeFor []string `toml:"authoritative_for"` // issuers whose principals this source proves
	Poll             Duration `toml:"poll"`              // looks for changes this often where the kernel does not tell; default 1s
}

// Risk gives matching records a risk level; the first rule that matches wins.
type Risk struct {
	Name  string `toml:"name"`
	Match string `toml:"match"` // query
	Level string `toml:"level"` // low, medium, high or critical
}

// Capture says how much of matching records is kept; the first rule that matches wins.
type Capture struct {
	Name  string `toml:"name"`
	Match string `toml:"match"` // query
	Mode  string `toml:"mode"`  // full, metadata or summary
}

// Retention is a retention class; the first rule that matches wins.
type Retention struct {
	Name  string   `toml:"name"`
	Match string   `toml:"match"` // query
	Keep  Duration `toml:"keep"`  // how long after it was received a record is kept, at least 1d
}

// Redaction is an automatic redaction rule.
type Redaction struct {
	Name   string   `toml:"name"`
	Match  string   `toml:"match"`  // query
	Fields []string `toml:"fields"` // dotted names of the record
	Mode   string   `toml:"mode"`   // mask, escrow or shred
	After  Duration `toml:"after"`  // age at which it applies; default at once
	Basis  string   `toml:"basis"`  // legal basis, sealed with every redaction
}

// Defaults that several places state.
const (
	defaultData       = "./custody-data"
	defaultHTTP       = "127.0.0.1:8484"
	defaultSyslog     = "127.0.0.1:5514"
	defaultMaxMessage = 64 << 10
	defaultMaxConns   = 2048
)

// DefaultConfig is what custody runs on without a file. Every call returns a fresh value.
func DefaultConfig() *Config {
	c := &Config{}
	c.fill(nil)
	return c
}

// defaultListeners are the listeners of a configuration that has no syslog key.
func defaultListeners(addr string) []Syslog {
	return []Syslog{
		{Name: "syslog-udp", Network: "udp", Listen: addr},
		{Name: "syslog-tcp", Network: "tcp", Listen: addr},
	}
}

// fill replaces what the file left open. has tells whether a path of the source was set.
func (c *Config) fill(has func(path string) bool) {
	def(&c.HTTP.Addr, defaultHTTP)
	def(&c.Storage.Data, defaultData)
	def(&c.Storage.SegmentRows, 1_000_000)
	if has == nil || !has("storage.reserve") {
		c.Storage.Reserve = 256 << 20
	}
	def(&c.Storage.QueueBytes, 64<<20)
	def(&c.Log.CheckpointInterval, second/4)
	def(&c.Log.Heartbeat, 60*second)
	if c.Link.Enabled == nil {
		yes := true
		c.Link.Enabled = &yes
	}
	def(&c.Link.Window, 900*second)
	def(&c.Link.Memory, 64<<20)
	def(&c.Link.CredentialMemory, 64<<20)
	def(&c.Link.Skew, 120*second)
	def(&c.Link.ApprovalSteps, 20)
	if has == nil || !has("syslog") {
		c.Syslog = defaultListeners(defaultSyslog)
	}
	for i := range c.Syslog {
		c.Syslog[i].fill()
	}
	for i := range c.RELP {
		c.RELP[i].fill()
	}
	for i := range c.Tail {
		t := &c.Tail[i]
		def(&t.MaxLine, defaultMaxMessage)
		def(&t.MultilineTimeout, second)
		def(&t.Poll, second)
		def(&t.MultilineMax, 1000)
		def(&t.Grace, 5*second)
		for _, p := range []**bool{&t.Trusted, &t.FromStart, &t.Gzip} {
			if *p == nil {
				yes := true
				*p = &yes
			}
		}
	}
}

func (s *Syslog) fill() {
	def(&s.Network, "tcp")
	def(&s.MaxMessage, defaultMaxMessage)
	def(&s.MaxConnections, defaultMaxConns)
	def(&s.SocketMode, 0o660)
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
