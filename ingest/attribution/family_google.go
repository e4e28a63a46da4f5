package attribution

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"custody/ingest/record"
)

// google are the formats of Google clouds and the services that companies buy: code hosting, chat.
func google() []format {
	return []format{
		gcpAudit(),
		googleWorkspace(),
		gitHub(),
		slack(),
	}
}

// agentClients are parts of the user agents by which programs that an AI model
// drives name themselves.
var agentClients = [...]string{
	"claude-code", "claude-cli", "gemini-cli", "geminicli", "codex", "copilot", "cursor", "langchain", "google-adk",
	"model-context-protocol", "modelcontextprotocol", "-mcp", "mcp-", "/mcp", "mcp/", "ai-agent",
}

// agentClient reports whether a user agent names a program that a model drives.
func agentClient(ua []byte) bool {
	if len(ua) == 0 || len(ua) > 2048 {
		return false
	}
	low := bytes.ToLower(ua)
	for _, c := range agentClients {
		if bytes.Contains(low, []byte(c)) {
			return true
		}
	}
	return false
}

// userAgent keeps the client's name for itself. An agent's mark on what the source
// holds for a person is a finding: either may be wrong.
func (e *event) userAgent(pointers ...string) {
	for _, p := range pointers {
		ua := e.str(p)
		if len(ua) == 0 {
			continue
		}
		e.add(record.Attributes, e.cat([]byte("user_agent="), ua), p)
		if e.r.Get(record.ExecutorType) == record.Person && agentClient(ua) {
			e.r.AddFinding(record.AgentAsHuman)
		}
		return
	}
}

// attribute keeps name=value where the record has no field of its own for it.
func (e *event) attribute(name string, pointers ...string) {
	for _, p := range pointers {
		if v := e.str(p); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(name), []byte("="), v), p)
			return
		}
	}
}

// fingerprint names a secret that a log holds without repeating it.
func fingerprint(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return hex.AppendEncode([]byte("sha256:"), sum[:])
}

// digestID is a SHA-256 that a source logs in base64 or hexadecimal, in the one
// form in which all sources meet; nil when v is no such digest.
func digestID(v []byte) []byte {
	var sum [64]byte
	switch len(v) {
	case 64:
		if n, err := hex.Decode(sum[:], v); err != nil || n != sha256.Size {
			return nil
		}
	case 43, 44:
		v = bytes.TrimRight(v, "=")
		enc := base64.RawStdEncoding
		if bytes.ContainsAny(v, "-_") {
			enc = base64.RawURLEncoding
		}
		if n, err := enc.Decode(sum[:], v); err != nil || n != sha256.Size {
			return nil
		}
	default:
		return nil
	}
	return hex.AppendEncode([]byte("sha256:"), sum[:sha256.Size])
}
