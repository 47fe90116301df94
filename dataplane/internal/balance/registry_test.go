package balance

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fiberlb/fiberlb/dataplane/internal/health"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// names returns who is picked among many.
func names(t testing.TB, p *Pool) string {
	t.Helper()
	if p.Usable() != nil {
		return ""
	}
	return strings.Join(slices.Sorted(maps.Keys(draw(t, p, 200))), "")
}

func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, f := newRegistry(t)
		defer r.Close()
		list := backends(1, 1, 1)
		f.set(list[1].Addr, true)
		changes, cancel := r.Subscribe()
		defer cancel()
		p := r.mustSet(t, "p", poolOf(lb.RoundRobin, list), check)
		if _, err := p.Pick(client, vip, nil); !errors.Is(err, ErrNoBackend) || !strings.Contains(err.Error(), "healthy") {
			t.Errorf("before any probe Pick gives %v", err)
		}
		synctest.Wait()
		if got := names(t, p); got != "ac" {
			t.Errorf("after the first probes %q serve", got)
		}
		if s := status(t, r, "p", "b"); s.State != health.Checking || s.Reason != errDown.Error() {
			t.Errorf("b is %+v", s)
		}
		<-changes

		// b needs but one success to begin; a goes down after three failures and comes back after two successes.
		f.set(list[1].Addr, false)
		f.set(list[0].Addr, true)
		time.Sleep(check.Interval)
		synctest.Wait()
		if got := names(t, p); got != "abc" {
			t.Errorf("%q serve", got)
		}
		time.Sleep(3 * check.Interval)
		synctest.Wait()
		if got := names(t, p); got != "bc" {
			t.Errorf("%q serve", got)
		}
		s := status(t, r, "p", "a")
		if s.State != health.Down || time.Since(s.Since) > 2*check.Interval {
			t.Errorf("a is %+v", s)
		}
		if total, healthy := p.Counts(); total != 3 || healthy != 2 {
			t.Errorf("%d of %d are healthy", healthy, total)
		}
		f.set(list[0].Addr, false)
		time.Sleep(check.Interval)
		synctest.Wait()
		if got := names(t, p); got != "bc" {
			t.Errorf("after one success %q serve", got)
		}
		time.Sleep(check.Interval)
		synctest.Wait()
		if got := names(t, p); got != "abc" {
			t.Errorf("after two successes %q serve", got)
		}
	})
}

func TestReconfigurationKeepsState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, f := newRegistry(t)
		defer r.Close()
		list := backends(1, 1)
		f.set(list[1].Addr, true)
		p := r.mustSet(t, "p", poolOf(lb.RoundRobin, list), check)
		time.Sleep(time.Minute)
		synctest.Wait()
		since := status(t, r, "p", "b").Since
		b, err := p.Pick(client, vip, nil)
		if err != nil || b.Name() != "a" {
			t.Fatal(b, err)
		}
		b.Acquire()

		// Another check, other weights, another backend: what is known of a and b stays.
		faster := *check
		faster.Interval = 3 * time.Second
		f.mu.Lock()
		before := f.probes
		f.mu.Unlock()
		if again := r.mustSet(t, "p", poolOf(lb.WeightedRoundRobin, backends(5, 7, 1)), &faster); again != p {
			t.Error("the handle changed")
		}
		a, bb := status(t, r, "p", "a"), status(t, r, "p", "b")
		if a.State != health.Up || a.Active != 1 || a.Weight != 5 || bb.State != health.Down || bb.Since != since {
			t.Errorf("a is %+v, b is %+v", a, bb)
		}
		if got := names(t, p); got != "a" {
			t.Errorf("%q serve before c was probed", got)
		}
		synctest.Wait()
		f.mu.Lock()
		if f.probes != before+3 {
			t.Errorf("%d probes followed at once, want 3", f.probes-before)
		}
		f.mu.Unlock()
		if got := names(t, p); got != "ac" {
			t.Errorf("%q serve", got)
		}
		// Without a check all count as up; with one again they keep that until it says otherwise.
		r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1, 1, 1)), nil)
		if got := names(t, p); got != "abc" || status(t, r, "p", "b").State != health.Unmonitored {
			t.Errorf("%q serve without a check", got)
		}
		r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1, 1, 1)), check)
		if got := names(t, p); got != "abc" {
			t.Errorf("%q serve when the check is back", got)
		}
		time.Sleep(4 * check.Interval)
		synctest.Wait()
		if got := names(t, p); got != "ac" {
			t.Errorf("%q serve in the end", got)
		}
		b.Release()
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRegistry(t)
		defer r.Close()
		expiries, cancel := r.SubscribeExpiry()
		defer cancel()
		p := r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1, 1)), nil)
		b, _ := p.Pick(client, vip, nil)
		b.Acquire()
		a := b.Name() == "a"
		keep := backends(1, 1)
		if a {
			keep = keep[1:]
		} else {
			keep = keep[:1]
		}
		r.mustSet(t, "p", poolOf(lb.RoundRobin, keep), nil)
		if !b.Draining() || b.Expired() || strings.Contains(names(t, p), b.Name()) {
			t.Errorf("draining %v, expired %v, picked %q", b.Draining(), b.Expired(), names(t, p))
		}
		// It comes back with its connection, and goes again: the delay starts anew.
		time.Sleep(50 * time.Second)
		r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1, 1)), nil)
		if s := status(t, r, "p", b.Name()); b.Draining() || s.Active != 1 {
			t.Errorf("back it is %+v", s)
		}
		disabled := backends(1, 1)
		for i := range disabled {
			disabled[i].Draining = disabled[i].Name == b.Name()
		}
		r.mustSet(t, "p", poolOf(lb.RoundRobin, disabled), nil)
		time.Sleep(59 * time.Second)
		if b.Expired() || len(expiries) > 0 {
			t.Error("expired before the delay has passed")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !b.Expired() || len(expiries) != 1 {
			t.Error("not expired after the delay")
		}
		r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1, 1)), nil)
		if b.Expired() || names(t, p) != "ab" {
			t.Error("expired though enabled again")
		}
		r.RemovePool("p")
		if _, err := p.Pick(client, vip, nil); !errors.Is(err, ErrNoBackend) || r.Pool("p") != nil {
			t.Errorf("a removed pool gives %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !b.Expired() || len(r.backends) != 0 {
			t.Errorf("expired %v, %d backends left", b.Expired(), len(r.backends))
		}
	})
}

func TestBackupsAndFailOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, f := newRegistry(t)
		defer r.Close()
		list := backends(1, 1, 1, 1)
		list[2].Backup, list[3].Backup = true, true
		conf := poolOf(lb.RoundRobin, list)
		p := r.mustSet(t, "p", conf, check)
		step := func(down string, failOpen uint32, want string) {
			t.Helper()
			for _, b := range list {
				f.set(b.Addr, strings.Contains(down, b.Name))
			}
			again := *conf
			again.FailOpenBelow = failOpen
			r.mustSet(t, "p", &again, check)
			time.Sleep(5 * check.Interval)
			synctest.Wait()
			if got := names(t, p); got != want {
				t.Errorf("with %q down and fail-open below %d %q serve, want %q", down, failOpen, got, want)
			}
			if s := r.Status()[0]; s.Healthy != 4-len(down) || (s.Err == nil) != (want != "") {
				t.Errorf("with %q down the status is %+v", down, s)
			}
		}
		step("", 0, "ab")
		step("a", 0, "b")
		step("ab", 0, "cd")
		step("abc", 0, "d")
		step("abcd", 0, "")
		step("abcd", 1, "ab")
		step("abc", 1, "d")
		step("abc", 2, "ab")
		step("a", 3, "b")
		step("a", 4, "ab")
		step("", 0, "ab")
	})
}

func TestNoNewConnections(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	list := backends(1, 0, 1)
	list[2].Draining = true
	for a := lb.RoundRobin; a <= lb.Maglev; a++ {
		p := r.mustSet(t, "p", poolOf(a, list), nil)
		if got := names(t, p); got != "a" {
			t.Errorf("algorithm %d: %q serve", a, got)
		}
	}
	p := r.mustSet(t, "p", poolOf(lb.RoundRobin, list[1:]), nil)
	if err := p.Usable(); err == nil || !strings.Contains(err.Error(), "takes new connections") {
		t.Errorf("with nobody left: %v", err)
	}
}

// TestSlowStart looks at the share of a backend that comes back, step by step.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		algorithm lb.Algorithm
		share     float64 // of b in the end
	}{
		"round_robin":          {lb.RoundRobin, 1. / 2},
		"weighted_round_robin": {lb.WeightedRoundRobin, 3. / 4},
		"random":               {lb.Random, 3. / 4},
		"least_connections":    {lb.LeastConnections, 3. / 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, f := newRegistry(t)
				defer r.Close()
				list := backends(1, 3)
				conf := poolOf(c.algorithm, list)
				conf.SlowStart = 100 * time.Second
				p := r.mustSet(t, "p", conf, check)
				synctest.Wait()
				share := func() float64 {
					const n = 4000
					var open []*Backend
					count := 0
					for range n {
						b, err := p.Pick(client, vip, nil)
						if err != nil {
							t.Fatal(err)
						}
						b.Acquire()
						open = append(open, b)
						if b.Name() == "b" {
							count++
						}
					}
					for _, b := range open {
						b.Release()
					}
					return float64(count) / n
				}
				near := func(part float64) {
					t.Helper()
					odds := c.share / (1 - c.share) * part
					if got, want := share(), odds/(1+odds); got < want-0.03 || got > want+0.03 {
						t.Errorf("at %f of its weight the share is %f, want %f", part, got, want)
					}
				}
				near(1) // those that a pool begins with have no slow start
				f.set(list[1].Addr, true)
				time.Sleep(4 * check.Interval)
				f.set(list[1].Addr, false)
				for status(t, r, "p", "b").State != health.Down {
					time.Sleep(time.Second)
				}
				for status(t, r, "p", "b").State != health.Up {
					time.Sleep(time.Millisecond)
				}
				near(0.1)
				time.Sleep(50*time.Second + 100*time.Millisecond)
				near(0.5)
				time.Sleep(25 * time.Second)
				near(0.75)
				time.Sleep(30 * time.Second)
				near(1)
				synctest.Wait()
				r.mu.Lock()
				if p.warm != nil {
					t.Error("the timer still runs")
				}
				r.mu.Unlock()
			})
		})
	}
}

func TestSetPoolRefuses(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	p := r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1)), nil)
	for word, change := range map[string]func(p *snapshot.Pool, c *snapshot.HealthCheck){
		"algorithm":       func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Algorithm = 7 },
		"persistence":     func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Persistence = lb.PersistCookie },
		"hash version":    func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Algorithm, p.HashVersion = lb.Maglev, 99 },
		"prime":           func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Algorithm, p.TableSize = lb.SourceIP, 1000 },
		"do not fit":      func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Algorithm, p.TableSize = lb.SourceIP, 2 },
		"unique":          func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Backends[1].Name = "a" },
		"connect":         func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Backends[1].Addr = netip.AddrPort{} },
		"monitor address": func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Backends[1].Monitor = netip.AddrPort{} },
		"weight":          func(p *snapshot.Pool, _ *snapshot.HealthCheck) { p.Backends[1].Weight = 257 },
		"type":            func(_ *snapshot.Pool, c *snapshot.HealthCheck) { c.Type = lb.CheckGRPC },
		"interval":        func(_ *snapshot.Pool, c *snapshot.HealthCheck) { c.Interval = 0 },
	} {
		conf, c := poolOf(lb.RoundRobin, backends(1, 1, 1)), *check
		change(conf, &c)
		if err := r.SetPool("p", conf, &c); err == nil || !strings.Contains(err.Error(), word) || !strings.HasPrefix(err.Error(), `balance: pool "p": `) {
			t.Errorf("%s: %v", word, err)
		}
	}
	if got := names(t, p); got != "a" {
		t.Errorf("after refusals %q serve", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	p := r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1)), nil)
	b, _ := p.Pick(client, vip, nil)
	b.Acquire()
	b.DialFailed()
	g := prometheus.NewPedanticRegistry()
	g.MustRegister(r)
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[strings.TrimPrefix(f.GetName(), "fiberlb_dataplane_")] = f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
	}
	for name, want := range map[string]float64{"pool_backends": 1, "pool_healthy_backends": 1, "backend_up": 1,
		"backend_active_connections": 1, "backend_connections_total": 1, "backend_dial_failures_total": 1, "pool_fail_open": 0} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}
