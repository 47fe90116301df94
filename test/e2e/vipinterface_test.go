package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fiberlb/fiberlb/test/harness"
)

// namespace makes a network namespace, or ends the test loudly where nobody but root may.
func namespace(t *testing.T) *harness.Namespace {
	t.Helper()
	ns, err := harness.NewNamespace(t)
	if errors.Is(err, unix.EPERM) && os.Getuid() != 0 {
		t.Skipf("NOT TESTED: %v: run as root to test --vip-interface", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func TestVIPInterface(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	// Foreign addresses, the second of which is going to be a VIP.
	foreign := []string{"198.51.100.1/24", "203.0.113.30/32", "2001:db8::1/64"}
	ns.Interface(t, "vip0", foreign...)
	greeter := ns.Listen(t, netip.MustParseAddrPort("198.51.100.1:0"))
	go greet(greeter, "inside")
	backend := greeter.Addr().String()

	document := func(name, vip string) string {
		addr, port, _ := strings.Cut(backend, ":")
		return fmt.Sprintf(`name: %s
vips: ["%s"]
listeners: [{name: front, port: 80, protocol: tcp, default_pool_id: p}]
pools: [{name: p, protocol: tcp, backends: [{name: b, address: %s, port: %s}]}]
`, name, vip, addr, port)
	}
	four, six, adopted := document("four", "203.0.113.10"), document("six", "2001:db8:1::10"), document("adopted", "203.0.113.30")
	local := strings.Replace(document("local", "127.0.0.77"), "address: 198.51.100.1", "address: 127.0.0.1", 1)
	file := harness.WriteFile(t, "fiberlb.yaml", strings.Join([]string{four, six, adopted, local}, "---\n"))
	node := harness.LaunchNode(t, harness.NodeConfig{File: file, Namespace: ns, Args: []string{"--vip-interface", "vip0"}})

	addressesAre := func(what string, vips ...string) {
		t.Helper()
		want := slices.Sorted(slices.Values(append(slices.Clone(foreign), vips...)))
		harness.Until(t, what, func() error {
			select {
			case <-node.Done():
				t.Fatal("the data plane ended")
			default:
			}
			if got := ns.Addresses(t, "vip0"); !slices.Equal(got, want) {
				return fmt.Errorf("the interface has %v, want %v", got, want)
			}
			return nil
		})
	}
	addressesAre("all VIPs are on the interface, but for the one of 127.0.0.0/8", "203.0.113.10/32", "2001:db8:1::10/128")
	for _, vip := range []string{"203.0.113.10:80", "[2001:db8:1::10]:80", "203.0.113.30:80"} {
		harness.Until(t, "traffic through "+vip, func() error {
			said, err := ns.Dial(netip.MustParseAddrPort(vip))
			if err == nil && said != "inside" {
				err = fmt.Errorf("it said %q", said)
			}
			return err
		})
	}
	if got := ns.Addresses(t, "lo"); slices.Contains(got, "127.0.0.77/32") {
		t.Errorf("loopback has %v", got)
	}

	rewrite(t, file, strings.Join([]string{six, local}, "---\n"))
	node.Signal(t, syscall.SIGHUP)
	addressesAre("a removed VIP leaves, but for the one that somebody else put there", "2001:db8:1::10/128")
	rewrite(t, file, strings.Join([]string{four, six, local}, "---\n"))
	node.Signal(t, syscall.SIGHUP)
	addressesAre("a VIP comes back", "203.0.113.10/32", "2001:db8:1::10/128")

	ns.RemoveAddress(t, "vip0", "2001:db8:1::10/128")
	addressesAre("what somebody took away is put back", "203.0.113.10/32", "2001:db8:1::10/128")

	// Killed, it leaves its addresses, so that the next one goes on with them.
	node.Kill(t)
	if left := ns.Addresses(t, "vip0"); !slices.Contains(left, "203.0.113.10/32") {
		t.Errorf("after SIGKILL the interface has %v", left)
	}
	rewrite(t, file, strings.Join([]string{four, local}, "---\n"))
	node.Relaunch(t)
	addressesAre("a restarted data plane adopts what is its own and removes what has gone meanwhile", "203.0.113.10/32")
}

// greet says a word to whoever connects.
func greet(listener net.Listener, word string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(word))
		_ = conn.Close()
	}
}
