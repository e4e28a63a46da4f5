// Package seal commits rows to a transparency log and proves what the log holds.
//
// A row's commitment, its [Entry], is 46 bytes without content: a root over
// salted digests, one per field of the record, per element of a list and per 64
// bytes of the raw line. Values can be destroyed later while their digests are
// kept (see [Residue]); the entry, and so the log, does not change. Single
// values can be shown to a third party with a [Disclosure]. docs/leaf.md
// specifies all of it byte by byte.
//
// The log ([Log]) follows C2SP tlog-tiles, tlog-checkpoint, signed-note and
// tlog-proof (https://c2sp.org), so that tools written elsewhere verify it.
// What the package guarantees:
//
//   - A checkpoint is signed only when everything below it is on the disk, is
//     handed to the caller's catalogue before anybody else sees it, and is
//     published last. After a crash at any point, [Open] finds the state of the
//     catalogue's checkpoint again, or refuses with a named error.
//   - Nothing that is kept or exported for a withheld value contains its salt or
//     anything that derives it.
//   - Parsers return nothing on error, and what they accept re-encodes to the
//     same bytes.
//
// The package knows the record and the file system, no store and no index.
package seal
