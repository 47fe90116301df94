package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/fiberlb/fiberlb/cmd/fiberlb-dev/stack"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// BenchmarkApplyToTraffic measures from the call of Apply to the first
// connection that reaches the backend which that call brought in, through etcd
// with its fsync, compile, stream and apply; beside other load balancers in the
// configuration, which must not matter. Run it with -benchtime 1000x.
func BenchmarkApplyToTraffic(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) { applyToTraffic(b, others) })
	}
}

func applyToTraffic(b *testing.B, others int) {
	ctx := b.Context()
	dir := b.TempDir()
	st, err := stack.Start(ctx, stack.Config{Dir: dir, Logger: hclog.NewNullLogger()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := st.Stop(); err != nil {
			b.Error(err)
		}
	})
	api := fiberlbv1.NewConfigServiceClient(st.Conn())
	for i := range others {
		cfg := config(fmt.Sprintf("other-%d", i), fmt.Sprintf("127.1.%d.%d", i/250, i%250+1), 9, 9)
		if _, err := api.Apply(ctx, &fiberlbv1.ApplyRequest{Config: cfg}); err != nil {
			b.Fatal(err)
		}
	}
	var servers [2]*net.TCPAddr
	for i := range servers {
		servers[i] = answer(b, byte(i))
	}
	port := freePort(b)
	vip := fmt.Sprintf("127.0.0.20:%d", port)
	var took sample
	n := 0
	for b.Loop() {
		want := byte(n % 2)
		n++
		cfg := config("bench", "127.0.0.20", port, servers[want].Port)
		began := time.Now()
		if _, err := api.Apply(ctx, &fiberlbv1.ApplyRequest{Config: cfg}); err != nil {
			b.Fatal(err)
		}
		for who(ctx, vip) != want {
			if time.Since(began) > 10*time.Second {
				b.Fatal("the change never reached traffic")
			}
		}
		took = append(took, time.Since(began))
	}
	b.ReportMetric(ms(took.quantile(0.5)), "p50-ms")
	b.ReportMetric(ms(took.quantile(0.99)), "p99-ms")
	b.ReportMetric(ms(took.quantile(1)), "max-ms")
	if n >= 100 {
		fmt.Printf("apply to first connection, %d other load balancers: %s\n%s", others, took, took.histogram())
		fmt.Printf("the disk's fsync beside it: %s\n", fsyncs(b, dir))
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func config(name, vip string, port, backend int) *fiberlbv1.LoadBalancerConfig {
	return &fiberlbv1.LoadBalancerConfig{
		Name: name,
		Vips: []string{vip},
		Listeners: []*fiberlbv1.Listener{{
			Name: "l", Port: uint32(port), Protocol: fiberlbv1.ListenerProtocol_LISTENER_PROTOCOL_TCP, DefaultPoolId: "p",
		}},
		Pools: []*fiberlbv1.Pool{{
			Name: "p", Protocol: fiberlbv1.PoolProtocol_POOL_PROTOCOL_TCP, Algorithm: fiberlbv1.PoolAlgorithm_POOL_ALGORITHM_MAGLEV,
			Backends: []*fiberlbv1.Backend{{Name: "b", Address: "127.0.0.1", Port: uint32(backend)}},
		}},
	}
}

// answer serves one byte to whoever connects.
func answer(b *testing.B, what byte) *net.TCPAddr {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = lis.Close() })
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte{what})
			_ = conn.Close()
		}
	}()
	return lis.Addr().(*net.TCPAddr)
}

// who connects and tells which server answered; 255: none.
func who(ctx context.Context, addr string) byte {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 255
	}
	defer conn.Close()
	var got [1]byte
	if _, err := io.ReadFull(conn, got[:]); err != nil {
		return 255
	}
	return got[0]
}

func freePort(b *testing.B) int {
	lis, err := net.Listen("tcp", "127.0.0.20:0")
	if err != nil {
		b.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().(*net.TCPAddr).Port
}

// fsyncs measures what one small durable write costs in dir.
func fsyncs(b *testing.B, dir string) sample {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var s sample
	for range 200 {
		began := time.Now()
		if _, err := f.Write(make([]byte, 512)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		s = append(s, time.Since(began))
	}
	return s
}
