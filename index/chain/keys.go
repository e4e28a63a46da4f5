package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"strings"

	"custody/ingest/record"
)

// space is what an identifier identifies; the same text in two spaces never meets.
type space uint64

const (
	spaceTrace space = iota + 1
	spaceSpan
	spaceMissing // a span that was named as parent and has not arrived
	spaceRequest
	spaceTxn
	spaceTask
	spaceConversation
	spaceToolCall
	spaceSession
	spaceAnswered // a request or call whose other half has arrived
	spaceFailed   // what failed, for retries
	spaceApproval
	spaceHost
	spaceAccount
)

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// key is the hash of an identifier in its space and domain.
func (l *Linker) key(s space, domain uint64, id string) uint64 {
	return mix(maphash.String(l.seed, id) ^ mix(domain+uint64(s)*0x9e3779b97f4a7c15))
}

// spanKey is the key of a span of a trace.
func (l *Linker) spanKey(s space, domain uint64, trace, span string) uint64 {
	return l.key(s, domain+maphash.String(l.seed, trace), span)
}

// domain is where the record's identifiers hold (see the package comment). weak
// is the same within the one source, for identifiers too short to be unique beyond it.
func (l *Linker) domain(r *record.Record) (all, weak uint64) {
	tenant, name := r.Get(record.ContextTenant), r.Get(record.SourceName)
	peer := r.Get(record.SourcePeer)
	d := &l.lastDomain
	if d.tenant == tenant && d.name == name && d.peer == peer && d.imported == (r.Get(record.SourceTransport) == "import") {
		return d.all, d.weak
	}
	imported := r.Get(record.SourceTransport) == "import"
	t := maphash.String(l.seed, tenant)
	weak = mix(t ^ mix(maphash.String(l.seed, name)))
	if l.opts.Trusted(name) && !imported {
		all = mix(t)
	} else {
		weak = mix(weak ^ maphash.String(l.seed, peer) + 1)
		all = weak
	}
	*d = domain{strings.Clone(tenant), strings.Clone(name), strings.Clone(peer), imported, all, weak}
	return all, weak
}

type domain struct {
	tenant, name, peer string
	imported           bool
	all, weak          uint64
}

// unique reports whether an identifier is unlikely to be used for something else
// by another source: long, or of letters and digits.
func unique(id string) bool {
	if len(id) >= 16 {
		return true
	}
	letters, digits := false, false
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9':
			digits = true
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			letters = true
		}
	}
	return len(id) >= 6 && letters && digits
}

// empty reports whether an identifier says "none".
func empty(id string) bool {
	switch id {
	case "", "-", "0", "none", "null", "unknown", "N/A", "n/a", "undefined", "unset":
		return true
	}
	for i := range len(id) {
		if id[i] != '0' && id[i] != '-' {
			return false
		}
	}
	return true
}

// credKey is the hash of a credential's identifier. It is the same in every
// process, since the filter of forgotten credentials outlives one.
func (l *Linker) credKey(domain string, id string) credKey {
	l.buf = append(l.buf[:0], l.opts.Key[:]...)
	l.buf = append(l.buf, domain...)
	l.buf = append(l.buf, 0)
	l.buf = append(l.buf, id...)
	sum := sha256.Sum256(l.buf)
	return credKey{binary.LittleEndian.Uint64(sum[:8]), binary.LittleEndian.Uint64(sum[8:16])}
}

// credDomain names the domain of a credential, the same in every process.
func (l *Linker) credDomain(r *record.Record) string {
	tenant, name := r.Get(record.ContextTenant), r.Get(record.SourceName)
	if l.opts.Trusted(name) && r.Get(record.SourceTransport) != "import" {
		return tenant + "\x00"
	}
	return tenant + "\x00" + name + "\x00" + r.Get(record.SourcePeer)
}

type credKey [2]uint64
