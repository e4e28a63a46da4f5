// Package chain ties records into request chains and holds credentials against
// their life. A chain is everything that follows from one human request.
//
// The [Linker] sees every record once, in the order of the log, before it is
// sealed. It links by what the sources propagated (trace and span, request,
// task, conversation, transaction, tool call, session), by credential (issued
// in one record, used in another), by delegation and hand-off, and by the
// interval of a privileged session on a host. Whatever it finds is written into
// the record or, when the record is sealed already, stated as an [Amendment].
//
// It never guesses. All evidence for a requester must agree: two different
// people are link_ambiguous and nobody is named. A requester found through a
// link is "correlated" and the link names the record that it came from.
//
// Lines are hostile. Identifiers meet only within a domain: all sources that the
// configuration trusts, by tenant, are one domain; any other source is one domain
// for each of its peers. So a line on an open listener ties itself to nothing but
// lines of the same sender, supplies nobody with a requester, and tells the
// credential ledger nothing about other domains' credentials.
//
// Memory is bounded: identifiers are kept in two generations, of which the older
// is dropped when the younger is full or as old as the window. What is derived is
// in the sealed records: after a restart [Linker.Replay] reads the records of the
// window again and takes over what they say; nothing is linked a second time.
//
// A Linker is not safe for concurrent use; [Linker.Stats] is.
package chain
