package health

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var addr = netip.MustParseAddrPort("192.0.2.1:80")

func tcpCheck() *snapshot.HealthCheck {
	return &snapshot.HealthCheck{Type: lb.CheckTCP, Interval: 5 * time.Second, Timeout: 2 * time.Second,
		HealthyThreshold: 2, UnhealthyThreshold: 3}
}

// TestThresholds plays results and wants the verdicts reported after each; "" is none.
func TestThresholds(t *testing.T) {
	t.Parallel()
	bad, short := errors.New("bad"), fmt.Errorf("connect: %w", syscall.EMFILE)
	for name, c := range map[string]struct {
		from    State
		results []error
		want    []string
	}{
		"first success":   {Checking, []error{nil, nil}, []string{"up", ""}},
		"never up":        {Checking, []error{bad, bad, bad, nil, nil}, []string{"checking bad", "", "down bad", "down", "up"}},
		"late first":      {Checking, []error{bad, bad, nil}, []string{"checking bad", "", "up"}},
		"flap":            {Up, []error{bad, bad, nil, bad, bad, bad}, []string{"up bad", "", "up", "up bad", "", "down bad"}},
		"flap while down": {Down, []error{nil, bad, nil, nil}, []string{"", "down bad", "down", "up"}},
		"out of files":    {Up, []error{short, short, short, short, bad}, []string{"", "", "", "", "up bad"}},
		"kept down":       {Down, []error{nil, nil}, []string{"", "up"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex // guards what follows
				turn, got := 0, []string(nil)
				p := New(Config{Probe: func(context.Context, *Target) error {
					mu.Lock()
					defer mu.Unlock()
					turn++
					got = append(got, "")
					return c.results[min(turn, len(c.results))-1]
				}})
				w := p.Watch(Target{Backend: addr, Monitor: addr, Check: tcpCheck()}, c.from, func(_ *Watch, v Verdict) {
					mu.Lock()
					defer mu.Unlock()
					got[len(got)-1] = v.State.String()
					if v.Reason != "" {
						got[len(got)-1] += " " + v.Reason
					}
				})
				synctest.Wait()
				time.Sleep(time.Duration(len(c.results)-1) * 5 * time.Second)
				w.Stop()
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				got = got[:len(c.results)]
				if !slices.Equal(got, c.want) {
					t.Errorf("reported %q, want %q", got, c.want)
				}
				p.Close()
			})
		})
	}
}

// TestSpread has a thousand backends: all are probed at once, then evenly over the interval, and each in its own rhythm.
func TestSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, interval = 1000, 10 * time.Second
		began := time.Now()
		var mu sync.Mutex
		at := map[netip.AddrPort][]time.Duration{}
		p := New(Config{Probe: func(_ context.Context, t *Target) error {
			mu.Lock()
			defer mu.Unlock()
			at[t.Monitor] = append(at[t.Monitor], time.Since(began))
			return nil
		}})
		check := tcpCheck()
		check.Interval = interval
		for i := range n {
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
			p.Watch(Target{Backend: a, Monitor: a, Check: check}, Checking, func(*Watch, Verdict) {})
		}
		synctest.Wait()
		time.Sleep(5 * interval)
		synctest.Wait()
		p.Close()
		var seconds [10]int
		for a, times := range at {
			if times[0] != 0 || times[1] < interval/2 || times[1] >= interval {
				t.Fatalf("%s was probed at %v", a, times)
			}
			for i := 2; i < len(times); i++ {
				if times[i]-times[i-1] != interval {
					t.Fatalf("%s was probed at %v", a, times)
				}
			}
			seconds[int(times[1]/time.Second)]++
		}
		for i, count := range seconds[5:] {
			if count < n/5*2/3 || count > n/5*4/3 {
				t.Errorf("%d of %d probes fall into second %d", count, n, i+5)
			}
		}
	})
}

func TestConcurrencyAndSlowness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most, done atomic.Int32
		p := New(Config{Concurrency: 3, Probe: func(ctx context.Context, t *Target) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-ctx.Done()
			done.Add(1)
			return ctx.Err()
		}})
		var verdicts atomic.Int32
		var watches []*Watch
		for range 9 {
			watches = append(watches, p.Watch(Target{Backend: addr, Monitor: addr, Check: tcpCheck()}, Up, func(_ *Watch, v Verdict) { verdicts.Add(1) }))
		}
		time.Sleep(6*time.Second + time.Millisecond)
		synctest.Wait()
		if most.Load() != 3 || done.Load() != 9 || verdicts.Load() != 9 {
			t.Errorf("%d ran at a time, %d ended, %d were reported", most.Load(), done.Load(), verdicts.Load())
		}
		// A probe that is stopped reports nothing.
		time.Sleep(5 * time.Second)
		synctest.Wait()
		before := verdicts.Load()
		for _, w := range watches {
			w.Stop()
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if verdicts.Load() != before || running.Load() != 0 {
			t.Errorf("after Stop %d reports came, %d probes run", verdicts.Load()-before, running.Load())
		}
		p.Close()
	})
}

func TestCloseCutsProbesShort(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	p := New(Config{Probe: func(ctx context.Context, _ *Target) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}})
	check := tcpCheck()
	check.Timeout = time.Hour
	p.Watch(Target{Backend: addr, Monitor: addr, Check: check}, Up, func(*Watch, Verdict) { t.Error("reported") })
	<-entered
	p.Close()
}
