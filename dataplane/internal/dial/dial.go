// Package dial opens TCP connections to backends.
package dial

import (
	"context"
	"net"
	"net/netip"
)

// TCP connects to an address by d's options.
//
// net.Dialer.DialTCP would do, but for this: given no local address it binds
// the socket to port 0 of any address, and such a port is taken from all
// destinations at once. The node would have some 28,000 ports for all its
// backends together, connections in TIME_WAIT included, instead of for each.
func TCP(ctx context.Context, d *net.Dialer, to netip.AddrPort) (*net.TCPConn, error) {
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}
