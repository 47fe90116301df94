// Package demo shows FiberLB at work, chapter by chapter, and checks that all
// it shows is right.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/cmd/fiberlb-dev/stack"
	"github.com/fiberlb/fiberlb/pkg/config"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// ErrWrong tells that something the demo showed was not as promised.
var ErrWrong = errors.New("demo: something was not as promised; see the lines marked ✗")

const (
	vip      = "127.0.0.10"
	backends = 4
	sample   = 400 // connections a distribution is measured over
)

// demo is one run.
type demo struct {
	*screen
	stack    *stack.Stack
	api      fiberlbv1.ConfigServiceClient
	lbs      fiberlbv1.LoadBalancerServiceClient
	backends []*backend
	weights  []int // by backend; -1: not in the pool
	vip      string
}

// Run runs the demo against a running stack with one node.
func Run(ctx context.Context, st *stack.Stack, w io.Writer, colour bool) error {
	d := &demo{
		screen: &screen{w: w, colour: colour},
		stack:  st,
		api:    fiberlbv1.NewConfigServiceClient(st.Conn()),
		lbs:    fiberlbv1.NewLoadBalancerServiceClient(st.Conn()),
	}
	defer func() {
		for _, b := range d.backends {
			b.stop()
		}
	}()
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	d.vip = fmt.Sprintf("%s:%d", vip, port)
	for _, chapter := range []func(context.Context) error{
		d.prepare, d.spread, d.reweigh, d.refuse, d.failover, d.drain, d.blackout,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	if d.failed > 0 {
		return ErrWrong
	}
	d.printf("\n%s\n", d.paint(green, "All of it was right."))
	return nil
}

func freePort(ctx context.Context) (int, error) {
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", vip+":0")
	if err != nil {
		return 0, err
	}
	defer lis.Close()
	return lis.Addr().(*net.TCPAddr).Port, nil
}

// yaml is the load balancer as it should be now.
func (d *demo) yaml() string {
	_, port, _ := net.SplitHostPort(d.vip)
	var b strings.Builder
	fmt.Fprintf(&b, `name: demo
vips: [%s]
listeners:
- {name: frontend, port: %s, protocol: tcp, default_pool_id: servers}
pools:
- name: servers
  protocol: tcp
  algorithm: maglev
  health_check: {type: tcp, interval: 200ms, timeout: 100ms, healthy_threshold: 1, unhealthy_threshold: 2}
  backends:
`, vip, port)
	for i, be := range d.backends {
		if d.weights[i] >= 0 {
			fmt.Fprintf(&b, "  - {name: %s, address: 127.0.0.1, port: %d, weight: %d}\n", be.name, be.port(), d.weights[i])
		}
	}
	return b.String()
}

// apply writes the load balancer and waits until the node runs it.
func (d *demo) apply(ctx context.Context) (time.Duration, error) {
	docs, err := config.Load("demo.yaml", []byte(d.yaml()), config.Options{})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	res, err := d.api.Apply(ctx, &fiberlbv1.ApplyRequest{Config: docs[0].Config})
	if err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		lb, err := d.lbs.GetLoadBalancer(ctx, &fiberlbv1.GetRequest{Name: "projects/default/loadBalancers/demo"})
		if err != nil {
			return 0, err
		}
		if r := lb.GetStatus().GetRollout(); r.GetRevision() >= res.GetRevision() && r.GetAcked() > 0 && r.GetAcked() == r.GetNodes() {
			return time.Since(began), nil
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sampled opens connections through the VIP, and counts who answers.
func (d *demo) sampled(ctx context.Context, n int) (count map[string]int, failed int) {
	count = map[string]int{}
	for range n {
		c, err := dial(ctx, d.vip)
		if err != nil {
			failed++
			continue
		}
		count[c.server]++
		c.close()
	}
	return count, failed
}

func (d *demo) prepare(ctx context.Context) error {
	d.title("1. Four servers and a load balancer")
	for i := range backends {
		b := newBackend(fmt.Sprintf("b%d", i+1))
		if err := b.start(ctx); err != nil {
			return err
		}
		d.backends = append(d.backends, b)
		d.weights = append(d.weights, 1)
	}
	d.block(d.yaml())
	took, err := d.apply(ctx)
	if err != nil {
		return err
	}
	d.check(true, "written to etcd, compiled, streamed and acknowledged by the node in %s", ms(took))
	began := time.Now()
	err = d.until(ctx, 5*time.Second, func() bool { count, _ := d.sampled(ctx, 40); return len(count) == backends })
	d.check(err == nil, "all four answer through %s, %s later", d.vip, ms(time.Since(began)))
	return ctx.Err()
}

// until waits for a condition, bounded.
func (d *demo) until(ctx context.Context, limit time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !ok() {
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) spread(ctx context.Context) error {
	d.title("2. Maglev spreads connections")
	count, failed := d.sampled(ctx, sample)
	d.bars(count)
	lowest, highest := sample, 0
	for _, n := range count {
		lowest, highest = min(lowest, n), max(highest, n)
	}
	d.check(failed == 0, "%d connections, %d failed", sample, failed)
	d.check(len(count) == backends && lowest > sample/backends/2 && highest < sample/backends*2, "every server has its share")
	return ctx.Err()
}

func (d *demo) reweigh(ctx context.Context) error {
	d.title("3. Weights 1 : 1 : 2 : 4")
	d.weights = []int{1, 1, 2, 4}
	took, err := d.apply(ctx)
	if err != nil {
		return err
	}
	count, failed := d.sampled(ctx, 2*sample)
	d.bars(count)
	d.check(failed == 0 && count["b4"] > 2*count["b1"] && count["b3"] > count["b1"], "in force after %s, and followed", ms(took))
	d.weights = []int{1, 1, 1, 1}
	_, err = d.apply(ctx)
	return err
}

func (d *demo) refuse(ctx context.Context) error {
	d.title("4. A mistake changes nothing")
	bad := `name: demo
vips: [127.0.0.10]
listeners:
- {name: frontend, port: 99999, protocol: tcp, default_pool_id: server}
pools:
- {name: servers, protocol: tcp, algorythm: maglev}
`
	d.block(bad)
	_, err := config.Load("demo.yaml", []byte(bad), config.Options{})
	if err != nil {
		d.block(err.Error())
	}
	d.check(err != nil, "refused, every mistake named at once")
	_, err = d.api.Apply(ctx, &fiberlbv1.ApplyRequest{Config: &fiberlbv1.LoadBalancerConfig{Name: "stolen", Vips: []string{vip}}})
	d.check(err != nil, "another load balancer cannot take the VIP: %s", status.Convert(err).Message())
	count, failed := d.sampled(ctx, 100)
	d.check(failed == 0 && len(count) == backends, "and traffic flows as before")
	return ctx.Err()
}

// load opens connections without pause until stopped.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards all below
	ok     int
	errs   []error
	seen   map[string]int
	lastOf map[string]time.Time
}

func (d *demo) startLoad(ctx context.Context) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel, seen: map[string]int{}, lastOf: map[string]time.Time{}}
	for range 2 {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				c, err := dial(ctx, d.vip)
				if ctx.Err() != nil {
					break
				}
				l.record(c, err)
				_ = sleep(ctx, time.Millisecond)
			}
		})
	}
	return l
}

func (l *load) record(c *client, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	l.ok++
	l.seen[c.server]++
	l.lastOf[c.server] = time.Now()
	c.close()
}

func (l *load) last(name string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastOf[name]
}

func (l *load) stop() (ok int, errs []error) {
	l.cancel()
	l.wg.Wait()
	return l.ok, l.errs
}
