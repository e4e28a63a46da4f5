package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// otelGenAI decodes spans and events by OpenTelemetry's semantic conventions for
// generative AI, old names (gen_ai.system, gen_ai.prompt…) and new, with those of
// MCP, and the dialects of OpenLLMetry (traceloop.*) and OpenInference.
//
// Telemetry proves nothing: all principals are what the emitting program says.
func otelGenAI() format {
	return format{
		name: "otel_genai", product: "OpenTelemetry GenAI", issuer: "otel",
		shape:  shapeJSON,
		nested: otlpLists,
		match: func(e *event) bool {
			if e.pinned() {
				return e.otlpBatch() || e.loadTags()
			}
			return e.loadTags() && e.tagPrefix("gen_ai.", "traceloop.", "openinference.", "mcp.method.", "mcp.tool.", "a2a.")
		},
		decode: func(e *event) {
			if e.loadTags() {
				decodeGenAI(e)
			}
		},
		guide: otelGenAIGuide,
	}
}

func decodeGenAI(e *event) {
	r := e.r
	e.noDecide, e.noPolVer = true, true
	e.otlpCommon()
	op := e.genAction()
	e.otlpOutcome(true)
	e.genPrincipals(op)
	e.otlpUser()
	e.otlpSession()
	e.genTool(op)
	e.genDecision()
	switch op {
	case "chat", "text_completion", "generate_content", "embeddings", "rerank", "retrieval":
		r.Set(record.EffectChanged, record.No, r.Prov(record.ActionOperation))
	case "create_agent":
		if r.Get(record.OutcomeStatus) == record.Success {
			r.Set(record.EffectChanged, record.Yes, r.Prov(record.ActionOperation))
		}
	case "tools/list", "resources/list", "resources/read", "prompts/list", "prompts/get", "initialize", "ping":
		r.Set(record.EffectChanged, record.No, r.Prov(record.ActionOperation))
	}
}

// genAction sets the operation and returns it.
func (e *event) genAction() string {
	r := e.r
	op := e.tagged("gen_ai.operation.name").or(e.tagged("mcp.method.name")).or(e.tagged("a2a.method", "rpc.method"))
	if !op.has() {
		switch kind := e.tagged("traceloop.span.kind", "openinference.span.kind"); {
		case kind.has():
			op = said{bytes.ToLower(kind.v), kind.prov}
		default:
			op = said{[]byte(r.Get(record.ActionOperation)), r.Prov(record.ActionOperation)}
		}
	}
	if !e.otlpSpan() && r.Has(record.ActionOperation) { // an event has a name of its own
		if m := e.tagged("gen_ai.operation.name"); m.has() {
			e.attest("gen_ai.operation.name", m)
		}
		op = said{[]byte(r.Get(record.ActionOperation)), r.Prov(record.ActionOperation)}
	}
	name := string(op.v)
	e.tell(record.ActionOperation, op)
	e.tell(record.ActionService, e.tagged("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "rpc.system"))
	if !r.Has(record.ActionService) || name == "execute_tool" || name == "invoke_agent" {
		e.setTag(record.ActionService, "service.name")
	}
	e.tell(record.ActionServer, e.tagged("mcp.server.name", "server.address", "net.peer.name"))
	return name
}

// remote reports whether the span is the caller's side of a call to another process.
func (e *event) remote() bool {
	k := e.says("/kind", "/SpanKind", "/span_kind")
	switch word := strings.ToUpper(string(k.v)); {
	case strings.HasSuffix(word, "CLIENT"), strings.HasSuffix(word, "PRODUCER"):
		return true
	case word == "3" || word == "4":
		return e.has("/startTimeUnixNano") || e.has("/start_time_unix_nano") // the protocol's numbers
	case word == "2":
		return !e.has("/startTimeUnixNano") && !e.has("/start_time_unix_nano") // those of the JavaScript SDK
	}
	return false
}

// genPrincipals: the agent of a span is the one that ran, except where the span
// is the caller's side of an invocation, or of the making of an agent: then it is
// the one that the work was handed to.
func (e *event) genPrincipals(op string) {
	r := e.r
	id := e.tagged("gen_ai.agent.id")
	name := e.tagged("gen_ai.agent.name", "agent.name")
	if !name.has() && strings.EqualFold(string(e.tagged("traceloop.span.kind").v), "agent") {
		name = e.tagged("traceloop.entity.name")
	}
	agent := id.or(name)
	if to := e.tagged("gen_ai.handoff.to_agent", "to_agent"); to.has() {
		e.add(record.Attributes, e.cat([]byte("handoff="), to.v), to.prov)
		r.Set(record.TargetType, "agent", "")
		e.tell(record.TargetID, to)
		if from := e.tagged("gen_ai.handoff.from_agent", "from_agent"); from.has() {
			agent = from
		}
	}
	calls := (op == "invoke_agent" || strings.HasPrefix(op, "message/") || strings.HasPrefix(op, "tasks/")) && e.remote()
	switch {
	case !agent.has():
	case calls:
		e.add(record.Attributes, e.cat([]byte("handoff="), agent.v), agent.prov)
		r.Set(record.TargetType, "agent", "")
		e.tell(record.TargetID, agent)
		e.tell(record.TargetName, name)
	case op == "create_agent":
		r.Set(record.TargetType, "agent", "")
		e.tell(record.TargetID, agent)
		e.tell(record.TargetName, name)
	default:
		e.executor(record.Agent, agent.v, agent.prov)
		if id.has() {
			r.Set(record.ExecutorIDKind, "gen_ai_agent", "")
			if strings.HasPrefix(string(id.v), "spiffe://") {
				e.tell(record.ExecutorSPIFFEID, id)
			}
		}
		e.tell(record.ExecutorName, name)
		e.setTag(record.ExecutorVersion, "gen_ai.agent.version")
		e.setTag(record.ExecutorInstance, "service.instance.id", "k8s.pod.name")
	}
	e.otlpService()
	model := e.tagged("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "llm.request.model", "embedding.model_name")
	e.tell(record.ExecutorModel, model)
	if !r.Has(record.ExecutorID) || calls || op == "create_agent" { // the other agent's
		r.Unset(record.ExecutorModel)
	}
	switch op {
	case "chat", "text_completion", "generate_content", "embeddings", "llm", "embedding":
		if asked := e.tagged("gen_ai.request.model", "gen_ai.response.model", "llm.model_name"); asked.has() {
			r.Set(record.TargetType, "model", "")
			e.tell(record.TargetID, asked)
		}
	}
}

func (e *event) genTool(op string) {
	r := e.r
	tool := e.tagged("gen_ai.tool.name", "mcp.tool.name", "tool.name")
	if !tool.has() && strings.EqualFold(string(e.tagged("traceloop.span.kind").v), "tool") {
		tool = e.tagged("traceloop.entity.name")
	}
	e.tell(record.ActionTool, tool)
	e.setTag(record.ChainToolCallID, "gen_ai.tool.call.id", "tool_call.id", "tool.call_id")
	e.setTag(record.ChainTaskID, "a2a.task.id", "gen_ai.task.id", "task.id")
	if args := e.tagged("gen_ai.tool.call.arguments", "tool.parameters", "input.value"); args.has() && tool.has() {
		e.put(record.ActionArgumentsDigest, fingerprint(args.v), args.prov)
	}
	if !r.Has(record.TargetID) {
		if s := e.tagged("mcp.resource.uri"); s.has() {
			e.tell(record.TargetID, s)
			r.Set(record.TargetType, "mcp_resource", "")
		} else if s := e.tagged("gen_ai.data_source.id"); s.has() {
			e.tell(record.TargetID, s)
			r.Set(record.TargetType, "data_source", "")
		} else if s := e.tagged("gen_ai.prompt.name", "mcp.prompt.name"); s.has() {
			e.tell(record.TargetID, s)
			r.Set(record.TargetType, "prompt", "")
		}
	}
	e.attest("gen_ai.tool.type", e.tagged("gen_ai.tool.type"))
	e.attest("gen_ai.response.id", e.tagged("gen_ai.response.id"))
	e.attest("gen_ai.workflow.name", e.tagged("gen_ai.workflow.name", "traceloop.workflow.name"))
	e.attest("mcp.session.id", e.tagged("mcp.session.id"))
	e.attest("mcp.protocol.version", e.tagged("mcp.protocol.version"))
	// Numbers that every connection counts anew: no chain may hang on them.
	e.attest("jsonrpc.request.id", e.tagged("jsonrpc.request.id", "mcp.request.id"))
}

// genDecision reads what some agents put beside the call of a tool: who let it.
func (e *event) genDecision() {
	r := e.r
	d := e.tagged("github.copilot.permission.result", "gen_ai.tool.approval.result", "gen_ai.guardrail.decision")
	if !d.has() {
		return
	}
	if effect := toolDecision(d.v); effect != "" {
		r.Set(record.DecisionEffect, effect, d.prov)
		if effect == record.Deny {
			r.Set(record.OutcomeStatus, record.Denied, d.prov)
		}
	}
	e.tell(record.DecisionReason, e.tagged("github.copilot.permission.reason", "gen_ai.guardrail.reason").or(d))
}

// toolDecision is what agents call the answers to "may this tool run".
func toolDecision(v []byte) string {
	switch s := string(lower(v)); {
	case s == "modify", s == "auto_accept", s == "approve_once", s == "approve_always", strings.HasPrefix(s, "approved"), strings.HasPrefix(s, "accept"), strings.HasPrefix(s, "allow"):
		return record.Allow
	case s == "abort", s == "aborted", s == "cancel", s == "cancelled", s == "timed_out", strings.HasPrefix(s, "denied"), strings.HasPrefix(s, "reject"), strings.HasPrefix(s, "deny"), strings.HasPrefix(s, "block"):
		return record.Deny
	}
	return ""
}

var otlpGuide = guide{
	userSet: []string{
		"attributes of spans and logs: the program that emits them, which may be any that can reach the collector",
		"resource attributes: OTEL_RESOURCE_ATTRIBUTES in the environment of the program",
		"baggage copied into attributes: every caller",
	},
	emit: map[Part]string{
		PartRequester:  "`user.id`, `user.email` or `enduser.id`, which the program has to set; always asserted",
		PartExecutor:   "`service.name` of the resource (`OTEL_SERVICE_NAME`), with `service.instance.id`",
		PartTool:       "the span's name; a log record's `eventName` or `event.name`",
		PartPermission: "`enduser.scope` and `enduser.role` where the program sets them; telemetry has no other place for it",
		PartDecision:   "never: take the log of the gateway or policy engine",
		PartOutcome:    "the span's status, `error.type`, `http.response.status_code`",
		PartChain:      "`traceId`, `spanId`, `parentSpanId`; `session.id`",
	},
}

var otelGenAIGuide = guide{
	userSet: []string{
		"gen_ai.* attributes: the program that emits them, and through prompts what it copies from a model's output",
		"user.id, user.email, enduser.id: the program, from whatever it was told",
		"gen_ai.conversation.id, session.id: the program or its client",
		"resource attributes: OTEL_RESOURCE_ATTRIBUTES in the environment of the program",
	},
	emit: map[Part]string{
		PartRequester:  "`user.email`, `user.id` or `enduser.id` on the span: set them where the request is authenticated (a span processor does it for all spans); always asserted",
		PartExecutor:   "`gen_ai.agent.id`, else `gen_ai.agent.name`, with `gen_ai.agent.version` and `gen_ai.request.model`; without them `service.name`. On the caller's side of `invoke_agent` (kind CLIENT) the agent is the one that the work is handed to",
		PartTool:       "`gen_ai.operation.name` and `gen_ai.tool.name` on `execute_tool` spans; `mcp.method.name` for MCP; `OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental` gives the new names",
		PartPermission: "never in the conventions: take the log of the gateway or of the service that was called",
		PartDecision:   "never in the conventions; Copilot's `github.copilot.permission.result` is read",
		PartOutcome:    "the span's status and `error.type`; a GenAI span that ended without either succeeded",
		PartChain:      "`traceId`, `spanId`, `parentSpanId`, `gen_ai.conversation.id`, `gen_ai.tool.call.id`, `session.id`: propagate `traceparent` into tools and MCP (`_meta.traceparent`)",
	},
}
