package harness

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
)

// handed counts the addresses handed out.
var handed atomic.Uint32

// drawn is where this process begins: above 127.16.0.0, so that it never meets what people use by hand.
var drawn = 0x7f10_0000 + rand.Uint32N(0x00df_0000)&^0xff

// Loopback is an address of 127.0.0.0/8 that nothing else in this process uses, and, but for an unlikely draw, nothing else
// on this machine. All of that network is this machine's own, so any address of it can be bound.
func Loopback() netip.Addr {
	for {
		n := drawn + handed.Add(1)
		if last := n & 0xff; last != 0 && last != 0xff {
			return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		}
	}
}

// Port is a port of TCP that the kernel found free on an address of this machine. Nobody else listens on an address of
// Loopback, so it stays free.
func Port(t testing.TB, addr netip.Addr) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// Endpoint is a free port of a Loopback address of its own.
func Endpoint(t testing.TB) netip.AddrPort {
	t.Helper()
	addr := Loopback()
	return netip.AddrPortFrom(addr, Port(t, addr))
}
