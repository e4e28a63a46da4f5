//go:build !purego

package seal

// hash2 computes SHA-256 of two messages, padded already, of the same number of
// 64-byte blocks (at least one).
//
//go:noescape
func hash2(a, b *byte, blocks int, outA, outB *Digest)

func cpuid(leaf, sub uint32) (ebx, ecx uint32)

// hasHash2 reports whether the processor has what hash2 needs: the SHA
// extensions, SSSE3 and SSE4.1.
func hasHash2() bool {
	const ssse3, sse41, sha = 1 << 9, 1 << 19, 1 << 29
	_, ecx := cpuid(1, 0)
	ebx, _ := cpuid(7, 0)
	return ecx&ssse3 != 0 && ecx&sse41 != 0 && ebx&sha != 0
}
