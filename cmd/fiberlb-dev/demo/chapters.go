package demo

import (
	"context"
	"time"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// failover kills a server under load. Nobody should notice: a refused dial
// goes to another server, and the health check takes the dead one out.
func (d *demo) failover(ctx context.Context) error {
	d.title("5. A server dies under load")
	victim := d.backends[1]
	l := d.startLoad(ctx)
	if err := d.until(ctx, 2*time.Second, func() bool { return !l.last(victim.name).IsZero() }); err != nil {
		return err
	}
	died := time.Now()
	victim.stop()
	out := d.until(ctx, 5*time.Second, func() bool { return d.operating(ctx) == fiberlbv1.OperatingStatus_OPERATING_STATUS_DEGRADED })
	noticed := time.Since(died)
	if err := victim.start(ctx); err != nil {
		return err
	}
	began := time.Now()
	back := d.until(ctx, 5*time.Second, func() bool { return l.last(victim.name).After(began) })
	returned := time.Since(began)
	ok, errs := l.stop()
	d.check(out == nil, "%s died; the API says degraded after %s", victim.name, ms(noticed))
	d.check(back == nil, "%s came back; it has traffic again after %s", victim.name, ms(returned))
	// A connection that the server had accepted when it died is lost with it.
	d.check(len(errs) <= 2, "%d connections in that time, %d broke with the server they were on", ok+len(errs), len(errs))
	return ctx.Err()
}

func (d *demo) operating(ctx context.Context) fiberlbv1.OperatingStatus {
	lb, err := d.lbs.GetLoadBalancer(ctx, &fiberlbv1.GetRequest{Name: "projects/default/loadBalancers/demo"})
	if err != nil {
		return 0
	}
	return lb.GetStatus().GetOperatingStatus()
}

// drain removes the server that an open connection is on.
func (d *demo) drain(ctx context.Context) error {
	d.title("6. A server is taken out of the pool")
	c, err := dial(ctx, d.vip)
	if err != nil {
		return err
	}
	defer c.close()
	for i, b := range d.backends {
		if b.name == c.server {
			d.weights[i] = -1
		}
	}
	took, err := d.apply(ctx)
	if err != nil {
		return err
	}
	count, failed := d.sampled(ctx, 200)
	d.bars(count)
	d.check(failed == 0 && count[c.server] == 0, "%s has no new connections after %s", c.server, ms(took))
	d.check(c.echo("still there?") == nil, "the connection that was open on %s lives on", c.server)
	for i := range d.weights {
		d.weights[i] = 1
	}
	_, err = d.apply(ctx)
	return err
}

// blackout stops the controller with its etcd, then restarts the data plane
// without either.
func (d *demo) blackout(ctx context.Context) error {
	d.title("7. The controller is gone")
	if err := d.until(ctx, 5*time.Second, func() bool { count, _ := d.sampled(ctx, 60); return len(count) == backends }); err != nil {
		return err
	}
	l := d.startLoad(ctx)
	if err := d.stack.StopController(); err != nil {
		return err
	}
	d.note("controller and etcd stopped")
	if err := sleep(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	ok, errs := l.stop()
	d.check(len(errs) == 0, "%d connections while it went, none failed", ok)

	if err := d.stack.StopNode("n1"); err != nil {
		return err
	}
	_, failed := d.sampled(ctx, 1)
	d.check(failed == 1, "the data plane is stopped too: nobody answers")
	began := time.Now()
	if err := d.stack.StartNode(ctx, "n1"); err != nil {
		return err
	}
	err := d.until(ctx, 5*time.Second, func() bool { _, failed := d.sampled(ctx, 1); return failed == 0 })
	took := time.Since(began)
	d.check(err == nil && took < time.Second, "the data plane is back, without a controller: traffic after %s", ms(took))

	if err := d.stack.StartController(ctx); err != nil {
		return err
	}
	l = d.startLoad(ctx)
	d.weights[0] = 0
	if _, err := d.apply(ctx); err != nil {
		return err
	}
	_, errs = l.stop()
	count, _ := d.sampled(ctx, 100)
	d.check(len(errs) == 0 && count["b1"] == 0, "the controller is back and in charge again")
	return ctx.Err()
}
