package l4

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReconfigureUnderLoad changes listeners and pools a thousand times while clients work, some on long connections, some
// on short ones. Nothing that the changes do not concern may fail.
func TestReconfigureUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	stable, changing := newAddr(t), newAddr(t)
	backends := make([]netip.AddrPort, 6)
	for i := range backends {
		backends[i] = backend(t, echo)
	}
	// Two backends are always in the pool that the clients use; long connections may land on others, which then drain.
	w.listen(t, "stable", listenerOn(stable), w.pool(t, "p", time.Minute, backends...))

	var stop atomic.Bool
	var exchanges atomic.Int64
	var clients sync.WaitGroup
	fail := func(kind string, err error) {
		if err != nil && !stop.Swap(true) {
			t.Errorf("%s connection: %v", kind, err)
		}
	}
	for i := range 4 {
		clients.Go(func() {
			c, err := net.Dial("tcp", stable.String())
			if err != nil {
				fail("long", err)
				return
			}
			defer c.Close()
			for n := 0; !stop.Load(); n++ {
				c.SetDeadline(time.Now().Add(patience))
				fail("long", exchange(c, fmt.Sprintf("client %d exchange %d", i, n)))
				exchanges.Add(1)
			}
		})
		clients.Go(func() {
			for !stop.Load() {
				c, err := net.Dial("tcp", stable.String())
				if err != nil {
					fail("short", err)
					return
				}
				c.SetDeadline(time.Now().Add(patience))
				fail("short", exchange(c, "hello"))
				c.(*net.TCPConn).CloseWrite()
				if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
					fail("short", fmt.Errorf("ends with %q, %v", rest, err))
				}
				c.Close()
				exchanges.Add(1)
			}
		})
	}
	r := rand.New(rand.NewPCG(1000, 1))
	for i := 0; i < 1000 && !stop.Load(); i++ {
		subset := backends[:2+r.IntN(len(backends)-1)]
		pool := w.registry.Pool("p")
		switch r.IntN(5) {
		case 0:
			w.pool(t, "p", time.Minute, subset...)
		case 1:
			conf := listenerOn(stable)
			conf.TCPIdleTimeout = time.Duration(30+r.IntN(60)) * time.Second
			conf.ConnectionLimit = uint32(r.IntN(2) * 1000)
			w.listen(t, "stable", conf, pool)
		case 2:
			w.listen(t, "changing", listenerOn(changing), w.pool(t, "q", 0, subset...))
		case 3:
			w.RemoveListener("changing")
		case 4:
			w.registry.RemovePool("q")
		}
		if i%10 == 0 {
			before := exchanges.Load()
			eventually(t, "progress", func() bool { return exchanges.Load() >= before+8 || stop.Load() })
		}
	}
	stop.Store(true)
	clients.Wait()
	w.idle(t, "stable", "p")
	t.Logf("%d exchanges", exchanges.Load())
	m := w.counters("stable")
	for why := range m.refused {
		if n := m.refused[why].Load(); n > 0 {
			t.Errorf("%d connections refused: %s", n, refusalWords[why])
		}
	}
	for _, why := range []cause{byIdle, byDrain, byShutdown} {
		if n := m.ended[why].Load(); n > 0 {
			t.Errorf("%d connections ended: %s", n, causeWords[why])
		}
	}
}
