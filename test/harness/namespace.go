package harness

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace of its own, without a name: it goes when its last process and thread have gone.
type Namespace struct {
	work chan func()
}

// NewNamespace makes one, whose loopback interface is up. It takes the privileges to do so.
func NewNamespace(t testing.TB) (*Namespace, error) {
	t.Helper()
	ns := &Namespace{work: make(chan func())}
	made := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and no other goroutine finds itself in this network.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		if err != nil {
			return
		}
		for f := range ns.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("harness: network namespace: %w", err)
	}
	t.Cleanup(func() { close(ns.work) })
	var err error
	ns.Do(func() { err = up("lo") })
	if err != nil {
		t.Fatal(err)
	}
	return ns, nil
}

// Do runs f on the thread that is in the namespace. What f starts, and sockets it opens, are in it; goroutines are not.
func (n *Namespace) Do(f func()) {
	done := make(chan struct{})
	n.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

// Interface makes an interface with the given addresses, as "198.51.100.1/24", and sets it up.
func (n *Namespace) Interface(t testing.TB, name string, addresses ...string) {
	t.Helper()
	var err error
	n.Do(func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "-peer"}); err != nil {
			return
		}
		if err = up(name); err != nil {
			return
		}
		if err = up(name + "-peer"); err != nil {
			return
		}
		for _, text := range addresses {
			if err = addAddress(name, text); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func addAddress(name, text string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(text)
	if err != nil {
		return err
	}
	// Without duplicate address detection an IPv6 address is good at once.
	if addr.IP.To4() == nil {
		addr.Flags = unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(link, addr)
}

// Addresses are those of an interface, sorted, without the link-local ones that the kernel makes.
func (n *Namespace) Addresses(t testing.TB, name string) []string {
	t.Helper()
	var (
		found []string
		err   error
	)
	n.Do(func() {
		var link netlink.Link
		if link, err = netlink.LinkByName(name); err != nil {
			return
		}
		var addrs []netlink.Addr
		addrs, err = netlink.AddrList(link, netlink.FAMILY_ALL)
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				found = append(found, a.IPNet.String())
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// RemoveAddress takes an address from an interface.
func (n *Namespace) RemoveAddress(t testing.TB, name, text string) {
	t.Helper()
	var err error
	n.Do(func() {
		var link netlink.Link
		if link, err = netlink.LinkByName(name); err != nil {
			return
		}
		var addr *netlink.Addr
		if addr, err = netlink.ParseAddr(text); err == nil {
			err = netlink.AddrDel(link, addr)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Dial connects from within the namespace and returns what the server says first.
func (n *Namespace) Dial(to netip.AddrPort) (said string, err error) {
	n.Do(func() {
		// DialTCP connects on this thread, where a Dialer may use another goroutine.
		var conn *net.TCPConn
		if conn, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to)); err != nil {
			return
		}
		defer conn.Close()
		buffer := make([]byte, 256)
		var size int
		size, err = conn.Read(buffer)
		said = string(buffer[:size])
	})
	return said, err
}

// Listen opens a listening socket in the namespace.
func (n *Namespace) Listen(t testing.TB, addr netip.AddrPort) net.Listener {
	t.Helper()
	var (
		listener net.Listener
		err      error
	)
	n.Do(func() { listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}
