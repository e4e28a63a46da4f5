package web

import (
	"context"
	"net"
	"net/http"
	"regexp"
	"strings"

	"custody/index"
	"custody/ingest"
)

// setupPage shows how to send events to the listeners that run here.
type setupPage struct {
	Blocks []setupBlock
	First  firstView
	Empty  bool
	Tails  []string
}

func (setupPage) title() string { return "Set up" }

type setupBlock struct {
	Listener Listener
	Title    string
	Configs  []setupConfig
}

type setupConfig struct{ Name, Where, Text string }

var safeHost = regexp.MustCompile(`^[A-Za-z0-9.:_-]{1,253}$`)

// hostFor is where a sender finds the listener: its address or, when it
// listens on all of them, the name under which this page was found.
func hostFor(listen string, r *http.Request) (host, port string) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen, ""
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		if host, _, err = net.SplitHostPort(r.Host); err != nil {
			host = r.Host
		}
	}
	host = strings.Trim(host, "[]")
	if !safeHost.MatchString(host) {
		host = "CUSTODY-HOST"
	}
	return host, port
}

const queueLines = `
       queue.type="linkedList" queue.filename="custody" queue.maxDiskSpace="1g"
       queue.saveOnShutdown="on" action.resumeRetryCount="-1")`

func setupFor(l Listener, r *http.Request) setupBlock {
	host, port := hostFor(l.Address, r)
	b := setupBlock{Listener: l, Title: l.Transport + " on " + l.Address}
	add := func(name, where, text string) { b.Configs = append(b.Configs, setupConfig{name, where, text}) }
	rsyslog := "/etc/rsyslog.d/60-custody.conf"
	syslogNG := "/etc/syslog-ng/conf.d/custody.conf"
	omfwd := func(proto, more, tail string) string {
		return `action(type="omfwd" target="` + host + `" port="` + port + `" protocol="` + proto + `"` + more + "\n" +
			`       template="RSYSLOG_SyslogProtocol23Format"` + tail
	}
	ng := func(args string) string {
		return "destination d_custody {\n    " + args + "\n};\n# s_src is Debian's name of the local source\nlog { source(s_src); destination(d_custody); };"
	}
	switch l.Transport {
	case ingest.RELP:
		add("rsyslog", rsyslog, "# package rsyslog-relp; acknowledged after fsync: the recommended sender\nmodule(load=\"omrelp\")\n"+
			`action(type="omrelp" target="`+host+`" port="`+port+`" template="RSYSLOG_SyslogProtocol23Format"`+queueLines)
	case ingest.TCP:
		add("rsyslog", rsyslog, omfwd("tcp", ` TCP_Framing="octet-counted"`, queueLines))
		add("syslog-ng", syslogNG, ng(`syslog("`+host+`" transport("tcp") port(`+port+`));`))
		add("one event, by hand", "shell", "logger -n "+host+" -P "+port+" -T --octet-count --rfc5424 'hello from '\"$(hostname)\"")
	case ingest.TLS:
		add("rsyslog", rsyslog, "# package rsyslog-openssl\n"+
			`global(DefaultNetstreamDriverCAFile="/etc/ssl/certs/custody-ca.pem")`+"\n"+
			omfwd("tcp", ` TCP_Framing="octet-counted"`+"\n       StreamDriver=\"ossl\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" StreamDriverPermittedPeers=\""+host+"\"", queueLines))
		add("syslog-ng", syslogNG, ng(`syslog("`+host+`" transport("tls") port(`+port+`) tls(ca-file("/etc/ssl/certs/custody-ca.pem")));`))
	case ingest.UDP:
		add("rsyslog", rsyslog, "# UDP has no back-pressure: what is dropped is counted, sealed and gone\n"+omfwd("udp", "", ")"))
		add("one event, by hand", "shell", "logger -n "+host+" -P "+port+" -d --rfc5424 'hello from '\"$(hostname)\"")
	case ingest.UnixDgram, ingest.UnixStream:
		flag := " -d"
		if l.Transport == ingest.UnixStream {
			flag = ""
		}
		add("one event, by hand", "shell", "logger -u "+l.Address+flag+" 'hello from here'")
	}
	return b
}

const tailTOML = `[[tail]]
name  = "agents"
paths = ["/var/log/agents/*.log", "/var/log/agents/**/*.json"]
# format = "json"   # pins the format; without it the format is detected`

func (s *Server) pageSetup(w http.ResponseWriter, r *http.Request) {
	p := setupPage{First: s.first(r.Context()), Tails: s.opt.Tails}
	p.Empty = !p.First.Done
	for _, l := range s.opt.Listeners {
		p.Blocks = append(p.Blocks, setupFor(l, r))
	}
	p.Blocks = append(p.Blocks, setupBlock{
		Title: "files", Configs: []setupConfig{{"tail", "the configuration of custody", tailTOML}},
	})
	s.page(w, r, http.StatusOK, "setup", p)
}

// firstView is the way of the first event.
type firstView struct {
	Waiting bool
	Done    bool
	Nobody  bool // all is well, but no event names who asked or acted
	Steps   []firstStep
	Row     *rowView
}

type firstStep struct {
	Name, Text string
	Done       bool
}

func (s *Server) fragFirst(w http.ResponseWriter, r *http.Request) {
	s.fragment(w, http.StatusOK, "first", s.first(r.Context()))
}

func (s *Server) first(ctx context.Context) firstView {
	st := s.ledger.Status()
	lines, bad := st.Durable, uint64(0)
	for _, x := range s.ledger.Sources() {
		lines, bad = max(lines, x.Lines), bad+x.Malformed
	}
	v := firstView{Waiting: lines == 0}
	attributed := false
	if lines > 0 {
		page, err := s.ledger.Search(ctx, index.Request{Limit: 20})
		if err != nil {
			s.log.Warn("first events cannot be read", "error", err)
		}
		for _, r := range page.Records {
			row := newRow(r, nil)
			if known := !row.Requester.Missing || !row.Executor.Missing; v.Row == nil || (known && !attributed) {
				v.Row, attributed = &row, attributed || known
			}
		}
	}
	parsed := lines > bad
	v.Steps = []firstStep{
		{"received", groupDigits(lines) + " lines so far", lines > 0},
		{"parsed", "decoded without a defect", parsed},
		{"attributed", "a requester or an executor is named", attributed},
		{"sealed", "under a signed checkpoint", st.Sealed > 0},
		{"searchable", "found by the search", st.Searchable > 0 || v.Row != nil},
	}
	v.Nobody = !attributed
	for _, x := range v.Steps {
		v.Nobody = v.Nobody && (x.Done || x.Name == "attributed")
	}
	v.Done = attributed
	for _, x := range v.Steps {
		v.Done = v.Done && x.Done
	}
	return v
}
