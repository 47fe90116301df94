package l4

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
)

const (
	// An idle timeout is checked four times in its length, but not more often than every minTick nor more rarely than
	// every maxTick. A connection is cut at most two ticks after its timeout.
	ticksPerIdle = 4
	minTick      = 5 * time.Millisecond
	maxTick      = time.Second

	shardCount = 64
)

// sweeper looks at all connections from time to time: at what they moved since, so that moving bytes needs no clock and no
// deadlines, and whether they have to end.
type sweeper struct {
	shards [shardCount]shard
	turn   atomic.Uint32
	open   atomic.Int64
	tick   atomic.Int64 // nanoseconds
	wake   chan struct{}
	quit   chan struct{}
	done   chan struct{}
}

// shard is a part of the connections, so that those who come and go on different cores seldom meet.
type shard struct {
	mu    sync.Mutex
	first *conn
	// killed says that connections that come now are reset at once.
	killed bool
	_      [40]byte
}

func (s *sweeper) start(registry *balance.Registry) {
	s.wake, s.quit, s.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	s.tick.Store(int64(maxTick))
	go s.run(registry)
}

func (s *sweeper) run(registry *balance.Registry) {
	defer close(s.done)
	var expiries <-chan struct{}
	if registry != nil {
		var cancel func()
		expiries, cancel = registry.SubscribeExpiry()
		defer cancel()
	}
	timer := time.NewTimer(time.Duration(s.tick.Load()))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-expiries:
		case <-s.wake:
		case <-s.quit:
			return
		}
		s.sweep(time.Now())
		timer.Reset(time.Duration(s.tick.Load()))
	}
}

// stop ends the sweeping. There must be no connections left.
func (s *sweeper) stop() {
	close(s.quit)
	<-s.done
}

// kick makes the sweeper look now.
func (s *sweeper) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// at makes the sweeper look once a delay has passed.
func (s *sweeper) at(delay time.Duration) { time.AfterFunc(delay, s.kick) }

func (s *sweeper) add(c *conn) {
	sh := &s.shards[s.turn.Add(1)%shardCount]
	s.open.Add(1)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c.shard, c.next, c.seenAt = sh, sh.first, time.Now()
	if sh.first != nil {
		sh.first.prev = c
	}
	sh.first = c
	if sh.killed {
		c.abort(byShutdown)
	}
}

func (s *sweeper) remove(c *conn) {
	sh := c.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c.flush()
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		sh.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	s.open.Add(-1)
}

// flush takes what moved since the last time into the listener's counters, and tells whether anything did. It must be called
// with the shard's lock held.
func (c *conn) flush() bool {
	up, down := c.up.moved.Load(), c.down.moved.Load()
	if up == c.seen[0] && down == c.seen[1] {
		return false
	}
	c.listener.metrics.bytesIn.Add(up - c.seen[0])
	c.listener.metrics.bytesOut.Add(down - c.seen[1])
	c.seen = [2]uint64{up, down}
	return true
}

// sweep looks at every connection once.
func (s *sweeper) sweep(now time.Time) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for c := sh.first; c != nil; c = c.next {
			c.judge(now)
		}
		sh.mu.Unlock()
	}
}

// judge cuts a connection off whose time is over.
func (c *conn) judge(now time.Time) {
	if c.flush() {
		c.seenAt = now
	}
	deadline := c.binding.deadline.Load()
	switch {
	case c.backend.Expired(), deadline != 0 && now.UnixNano() >= deadline:
		c.abort(byDrain)
	case now.Sub(c.seenAt) >= c.listener.conf.Load().idle:
		c.abort(byIdle)
	}
}

// abortAll resets all connections, those too that are just being made.
func (s *sweeper) abortAll() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.killed = true
		for c := sh.first; c != nil; c = c.next {
			c.abort(byShutdown)
		}
		sh.mu.Unlock()
	}
}
