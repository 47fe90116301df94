// Package wire owns the connections of the HTTP/1.1 engine, clients' and backends' alike: buffers, timeouts, and bodies as they come
// off a connection. It knows nothing of requests.
//
// A Conn has a buffer for each direction only while there is something in it; who waits for a peer that says nothing holds a stack and no
// buffer, since reading waits inside one raw read. Timeouts cost an atomic store: a Sweeper looks at all connections from
// time to time, and wakes whoever waits for too long. A connection that was woken so, or by Interrupt, is of no use any more in that
// direction.
package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrTimeout is what Fill and Flush return once the sweeper, or Interrupt, has ended the wait.
var ErrTimeout = errors.New("wire: timeout")

// bufferSize holds all common heads; bodies flow through such buffers too.
const bufferSize = 16 << 10

type buffer [bufferSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// Conn is a TCP connection. One goroutine reads and one writes at a time, which may be different ones; the Interrupt methods are
// for anybody.
type Conn struct {
	// WriteLimit bounds the time that one write may take; 0 is none.
	WriteLimit time.Duration

	tcp     *net.TCPConn
	raw     syscall.RawConn
	read    func(fd uintptr) bool // what raw.Read and raw.Write are given: made once, so that nothing is allocated
	write   func(fd uintptr) bool
	peek    func(fd uintptr)
	sweeper *Sweeper
	gone    func() // see Watch

	// Of the goroutine that reads.
	in      []byte
	from    int // in[from:to] is not consumed
	to      int
	readErr error

	// Of the goroutine that writes.
	out      []byte
	sending  []byte // what send has not sent yet
	writeErr error
	written  int64 // bytes that the kernel took

	readBy, writeBy atomic.Int64 // on the sweeper's clock; 0: no limit; expired
	watched         atomic.Int64 // since when; 0: not
	peeked          bool         // what the last peek found; of whoever peeks

	// Guarded by the shard.
	shard      *shard
	prev, next *Conn
}

// expired says that a deadline has passed and that waiting is over for good.
const expired = -1

// longAgo as a deadline wakes whoever waits for a socket, and lets nobody wait again.
var longAgo = time.Unix(1, 0)

// Open makes c a connection, whose waits the sweeper ends. Gone, which may be nil, is for Watch.
func (c *Conn) Open(tcp *net.TCPConn, s *Sweeper, gone func()) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	c.tcp, c.raw, c.sweeper, c.gone = tcp, raw, s, gone
	c.read, c.write, c.peek = c.readStep, c.writeStep, c.peekStep
	s.add(c)
	return nil
}

// Close closes the connection and gives its buffers back. Nobody may be reading or writing.
func (c *Conn) Close() {
	c.sweeper.remove(c)
	c.tcp.Close()
	c.dropIn()
	c.dropOut()
}

// Reset is Close with a TCP RST: what the kernel has not sent yet is lost, and the peer sees that the connection broke.
func (c *Conn) Reset() {
	c.tcp.SetLinger(0)
	c.Close()
}

// TCP returns the connection beneath, for its addresses.
func (c *Conn) TCP() *net.TCPConn { return c.tcp }

// Buffered returns the bytes read and not yet consumed. They stay where they are until Fill.
func (c *Conn) Buffered() []byte { return c.in[c.from:c.to] }

// Consume takes n bytes off Buffered.
func (c *Conn) Consume(n int) { c.from += n }

// Idle gives the buffers back, those that are empty.
func (c *Conn) Idle() {
	if c.from == c.to {
		c.dropIn()
	}
	if len(c.out) == 0 {
		c.dropOut()
	}
}

func (c *Conn) dropIn() {
	recycle(c.in)
	c.in, c.from, c.to = nil, 0, 0
}

func (c *Conn) dropOut() {
	recycle(c.out)
	c.out = nil
}

// recycle keeps a buffer for others, unless it grew.
func recycle(b []byte) {
	if cap(b) == bufferSize {
		buffers.Put((*buffer)(b[:bufferSize]))
	}
}

// Fill waits for bytes and puts them behind Buffered, which may move. It returns io.EOF where the peer has sent its last byte, ErrTimeout,
// or what is wrong with the connection.
func (c *Conn) Fill() error {
	if c.from == c.to {
		c.from, c.to = 0, 0
	}
	if c.to == len(c.in) && c.to > 0 {
		if c.from > 0 {
			c.to = copy(c.in, c.in[c.from:c.to])
		} else {
			grown := make([]byte, 2*len(c.in))
			copy(grown, c.in)
			recycle(c.in)
			c.in = grown
		}
		c.from = 0
	}
	before := c.to
	if err := c.raw.Read(c.read); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrTimeout
		}
		return err
	}
	if c.to == before && c.readErr == nil {
		return io.EOF
	}
	return c.readErr
}

// readStep reads once; false while there is nothing to read.
func (c *Conn) readStep(fd uintptr) bool {
	if c.in == nil {
		c.in = buffers.Get().(*buffer)[:]
	}
	for {
		// The socket does not block, so the scheduler need not be told.
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&c.in[c.to])), uintptr(len(c.in)-c.to))
		switch errno {
		case 0:
			c.to += int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			if c.from == c.to {
				c.dropIn()
			}
			return false
		default:
			c.readErr = errno
			return true
		}
	}
}

// Silent tells, without waiting, whether the peer has neither sent anything that was not read yet nor closed its direction.
func (c *Conn) Silent() bool {
	c.peeked = false
	err := c.raw.Control(c.peek)
	return err == nil && c.peeked
}

func (c *Conn) peekStep(fd uintptr) {
	var one [1]byte
	_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	c.peeked = err == unix.EAGAIN
}

// Write buffers data, or sends it with what is buffered where the buffer cannot take it. Data may be reused when it returns.
func (c *Conn) Write(data []byte) error {
	if len(c.Out())+len(data) <= bufferSize {
		c.out = append(c.out, data...)
		return nil
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if len(data) < bufferSize/4 {
		c.out = append(c.Out(), data...)
		return nil
	}
	return c.send(data)
}

// Out returns the buffer of what is to be sent, to append to it; see SetOut.
func (c *Conn) Out() []byte {
	if c.out == nil {
		c.out = buffers.Get().(*buffer)[:0]
	}
	return c.out
}

// SetOut makes b, which was Out and got something appended, the buffer of what is to be sent.
func (c *Conn) SetOut(b []byte) {
	if cap(b) != cap(c.out) {
		recycle(c.out)
	}
	c.out = b
}

// Pending returns how many bytes are buffered to be sent.
func (c *Conn) Pending() int { return len(c.out) }

// Discard drops what is buffered to be sent.
func (c *Conn) Discard() { c.out = c.out[:0] }

// Flush sends what is buffered.
func (c *Conn) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.send(c.out)
	c.out = c.out[:0]
	if cap(c.out) != bufferSize {
		c.out = nil
	}
	return err
}

func (c *Conn) send(b []byte) error {
	c.limit(&c.writeBy, c.WriteLimit)
	c.sending, c.writeErr = b, nil
	err := c.raw.Write(c.write)
	c.limit(&c.writeBy, 0)
	c.sending = nil
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	case err != nil:
		return err
	}
	return c.writeErr
}

// writeStep writes what the kernel takes; false while there is more.
func (c *Conn) writeStep(fd uintptr) bool {
	for len(c.sending) > 0 {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&c.sending[0])), uintptr(len(c.sending)))
		switch errno {
		case 0:
			c.sending = c.sending[n:]
			c.written += int64(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			c.writeErr = errno
			return true
		}
	}
	return true
}

// Written is how many bytes the kernel took so far.
func (c *Conn) Written() int64 { return c.written }

// CloseWrite tells the peer that no more bytes follow.
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// ReadBy lets the wait for the peer's bytes end after d, at the earliest, from now on; 0 lifts the limit.
func (c *Conn) ReadBy(d time.Duration) { c.limit(&c.readBy, d) }

func (c *Conn) limit(by *atomic.Int64, d time.Duration) {
	at := int64(0)
	if d > 0 {
		at = c.sweeper.after(d)
	}
	if by.Swap(at) == expired {
		by.Store(expired)
	}
}

// Extend is ReadBy for other goroutines than the one that reads: it moves a limit that there is.
func (c *Conn) Extend(d time.Duration) {
	if at := c.readBy.Load(); at > 0 {
		c.readBy.CompareAndSwap(at, c.sweeper.after(d))
	}
}

// Interrupt ends all waits for the peer, now and for good.
func (c *Conn) Interrupt() {
	c.readBy.Store(expired)
	c.writeBy.Store(expired)
	c.tcp.SetDeadline(longAgo)
}

// InterruptRead does so for reading alone: an answer can still be sent.
func (c *Conn) InterruptRead() {
	c.readBy.Store(expired)
	c.tcp.SetReadDeadline(longAgo)
}

// Broken tells whether a limit has passed, or Interrupt was called.
func (c *Conn) Broken() bool { return c.readBy.Load() == expired || c.writeBy.Load() == expired }

// Watch makes the sweeper look whether the peer is still there while nobody reads; if not, it calls the gone of Open. A peer that has
// closed its own direction only counts as gone too, since the two look alike; it is given ten ticks of the sweeper.
func (c *Conn) Watch(on bool) {
	at := int64(0)
	if on {
		at = c.sweeper.clock.Load()
	}
	c.watched.Store(at)
}

// Revive lets the peer be read from once more after InterruptRead, for at most d: to take in what it still sends before the
// connection is closed.
func (c *Conn) Revive(d time.Duration) {
	c.tcp.SetReadDeadline(time.Time{})
	c.readBy.Store(c.sweeper.after(d))
}
