package demo

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	gsyslog "github.com/hashicorp/go-syslog"
)

// Event is one line of one program.
type Event struct {
	App      string // program, the tag without its prefix
	Facility string // of syslog
	Level    gsyslog.Priority
	Text     string
}

// Generator tells stories, several at a time. Not safe for concurrent use.
type Generator struct {
	rng    *rand.Rand
	active [][]step
}

// step is one event of a story; it is rendered when its time has come.
type step func(now time.Time) Event

// parallel is how many stories go on at once.
const parallel = 7

// NewGenerator returns a generator; equal seeds give equal stories.
func NewGenerator(seed uint64) *Generator {
	return &Generator{rng: rand.New(rand.NewPCG(seed, 0x63757374))}
}

// Next is the next event, happening now.
func (g *Generator) Next(now time.Time) Event {
	for len(g.active) < parallel {
		g.active = append(g.active, g.story())
	}
	i := g.rng.IntN(len(g.active))
	e := g.active[i][0](now)
	if g.active[i] = g.active[i][1:]; len(g.active[i]) == 0 {
		g.active[i] = g.story()
	}
	return e
}

// story begins one, the usual ones more often.
func (g *Generator) story() []step {
	c := g.cast()
	switch n := g.rng.IntN(100); {
	case n < 24:
		return c.release()
	case n < 44:
		return c.incident()
	case n < 62:
		return c.supportCase()
	case n < 76:
		return c.costRun()
	case n < 86:
		return c.shellWork()
	case n < 92:
		return c.staleCredential()
	case n < 96:
		return c.selfApproval()
	default:
		return c.intruder()
	}
}

// cast is who and what one story is about, with its ids.
type cast struct {
	rng      *rand.Rand
	person   string // who asked
	approver string // never the one who asked
	account  string // the person's account on hosts
	service  string // what is worked on
	host     string
	trace    string
	request  string
	session  string
	task     string
	token    string // jti of the gateway's token
	accessor string // of the Vault token
}

func (g *Generator) cast() *cast {
	people := []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"}
	services := []string{"checkout", "billing", "search", "inventory", "identity", "shipping", "reports"}
	c := &cast{rng: g.rng}
	i := g.rng.IntN(len(people))
	c.account = people[i]
	c.person = people[i] + "@example.com"
	c.approver = people[(i+1+g.rng.IntN(len(people)-1))%len(people)] + "@example.com"
	c.service = services[g.rng.IntN(len(services))]
	c.host = fmt.Sprintf("%s-%d", c.service, 1+g.rng.IntN(4))
	c.trace, c.request, c.session = c.hex(16), "req-"+c.hex(4), "s-"+c.hex(3)
	c.task = fmt.Sprintf("TASK-%d", 1000+g.rng.IntN(9000))
	c.token, c.accessor = "tok-"+c.hex(4), "hmac-sha256:"+c.hex(8)
	return c
}

// hex is n random bytes in hexadecimal.
func (c *cast) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(c.rng.Uint32())
	}
	return hex.EncodeToString(b)
}

func (c *cast) uuid() string {
	h := c.hex(16)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

func (c *cast) pick(of ...string) string { return of[c.rng.IntN(len(of))] }

// object is a JSON object; members come out in the order of their names.
type object map[string]any

func (o object) String() string {
	b, err := json.Marshal(o)
	if err != nil {
		return "{}" // our own strings and numbers always encode
	}
	return string(b)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// orchestrator is a line of the program that runs the agents.
func (c *cast) orchestrator(agent string, members object) step {
	span := c.hex(8)
	return func(now time.Time) Event {
		o := object{
			"ts": stamp(now), "level": "info", "agent": agent, "agent_version": "2.3.1", "model": "assistant-large",
			"trace_id": c.trace, "span_id": span, "request_id": c.request, "session_id": c.session, "task_id": c.task, "requester": c.person,
		}
		level := gsyslog.LOG_INFO
		for k, v := range members {
			o[k] = v
			if v == nil {
				delete(o, k)
			}
			if v == "deny" || v == "failure" {
				level = gsyslog.LOG_WARNING
			}
		}
		return Event{"agent-orchestrator", "LOCAL0", level, o.String()}
	}
}

// gateway is a tool call in the access log of an MCP gateway.
func (c *cast) gateway(agent, server, tool, policy string, allowed bool) step {
	span, call, took := c.hex(8), "call_"+c.hex(3), 5+c.rng.IntN(400)
	return func(now time.Time) Event {
		status, decision, level := 200, "allow", gsyslog.LOG_INFO
		if !allowed {
			status, decision, level = 403, "deny", gsyslog.LOG_WARNING
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s info request gateway=tools/agw route=tools/%s http.method=POST http.path=/mcp http.status=%d protocol=mcp", stamp(now), server, status)
		fmt.Fprintf(&b, " mcp.method.name=tools/call mcp.target=%s mcp.resource.type=tool gen_ai.tool.name=%s gen_ai.tool.call.id=%s", server, tool, call)
		fmt.Fprintf(&b, " jwt.sub=%s jwt.iss=https://login.example.com jwt.act.sub=%s jwt.jti=%s jwt.aud=%s-mcp jwt.exp=%d", c.person, agent, c.token, server, now.Add(30*time.Minute).Unix())
		fmt.Fprintf(&b, " trace.id=%s span.id=%s policy.decision=%s policy.id=%s policy.version=7", c.trace, span, decision, policy)
		if !allowed {
			b.WriteString(` policy.reason="tool not in scope"`)
		}
		fmt.Fprintf(&b, " duration=%dms", took)
		return Event{"agentgateway", "LOCAL0", level, b.String()}
	}
}

// vault is a request and its response; problem is the error, "" when it succeeds.
func (c *cast) vault(agent, operation, path, policy, problem string) []step {
	id, span := c.uuid(), c.hex(8)
	issued := 1 + c.rng.IntN(20)
	line := func(kind string) step {
		return func(now time.Time) Event {
			auth := object{
				"client_token": "hmac-sha256:" + c.accessor[12:20], "accessor": c.accessor, "display_name": "jwt-" + agent, "policies": []string{"default", policy},
				"token_policies": []string{"default", policy}, "metadata": object{"agent_id": agent, "on_behalf_of": c.person, "role": policy},
				"entity_id": "entity-" + agent, "token_type": "service", "token_ttl": 1800,
				"token_issue_time": now.Add(-time.Duration(issued) * time.Minute).UTC().Format(time.RFC3339),
			}
			results := object{"allowed": problem == ""}
			if problem == "" {
				results["granting_policies"] = []object{{"name": policy, "namespace_id": "root", "type": "acl"}}
			}
			auth["policy_results"] = results
			request := object{
				"id": id, "client_id": "entity-" + agent, "operation": operation, "mount_type": "kv", "mount_point": "secret/", "client_token_accessor": c.accessor,
				"namespace": object{"id": "root"}, "path": path, "remote_address": "10.20.0.7", "headers": object{"traceparent": []string{"00-" + c.trace + "-" + span + "-01"}},
			}
			if operation == "update" {
				request["mount_type"], request["mount_point"] = "ns_token", "auth/token/"
			}
			o := object{"time": stamp(now), "type": kind, "auth": auth, "request": request}
			level := gsyslog.LOG_INFO
			if problem != "" {
				o["error"] = problem
				level = gsyslog.LOG_WARNING
			}
			if kind == "response" {
				o["response"] = object{"mount_type": request["mount_type"]}
			}
			return Event{"vault", "LOCAL0", level, o.String()}
		}
	}
	return []step{line("request"), line("response")}
}

// kube is a completed request in the audit log of a Kubernetes API server, made by
// a service account that acts as the person.
func (c *cast) kube(agent, verb, resource, sub, name string, allowed bool) step {
	id := c.uuid()
	return func(now time.Time) Event {
		decision, reason, code, level := "allow", fmt.Sprintf("RBAC: allowed by RoleBinding %q of Role %q to User %q", agent+"/prod", agent, c.person), 200, gsyslog.LOG_INFO
		status := object{"metadata": object{}, "code": code}
		if !allowed {
			decision, reason, code, level = "forbid", "", 403, gsyslog.LOG_WARNING
			status = object{
				"metadata": object{}, "status": "Failure", "reason": "Forbidden", "code": code,
				"message": fmt.Sprintf("%s %q is forbidden: User %q cannot %s resource %q in API group \"\" in the namespace \"prod\"", resource, name, c.person, verb, resource),
			}
		}
		ref := object{"resource": resource, "namespace": "prod", "name": name, "apiVersion": "v1"}
		uri := "/api/v1/namespaces/prod/" + resource + "/" + name
		if sub != "" {
			ref["subresource"] = sub
			uri += "/" + sub
		}
		return Event{"kube-apiserver", "LOCAL0", level, object{
			"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": id, "stage": "ResponseComplete", "requestURI": uri, "verb": verb,
			"user": object{
				"username": "system:serviceaccount:agents:" + agent, "uid": "u-" + agent, "groups": []string{"system:serviceaccounts", "system:authenticated"},
				"extra": object{"authentication.kubernetes.io/credential-id": []string{"JTI=" + c.token}},
			},
			"impersonatedUser": object{"username": c.person, "groups": []string{"system:authenticated"}},
			"sourceIPs":        []string{"10.20.1.9"}, "userAgent": agent + "/2.3.1", "objectRef": ref, "responseStatus": status,
			"requestReceivedTimestamp": stamp(now.Add(-8 * time.Millisecond)), "stageTimestamp": stamp(now),
			"annotations": object{"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason},
		}.String()}
	}
}

// aws is an event of CloudTrail under an assumed role; who is the source identity,
// "" for an agent on its own.
func (c *cast) aws(role, who, key, source, name string, readOnly bool, problem string, params object) step {
	request, event := c.uuid(), c.uuid()
	return func(now time.Time) Event {
		session := object{
			"sessionIssuer": object{"type": "Role", "arn": "arn:aws:iam::111122223333:role/" + role, "accountId": "111122223333", "userName": role},
			"attributes":    object{"creationDate": now.Add(-10 * time.Minute).UTC().Format(time.RFC3339), "mfaAuthenticated": "false"},
		}
		if who != "" {
			session["sourceIdentity"] = who
		}
		o := object{
			"eventVersion": "1.11", "eventTime": now.UTC().Format(time.RFC3339), "eventSource": source, "eventName": name, "awsRegion": "eu-central-1",
			"userIdentity": object{
				"type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/" + role + "/" + c.session,
				"accountId": "111122223333", "accessKeyId": key, "sessionContext": session,
			},
			"sourceIPAddress": "10.20.4.17", "userAgent": "aws-sdk-go-v2/1.36.0", "requestID": request, "eventID": event, "readOnly": readOnly,
			"eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": "111122223333", "eventCategory": "Management", "requestParameters": params,
		}
		level := gsyslog.LOG_INFO
		if problem != "" {
			o["errorCode"], o["errorMessage"] = problem, "User is not authorized to perform "+name
			level = gsyslog.LOG_WARNING
		}
		return Event{"cloudtrail", "LOCAL0", level, o.String()}
	}
}

// text is a line of sudo or sshd.
func text(app string, level gsyslog.Priority, format string, args ...any) step {
	return func(time.Time) Event { return Event{app, "AUTHPRIV", level, fmt.Sprintf(format, args...)} }
}
