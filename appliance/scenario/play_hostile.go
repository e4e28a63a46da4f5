package scenario

import (
	"bytes"
	"time"
)

// stranger says that an event is a line of somebody who can reach the open
// listener. Nobody knows who that is; what the line claims may be repeated as a
// claim on its own record, and nowhere else.
func (e *event) stranger(s *story, claims ...string) *event {
	e.via(s, openListener514)
	e.peer = s.w.ip()
	e.person = nil
	t := &e.truth
	t.Requester, t.RequesterAliases, t.Shown = "", nil, false
	t.Chain = 0
	t.AnyExecutor, t.ExecutorShown = true, false
	e.links = nil
	e.states(claims...)
	e.may(judged...)
	if !bytes.HasPrefix(e.raw, []byte("<")) {
		e.raw = append(header(e.at, 134, "app-1", "gateway", "1"), e.raw...)
	}
	return e
}

// Somebody sends lines to the open listener that carry Alice's trace id, token
// id, session and name, or somebody else's name with them. Her own lines stay
// what they are, and so do everybody's.
func openListener(s *story) {
	three, a := s.people(3), s.agent()
	alice, bob := three[0], three[1]
	trace, span, jti := s.w.hex(32), s.w.hex(16), s.w.uuid()
	k, _ := s.agentLogin(0, a)
	call := s.gatewayFor(8*time.Second, alice, a, gatewayCall{trace: trace, span: span, target: "secrets", tool: "read_secret", jti: jti})
	s.vaultBy(8200*time.Millisecond, s.kvRead(&k, "prod/victim", traceparent(trace, span)), alice, call, CalledBy)
	s.envoy(8300*time.Millisecond, a.spiffe, trace, span, "/tools.v1.Tools/Call", 200).by(alice).from(call, CalledBy)
	switch s.w.IntN(4) {
	case 0: // another's name into her trace, before and after her lines
		for _, d := range []time.Duration{5 * time.Second, 9 * time.Second} {
			s.gatewayFor(d, bob, a, gatewayCall{trace: trace, span: s.w.hex(16), target: "secrets", tool: "read_secret", jti: jti}).stranger(s, bob.aliases...)
		}
	case 1: // her token, said to be somebody else's
		lie := k
		lie.display, lie.metadata = "oidc-"+bob.mail, object{"email", bob.mail, "role", "staff"}
		ask, answer := s.vault(6*time.Second, s.kvRead(&lie, "prod/victim", nil))
		ask.stranger(s, append(bob.aliases, bob.entity, k.entity)...)
		answer.stranger(s, append(bob.aliases, bob.entity, k.entity)...)
	case 2: // a deed of the stranger's in her trace, with no name on it
		s.envoy(9*time.Second, "spiffe://"+s.t.domain+"/agent/unknown", trace, span, "/ledger.v1.Ledger/Wipe", 200).stranger(s)
	case 3: // a session that never was, on a host where she is at work
		s.newChain()
		host := s.host()
		g := s.pam(0, 0, 30*time.Minute, alice, host, "oracle")
		for _, e := range s.inside(5*time.Minute, 25*time.Minute, host, "oracle", 54321) {
			e.by(alice).within(g.start)
		}
		fake := s.pam(0, time.Minute, 29*time.Minute, bob, host, "oracle")
		fake.start.stranger(s, append(bob.aliases, "oracle")...)
		fake.end.stranger(s, append(bob.aliases, "oracle")...)
	}
}

// A client of Bob's sends headers that name Alice: her trace, or her as the one
// it acts for. The credential says Bob. Alice alone is never right.
func forgedHeader(s *story) {
	two, agents := s.people(2), s.agents(2)
	alice, bob := two[0], two[1]
	trace, span := s.w.hex(32), s.w.hex(16)
	call := s.callBy(0, alice, agents[0], trace, span, "secrets", "read_secret")
	s.envoy(100*time.Millisecond, agents[0].spiffe, trace, span, "/tools.v1.Tools/Call", 200).by(alice).from(call, CalledBy)
	s.newChain()
	forge := func(e *event) {
		e.by(bob).truth.Forged = alice.aliases
		e.truth.MayBeAmbiguous = true
	}
	if s.w.IntN(2) == 0 {
		// Bob's own token at the gateway, in Alice's trace.
		e := s.gatewayFor(3*time.Second, bob, agents[1], gatewayCall{trace: trace, span: s.w.hex(16), target: "secrets", tool: "read_secret", jti: s.w.uuid()})
		forge(e)
		return
	}
	k := s.personToken(bob, 0)
	ask, login := s.vault(0, vaultCall{op: "update", path: "auth/oidc/oidc/callback", mount: "oidc", data: object{"code", s.w.hmac(), "state", s.w.hmac()}, issues: &k})
	login.shows(bob)
	ask.by(bob).from(login, RespondsTo).maybe(bob.aliases...)
	child := s.child(k)
	made := s.childMade(time.Second, bob, k, &child, login)
	headers := object{"x-on-behalf-of", array{alice.mail}}
	if s.w.IntN(2) == 0 {
		headers = traceparent(trace, span)
	}
	read, answer := s.vaultBy(3*time.Second, s.kvRead(&child, "prod/deploy", headers), bob, made, UsesCredential)
	for _, e := range []*event{read, answer} {
		forge(e)
		e.truth.ExecutorShown = false
	}
}
