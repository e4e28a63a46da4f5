package chain

import (
	"hash/maphash"
	"slices"
	"strings"

	"custody/ingest/record"
)

// hosts knows the privileged sessions on each host, open and lately closed, and
// what happened there lately that no session explains yet.
type hosts struct {
	sessions map[uint64][]*interval // by host
	byID     map[uint64]*interval   // by session id
	recent   map[uint64][]hostEvent // by host and account
	events   int
}

// interval is one privileged session: who was on which host, under which account.
type interval struct {
	who     *who
	seq     uint64 // of the record that opened it
	account string
	address string
	tenant  string
	keys    []uint64 // of the hosts
	from    int64
	to      int64 // 0 while it is open
	endSeq  uint64
	inside  int
	told    bool // session_wrapper_only was stated, or can't be any more
	c       *chain
}

type hostEvent struct {
	seq  uint64
	time int64
	who  *who // as which it was attributed, nil when nobody was
	via  uint64
}

// Bounds of what is remembered of hosts.
const (
	maxSessions    = 1 << 14
	maxRecent      = 256
	maxHostEvents  = 1 << 17
	longestSession = 24 * int64(3600e9)
)

func (h *hosts) init() {
	h.sessions, h.byID, h.recent = make(map[uint64][]*interval), make(map[uint64]*interval), make(map[uint64][]hostEvent)
}

// hostFormats are the formats whose records tell what happened on the host in
// their header, under a local account.
func onHost(r *record.Record) bool {
	switch r.Get(record.SourceFormat) {
	case "auditd", "sshd", "sudo":
		return true
	}
	return false
}

// hostNames are the forms under which a host is known: as written, and its first label.
func hostNames(names ...string) []string {
	var out []string
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if n == "" {
			continue
		}
		out = append(out, n)
		if label, _, ok := strings.Cut(n, "."); ok && strings.IndexFunc(label, func(c rune) bool { return c < '0' || c > '9' }) >= 0 {
			out = append(out, label)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// meet opens and closes sessions.
func (h *hosts) meet(l *Linker, m *member) {
	r := m.r
	state := m.session
	if state == "" || r.Get(record.OutcomeStatus) == record.Denied || r.Get(record.OutcomeStatus) == record.Failure {
		return
	}
	id := r.Get(record.ChainSessionID)
	var key uint64
	if !empty(id) {
		d := m.weak
		if unique(id) {
			d = m.all
		}
		key = l.key(spaceSession, d, id)
	}
	switch state {
	case "start":
		if r.Get(record.TargetType) != "host" || onHost(r) {
			return // the host's own word of a login is an event inside
		}
		w := m.own
		if w == nil {
			return
		}
		if i := h.byID[key]; key != 0 && i != nil {
			if i.who == nil {
				i.who = w
			}
			return
		}
		if len(h.sessions) >= maxSessions {
			h.prune(l.now)
		}
		i := &interval{
			who: w, seq: r.Seq, account: strings.Clone(r.Get(record.ExecutorLocalAccount)), address: strings.Clone(r.Get(record.SourceAddress)),
			tenant: strings.Clone(r.Get(record.ContextTenant)), from: r.Time, c: m.chain(l),
		}
		for _, n := range hostNames(r.Get(record.TargetID), r.Get(record.TargetName)) {
			k := l.key(spaceHost, m.all, n)
			i.keys = append(i.keys, k)
			h.sessions[k] = append(h.sessions[k], i)
		}
		if key != 0 {
			h.byID[key] = i
		}
		h.late(l, i)
	case "end":
		i := h.byID[key]
		if key == 0 {
			i = h.open(l, m)
		}
		if i != nil && i.to == 0 {
			i.to, i.endSeq = max(r.Time, i.from), r.Seq
			// A session outlives the window, and its end belongs to its beginning.
			m.c = join(m.chain(l), i.c)
			m.to, m.rel, m.method, m.linked = i.seq, RespondsTo, Identifier, true
			h.ended(l, i)
			l.expectAt(l.now, check{kind: checkWrapper, at: i})
		}
	}
}

// open is the newest open session of the same person on the same host and
// account, for products that do not number their sessions.
func (h *hosts) open(l *Linker, m *member) (found *interval) {
	if m.own == nil {
		return nil
	}
	account := m.r.Get(record.ExecutorLocalAccount)
	for _, n := range hostNames(m.r.Get(record.TargetID), m.r.Get(record.TargetName)) {
		for _, i := range h.sessions[l.key(spaceHost, m.all, n)] {
			if i.to == 0 && i.account == account && surely(i.who, m.own) && (found == nil || i.from > found.from) {
				found = i
			}
		}
	}
	return found
}

// prune forgets sessions that ended long ago or are older than a day.
func (h *hosts) prune(now int64) {
	gone := func(i *interval) bool {
		return i.to != 0 && now-i.to > longestSession/4 || now-i.from > longestSession
	}
	for k, list := range h.sessions {
		if list = slices.DeleteFunc(list, gone); len(list) == 0 {
			delete(h.sessions, k)
		} else {
			h.sessions[k] = list
		}
	}
	for k, i := range h.byID {
		if gone(i) {
			delete(h.byID, k)
		}
	}
	if len(h.sessions) >= maxSessions { // a flood of them: all but the newest minute goes
		for k, list := range h.sessions {
			if list[len(list)-1].from < now-60e9 {
				delete(h.sessions, k)
			}
		}
	}
}

// accounts are the local accounts that the record may have acted under.
func accounts(r *record.Record) []string {
	var out []string
	put := func(v string) {
		if v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	if r.Get(record.RequesterIDKind) == "local_account" {
		put(r.Get(record.RequesterID))
	}
	put(r.Get(record.ExecutorLocalAccount))
	if k := r.Get(record.ExecutorIDKind); k == "local_account" || k == "" {
		put(r.Get(record.ExecutorID))
	}
	return out
}

// within reports the sessions that explain an event at the time under one of the accounts.
func (h *hosts) within(l *Linker, m *member, names []string) []*interval {
	slack := int64(l.opts.Skew)
	var hit []*interval
	for _, n := range hostNames(m.r.Get(record.SourceHost)) {
		for _, i := range h.sessions[l.key(spaceHost, m.all, n)] {
			if m.r.Time < i.from-slack || i.to != 0 && m.r.Time > i.to+slack || m.r.Time > i.from+longestSession {
				continue
			}
			if i.account != "" && !slices.Contains(names, i.account) {
				continue
			}
			if !slices.Contains(hit, i) {
				hit = append(hit, i)
			}
		}
	}
	// Slack brings in neighbours, which cast doubt and explain nothing: at least
	// one session must enclose the event.
	for _, i := range hit {
		if m.r.Time >= i.from && (i.to == 0 || m.r.Time <= i.to) {
			return hit
		}
	}
	return nil
}

// tie finds the session in which something happened on a host.
func (h *hosts) tie(l *Linker, m *member, e *evidence) {
	r := m.r
	if !onHost(r) || r.Get(record.SourceHost) == "" {
		return
	}
	names := accounts(r)
	if len(names) == 0 {
		return
	}
	local := m.stated && r.Get(record.RequesterIDKind) == "local_account"
	if m.stated && !local {
		return // it names somebody by more than an account
	}
	hit := h.within(l, m, names)
	if len(hit) == 0 {
		h.remember(l, m, names, nil)
		if local && slices.Contains(l.opts.SharedAccounts, r.Get(record.RequesterID)) {
			r.AddFinding(record.SharedAccount)
			explain(r, record.SharedAccount, "the account is listed as shared")
		}
		return
	}
	if a := r.Get(record.SourceAddress); a != "" && len(hit) > 1 {
		if by := slices.DeleteFunc(slices.Clone(hit), func(i *interval) bool { return i.address != a }); len(by) > 0 {
			hit = by
		}
	}
	// The account is not who asked: whoever held the session is.
	if local || m.own != nil {
		e.open = true
		if !r.Has(record.ExecutorLocalAccount) {
			r.Set(record.ExecutorLocalAccount, names[0], "")
		}
		if local {
			for _, f := range [...]record.Field{record.RequesterID, record.RequesterType, record.RequesterIDKind, record.RequesterName, record.RequesterIssuer, record.RequesterAssurance} {
				r.Unset(f)
			}
			r.RemoveFinding(record.RequesterAsserted)
			m.stated = false
		}
	}
	for _, i := range hit {
		i.inside++
	}
	if len(hit) > 1 {
		for _, i := range hit {
			m.rivals = append(m.rivals, supply{i.who, i.seq})
			e.add(i.who, i.seq, true)
		}
		if _, rivals := e.verdict(); rivals == nil {
			m.rivals = nil
		} else {
			return
		}
	}
	i := hit[len(hit)-1]
	h.remember(l, m, names, i)
	e.add(i.who, i.seq, true)
	e.link(r, record.Link{To: i.seq, Relation: CalledBy, Method: TimeWindow})
	m.at = i
	m.c = join(m.chain(l), i.c)
}

// remember keeps what happened on a host for sessions that are told late: they
// explain what nothing explained, or cast doubt on what another session did.
func (h *hosts) remember(l *Linker, m *member, names []string, by *interval) {
	if h.events >= maxHostEvents {
		h.recent, h.events = make(map[uint64][]hostEvent), 0
		l.pending.dropped++
	}
	x := hostEvent{seq: m.r.Seq, time: m.r.Time}
	if by != nil {
		x.who, x.via = by.who, by.seq
	}
	for _, host := range hostNames(m.r.Get(record.SourceHost)) {
		for _, name := range names {
			k := l.accountKey(l.key(spaceHost, m.all, host), name)
			list := h.recent[k]
			if len(list) >= maxRecent {
				list = slices.Delete(list, 0, maxRecent/2)
				h.events -= maxRecent / 2
			}
			h.recent[k] = append(list, x)
			h.events++
		}
	}
}

func (l *Linker) accountKey(host uint64, account string) uint64 {
	return mix(host ^ maphash.String(l.seed, account))
}

// ended takes back what was attributed to a session whose end is told late, of
// what happened after it.
func (h *hosts) ended(l *Linker, i *interval) {
	var after []uint64
	for _, host := range i.keys {
		list := h.recent[l.accountKey(host, i.account)]
		for n := range list {
			if x := &list[n]; x.via == i.seq && x.who != nil && x.time > i.to {
				after = append(after, x.seq)
				x.who = nil
				i.inside--
			}
		}
	}
	if len(after) > 0 {
		l.amend(Amendment{
			Tenant: i.tenant, unnamed: true,
			evidence: []string{sentence("requester", "the session had ended, which was told later in", []uint64{i.endSeq})},
		}, after)
	}
}

// late attributes what happened inside a session before the session was told.
func (h *hosts) late(l *Linker, i *interval) {
	if i.account == "" {
		return
	}
	var named, doubted []uint64
	var others []uint64
	for _, host := range i.keys {
		list := h.recent[l.accountKey(host, i.account)]
		for n := range list {
			x := &list[n]
			if x.time < i.from || i.to != 0 && x.time > i.to || x.time > i.from+longestSession {
				continue
			}
			switch {
			case x.who == nil:
				x.who, x.via = i.who, i.seq
				named = append(named, x.seq)
				i.inside++
			case !same(x.who, i.who):
				doubted, others = append(doubted, x.seq), append(others, x.via)
			}
		}
	}
	if len(named) > 0 {
		l.amend(Amendment{
			Tenant: i.tenant, requester: i.who, chain: i.c.find().root, moved: true,
			links: []record.Link{{To: i.seq, Relation: CalledBy, Method: TimeWindow}},
		}, named)
	}
	if len(doubted) > 0 {
		seqs := append(others, i.seq)
		slices.Sort(seqs)
		seqs = slices.Compact(seqs)
		l.amend(Amendment{
			Tenant: i.tenant, unnamed: true,
			links:    []record.Link{{To: seqs[0], Relation: CalledBy, Method: TimeWindow, Candidates: seqs}},
			findings: []string{record.LinkAmbiguous, record.SharedAccount},
			evidence: []string{sentence(record.LinkAmbiguous, "these sessions overlap on the account", seqs)},
		}, doubted)
	}
}
