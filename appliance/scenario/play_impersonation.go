package scenario

import "time"

// Bob has the right to impersonate, and acts as Alice. He asked; her name is
// only what he acted as.
func k8sImpersonation(s *story) {
	two := s.people(2)
	bob, alice := two[0], two[1]
	if s.w.IntN(2) == 0 {
		e := s.k8s(0, k8sCall{
			user: object{"username", bob.mail, "groups", []string{"platform", "system:authenticated"}}, as: object{"username", alice.mail, "groups", []string{"system:authenticated"}},
			verb: "get", resource: "secrets", ns: "payments", name: "stripe", agent: "kubectl/v1.32.1 (linux/amd64) kubernetes/3f1a2c0",
			reason: `RBAC: allowed by ClusterRoleBinding "staff" of ClusterRole "view-secrets" to User "` + alice.mail + `"`,
		}).shows(bob).did(bob.aliases...)
		e.truth.Forged = alice.aliases
		return
	}
	// A portal acts for whoever is signed in to it. That it was Alice is the
	// portal's word, which this line alone does not prove.
	a := s.agent()
	s.k8s(0, k8sCall{
		user: s.serviceAccount(a, s.w.uuid()), as: object{"username", alice.mail, "groups", []string{"system:authenticated"}, "extra", object{"portal.example.com/session", array{s.w.uuid()}}},
		verb: "delete", resource: "pods", ns: "payments", name: "api-0", reason: `RBAC: allowed by RoleBinding "dev/payments" of ClusterRole "edit" to User "` + alice.mail + `"`,
	}).by(alice).acted(a).may("credential_issuance_unseen")
}

// Somebody acts as Alice, and who is not in the line.
func k8sImpersonationNoActor(s *story) {
	alice := s.person()
	e := s.k8s(0, k8sCall{
		user: object{"username", "system:anonymous", "groups", []string{"system:unauthenticated"}}, as: object{"username", alice.mail, "groups", []string{"system:authenticated"}},
		verb: "list", resource: "secrets", ns: "payments", reason: `RBAC: allowed by ClusterRoleBinding "legacy" of ClusterRole "cluster-admin" to Group "system:unauthenticated"`,
	}).must("impersonation_no_actor")
	e.truth.Forged = alice.aliases
	e.maybe("system:anonymous")
}

// Okta's support is let into a tenant by an administrator and goes in. The
// administrator asked for the first, the supporter for the second.
func oktaSupport(s *story) {
	admin, session := s.person(), "102"+s.w.text(22)
	support := object{"id", "00uSupport" + s.w.text(10), "type", "User", "alternateId", "support-" + s.w.text(4) + "@okta.example.net", "displayName", "Okta Support", "detailEntry", nil}
	who := &person{mail: support[5].(string), aliases: []string{support[5].(string), support[1].(string), "Okta Support"}}
	grant := s.okta(0, oktaEvent{
		typ: "user.session.impersonation.grant", message: "Grant user session impersonation", actor: oktaUser(admin), session: session,
		target: array{object{"id", s.t.entra, "type", "Organization", "alternateId", "unknown", "displayName", s.t.name, "detailEntry", nil}},
	}).by(admin).did(admin.aliases...) // a grant is an approval: whether its giver asked is arguable
	e := s.okta(10*time.Minute, oktaEvent{
		typ: "user.session.impersonation.initiate", message: "Initiate impersonation session", actor: support, session: "102" + s.w.text(22),
		target: array{oktaUser(admin)}, debug: object{"impersonation", "true"},
	}).shows(who).did(who.aliases...).loose()
	e.truth.Forged = admin.aliases
	grant.loose()
}
