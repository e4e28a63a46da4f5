package web

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"custody/index"
)

// quoteTerm writes field:"value" in the query language.
func quoteTerm(field, value string) string {
	return field + `:"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// maxIDShown is the longest identifier that a page of its own is about, in bytes.
const maxIDShown = 1024

var orWord = regexp.MustCompile(`(^|[\s)])OR([\s(]|$)`)

// withClause narrows q by a clause.
func withClause(q, clause string) string {
	q = strings.TrimSpace(q)
	switch {
	case q == "":
		return clause
	case orWord.MatchString(q):
		return "(" + q + ") " + clause
	}
	return q + " " + clause
}

// withoutClause takes a clause out again that stands in q by itself.
func withoutClause(q, clause string) (string, bool) {
	at := strings.Index(q, clause)
	if at < 0 || (at > 0 && q[at-1] != ' ') {
		return q, false
	}
	end := at + len(clause)
	if end < len(q) && q[end] != ' ' {
		return q, false
	}
	before, after := strings.TrimSpace(q[:at]), strings.TrimSpace(q[end:])
	for _, op := range []string{"AND", "OR", "NOT"} {
		if before == op || strings.HasSuffix(before, " "+op) || after == op || strings.HasPrefix(after, op+" ") {
			return q, false // it is part of something larger
		}
	}
	return strings.TrimSpace(before + " " + after), true
}

// searchURL is the address of a search; from and to as typed.
func searchURL(q, from, to string, order index.Order, extra ...string) string {
	v := url.Values{}
	put := func(k, x string) {
		if x != "" {
			v.Set(k, x)
		}
	}
	put("q", q)
	put("from", from)
	put("to", to)
	if order == index.OldestFirst {
		v.Set("order", "oldest")
	}
	for i := 0; i+1 < len(extra); i += 2 {
		put(extra[i], extra[i+1])
	}
	if len(v) == 0 {
		return "/"
	}
	return "/?" + v.Encode()
}

// narrowed is the address of the same search with another query.
func (a *asked) narrowed(q string) string { return searchURL(q, a.From, a.To, a.Order) }

// params is the search as the parameters of a fragment or an export.
func (a *asked) params() string {
	return strings.TrimPrefix(strings.TrimPrefix(searchURL(a.Q, a.From, a.To, a.Order), "/"), "?")
}

// principalURL is the page of a principal, "" when no address can hold the id.
func principalURL(id, tenant string) string { return aboutURL("/principals", id, tenant) }

// credentialURL is the page of a credential, "" when no address can hold the id.
func credentialURL(id, tenant string) string { return aboutURL("/credentials", id, tenant) }

func aboutURL(path, id, tenant string) string {
	if id == "" || len(id) > maxIDShown || !utf8.ValidString(id) {
		return ""
	}
	v := url.Values{"id": {id}}
	if tenant != "" && len(tenant) <= maxPart && utf8.ValidString(tenant) {
		v.Set("tenant", tenant)
	}
	return path + "?" + v.Encode()
}
