// Package tail follows log files and reads imports, exactly once.
//
// What it guarantees: every complete line of a followed or imported content is
// submitted once, whatever happens in between: kill -9, rotation by rename,
// compression, a copy under another name, an import of the same content. The
// position is committed in the same batch as the lines before it, and at start
// only what is committed counts. Identical lines within a content stay distinct.
//
// Best effort only, because the file system keeps no trace: truncation and
// rotation by copytruncate. What a writer appends between the copy and the
// truncation is lost to everyone; what is overwritten before it was read is lost
// here; and a file that is truncated and regrown to the same bytes before the
// offset is not recognised as new. A copy that is shorter than what was taken is
// recognised while the original file is still there, else it is read again.
// So is a file that is followed while its content comes in again, from a copy of
// which more was imported than the file has yet. Two files that are written with
// the same content at the same time are one.
//
// # Framing
//
// A line ends with "\n" or "\r\n", which is not part of it; all other bytes are
// kept as they are. A last line without newline waits until the file was rotated
// away or removed and stayed unchanged for the grace time; an import takes it. A
// line longer than the limit is kept truncated with its full length. A run of
// NUL bytes at the start of a file, or of 512 and more at the start of a line, is
// the hole that copytruncate leaves behind a writer: it is passed over and stated
// as a gap. A multi-line event ends before a line that matches the start pattern,
// before one that would exceed its limits, or when nothing follows in time.
//
// # Cursors
//
// A cursor's key is "file/" family "/" id: family is the hexadecimal form of 16
// bytes of HMAC-SHA256 over the content's first line (its first 256 bytes when it
// is longer), so it does not change as a file grows; id is 8 random bytes. The
// value is AES-256-GCM under the key as additional data: a random nonce of 12
// bytes, then the sealed form of
//
//	version (1), kind (0 plain, 1 gzip, 2 import), done (0, 1)   one byte each
//	device, inode, offset, hole from, hole to, size              uvarints
//	modification time (Unix ns), updated (Unix s)                varints
//	length, fingerprint of the first ≤ 1024 bytes                uvarint, 16 bytes
//	length, fingerprint of the ≤ 64 bytes before offset          uvarint, 16 bytes
//	SHA-256 state over a secret block and content [0, offset)    108 bytes
//	path                                                         uvarint length, bytes
//
// All keys are derived from the appliance's fingerprint key. The state is what
// makes the proof by content: a content whose state at a cursor's offset equals
// the cursor's begins with exactly what that cursor has taken. It is sealed
// because it contains the end of the content, and because two states of a file
// are an unkeyed digest of what lies between.
package tail
