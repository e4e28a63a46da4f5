//go:build !linux

package syslog

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// receiver reads one datagram at a time, where recvmmsg(2) does not exist. A
// datagram that does not fit is cut without its length being known.
type receiver struct {
	c    net.PacketConn
	buf  []byte
	n    int
	peer netip.Addr
}

func newReceiver(c net.PacketConn, maxMessage int) (*receiver, error) {
	return &receiver{c: c, buf: make([]byte, maxMessage)}, nil
}

func (r *receiver) slots() int { return 1 }

func (r *receiver) receive() (int, error) {
	n, from, err := r.c.ReadFrom(r.buf)
	if err != nil {
		return 0, err
	}
	r.n, r.peer = n, netip.Addr{}
	if a, ok := from.(*net.UDPAddr); ok {
		r.peer = a.AddrPort().Addr().Unmap().WithZone("")
	}
	return 1, nil
}

func (r *receiver) poll() int {
	r.c.SetReadDeadline(time.Time{})
	t := time.AfterFunc(time.Millisecond, func() { r.c.SetReadDeadline(longAgo) })
	defer t.Stop()
	n, _ := r.receive()
	return n
}

func (r *receiver) message(int) (raw []byte, full int, peer netip.Addr) {
	return r.buf[:r.n], r.n, r.peer
}

func limitSegments(string, string, syscall.RawConn) error { return nil }

func pending(net.Conn) int { return 0 }

func setReceiveBuffer(c net.PacketConn, size int) int {
	if s, ok := c.(interface{ SetReadBuffer(int) error }); ok && s.SetReadBuffer(size) == nil {
		return size
	}
	return 0
}

func kernelDrops(net.PacketConn) uint32 { return 0 }
