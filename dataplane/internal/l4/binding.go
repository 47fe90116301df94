package l4

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fiberlb/fiberlb/pkg/backoff"
)

// Keep-alive of connections on both sides: a peer that vanished is noticed after two minutes.
const (
	keepAliveIdle     = 60 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 4
)

// acceptPauseMax bounds the pause after an accept that failed, for want of file descriptors as a rule.
const acceptPauseMax = 500 * time.Millisecond

// binding is a listener on one address: bound, or trying to be.
type binding struct {
	listener *listener
	addr     netip.AddrPort
	done     chan struct{} // closed when it is taken out of force
	deadline atomic.Int64  // then: when its connections end, in nanoseconds since 1970; 0 before

	mu      sync.Mutex // guards what follows
	stopped bool
	sockets []*net.TCPListener
	err     error // why there are no sockets
}

// open tries to bind.
func (b *binding) open() {
	sockets, err := listen(b.addr, b.listener.server.shards)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		closeAll(sockets)
		return
	}
	b.sockets, b.err = sockets, err
}

// stop closes the sockets for good.
func (b *binding) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped {
		b.stopped = true
		close(b.done)
		closeAll(b.sockets)
		b.sockets = nil
	}
}

// status returns why the binding does not accept, nil if it does.
func (b *binding) status() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// run accepts until stop, and until then tries to bind where that went wrong.
func (b *binding) run() {
	s := b.listener.server
	log := s.log.With("listener", b.listener.name, "address", b.addr)
	pause := backoff.Backoff{Limit: 2 * time.Second}
	for first := true; ; first = false {
		freed := s.freedSignal()
		if !first {
			b.open()
			s.changed()
		}
		b.mu.Lock()
		sockets, err, stopped := b.sockets, b.err, b.stopped
		b.mu.Unlock()
		if stopped {
			return
		}
		if err == nil {
			log.Info("listening")
			pause.Reset()
			var accepts sync.WaitGroup
			for _, socket := range sockets {
				accepts.Go(func() { b.accept(socket) })
			}
			accepts.Wait()
			return
		}
		if pause.Attempts() == 0 {
			log.Error("cannot listen, going on to try", "error", err)
		}
		timer := time.NewTimer(pause.Next())
		select {
		case <-timer.C:
		case <-freed:
		case <-b.done:
		}
		timer.Stop()
	}
}

// accept hands clients over until the socket is closed.
func (b *binding) accept(socket *net.TCPListener) {
	ln := b.listener
	pause := time.Duration(0)
	for {
		client, err := socket.AcceptTCP()
		if err == nil {
			pause = 0
			ln.admit(b, client)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		ln.metrics.acceptErrors.Add(1)
		if pause == 0 {
			ln.server.log.Error("cannot accept, going on to try", "listener", ln.name, "address", b.addr, "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), acceptPauseMax)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.done:
		}
		timer.Stop()
	}
}

// listen binds addr so many times. The address need not be on any interface yet (IP_FREEBIND), since VIPs come and go.
func listen(addr netip.AddrPort, shards int) ([]*net.TCPListener, error) {
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6"
	}
	// Go itself sets SO_REUSEADDR and, for tcp6, IPV6_V6ONLY, and asks for the longest backlog that the system allows. It would
	// set keep-alive per connection; set on the listening socket it is inherited, for no system call.
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, addr.Addr().Is6(), shards > 1)
	}}
	lc.SetMultipathTCP(false)
	var sockets []*net.TCPListener
	for range shards {
		l, err := lc.Listen(context.Background(), network, addr.String())
		if err != nil {
			closeAll(sockets)
			return nil, fmt.Errorf("bind %s: %w", addr, innermost(err))
		}
		sockets = append(sockets, l.(*net.TCPListener))
	}
	return sockets, nil
}

// control sets the options of a listening socket.
func control(raw syscall.RawConn, v6, reusePort bool) error {
	type option struct{ level, name, value int }
	options := []option{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle / time.Second)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval / time.Second)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount},
	}
	if v6 {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1})
	} else {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_FREEBIND, 1})
	}
	if reusePort {
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	var failed error
	err := raw.Control(func(fd uintptr) {
		for _, o := range options {
			if err := unix.SetsockoptInt(int(fd), o.level, o.name, o.value); err != nil && failed == nil {
				failed = fmt.Errorf("set socket option %d/%d: %w", o.level, o.name, err)
			}
		}
	})
	return errors.Join(err, failed)
}

func closeAll(sockets []*net.TCPListener) {
	for _, s := range sockets {
		s.Close()
	}
}

// innermost strips what net wraps around an error: the reader knows operation and address.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
