package demo

import (
	"fmt"
	"maps"
	"strings"

	gsyslog "github.com/hashicorp/go-syslog"
)

// then joins steps and lists of steps.
func then(parts ...any) []step {
	var out []step
	for _, p := range parts {
		switch p := p.(type) {
		case step:
			out = append(out, p)
		case []step:
			out = append(out, p...)
		}
	}
	return out
}

// begin is the hand-over of a request to an agent.
func (c *cast) begin(agent, task string) step {
	return c.orchestrator(agent, object{"event": "task_started", "task": task, "mode": "interactive", "message": c.person + " asked for: " + task})
}

func (c *cast) end(agent, status string) step {
	return c.orchestrator(agent, object{"event": "task_finished", "status": status})
}

// handOff is an agent that asks another; the sub-agent keeps the trace.
func (c *cast) handOff(from, to string) step {
	return c.orchestrator(from, object{"event": "hand_off", "target": to, "target_type": "agent", "status": "success", "message": from + " handed the task to " + to})
}

// approval is asked for and given by a second person.
func (c *cast) approval(agent, what string) []step {
	id := "chg-" + c.hex(2)
	return then(
		c.orchestrator(agent, object{"event": "approval_requested", "approval_id": id, "target": what, "status": "pending"}),
		c.orchestrator(agent, object{
			"event": "approval_granted", "approval_id": id, "approval_source": id, "approver": c.approver, "target": what, "decision": "allow",
			"policy": "four-eyes", "policy_version": "12", "status": "success",
		}),
	)
}

// login is how an agent gets its Vault token on behalf of the person.
func (c *cast) login(agent, role string) step {
	return c.orchestrator(agent, object{
		"event": "token_issued", "credential_id": c.accessor, "credential_type": "vault_token", "credential_event": "issue", "ttl": 1800,
		"scopes": []string{role}, "policy": role, "policy_version": "3", "decision": "allow", "status": "success",
	})
}

// release: a person has a service deployed; an approval stands before production.
func (c *cast) release() []step {
	const agent = "release-agent"
	version := fmt.Sprintf("%d.%d.%d", 1+c.rng.IntN(5), c.rng.IntN(30), c.rng.IntN(10))
	last := c.end(agent, "success")
	deploy := c.kube("deploy-agent", "patch", "deployments", "", c.service, true)
	if c.rng.IntN(6) == 0 {
		deploy = c.kube("deploy-agent", "patch", "deployments", "", c.service, false)
		last = c.end(agent, "failure")
	}
	return then(
		c.begin(agent, "release "+c.service+" "+version),
		c.gateway(agent, "github", "get_pull_request", "gh-read", true),
		c.gateway(agent, "github", "merge_pull_request", "gh-write", true),
		c.approval(agent, "prod/"+c.service),
		c.handOff(agent, "deploy-agent"),
		c.login("deploy-agent", "deploy-read"),
		c.vault("deploy-agent", "read", "secret/data/prod/"+c.service, "deploy-read", ""),
		c.kube("deploy-agent", "get", "deployments", "", c.service, true),
		deploy,
		c.gateway(agent, "slack", "post_message", "chat", true),
		c.vault("deploy-agent", "update", "auth/token/revoke-self", "deploy-read", ""),
		last,
	)
}

// incident: somebody on call lets an agent look into an outage, which reaches for
// more than it may, and ends it by hand.
func (c *cast) incident() []step {
	const agent = "triage-agent"
	pod := c.service + "-" + c.hex(3)
	return then(
		c.begin(agent, "find out why "+c.service+" is slow"),
		c.gateway(agent, "grafana", "query_metrics", "metrics-read", true),
		c.handOff(agent, "log-agent"),
		c.kube("log-agent", "list", "pods", "", "", true),
		c.kube("log-agent", "get", "pods", "log", pod, true),
		c.gateway("log-agent", "loki", "search_logs", "logs-read", true),
		c.kube("log-agent", "create", "pods", "exec", pod, false),
		c.orchestrator(agent, object{"event": "suggestion", "message": "restart " + c.service + " on " + c.host, "status": "success"}),
		text("sshd", gsyslog.LOG_INFO, "Accepted publickey for %s from 10.30.0.%d port %d ssh2: ED25519 SHA256:%s", c.account, 2+c.rng.IntN(200), 40000+c.rng.IntN(20000), keyPrint(c)),
		text("sudo", gsyslog.LOG_NOTICE, "%s : TTY=pts/0 ; PWD=/home/%s ; USER=root ; COMMAND=/usr/bin/systemctl restart %s", c.account, c.account, c.service),
		c.gateway(agent, "jira", "add_comment", "tickets", true),
		c.end(agent, "success"),
	)
}

// supportCase: an agent is denied customer data, and gets it after an approval.
func (c *cast) supportCase() []step {
	const agent = "support-agent"
	customer := fmt.Sprintf("customer %d", 10000+c.rng.IntN(90000))
	steps := then(
		c.begin(agent, "answer the question of "+customer),
		c.gateway(agent, "zendesk", "get_ticket", "tickets", true),
		c.gateway(agent, "crm", "get_customer", "crm-read", true),
		c.gateway(agent, "postgres", "query", "customer-data", false),
	)
	if c.rng.IntN(3) > 0 {
		steps = then(steps, c.approval(agent, "orders of "+customer), c.gateway(agent, "postgres", "query", "customer-data", true))
	}
	return then(steps, c.gateway(agent, "zendesk", "reply", "tickets", true), c.end(agent, "success"))
}

// costRun: an agent on a schedule, that nobody asked: AWS with a role, and one call
// that goes too far.
func (c *cast) costRun() []step {
	const agent = "cost-agent"
	key := "ASIA" + strings.ToUpper(c.hex(8))
	instance := "i-" + c.hex(8)
	alone := object{"requester": nil, "mode": "autonomous"}
	with := func(o object) object {
		maps.Copy(o, alone)
		return o
	}
	stop := ""
	if c.rng.IntN(2) == 0 {
		stop = "AccessDenied"
	}
	return then(
		c.orchestrator(agent, with(object{"event": "task_started", "task": "nightly cost review", "message": "started by schedule"})),
		c.aws(agent, "", key, "sts.amazonaws.com", "AssumeRole", true, "", object{"roleArn": "arn:aws:iam::111122223333:role/" + agent, "roleSessionName": c.session}),
		c.aws(agent, "", key, "ec2.amazonaws.com", "DescribeInstances", true, "", object{"maxResults": 100}),
		c.aws(agent, "", key, "ce.amazonaws.com", "GetCostAndUsage", true, "", object{"granularity": "DAILY"}),
		c.aws(agent, "", key, "ec2.amazonaws.com", "StopInstances", false, stop, object{"instancesSet": object{"items": []object{{"instanceId": instance}}}}),
		c.orchestrator(agent, with(object{"event": "task_finished", "status": "success"})),
	)
}

// shellWork: a person at a host, and AWS under the person's own name.
func (c *cast) shellWork() []step {
	key := "ASIA" + strings.ToUpper(c.hex(8))
	return then(
		text("sshd", gsyslog.LOG_INFO, "Accepted publickey for %s from 10.30.0.%d port %d ssh2: ED25519 SHA256:%s", c.account, 2+c.rng.IntN(200), 40000+c.rng.IntN(20000), keyPrint(c)),
		text("sudo", gsyslog.LOG_NOTICE, "%s : TTY=pts/1 ; PWD=/srv/%s ; USER=%s ; COMMAND=/usr/bin/psql -c %s", c.account, c.service, "postgres", c.pick("ANALYZE", "VACUUM", "SELECT 1")),
		c.aws("engineer", c.person, key, "secretsmanager.amazonaws.com", "GetSecretValue", true, "", object{"secretId": "prod/" + c.service}),
		text("sudo", gsyslog.LOG_NOTICE, "%s : command not allowed ; TTY=pts/1 ; PWD=/srv/%s ; USER=root ; COMMAND=/usr/bin/cat /etc/shadow", c.account, c.service),
		text("sshd", gsyslog.LOG_INFO, "Disconnected from user %s 10.30.0.9 port 52144", c.account),
	)
}

// staleCredential: an agent goes on with a token after giving it back.
func (c *cast) staleCredential() []step {
	const agent = "data-agent"
	return then(
		c.begin(agent, "refresh the report on "+c.service),
		c.login(agent, "reports-read"),
		c.vault(agent, "read", "secret/data/prod/"+c.service, "reports-read", ""),
		c.vault(agent, "update", "auth/token/revoke-self", "reports-read", ""),
		c.vault(agent, "read", "secret/data/prod/"+c.service, "reports-read", "1 error occurred:\n\t* permission denied\n\n"),
		c.end(agent, "failure"),
	)
}

// selfApproval: the one who asks approves too.
func (c *cast) selfApproval() []step {
	c.approver = c.person
	const agent = "release-agent"
	return then(
		c.begin(agent, "roll back "+c.service),
		c.approval(agent, "prod/"+c.service),
		c.kube("deploy-agent", "patch", "deployments", "", c.service, true),
		c.end(agent, "success"),
	)
}

// intruder: somebody tries passwords, gets in under a borrowed account, and is
// stopped by sudo.
func (c *cast) intruder() []step {
	from := fmt.Sprintf("203.0.113.%d", 1+c.rng.IntN(250))
	var steps []step
	for range 3 + c.rng.IntN(4) {
		steps = append(steps, text("sshd", gsyslog.LOG_INFO, "Failed password for invalid user %s from %s port %d ssh2", c.pick("admin", "root", "test", "oracle", "agent"), from, 40000+c.rng.IntN(20000)))
	}
	return then(steps,
		text("sshd", gsyslog.LOG_INFO, "Accepted password for %s from %s port %d ssh2", c.account, from, 40000+c.rng.IntN(20000)),
		text("sudo", gsyslog.LOG_ALERT, "%s : user NOT in sudoers ; TTY=pts/2 ; PWD=/tmp ; USER=root ; COMMAND=/bin/sh", c.account),
		text("sshd", gsyslog.LOG_INFO, "Disconnected from user %s %s port 40022", c.account, from),
	)
}

// keyPrint is the fingerprint of the person's key, the same in every story.
func keyPrint(c *cast) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	out, h := make([]byte, 43), uint32(2166136261)
	for i := range out {
		h = (h ^ uint32(c.account[i%len(c.account)])) * 16777619
		out[i] = alphabet[h%uint32(len(alphabet))]
	}
	return string(out)
}
