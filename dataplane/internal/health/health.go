// Package health owns the probes of backends: when each is probed, what a probe does on the wire, and how results in a row
// make a backend up or down. What follows from a verdict is the business of whoever asked for the watch.
package health

import (
	"context"
	"errors"
	"hash/fnv"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// State of a backend as its probes see it.
type State uint8

// States. A backend takes traffic in Unmonitored and Up.
const (
	Unmonitored State = iota // nobody probes it: counts as up
	Checking                 // no verdict yet
	Up
	Down
)

// String is the state in one lower-case word.
func (s State) String() string {
	switch s {
	case Checking:
		return "checking"
	case Up:
		return "up"
	case Down:
		return "down"
	default:
		return "no_monitor"
	}
}

// Serving tells whether a backend in this state takes traffic.
func (s State) Serving() bool { return s == Up || s == Unmonitored }

// Target is what to probe, and how.
type Target struct {
	// Backend is the address that serves: the Host of an HTTP check that names none.
	Backend netip.AddrPort
	// Monitor is the address that the probes go to.
	Monitor netip.AddrPort
	// Check must be one that Validate accepts. It is not changed.
	Check *snapshot.HealthCheck
}

// Verdict is the outcome of the probes so far.
type Verdict struct {
	State  State
	Reason string // of the last probe that failed, in words; empty after a success
}

// Config of a Prober.
type Config struct {
	// Probe makes one probe and returns why it failed. Nil means the network; tests hand in theirs. It must return once ctx
	// ends.
	Probe func(ctx context.Context, t *Target) error
	// Concurrency bounds the probes on their way at one time, so that a start with thousands of backends neither storms
	// the network nor runs out of file descriptors. A probe's timeout begins when its turn comes. 0 means 1,024.
	Concurrency int
}

// Prober runs watches. Between two probes a watch costs a timer and no goroutine.
type Prober struct {
	ctx    context.Context
	cancel context.CancelFunc
	probe  func(ctx context.Context, t *Target) error
	slots  chan struct{}

	mu     sync.Mutex // guards closed against running
	closed bool
	wg     sync.WaitGroup // probes on their way
}

// New returns a Prober that watches nothing yet.
func New(cfg Config) *Prober {
	if cfg.Probe == nil {
		cfg.Probe = probe
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 1024
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Prober{ctx: ctx, cancel: cancel, probe: cfg.Probe, slots: make(chan struct{}, cfg.Concurrency)}
}

// Close ends all watches and waits for the probes on their way, which it cuts short.
func (p *Prober) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
}

// begin counts one probe, unless the prober is closed.
func (p *Prober) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Add(1)
	return true
}

// Watch is the probing of one target.
type Watch struct {
	prober *Prober
	target Target
	report func(*Watch, Verdict)
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	stopped bool

	// Owned by the probe that runs; there is never more than one.
	verdict Verdict
	streak  int       // results in a row that contradict the state
	next    time.Time // when the next probe is due
}

// Watch probes the target at once and then every interval, until Stop. From is the state to start in: Checking ends with the
// first success or with as many failures as make a backend down; Up and Down last until the thresholds say otherwise.
//
// Report is called from a goroutine of the watch whenever state or reason changed, never for two results at a time. A call
// may still be on its way when Stop returns: who cares compares the Watch.
func (p *Prober) Watch(target Target, from State, report func(*Watch, Verdict)) *Watch {
	w := &Watch{prober: p, target: target, report: report, verdict: Verdict{State: from}}
	w.ctx, w.cancel = context.WithCancel(p.ctx)
	w.mu.Lock()
	w.timer = time.AfterFunc(0, w.run)
	w.mu.Unlock()
	return w
}

// Target is what the watch probes.
func (w *Watch) Target() Target { return w.target }

// Stop ends the watch and cuts a probe on its way short. It does not wait, so a caller may hold locks that report takes.
func (w *Watch) Stop() {
	w.mu.Lock()
	w.stopped = true
	w.timer.Stop()
	w.mu.Unlock()
	w.cancel()
}

// run makes one probe and sets the timer for the next.
func (w *Watch) run() {
	if !w.prober.begin() {
		return
	}
	defer w.prober.wg.Done()
	select {
	case w.prober.slots <- struct{}{}:
	case <-w.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, w.target.Check.Timeout)
	err := w.prober.probe(ctx, &w.target)
	cancel()
	<-w.prober.slots

	if w.ctx.Err() != nil {
		return
	}
	w.record(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(w.pause(time.Now()))
	}
}

// pause is the time until the next probe. The first is made at once, so backends that come with one change are all probed
// together; the second falls into the second half of an interval, at a place that follows from the address, and from there
// on the probes keep their distance.
func (w *Watch) pause(now time.Time) time.Duration {
	interval := w.target.Check.Interval
	if w.next.IsZero() {
		h := fnv.New64a()
		text, _ := w.target.Monitor.MarshalBinary()
		_, _ = h.Write(text)
		part := int64(h.Sum64() % 1024)
		w.next = now.Add(interval/2 + time.Duration(int64(interval/2)*part/1024))
		return w.next.Sub(now)
	}
	w.next = w.next.Add(interval)
	if late := now.Sub(w.next); late > 0 {
		w.next = w.next.Add(late.Truncate(interval) + interval)
	}
	return w.next.Sub(now)
}

// record takes the result of one probe into the verdict and reports what changed.
func (w *Watch) record(err error) {
	if exhausted(err) {
		return // says something about this node, nothing about the backend
	}
	before := w.verdict
	w.verdict.Reason = ""
	if err != nil {
		w.verdict.Reason = err.Error()
	}
	if (err == nil) == (w.verdict.State == Up) && w.verdict.State != Checking {
		w.streak = 0
	} else {
		w.contradict(err == nil)
	}
	if w.verdict != before {
		w.report(w, w.verdict)
	}
}

// contradict counts a result that speaks against the state.
func (w *Watch) contradict(success bool) {
	w.streak++
	check := w.target.Check
	switch {
	case success && (w.verdict.State == Checking || w.streak >= int(check.HealthyThreshold)):
		w.verdict.State, w.streak = Up, 0
	case !success && w.streak >= int(check.UnhealthyThreshold):
		w.verdict.State, w.streak = Down, 0
	}
}

// exhausted tells whether a probe failed for want of something that the node ran out of: file descriptors, memory, ports.
// Taking backends down for that would turn a shortage into an outage.
func exhausted(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
