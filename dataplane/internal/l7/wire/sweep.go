package wire

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	shardCount = 32
	minTick    = 5 * time.Millisecond
	maxTick    = time.Second
	// watchTicks is how long a wait is left alone before the peer is looked at: some clients close their direction behind a request.
	watchTicks = 10
)

// Sweeper ends the waits of connections whose time is over. Its clock is coarse: a wait is cut at its limit at the earliest, and at most two
// ticks later.
type Sweeper struct {
	shards [shardCount]shard
	turn   atomic.Uint32
	clock  atomic.Int64 // nanoseconds since start, plus 1
	tick   time.Duration
	start  time.Time
	quit   chan struct{}
	done   chan struct{}
}

// shard is a part of the connections, so that those who come and go on different cores seldom meet.
type shard struct {
	mu    sync.Mutex
	first *Conn
	_     [48]byte
}

// NewSweeper starts a sweeper that looks every tick, which is from 5 ms to 1 s; 0 means 100 ms. Close it when all connections are closed.
func NewSweeper(tick time.Duration) *Sweeper {
	if tick == 0 {
		tick = 100 * time.Millisecond
	}
	s := &Sweeper{tick: min(max(tick, minTick), maxTick), start: time.Now(), quit: make(chan struct{}), done: make(chan struct{})}
	s.clock.Store(1)
	go s.run()
	return s
}

// Close stops the sweeper.
func (s *Sweeper) Close() {
	close(s.quit)
	<-s.done
}

func (s *Sweeper) run() {
	defer close(s.done)
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.quit:
			return
		}
		now := int64(time.Since(s.start)) + 1
		s.clock.Store(now)
		for i := range s.shards {
			s.sweep(&s.shards[i], now)
		}
	}
}

// Now is the coarse time since the sweeper began.
func (s *Sweeper) Now() time.Duration { return time.Duration(s.clock.Load()) }

// after returns the clock's time when d will surely have passed.
func (s *Sweeper) after(d time.Duration) int64 { return s.clock.Load() + int64(d+s.tick) }

func (s *Sweeper) add(c *Conn) {
	sh := &s.shards[s.turn.Add(1)%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c.shard, c.prev, c.next = sh, nil, sh.first
	if sh.first != nil {
		sh.first.prev = c
	}
	sh.first = c
}

func (s *Sweeper) remove(c *Conn) {
	sh := c.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		sh.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

func (s *Sweeper) sweep(sh *shard, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for c := sh.first; c != nil; c = c.next {
		if at := c.readBy.Load(); at > 0 && now >= at && c.readBy.CompareAndSwap(at, expired) {
			c.tcp.SetReadDeadline(longAgo)
		}
		if at := c.writeBy.Load(); at > 0 && now >= at && c.writeBy.CompareAndSwap(at, expired) {
			_ = c.tcp.SetWriteDeadline(longAgo) // a connection that is closed needs none
		}
		if at := c.watched.Load(); at > 0 && now-at >= watchTicks*int64(s.tick) && c.gone != nil && c.hungUp() {
			c.watched.CompareAndSwap(at, 0)
			c.gone()
		}
	}
}

// hungUp tells whether the peer has closed its direction, or reset the connection, with nothing left to read before that.
func (c *Conn) hungUp() (gone bool) {
	err := c.raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EINTR
	})
	return gone && err == nil
}
