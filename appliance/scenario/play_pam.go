package scenario

import (
	"fmt"
	"time"
)

// inside are lines of the host while p works on it as account: sshd, sudo,
// auditd. They know the account only.
func (s *story) inside(from, to time.Duration, host, account string, auid int) []*event {
	w := s.w
	ses := 1 + w.IntN(60) // small numbers, the same on many hosts
	var out []*event
	step := (to - from) / 4
	for i := range 3 {
		at := from + step*time.Duration(i+1)
		command := fmt.Sprintf("/usr/bin/systemctl restart job-%d", w.IntN(90))
		lines := []*event{s.auditCommand(at, host, account, auid, ses, command), s.auditOpen(at+20*time.Millisecond, host, account, auid, ses)}
		for _, l := range lines {
			if len(out) > 0 {
				l.tied(out[0], CalledBy) // auditd's session number
			}
			out = append(out, l)
		}
		out = append(out, s.sudo(at+40*time.Millisecond, host, account, "root", command))
	}
	return out
}

// A session through a privileged access manager, and nothing of what happened
// in it: an interval, not actions.
func pamWrapperOnly(s *story) {
	p, host := s.person(), s.host()
	g := s.pam(-1, 0, time.Duration(5+s.w.IntN(40))*time.Minute, p, host, "root")
	g.start.mustAny("session_wrapper_only")
	g.end.mustAny("session_wrapper_only")
}

// The same with the host's own lines, under a shared account. One session only
// is open, so time, host and account point to one person.
func pamInside(s *story) {
	p, host := s.person(), s.host()
	g := s.pam(-1, 0, 30*time.Minute, p, host, "oracle")
	s.sshLogin(2*time.Second, host, "oracle", bastion, 2000+s.w.IntN(30000)).by(p).within(g.start).may("link_ambiguous")
	for _, e := range s.inside(5*time.Minute, 25*time.Minute, host, "oracle", 54321) {
		e.by(p).within(g.start)
	}
}

// Three people on one host as oracle, at once: whose command it was cannot be
// known while two are in, and can again when one is left.
func sharedAccount(s *story) {
	three, host := s.people(3), s.host()
	kind := s.w.IntN(4)
	var in []session
	for i, p := range three {
		if i > 0 {
			s.newChain()
		}
		g := s.pam(kind, time.Duration(i)*10*time.Minute, time.Duration(60+i*20)*time.Minute, p, host, "oracle")
		// All three are about the same account: the finding may stand anywhere.
		g.start.may("shared_account", "session_wrapper_only")
		g.end.may("shared_account", "session_wrapper_only")
		in = append(in, g)
	}
	s.chain = in[1].start.truth.Chain
	for _, e := range s.inside(30*time.Minute, 55*time.Minute, host, "oracle", 54321) {
		e.by(three[1]).ambiguous().mustAny("shared_account")
	}
	s.chain = in[2].start.truth.Chain
	for _, e := range s.inside(85*time.Minute, 96*time.Minute, host, "oracle", 54321) {
		e.by(three[2]).within(in[2].start).may("shared_account")
	}
}

// Two people on one host at the same time with accounts of their own kind:
// nothing is ambiguous.
func sameHostOtherAccount(s *story) {
	two, host := s.people(2), s.host()
	for i, account := range []string{"oracle", "backup"} {
		if i > 0 {
			s.newChain()
		}
		g := s.pam(s.w.IntN(4), 0, 40*time.Minute, two[i], host, account)
		for _, e := range s.inside(5*time.Minute, 30*time.Minute, host, account, 54321+i) {
			// Both become root on the host.
			e.by(two[i]).within(g.start).may("shared_account")
		}
	}
}

// A login with a certificate, whose id names the person; the rest of the host's
// lines know the shared account only.
func sshCertificate(s *story) {
	p, host, from, port := s.person(), s.host(), s.w.ip(), 30000+s.w.IntN(30000)
	pid := 2000 + s.w.IntN(30000)
	in := s.sshd(0, host, pid, fmt.Sprintf("Accepted publickey for oracle from %s port %d ssh2: ED25519-CERT SHA256:%s ID %s (serial %d) CA ED25519 SHA256:%s",
		from, port, s.w.text(43), p.mail, 1+s.w.IntN(90000), s.w.text(43))).shows(p).did("oracle").states("oracle").may("session_wrapper_only")
	for _, e := range s.inside(4*time.Minute, 16*time.Minute, host, "oracle", 54321) {
		e.by(p).within(in)
	}
	s.sshd(20*time.Minute, host, pid, fmt.Sprintf("Disconnected from user oracle %s port %d", from, port)).by(p).within(in).did("oracle").states("oracle").may("session_wrapper_only")
}

// The tenants have a host of the same name, a shared account of the same name on
// it, and an Alice each. Both are at work at the same time.
func tenantsCollideOnHost(s *story) {
	host, kind, i := s.host(), s.w.IntN(4), s.w.IntN(len(firstNames))
	for n, t := range s.w.tenants {
		if n > 0 {
			s.newChain()
		}
		s.t = t
		p := t.people[(i+n)%len(firstNames)]
		g := s.pam(kind, time.Duration(n)*time.Minute, 30*time.Minute, p, host, "oracle")
		for _, e := range s.inside(5*time.Minute, 25*time.Minute, host, "oracle", 54321) {
			e.by(p).within(g.start)
		}
	}
}

// The end of Alice's session is lost. Hours later Bob works on the host: these
// lines may be his or hers for all that the log says, and are never hers alone.
func pamEndLost(s *story) {
	two, host, kind := s.people(2), s.host(), s.w.IntN(4)
	g := s.pam(kind, 0, 20*time.Minute, two[0], host, "oracle")
	g.start.may("session_wrapper_only", "shared_account")
	g.end.lost = true
	s.newChain()
	h := s.pam(kind, 4*time.Hour, 4*time.Hour+40*time.Minute, two[1], host, "oracle")
	h.start.may("session_wrapper_only", "shared_account")
	h.end.may("session_wrapper_only", "shared_account")
	for _, e := range s.inside(4*time.Hour+5*time.Minute, 4*time.Hour+32*time.Minute, host, "oracle", 54321) {
		e.by(two[1]).may("shared_account").truth.MayBeAmbiguous = true
	}
}
