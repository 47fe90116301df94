package tlsid

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// plaintext is gRPC's insecure transport for connections that stay on this machine. The address that flags named is checked
// before; the check here holds whatever a name resolved to.
type plaintext struct {
	credentials.TransportCredentials
}

func newPlaintext() credentials.TransportCredentials {
	return plaintext{insecure.NewCredentials()}
}

func (p plaintext) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if !isLocalAddr(conn.RemoteAddr()) {
		return nil, nil, fmt.Errorf("tls: refusing to speak plaintext to %s, which is not loopback", conn.RemoteAddr())
	}
	return p.TransportCredentials.ClientHandshake(ctx, authority, conn)
}

func (p plaintext) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if !isLocalAddr(conn.RemoteAddr()) {
		return nil, nil, fmt.Errorf("tls: refusing plaintext from %s, which is not loopback", conn.RemoteAddr())
	}
	return p.TransportCredentials.ServerHandshake(conn)
}

func (p plaintext) Clone() credentials.TransportCredentials {
	return plaintext{p.TransportCredentials.Clone()}
}

// isLocalAddr reports whether the other end of a connection is on this machine: loopback, a unix socket, or a pipe inside the
// process (gRPC's bufconn).
func isLocalAddr(addr net.Addr) bool {
	if addr == nil {
		return false
	}
	switch addr.Network() {
	case "unix", "bufconn":
		return true
	}
	peer, err := netip.ParseAddrPort(addr.String())
	return err == nil && peer.Addr().Unmap().IsLoopback()
}
