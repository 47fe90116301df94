package l4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestFailover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, newAddr(t), newAddr(t), backend(t, echo), newAddr(t)))
	for i := range 12 {
		c := connect(t, vip)
		ask(t, c, fmt.Sprintf("request %d, sent before any backend answered", i))
		reset(c)
	}
	w.idle(t, "l", "p")
	if n := w.counters("l").dialFailures.Load(); n == 0 || n > 36 {
		t.Errorf("%d dials failed", n)
	}
	failures := 0
	for _, b := range w.registry.Status()[0].Backends {
		failures += int(b.Active)
	}
	if failures != 0 {
		t.Errorf("%d connections are still counted", failures)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	alive := backend(t, echo)
	for name, c := range map[string]struct {
		why    refusal
		change func(l *snapshot.Listener)
		pool   []netip.AddrPort
		nilled bool
	}{
		"no pool":        {why: noPool, nilled: true},
		"empty pool":     {why: noBackend},
		"nobody answers": {why: unreachable, pool: []netip.AddrPort{newAddr(t), newAddr(t)}},
		"not allowed": {why: notAllowed, pool: []netip.AddrPort{alive}, change: func(l *snapshot.Listener) {
			l.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			vip, conf := newAddr(t), (*snapshot.Listener)(nil)
			conf = listenerOn(vip)
			if c.change != nil {
				c.change(conf)
			}
			pool := w.pool(t, name, time.Minute, c.pool...)
			if c.nilled {
				pool = nil
			}
			w.listen(t, name, conf, pool)
			wantRefused(t, vip)
			eventually(t, "the count", func() bool { return w.counters(name).refused[c.why].Load() == 1 })
			w.idle(t, name, name)
		})
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	conf := listenerOn(vip)
	conf.ConnectionLimit = 2
	conf.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	pool := w.pool(t, "p", time.Minute, backend(t, echo))
	w.listen(t, "l", conf, pool)
	first, second := connect(t, vip), connect(t, vip)
	ask(t, first, "1")
	ask(t, second, "2")
	wantRefused(t, vip)
	first.Close()
	eventually(t, "one left", func() bool { return w.active("l") == 1 })
	ask(t, connect(t, vip), "3")

	conf = listenerOn(vip)
	w.listen(t, "l", conf, pool)
	for range 5 {
		ask(t, connect(t, vip), "no limit any more")
	}
	if n := w.counters("l").refused[overLimit].Load(); n != 1 {
		t.Errorf("%d were over the limit", n)
	}
}

func TestUpdateKeepsConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, b := newAddr(t), newAddr(t)
	b = netip.AddrPortFrom(b.Addr(), a.Port())
	pool := w.pool(t, "p", time.Minute, backend(t, echo))
	conf := listenerOn(a)
	w.listen(t, "l", conf, pool)
	old := connect(t, a)
	ask(t, old, "1")

	conf = listenerOn(a)
	conf.VIPs = append(conf.VIPs, b.Addr())
	other := w.pool(t, "q", time.Minute, backend(t, func(c *net.TCPConn) { io.WriteString(c, "other") }))
	w.listen(t, "l", conf, other)
	ask(t, old, "2")
	for _, addr := range []netip.AddrPort{a, b} {
		if got, err := io.ReadAll(connect(t, addr)); string(got) != "other" || err != nil {
			t.Errorf("%s gives %q, %v", addr, got, err)
		}
	}
	// The first address goes: its connection stays, for the delay of the pool that the listener has.
	conf = listenerOn(b)
	w.listen(t, "l", conf, other)
	if c, err := net.Dial("tcp", a.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling an address that is gone gives %v, %v", c, err)
	}
	ask(t, old, "3")
}

func TestBackendRemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	a, b := backend(t, echo), backend(t, echo)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, a))
	c := connect(t, vip)
	ask(t, c, "on a")
	w.pool(t, "p", time.Minute, b)
	ask(t, c, "still on a")
	w.pool(t, "p", time.Minute, a, b)
	w.pool(t, "p", 50*time.Millisecond, b)
	began := time.Now()
	fresh := connect(t, vip)
	ask(t, fresh, "on b")
	wantReset(t, c)
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("the delay of 50ms took %s", took)
	}
	ask(t, fresh, "still on b")
	eventually(t, "the count", func() bool { return w.counters("l").ended[byDrain].Load() == 1 })
}

func TestListenerRemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	addr := backend(t, echo)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", 2*time.Second, addr))
	c := connect(t, vip)
	ask(t, c, "1")
	w.RemoveListener("l")
	if _, err := net.Dial("tcp", vip.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a listener that is gone gives %v", err)
	}
	ask(t, c, "2")
	wantReset(t, c)
	w.RemoveListener("l")
	// The name and the address are free again.
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", 0, addr))
	ask(t, connect(t, vip), "3")
}

func TestBindConflictHeals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	taken, free := newAddr(t), newAddr(t)
	free = netip.AddrPortFrom(free.Addr(), taken.Port())
	pool := w.pool(t, "p", time.Minute, backend(t, echo))
	w.listen(t, "first", listenerOn(taken), pool)
	conf := listenerOn(taken)
	conf.VIPs = append(conf.VIPs, free.Addr())
	if err := w.SetListener("second", conf, pool); err != nil {
		t.Fatal(err)
	}
	status := w.Status()[1]
	if status.Name != "second" || status.Bound() != 1 {
		t.Fatalf("status is %+v", status)
	}
	for _, b := range status.Bindings {
		if (b.Err != nil) != (b.Addr == taken) {
			t.Errorf("%s: %v", b.Addr, b.Err)
		}
		if b.Err != nil && (!errors.Is(b.Err, syscall.EADDRINUSE) || !strings.Contains(b.Err.Error(), taken.String())) {
			t.Errorf("the error is %v", b.Err)
		}
	}
	ask(t, connect(t, free), "the other address serves")
	for len(w.Changes()) > 0 {
		<-w.Changes()
	}
	w.RemoveListener("first")
	eventually(t, "both addresses bound", func() bool { s := w.Status(); return s[0].Bound() == 2 })
	<-w.Changes()
	ask(t, connect(t, taken), "healed")
}

// TestAddressesNotThere binds addresses that no interface has.
func TestAddressesNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	port := newAddr(t).Port()
	conf := &snapshot.Listener{VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8::77")},
		Port: port, Protocol: lb.ListenerTCP, ConnectTimeout: time.Second, TCPIdleTimeout: time.Minute}
	w.listen(t, "l", conf, nil)
}

func TestSetListenerRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for name, change := range map[string]func(*snapshot.Listener){
		"protocol": func(l *snapshot.Listener) { l.Protocol = lb.ListenerUDP },
		"port":     func(l *snapshot.Listener) { l.Port = 0 },
		"address":  func(l *snapshot.Listener) { l.VIPs = nil },
		"connect":  func(l *snapshot.Listener) { l.ConnectTimeout = 0 },
		"idle":     func(l *snapshot.Listener) { l.TCPIdleTimeout = 0 },
	} {
		conf := listenerOn(newAddr(t))
		change(conf)
		if err := w.SetListener("l", conf, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.Status()) != 0 {
		t.Errorf("status is %+v", w.Status())
	}
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	conf := listenerOn(vip)
	conf.TCPIdleTimeout = 600 * time.Millisecond
	serve, came := handed()
	w.listen(t, "l", conf, w.pool(t, "p", time.Minute, backend(t, serve)))
	silent, busy := connect(t, vip), connect(t, vip)
	take(t, came)
	take(t, came)
	// Traffic in one direction alone keeps a connection.
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for range 60 {
			<-ticker.C
			if _, err := busy.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	wantReset(t, silent)
	<-stop
	if n := w.counters("l").ended[byIdle].Load(); n != 1 || w.active("l") != 1 {
		t.Errorf("%d connections ended as idle, %d are open", n, w.active("l"))
	}
	wantReset(t, busy)
	w.idle(t, "l", "p")
}

func TestClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, echo)))
	c := connect(t, vip)
	ask(t, c, "1")
	closed := make(chan error, 1)
	go func() { closed <- w.Close(t.Context()) }()
	eventually(t, "no socket", func() bool {
		probe, err := net.Dial("tcp", vip.String())
		if err == nil {
			probe.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	ask(t, c, "2")
	c.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := w.SetListener("l", listenerOn(vip), nil); err == nil {
		t.Error("a closed server takes listeners")
	}
}

func TestCloseCutsShort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, echo)))
	c := connect(t, vip)
	ask(t, c, "1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close gives %v", err)
	}
	wantReset(t, c)
}

// TestSockets looks at the options of both sides' sockets.
func TestSockets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, echo)))
	c := connect(t, vip)
	ask(t, c, "1")
	var sides []*net.TCPConn
	for i := range w.sweeper.shards {
		sh := &w.sweeper.shards[i]
		sh.mu.Lock()
		for conn := sh.first; conn != nil; conn = conn.next {
			sides = append(sides, conn.client, conn.server)
		}
		sh.mu.Unlock()
	}
	if len(sides) != 2 {
		t.Fatalf("there are %d sockets", len(sides))
	}
	for _, side := range sides {
		raw, err := side.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			for _, o := range [][3]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
			} {
				if got, err := unix.GetsockoptInt(int(fd), o[0], o[1]); got != o[2] || err != nil {
					t.Errorf("option %d/%d is %d, %v; want %d", o[0], o[1], got, err, o[2])
				}
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, echo)))
	c := connect(t, vip)
	ask(t, c, "12345")
	c.Close()
	w.idle(t, "l", "p")
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(w.Server, w.registry)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				if l.GetName() != "listener" {
					name += "," + l.GetValue()
				}
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"accepted_connections_total": 1, "active_connections": 0, "ended_connections_total,done": 1, "received_bytes_total": 5,
		"sent_bytes_total": 5, "dial_duration_seconds": 1, "connection_duration_seconds": 1, "addresses": 1, "bound_addresses": 1,
		"refused_connections_total,not_allowed": 0,
	} {
		if v, ok := got["fiberlb_dataplane_listener_"+name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	list := []netip.Prefix{}
	for _, p := range []string{"10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "192.0.2.128/25", "2001:db8::/32", "2001:db8:1::/48"} {
		list = append(list, netip.MustParsePrefix(p))
	}
	p := newPrefixes(list)
	if len(p) != 4 {
		t.Errorf("kept %v", p)
	}
	for _, text := range []string{"9.255.255.255", "10.0.0.0", "10.1.2.3", "10.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.7",
		"192.0.2.8", "192.0.2.127", "192.0.2.128", "192.0.2.255", "2001:db7::1", "2001:db8::", "2001:db8:1::1", "2001:db9::"} {
		addr, want := netip.MustParseAddr(text), false
		for _, q := range list {
			want = want || q.Contains(addr)
		}
		if got := p.contain(addr); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}

const starvedEnv = "FIBERLB_L4_TEST_STARVED"

// TestOutOfDescriptors runs starved in a process of its own, whose limit it may lower.
func TestOutOfDescriptors(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), starvedEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("recovered")) {
		t.Fatalf("%v: %s", err, out)
	}
}

// starved has a server run out of file descriptors and get them back: it must neither spin nor stop accepting.
func starved() int {
	t := &testing.T{}
	w := newWorld(t, 1)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, echo)))
	c := connect(t, vip)
	ask(t, c, "plenty")
	waiting := connect(t, vip) // a descriptor of the client's own
	ask(t, waiting, "plenty")
	pending, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 1
	}
	var hoard []int
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 100}); err != nil {
		return 1
	}
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		hoard = append(hoard, fd)
	}
	if err := unix.Connect(pending, &unix.SockaddrInet4{Port: int(vip.Port()), Addr: vip.Addr().As4()}); err != nil {
		return 1
	}
	eventually(t, "failures", func() bool { return w.counters("l").acceptErrors.Load() >= 3 })
	if n := w.counters("l").acceptErrors.Load(); n > 20 {
		fmt.Println("spins:", n)
		return 1
	}
	ask(t, c, strings.Repeat("no pipe to be had", 10_000))
	for _, fd := range hoard {
		unix.Close(fd)
	}
	unix.Write(pending, []byte("x"))
	if n, err := unix.Read(pending, make([]byte, 1)); n != 1 || err != nil {
		fmt.Println("after the shortage:", n, err)
		return 1
	}
	fmt.Println("recovered")
	return 0
}
