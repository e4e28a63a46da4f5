//go:build !amd64 || purego

package seal

func hash2(*byte, *byte, int, *Digest, *Digest) { panic("seal: no hash2") }

func hasHash2() bool { return false }
