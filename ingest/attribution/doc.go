// Package attribution turns a line into records that say who asked, which
// principal acted, through what, and what came of it.
//
// It never drops a line: what cannot be decoded becomes an unattributed record
// with the whole line in raw, the finding malformed and the reason in
// source.error. It never guesses: requester and executor are separate
// principals, and one that the source does not state is recorded as absent with
// a reason, never filled in from the other.
//
// # Order of work
//
// A line goes through the envelope (RFC 5424 or RFC 3164 header), then through
// the payload: a [[mapping]] that matches, a format found by its content or its
// app-name, or the format that the source pins. JSON is parsed once; detection
// and decoder share the tree. Adding a format is one file and one entry in the
// table of formats.go; docs/source-formats.md shows how.
//
// # Assurance
//
// A principal is "authenticated" only if the source's transport is trusted, its
// format is pinned, and the issuer (the principal's own, or the format's) is in
// its AuthoritativeFor list. All else is at most "asserted". The finding
// requester_asserted is added where the source itself only repeats what a
// header, body or parameter said.
//
// # Provenance
//
// Every field that comes from the line names its origin: a JSON Pointer for
// JSON, key=value and the named parts of text messages; "sd:ID/PARAM" for
// structured data; "header:NAME" for a header.
//
// # Malformed input
//
// Invalid UTF-8, NUL bytes, broken or truncated JSON, duplicate keys, nesting
// deeper than 128, absurd times (before 1990 or more than two days after
// arrival), defects noticed by the receiver and lines cut at its limit: what can
// be decoded safely still is, and nothing is taken from a key that stands twice.
//
// # Evidence of a decision
//
// decision_missing and policy_version_missing are findings where the format has
// a place for the evidence and the line leaves it empty; where the format has no
// such place the absence is recorded as not_recorded instead.
package attribution
