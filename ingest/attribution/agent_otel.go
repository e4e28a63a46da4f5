package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// agentOTel decodes the OpenTelemetry of coding agents: Claude Code, Codex,
// Gemini CLI and its relatives, GitHub Copilot, by their monitoring guides. The
// person at the terminal asked, the agent acts; who let a tool run (a person or
// the configuration) stands in the decision.
func agentOTel() format {
	return format{
		name: "agent_otel", product: "Coding agent", issuer: "agent_otel",
		shape:  shapeJSON,
		nested: otlpLists,
		match: func(e *event) bool {
			if e.pinned() {
				return e.otlpBatch() || e.loadTags()
			}
			return e.loadTags() && e.codingAgent() != nil
		},
		decode: func(e *event) {
			if e.loadTags() {
				decodeAgentOTel(e)
			}
		},
		guide: agentOTelGuide,
	}
}

// codingAgent is one product: how its events begin, and its service names.
type codingAgent struct {
	prefix, product, id string
	services            string // words
}

var codingAgents = []codingAgent{
	{"claude_code.", "Claude Code", "claude-code", "claude-code claude_code claude-agent-sdk"},
	{"codex.", "Codex", "codex", "codex codex_cli_rs codex_exec codex_tui codex-cli codex_vscode codex-app-server codex_mcp_server"},
	{"gemini_cli.", "Gemini CLI", "gemini-cli", "gemini-cli"},
	{"qwen-code.", "Qwen Code", "qwen-code", "qwen-code"},
	{"copilot_chat.", "GitHub Copilot", "copilot-chat", "copilot-chat github-copilot copilot-cli github-copilot-app"},
	{"github.copilot.", "GitHub Copilot", "github-copilot", ""},
	{"cursor.", "Cursor", "cursor", "cursor cursor-agent cursor-cli"},
}

// codingAgent finds whose event it is, by the event's name or the service.
func (e *event) codingAgent() *codingAgent {
	names := [...][]byte{
		e.tagged("event.name").v, e.str("/body/stringValue"), e.str("/body"), e.str("/Body"), e.str("/eventName"), e.str("/name"), e.str("/SpanName"),
	}
	service := e.tagged("service.name").v
	for i := range codingAgents {
		a := &codingAgents[i]
		for _, n := range names {
			if len(n) > len(a.prefix) && string(n[:len(a.prefix)]) == a.prefix {
				return a
			}
		}
		if len(service) > 0 && a.services != "" {
			for w := range strings.FieldsSeq(a.services) {
				if w == string(service) {
					return a
				}
			}
		}
	}
	return nil
}

func decodeAgentOTel(e *event) {
	r := e.r
	e.noPolVer = true
	if e.tagPrefix("gen_ai.operation.", "gen_ai.tool.") && e.otlpSpan() {
		decodeGenAI(e)
		e.noDecide = true
	} else {
		e.otlpCommon()
		e.noDecide = true
		e.otlpSession()
	}
	a := e.codingAgent()
	if a != nil && e.src.Product == "" {
		r.Set(record.SourceProduct, a.product, "")
	}
	name := e.agentEvent(a)
	e.agentPrincipals(a)
	e.agentTool()
	switch {
	case name == "tool_decision", strings.HasSuffix(name, "blocked_on_user"):
		e.agentDecision(e.tagged("decision"), e.tagged("source"))
		e.agentAnswered()
	case name == "tool_result", name == "tool_call", strings.HasPrefix(name, "tool"):
		e.agentDecision(e.tagged("decision_type", "decision"), e.tagged("decision_source", "source"))
		e.agentResult(name)
	default:
		e.agentOther(name)
	}
}

// agentEvent sets the operation, the event's full name, and returns it without the product's prefix.
func (e *event) agentEvent(a *codingAgent) string {
	full := e.tagged("event.name").or(e.says("/eventName", "/name", "/SpanName"))
	if a != nil && !bytes.HasPrefix(full.v, []byte(a.prefix)) {
		if body := e.says("/body/stringValue", "/body", "/Body"); bytes.HasPrefix(body.v, []byte(a.prefix)) && bytes.IndexByte(body.v, ' ') < 0 {
			full = body
		}
	}
	if full.has() && !e.hasTag("gen_ai.operation.name") {
		e.tell(record.ActionOperation, full)
	}
	name := string(full.v)
	if a != nil {
		name = strings.TrimPrefix(name, a.prefix)
	}
	return name
}

// agentPrincipals: the account of the person that is signed in asked; the program
// acted, in the session.
func (e *event) agentPrincipals(a *codingAgent) {
	r := e.r
	who, kind := e.tagged("user.email"), "email"
	if !who.has() {
		who, kind = e.tagged("user.account_uuid", "user.account_id", "enduser.id"), "agent_account"
	}
	if who.has() {
		e.requester(record.Person, who.v, who.prov, fromParam)
		r.Set(record.RequesterIDKind, kind, "")
		e.setTag(record.RequesterTenant, "organization.id", "organization.uuid")
		if kind == "email" {
			e.attest("user.account_uuid", e.tagged("user.account_uuid", "user.account_id"))
		}
	} else {
		// user.id and installation.id name an installation, not who sits at it.
		r.Unset(record.RequesterID)
		r.Unset(record.RequesterType)
		r.SetAbsent("requester", record.NotRecorded)
	}
	e.attest("user.id", e.tagged("user.id", "installation.id"))

	service := e.tagged("service.name")
	switch {
	case r.Get(record.ExecutorType) == record.Agent: // the conventions named it
	case service.has():
		e.executor(record.Agent, service.v, service.prov)
		r.Set(record.ExecutorIDKind, "otel_service", "")
	case a != nil:
		e.executor(record.Agent, []byte(a.id), r.Prov(record.ActionOperation))
		r.Set(record.ExecutorIDKind, "event_prefix", "")
	}
	e.setTag(record.ExecutorVersion, "app.version", "service.version", "gen_ai.agent.version")
	e.setTag(record.ExecutorModel, "model", "gen_ai.response.model", "gen_ai.request.model")
	e.setTag(record.ExecutorName, "agent.name", "agent_name", "subagent_type", "gen_ai.agent.name")
	e.setTag(record.ExecutorInstance, "agent_id", "agent.id", "session.id", "conversation.id", "gen_ai.conversation.id")
	if parent := e.tagged("parent_agent_id", "agent.parent_id"); parent.has() && !r.Has(record.ChainParentID) {
		e.tell(record.ChainParentID, parent)
	}
	e.setTag(record.ChainTaskID, "prompt.id", "prompt_id")
	e.setTag(record.ChainToolCallID, "tool_use_id", "call_id", "gen_ai.tool.call.id")
	if id := e.tagged("request_id"); id.has() {
		e.tell(record.ChainRequestID, id)
	}
	if service.has() {
		e.tell(record.ActionService, service)
	}
	e.attest("terminal.type", e.tagged("terminal.type"))
	e.attest("event.sequence", e.tagged("event.sequence"))
	e.attest("auth_mode", e.tagged("auth_mode", "auth_type"))
}

// agentTool names the tool and the MCP server that it is of.
func (e *event) agentTool() {
	r := e.r
	tool := e.tagged("tool_name", "function_name", "gen_ai.tool.name", "mcp_tool.name")
	e.tell(record.ActionTool, tool)
	server := e.tagged("mcp_server_name", "mcp_server", "mcp_server.name", "server_name")
	if !server.has() {
		if rest, ok := bytes.CutPrefix(tool.v, []byte("mcp__")); ok {
			if name, _, ok := bytes.Cut(rest, []byte("__")); ok && len(name) > 0 {
				server = said{name, tool.prov}
			}
		}
	}
	e.tell(record.ActionServer, server)
	args := e.tagged("tool_parameters", "tool_input", "function_args", "arguments", "gen_ai.tool.call.arguments")
	if !args.has() {
		return
	}
	switch string(args.v) {
	case "<REDACTED>", "[REDACTED]":
		r.SetAbsent("action.arguments_digest", record.Redacted)
	default:
		e.put(record.ActionArgumentsDigest, fingerprint(args.v), args.prov)
	}
}

// agentDecision reads whether a tool may run and who said so: a person at the
// prompt, a hook, or the configuration.
func (e *event) agentDecision(d, source said) {
	r := e.r
	if !d.has() {
		return
	}
	effect := toolDecision(d.v)
	if effect == "" {
		effect = decision(d.v)
	}
	r.Set(record.DecisionEffect, e.text([]byte(effect)), d.prov)
	if !source.has() {
		// Gemini CLI has one word for both.
		switch string(d.v) {
		case "auto_accept":
			e.tell(record.DecisionReason, d)
		case "accept", "modify":
			e.tell(record.DecisionReason, d)
			e.mark("approval=approved", d.prov)
		case "reject":
			e.tell(record.DecisionReason, d)
			e.mark("approval=denied", d.prov)
		}
		return
	}
	e.tell(record.DecisionReason, source)
	by := string(lower(source.v))
	switch {
	case strings.HasPrefix(by, "user"):
		e.tell(record.ApprovalSource, source)
		if e.hasTag("decision_type") {
			break // the result of what another event told
		}
		state := "approval=approved"
		if effect == record.Deny {
			state = "approval=denied"
		}
		e.mark(state, source.prov)
	case by == "config", by == "hook", strings.Contains(by, "automated"), strings.Contains(by, "guardian"):
		e.tell(record.DecisionPolicyID, source)
	}
}

// agentAnswered is the outcome of the event in which a tool was allowed or refused.
func (e *event) agentAnswered() {
	r := e.r
	r.Set(record.OutcomeStatus, record.Unknown, "")
	r.Set(record.EffectChanged, record.No, r.Prov(record.ActionOperation))
	switch r.Get(record.DecisionEffect) {
	case record.Deny:
		r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.DecisionEffect))
	case record.Allow:
		if r.Has(record.ChainToolCallID) {
			e.mark("half=call", r.Prov(record.ChainToolCallID))
		}
	}
}

func (e *event) agentResult(name string) {
	r := e.r
	detail := e.tagged("error", "error.message")
	e.tell(record.OutcomeDetail, detail)
	e.tell(record.OutcomeCode, e.tagged("error_type", "error.type"))
	switch ok := e.tagged("success"); {
	case r.Get(record.DecisionEffect) == record.Deny:
		r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.DecisionEffect))
	case ok.has():
		r.Set(record.OutcomeStatus, outcome(ok.v), ok.prov)
	case detail.has():
		r.Set(record.OutcomeStatus, record.Failure, detail.prov)
	case e.otlpSpan():
		e.otlpOutcome(true)
	default:
		r.Set(record.OutcomeStatus, record.Unknown, "")
	}
	if name == "tool_result" && r.Has(record.ChainToolCallID) {
		e.mark("half=result", r.Prov(record.ChainToolCallID))
	}
	switch r.Get(record.ActionTool) {
	case "Read", "Glob", "Grep", "LS", "NotebookRead", "read_file", "read_many_files", "list_directory", "glob", "grep_search", "search_file_content", "list_dir", "grep_files", "view_image", "readFile":
		r.Set(record.EffectChanged, record.No, r.Prov(record.ActionTool))
	case "Write", "Edit", "MultiEdit", "NotebookEdit", "write_file", "replace", "edit", "apply_patch":
		if r.Get(record.OutcomeStatus) == record.Success {
			r.Set(record.EffectChanged, record.Yes, r.Prov(record.ActionTool))
		}
	}
	if r.Get(record.OutcomeStatus) == record.Denied {
		r.Set(record.EffectChanged, record.No, r.Prov(record.OutcomeStatus))
	}
}

// agentOther decodes prompts, calls of the model, sessions, sign-ins and settings.
func (e *event) agentOther(name string) {
	r := e.r
	if p := e.tagged("prompt"); string(p.v) == "<REDACTED>" || string(p.v) == "[REDACTED]" {
		r.SetAbsent("context.purpose", record.Redacted)
	}
	code := e.tagged("status_code", "http.response.status_code", "error_type", "error.type")
	detail := e.tagged("error", "error.message", "error_message")
	switch {
	case strings.HasPrefix(name, "api_"), strings.HasSuffix(name, "llm_request"), strings.HasPrefix(name, "websocket"), name == "sse_event":
		if m := e.tagged("model"); m.has() {
			r.Set(record.TargetType, "model", "")
			e.tell(record.TargetID, m)
		}
		r.Set(record.EffectChanged, record.No, r.Prov(record.ActionOperation))
	case name == "permission_mode_changed", name == "approval_mode_switch":
		e.setTag(record.EffectBefore, "from_mode", "from")
		e.setTag(record.EffectAfter, "to_mode", "to", "active_approval_mode")
		r.Set(record.EffectChanged, record.Yes, r.Prov(record.ActionOperation))
	case name == "mcp_server_connection":
		r.Set(record.TargetType, "mcp_server", "")
		e.tell(record.TargetID, e.tagged("server_name", "mcp_server_name"))
	case name == "conversation_starts", name == "config":
		e.setTag(record.DecisionPosture, "approval_policy", "approval_mode")
		e.attest("sandbox_policy", e.tagged("sandbox_policy", "sandbox_enabled"))
	}
	if e.hasTag("gen_ai.operation.name") && e.otlpSpan() {
		return // the conventions told
	}
	e.tell(record.OutcomeCode, code)
	e.tell(record.OutcomeDetail, detail)
	ok := e.tagged("success", "status", "connection_status")
	switch {
	case outcome(code.v) == record.Denied:
		r.Set(record.OutcomeStatus, record.Denied, code.prov)
	case detail.has() || strings.HasSuffix(name, "error") || strings.HasSuffix(name, "_failed"):
		r.Set(record.OutcomeStatus, record.Failure, detail.or(said{nil, r.Prov(record.ActionOperation)}).prov)
	case string(ok.v) == "connected":
		r.Set(record.OutcomeStatus, record.Success, ok.prov)
	case ok.has():
		r.Set(record.OutcomeStatus, outcome(ok.v), ok.prov)
	case code.has():
		r.Set(record.OutcomeStatus, outcome(code.v), code.prov)
	case e.otlpSpan():
		e.otlpOutcome(true)
	case name == "user_prompt", name == "api_request", name == "api_response", name == "conversation_starts", strings.HasSuffix(name, "_changed"):
		r.Set(record.OutcomeStatus, record.Success, r.Prov(record.ActionOperation))
	default:
		r.Set(record.OutcomeStatus, record.Unknown, "")
	}
}

var agentOTelGuide = guide{
	userSet: []string{
		"all attributes: whoever runs the agent can send telemetry of any content to the collector",
		"OTEL_RESOURCE_ATTRIBUTES: the environment of the agent; service.name and added attributes come from it",
		"tool_parameters, function_args, arguments: the model",
		"user.id, installation.id: an installation; deleted and made anew by its user",
		"user.email, user.account_uuid, user.account_id: the account that is signed in on the machine, as its program says",
	},
	emit: map[Part]string{
		PartRequester:  "`user.email`, else `user.account_uuid` (Claude Code) or `user.account_id` (Codex): sign in with the company's account. With an API key there is only `user.id`, which names an installation, so that the requester stays unrecorded",
		PartExecutor:   "`service.name` is the agent, `session.id` or `conversation.id` its instance, `app.version` its version, `model` its model; `agent_id` a subagent",
		PartTool:       "`tool_name` or `function_name`; `OTEL_LOG_TOOL_DETAILS=1` (Claude Code) adds `tool_parameters` and the names of MCP servers",
		PartPermission: "never: the agent runs with what its user may do; take the log of the host or the service",
		PartDecision:   "`tool_decision`: `decision` and its `source` (a person at the prompt, a hook, the configuration). Claude Code: `CLAUDE_CODE_ENABLE_TELEMETRY=1`, `OTEL_LOGS_EXPORTER=otlp`; Codex: `[otel]` in config.toml; Gemini CLI: `telemetry.enabled`",
		PartOutcome:    "`tool_result` (`success`, `error`), `gemini_cli.tool_call`, `api_error`",
		PartChain:      "`session.id` or `conversation.id`, `prompt.id`, `tool_use_id` or `call_id`; with traces also `traceId`, and `TRACEPARENT` reaches the programs that a tool starts",
	},
}
