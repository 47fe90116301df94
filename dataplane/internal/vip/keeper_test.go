package vip

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const iface = "vip0"

var (
	v4     = netip.MustParseAddr("203.0.113.10")
	other4 = netip.MustParseAddr("203.0.113.11")
	v6     = netip.MustParseAddr("2001:db8::10")
)

// lab is a network namespace with one bridge, which every kernel has, seen through a handle of its own.
type lab struct {
	*netlink.Handle
	link netlink.Link
}

// newLab moves the test into a namespace of its own. As root it has to work; without privileges it cannot.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and addresses are made by root alone")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		handle.Close()
		ns.Close()
	})
	if err := handle.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: iface}}); err != nil {
		t.Fatal(err)
	}
	link, err := handle.LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	if err := handle.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	return &lab{handle, link}
}

// addrs lists the interface's addresses, without link-local ones.
func (l *lab) addrs(t *testing.T) []string {
	t.Helper()
	list, err := l.AddrList(l.link, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, a := range list {
		if !a.IP.IsLinkLocalUnicast() {
			texts = append(texts, a.IPNet.String())
		}
	}
	slices.Sort(texts)
	return texts
}

func (l *lab) want(t *testing.T, want ...string) {
	t.Helper()
	if got := l.addrs(t); !slices.Equal(got, want) {
		t.Errorf("the interface has %v, want %v", got, want)
	}
}

func (l *lab) change(t *testing.T, do func(netlink.Link, *netlink.Addr) error, cidr string) {
	t.Helper()
	addr, err := netlink.ParseAddr(cidr)
	if err == nil {
		addr.Flags = unix.IFA_F_NODAD
		err = do(l.link, addr)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func newKeeper(t *testing.T, owned ...netip.Addr) *Keeper {
	t.Helper()
	k, err := New(Config{Interface: iface, Owned: owned})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// run heals in the background; the function that it returns ends that.
func run(t *testing.T, k *Keeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.change(t, l.AddrAdd, "198.51.100.1/24")
	k := newKeeper(t)
	defer run(t, k)()
	l.want(t, "198.51.100.1/24")
	k.Set([]netip.Addr{v4, v6, netip.MustParseAddr("127.0.0.5"), netip.MustParseAddr("::1")})
	l.want(t, "198.51.100.1/24", "2001:db8::10/128", "203.0.113.10/32")
	for _, addr := range []string{"203.0.113.10", "2001:db8::10", "127.0.0.5", "::1"} {
		if err := k.Present(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if err := k.Present(other4); err == nil {
		t.Error("an address that nobody asked for is present")
	}
	list, err := l.AddrList(l.link, netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.IP.Equal(v6.AsSlice()) && a.Flags&(unix.IFA_F_NODAD|unix.IFA_F_TENTATIVE) != unix.IFA_F_NODAD {
			t.Errorf("the flags of %s are %#x", a.IP, a.Flags)
		}
	}
	k.Set([]netip.Addr{v4, other4})
	l.want(t, "198.51.100.1/24", "203.0.113.10/32", "203.0.113.11/32")
	if got := k.Owned(); !slices.Equal(got, []netip.Addr{v4, other4}) {
		t.Errorf("owned are %v", got)
	}
	k.Set(nil)
	l.want(t, "198.51.100.1/24")
}

// TestRestart has a second process find what the first one left: it keeps what is wanted and removes the rest.
func TestRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := newKeeper(t)
	stop := run(t, first)
	first.Set([]netip.Addr{v4, other4, v6})
	stop()
	l.want(t, "2001:db8::10/128", "203.0.113.10/32", "203.0.113.11/32")
	second := newKeeper(t)
	defer run(t, second)()
	l.want(t, "2001:db8::10/128", "203.0.113.10/32", "203.0.113.11/32")
	second.Set([]netip.Addr{v4})
	l.want(t, "203.0.113.10/32")
}

// TestForeign uses addresses that others put there, and leaves them there.
func TestForeign(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.change(t, l.AddrAdd, "203.0.113.10/24")
	l.change(t, l.AddrAdd, "203.0.113.11/32")
	k := newKeeper(t)
	defer run(t, k)()
	k.Set([]netip.Addr{v4, other4, v6})
	l.want(t, "2001:db8::10/128", "203.0.113.10/24", "203.0.113.11/32")
	if err := errors.Join(k.Present(v4), k.Present(other4)); err != nil {
		t.Error(err)
	}
	k.Set(nil)
	l.want(t, "203.0.113.10/24", "203.0.113.11/32")
}

// TestOwnedWithoutMarks is a kernel that keeps no marks: what was handed in tells whose an address is.
func TestOwnedWithoutMarks(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.change(t, l.AddrAdd, "203.0.113.10/32")
	l.change(t, l.AddrAdd, "203.0.113.11/32")
	k := newKeeper(t, v4)
	defer run(t, k)()
	k.Set(nil)
	l.want(t, "203.0.113.11/32")
}

func TestHeals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	k := newKeeper(t)
	defer run(t, k)()
	k.Set([]netip.Addr{v4, v6})
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	if err := netlink.AddrSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	defer func() { // wait for the subscription to end
		close(done)
		for range updates {
		}
	}()
	for _, cidr := range []string{"203.0.113.10/32", "2001:db8::10/128"} {
		began := time.Now()
		l.change(t, l.AddrDel, cidr)
		for deadline := time.After(5 * time.Second); ; {
			select {
			case u := <-updates:
				if !u.NewAddr || u.LinkAddress.String() != cidr {
					continue
				}
			case <-deadline:
				t.Fatalf("%s did not come back", cidr)
			}
			break
		}
		t.Logf("%s was back after %s", cidr, time.Since(began))
	}
	l.want(t, "2001:db8::10/128", "203.0.113.10/32")
}

// TestInterfaceVanishes takes the whole interface away and gives it back.
func TestInterfaceVanishes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	k := newKeeper(t)
	defer run(t, k)()
	k.Set([]netip.Addr{v4})
	if err := l.LinkDel(l.link); err != nil {
		t.Fatal(err)
	}
	await := func(present bool) {
		t.Helper()
		for deadline := time.After(5 * time.Second); (k.Present(v4) == nil) != present; {
			select {
			case <-k.Changes():
			case <-deadline:
				t.Fatalf("present is still %v: %v", !present, k.Present(v4))
			}
		}
	}
	await(false)
	if err := k.Present(v4); !strings.Contains(err.Error(), iface) {
		t.Errorf("the reason is %v", err)
	}
	if err := l.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: iface}}); err != nil {
		t.Fatal(err)
	}
	await(true)
}

func TestNew(t *testing.T) {
	t.Parallel()
	if k, err := New(Config{Interface: "nosuchiface"}); err == nil || !strings.Contains(err.Error(), "nosuchiface") {
		t.Errorf("an interface that is not there gives %v, %v", k, err)
	}
	k, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer run(t, k)()
	k.Set([]netip.Addr{v4})
	if err := errors.Join(k.Present(v4), k.Present(v6)); err != nil {
		t.Errorf("without an interface: %v", err)
	}
}
