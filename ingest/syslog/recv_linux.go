package syslog

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// receiver reads many datagrams with one system call.
type receiver struct {
	rc    syscall.RawConn
	size  int // bytes kept of a datagram
	hdrs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6 // large enough for IPv4
	bufs  [][]byte

	wait  func(fd uintptr) bool
	poke  func(fd uintptr)
	n     int
	errno unix.Errno
}

func newReceiver(c net.PacketConn, maxMessage int) (*receiver, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, errors.New("socket without a descriptor")
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	_, udp := c.(*net.UDPConn)
	if udp {
		maxMessage = min(maxMessage, maxDatagram)
	}
	slots := min(max((4<<20)/maxMessage, 4), 64)
	r := &receiver{
		rc:    rc,
		size:  maxMessage,
		hdrs:  make([]mmsghdr, slots),
		iovs:  make([]unix.Iovec, slots),
		names: make([]unix.RawSockaddrInet6, slots),
		bufs:  make([][]byte, slots),
	}
	for i := range r.hdrs {
		r.bufs[i] = make([]byte, maxMessage)
		r.iovs[i].Base = &r.bufs[i][0]
		r.iovs[i].SetLen(maxMessage)
		r.hdrs[i].hdr.Iov = &r.iovs[i]
		r.hdrs[i].hdr.SetIovlen(1)
		if udp {
			r.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		}
	}
	r.wait = func(fd uintptr) bool {
		r.call(fd)
		return r.errno != unix.EAGAIN
	}
	r.poke = func(fd uintptr) { r.call(fd) }
	return r, nil
}

func (r *receiver) slots() int { return len(r.hdrs) }

func (r *receiver) call(fd uintptr) {
	for i := range r.hdrs {
		if r.hdrs[i].hdr.Name != nil {
			r.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		}
	}
	for {
		// MSG_TRUNC makes n the real length of a datagram that did not fit.
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0])), uintptr(len(r.hdrs)),
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		if r.errno = errno; errno == unix.EINTR {
			continue
		}
		r.n = int(n)
		if errno != 0 {
			r.n = 0
		}
		return
	}
}

// receive waits for at least one datagram and returns how many it read.
func (r *receiver) receive() (int, error) {
	r.n = 0
	if err := r.rc.Read(r.wait); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	return r.n, nil
}

// poll reads what is there without waiting.
func (r *receiver) poll() int {
	r.n = 0
	_ = r.rc.Control(r.poke) // fails only when the socket is closed: nothing is there
	return r.n
}

// message is the i-th datagram read, its real length and its sender's address. It
// is valid until the next read.
func (r *receiver) message(i int) (raw []byte, full int, peer netip.Addr) {
	h := &r.hdrs[i]
	full = int(h.n)
	raw = r.bufs[i][:min(full, r.size)]
	if h.hdr.Name == nil || h.hdr.Namelen == 0 {
		return raw, full, peer
	}
	switch sa := &r.names[i]; sa.Family {
	case unix.AF_INET:
		peer = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
	case unix.AF_INET6:
		peer = netip.AddrFrom16(sa.Addr).Unmap()
	}
	return raw, full, peer
}
