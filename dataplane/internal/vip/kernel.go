package vip

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// ifaProto is IFA_PROTO of linux/if_addr.h: who put an address there (Linux 5.18). x/sys does not name it.
	ifaProto = 11
	// mark is FiberLB's value of it. The kernel uses 1 to 3; others are for the taking.
	mark = 0xfb
)

// kernel speaks rtnetlink. Its sockets belong to the network namespace in which it was opened.
type kernel struct {
	links    *netlink.Handle
	requests map[int]*nl.SocketHandle
	events   *nl.NetlinkSocket
}

// address is one that is on the interface.
type address struct {
	host     bool // with a prefix of full length, as a VIP has
	marked   bool
	unusable bool // tentative, or found to be a duplicate
}

func openKernel() (*kernel, error) {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	k := &kernel{links: links}
	socket, err := nl.GetNetlinkSocketAt(-1, -1, unix.NETLINK_ROUTE)
	if err != nil {
		k.close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	k.requests = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	if err := errors.Join(socket.SetSendTimeout(&nl.SocketTimeoutTv), socket.SetReceiveTimeout(&nl.SocketTimeoutTv)); err != nil {
		k.close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	k.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		k.close()
		return nil, fmt.Errorf("subscribe to netlink: %w", err)
	}
	return k, nil
}

func (k *kernel) close() {
	k.links.Close()
	for _, h := range k.requests {
		h.Close()
	}
	k.stopListening()
}

func (k *kernel) stopListening() {
	if k.events != nil {
		k.events.Close()
	}
}

// listen puts a value into events whenever links or addresses changed, until stopListening or an error that leaves it to the
// resync.
func (k *kernel) listen(events chan<- struct{}) {
	for {
		// ENOBUFS says that notifications were lost, which is one too. What they say is looked up, so nobody reads them.
		_, _, err := k.events.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
		select {
		case events <- struct{}{}:
		default:
		}
	}
}

// link returns the index of an interface.
func (k *kernel) link(name string) (int, error) {
	l, err := k.links.LinkByName(name)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// addresses lists what is on an interface.
func (k *kernel) addresses(link int) (map[netip.Addr]address, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	request.Sockets = k.requests
	request.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	list := make(map[netip.Addr]address)
	for _, m := range messages {
		head := nl.DeserializeIfAddrmsg(m)
		if int(head.Index) != link {
			continue
		}
		attributes, err := nl.ParseRouteAttr(m[head.Len():])
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		var local, peer netip.Addr
		var a address
		flags := uint32(head.Flags)
		for _, attribute := range attributes {
			switch attribute.Attr.Type {
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(attribute.Value)
			case unix.IFA_ADDRESS:
				peer, _ = netip.AddrFromSlice(attribute.Value)
			case unix.IFA_FLAGS:
				flags = nl.NativeEndian().Uint32(attribute.Value)
			case ifaProto:
				a.marked = len(attribute.Value) > 0 && attribute.Value[0] == mark
			}
		}
		if !local.IsValid() {
			local = peer // IPv6 has no other side as a rule, and then only this
		}
		a.host = int(head.Prefixlen) == local.BitLen()
		a.unusable = flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 && flags&unix.IFA_F_OPTIMISTIC == 0
		list[local] = a
	}
	return list, nil
}

// add puts an address on an interface, marked. IPv6 does without duplicate address detection (RFC 4862 section 5.4): other
// nodes have the same address on purpose.
func (k *kernel) add(link int, addr netip.Addr) error {
	request := k.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, link, addr)
	if addr.Is6() {
		request.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_NODAD)))
	}
	request.AddData(nl.NewRtAttr(ifaProto, []byte{mark}))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// remove takes an address from an interface; that it is gone already is no error.
func (k *kernel) remove(link int, addr netip.Addr) error {
	_, err := k.request(unix.RTM_DELADDR, unix.NLM_F_ACK, link, addr).Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

// request begins a request about one address with a prefix of full length.
func (k *kernel) request(kind, flags, link int, addr netip.Addr) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(kind, flags)
	request.Sockets = k.requests
	head := nl.NewIfAddrmsg(unix.AF_INET)
	if addr.Is6() {
		head = nl.NewIfAddrmsg(unix.AF_INET6)
	}
	head.Index, head.Prefixlen = uint32(link), uint8(addr.BitLen())
	request.AddData(head)
	request.AddData(nl.NewRtAttr(unix.IFA_LOCAL, addr.AsSlice()))
	request.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, addr.AsSlice()))
	return request
}
