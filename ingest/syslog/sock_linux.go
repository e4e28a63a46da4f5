package syslog

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pending is how many bytes the kernel has received for c that were not read.
func pending(c net.Conn) int {
	n := 0
	control(c, func(fd int) { n, _ = unix.IoctlGetInt(fd, unix.SIOCINQ) })
	return n
}

// limitSegments keeps the segments of a local sender small. Loopback's are 64 KiB,
// and Linux announces a window of zero while it cannot hold one more of them: with
// messages sent one by one, a sender on this host (rsyslog) is then stopped after
// every hundred or so until its 200 ms probe. Networks have smaller segments anyway.
func limitSegments(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, maxSegment) // only slower without
	})
}

const maxSegment = 16 << 10

// setReceiveBuffer asks for a receive buffer of size bytes, beyond the system's
// limit where that is permitted, and returns what the kernel gave.
func setReceiveBuffer(c net.PacketConn, size int) int {
	got := 0
	control(c, func(fd int) {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size) // what it gave is read below
		}
		got, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	return got / 2 // the kernel doubles it for its own bookkeeping
}

// kernelDrops is how many datagrams the kernel has dropped for c since it was
// opened: the same counter as the drops column of /proc/net/udp.
func kernelDrops(c net.PacketConn) uint32 {
	var info [16]uint32
	control(c, func(fd int) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			info[unix.SK_MEMINFO_DROPS] = 0
		}
	})
	return info[unix.SK_MEMINFO_DROPS]
}

func control(c any, fn func(fd int)) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if rc, err := sc.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { fn(int(fd)) }) // fails only when c is closed
	}
}
