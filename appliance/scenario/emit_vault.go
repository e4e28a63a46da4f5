package scenario

import (
	"strings"
	"time"
)

// vaultToken is a token of Vault as its audit log shows it.
type vaultToken struct {
	display, entity  string
	client, accessor string // HMACs
	id               string // of the client, for counting them
	metadata         object
	policies         []string
	ttl              int
	issued           time.Time
	names            []string // of what acts with it
}

// agentToken is the token of an agent that signed in with its Kubernetes service account.
func (s *story) agentToken(a *agent, issued time.Duration) vaultToken {
	entity := s.w.uuid()
	return vaultToken{
		display: "kubernetes-agents-" + a.name, entity: entity, client: s.w.hmac(), accessor: s.w.hmac(), id: s.w.text(32),
		metadata: object{
			"role", "agents", "service_account_name", a.name, "service_account_namespace", "agents", "service_account_secret_name", "",
			"service_account_uid", s.w.uuid(),
		},
		policies: []string{"agents-read", "default"}, ttl: 1800, issued: s.clock("vault", issued),
		names: append([]string{a.sa, entity}, a.aliases...),
	}
}

// personToken is the token of a person who signed in by OIDC.
func (s *story) personToken(p *person, issued time.Duration) vaultToken {
	return vaultToken{
		display: "oidc-" + p.mail, entity: p.entity, client: s.w.hmac(), accessor: s.w.hmac(), id: s.w.text(32),
		metadata: object{"role", "staff", "email", p.mail}, policies: []string{"default", "deploy-read", "staff"}, ttl: 28800, issued: s.clock("vault", issued),
		names: p.aliases,
	}
}

func (k vaultToken) auth() object {
	return object{
		"accessor", k.accessor, "client_token", k.client, "display_name", k.display, "entity_id", k.entity, "metadata", k.metadata,
		"policies", k.policies, "token_policies", k.policies, "token_issue_time", k.issued.Format(seconds), "token_ttl", k.ttl, "token_type", "service",
	}
}

// vaultCall is one request to Vault.
type vaultCall struct {
	token     *vaultToken // nil: a login
	op, path  string
	mount     string // kv, token, …
	data      object
	headers   object
	issues    *vaultToken // the answer's auth
	response  object      // the answer's data
	secret    object
	err       string
	onlyAsked bool // the answer is never written
}

// vault writes the request's line and, ten milliseconds later, the response's,
// and returns both. What is told of one holds for the other, except who it shows.
func (s *story) vault(after time.Duration, c vaultCall) (request, response *event) {
	w := s.w
	id, remote, port := w.uuid(), w.inner(), 30000+w.IntN(30000)
	point, _, _ := strings.Cut(c.path, "/")
	if c.mount == "token" || c.token == nil {
		point = c.path[:strings.LastIndexByte(c.path, '/')]
		if c.mount == "token" {
			point = "auth/token"
		}
	}
	accessor := c.mount + "_" + w.hex(8)
	line := func(kind string, after time.Duration) *event {
		at := s.clock("vault", after)
		auth := object{}
		req := object{"id", id}
		if c.token != nil {
			auth = c.token.auth()
			if c.err == "" {
				auth = append(auth, "policy_results", object{
					"allowed", true, "granting_policies", array{object{"name", c.token.policies[0], "namespace_id", "root", "type", "acl"}},
				})
			}
			req = append(req, "client_id", c.token.id, "client_token", c.token.client, "client_token_accessor", c.token.accessor)
		}
		req = append(
			req, "operation", c.op, "mount_point", point+"/", "mount_type", c.mount, "mount_accessor", accessor, "mount_running_version", "v0.21.0+builtin",
			"mount_class", "secret", "namespace", object{"id", "root"}, "path", c.path,
		).with("data", c.data)
		req = append(req, "remote_address", remote, "remote_port", port).with("headers", c.headers)
		o := object{"time", at.Format(nanos), "type", kind}
		o = append(o, "auth", auth, "request", req)
		if kind == "response" {
			resp := object{"mount_point", point + "/", "mount_type", c.mount, "mount_accessor", accessor, "mount_class", "secret"}
			if c.issues != nil {
				resp = append(resp, "auth", c.issues.auth())
			}
			o = append(o, "response", resp.with("data", c.response, "secret", c.secret))
		}
		o = o.with("error", c.err)
		return s.emit("vault", after, append(header(at, 134, "vault-0", "vault", "7"), text(o)...))
	}
	request = line("request", after)
	if c.token != nil {
		request.did(c.token.names...)
	}
	if c.onlyAsked {
		return request, nil
	}
	response = line("response", after+10*time.Millisecond).tied(request, RespondsTo)
	response.arrival = request.arrival.Add(time.Duration(5+w.IntN(60)) * time.Millisecond)
	switch {
	case c.token != nil:
		response.did(c.token.names...)
	case c.issues != nil:
		response.did(c.issues.names...)
	}
	return request, response
}

// vaultBy is vault with the same person behind both lines, and the same parent.
func (s *story) vaultBy(after time.Duration, c vaultCall, p *person, from *event, relation string) (request, response *event) {
	request, response = s.vault(after, c)
	request.by(p)
	if from != nil {
		request.from(from, relation)
	}
	if response != nil {
		response.by(p).from(request, RespondsTo)
	}
	return request, response
}

// traceparent is the W3C header as Vault logs headers.
func traceparent(trace, span string) object {
	return object{"traceparent", array{"00-" + trace + "-" + span + "-01"}}
}

// kvRead is a read of a secret.
func (s *story) kvRead(token *vaultToken, path string, headers object) vaultCall {
	return vaultCall{
		token: token, op: "read", path: "secret/data/" + path, mount: "kv", headers: headers,
		response: object{"data", object{"password", s.w.hmac()}, "metadata", object{"created_time", "2026-10-01T09:12:44.120931Z", "version", 7}},
	}
}
