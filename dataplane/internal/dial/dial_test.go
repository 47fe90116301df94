package dial

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	localPortRange = 51 // IP_LOCAL_PORT_RANGE of include/uapi/linux/in.h, since Linux 6.3
	ports          = 64
	each           = 48 // of them towards one destination, for others may listen on some
)

// TestPortsAreNotSharedByDestinations has two destinations, which together get
// more connections than there are local ports: few of them, the last of the
// system's range, outside of which the option has no effect.
func TestPortsAreNotSharedByDestinations(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	var first, last int
	if _, err := fmt.Sscan(string(b), &first, &last); err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, localPortRange, last<<16|(last-ports+1))
		})
		if err != nil {
			return err
		}
		return failed
	}}
	for _, host := range []string{"127.200.0.1", "127.200.0.2"} {
		lis, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(host), 0).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lis.Close() })
		for n := range each {
			conn, err := TCP(t.Context(), &dialer, lis.Addr().(*net.TCPAddr).AddrPort())
			if err != nil {
				t.Fatalf("%s, connection %d: %v", host, n, err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	to := netip.MustParseAddrPort("127.255.255.1:1") // where nobody listens, nor comes to listen in the meantime
	if conn, err := TCP(t.Context(), &net.Dialer{}, to); err == nil || conn != nil {
		t.Errorf("connected to a closed port: %v, %v", conn, err)
	}
}
