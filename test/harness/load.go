package harness

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

const (
	// loadPause is between two connections of one worker: load enough to meet every change, and a core left for what is tested.
	loadPause = 2 * time.Millisecond
	// beat is between two lines of a connection that stays open.
	beat = 10 * time.Millisecond
)

// Load opens connections without end, each with a line there and back, beside connections that stay open and speak all the time.
type Load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex // guards all below
	made     int
	backends map[string]int
	failures []error
	last     time.Time // when the latest connection succeeded
	gap      time.Duration
}

// StartLoad begins with so many workers and so many connections that stay open. It stops with the test at the latest.
func StartLoad(t testing.TB, vip netip.AddrPort, workers, lasting int) *Load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, backends: map[string]int{}, last: time.Now()}
	for range lasting {
		conn, err := Dial(ctx, vip)
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		l.wg.Go(func() { l.hold(ctx, conn) })
	}
	for range workers {
		l.wg.Go(func() { l.connect(ctx, vip) })
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

// hold speaks over one connection until the end.
func (l *Load) hold(ctx context.Context, conn *Conn) {
	defer conn.Close()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for n := 0; ; n++ {
		if err := conn.Echo(fmt.Sprint("line ", n)); err != nil {
			l.fail(fmt.Errorf("a connection to %s that stays open, after %d lines: %w", conn.Backend, n, err))
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *Load) connect(ctx context.Context, vip netip.AddrPort) {
	tick := time.NewTicker(loadPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		// What has begun is finished, so that the end of the load is no failure.
		if conn, err := Dial(context.WithoutCancel(ctx), vip); err != nil {
			l.fail(fmt.Errorf("connect: %w", err))
		} else {
			if err := conn.Echo("hello"); err != nil {
				l.fail(fmt.Errorf("a new connection to %s: %w", conn.Backend, err))
			}
			l.succeed(conn.Backend)
			_ = conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
}

func (l *Load) succeed(backend string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.made++
	l.backends[backend]++
	l.gap = max(l.gap, now.Sub(l.last))
	l.last = now
}

// Made is how many connections succeeded so far.
func (l *Load) Made() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made
}

// Result of a load.
type Result struct {
	Made     int
	Backends map[string]int
	Failures []error
	// Gap is the longest time between two connections that succeeded.
	Gap time.Duration
}

// Stop ends the load and returns what became of it. It may be called again.
func (l *Load) Stop() Result {
	l.cancel()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return Result{l.made, l.backends, l.failures, l.gap}
}

// MustStop ends the load, none of whose connections may have failed.
func (l *Load) MustStop(t testing.TB) Result {
	t.Helper()
	r := l.Stop()
	for i, err := range r.Failures {
		if i == 10 {
			t.Errorf("… and %d more", len(r.Failures)-i)
			break
		}
		t.Error(err)
	}
	if r.Made == 0 {
		t.Error("no connection was made at all")
	}
	return r
}
