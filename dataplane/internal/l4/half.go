package l4

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fiberlb/fiberlb/dataplane/internal/pipe"
)

// bufferSize is what one read takes at most. A read that fills a buffer is the sign of a bulk transfer, which goes on by splice.
const bufferSize = 16 << 10

type buffer [bufferSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// half moves bytes in one direction, on a goroutine of its own. While there is nothing to move it holds neither buffer nor
// pipe, so an idle connection costs two small stacks.
type half struct {
	conn     *conn
	src, dst *net.TCPConn
	moved    atomic.Uint64 // bytes that dst took

	bulk bool // splice
	over bool // src ended, and dst was told

	// For splice: dst's raw connection, and what flush works on.
	raw     syscall.RawConn
	flush   func(fd uintptr) bool
	pipe    *pipe.Pipe
	pending int
	err     error
}

func (h *half) init(c *conn, src, dst *net.TCPConn) { h.conn, h.src, h.dst = c, src, dst }

// run moves bytes until both directions have ended, this one cannot go on, or the connection is aborted. Then err is set if
// src was reset or broke.
func (h *half) run() {
	raw, err := h.src.SyscallConn()
	if err == nil {
		// All reading happens inside one raw read: the runtime calls step whenever src may have become readable. What Read
		// returns is a deadline that passed, the sign of an end that somebody else brought about.
		_ = raw.Read(h.step)
	}
}

// outcome is what became of an attempt to move bytes.
type outcome uint8

const (
	again   outcome = iota // there may be more, and bulk may have changed
	drained                // nothing to read right now
	ended                  // src has sent its last byte
	broken                 // dst takes no more
	failed                 // src is broken; err says how
)

// step moves what there is, and returns whether this half is over.
func (h *half) step(fd uintptr) bool {
	if h.over {
		return h.watch(int(fd))
	}
	for {
		var o outcome
		if h.bulk {
			o = h.splice(int(fd))
		} else {
			o = h.copy(int(fd))
		}
		switch o {
		case drained:
			return false
		case ended:
			h.over = true
			gone := h.dst.CloseWrite() != nil
			both := h.conn.halfEnded()
			return gone || both // if not, this half stays to see whether src is reset
		case broken:
			// dst may have sent something before it went away, an early answer for instance: the other half delivers it
			// and then finds out itself.
			h.conn.halfEnded()
			return true
		case failed:
			return true
		}
	}
}

// watch waits, after src has sent its last byte, for a reset of src: without it a client that is gone would keep its backend
// busy until the backend writes.
func (h *half) watch(fd int) bool {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = syscall.Errno(errno)
	}
	h.err = err
	return err != nil
}

// copy moves bytes through a buffer until there are none, or so many that splice is cheaper.
func (h *half) copy(fd int) outcome {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for {
		n, err := unix.Read(fd, buf[:])
		if o, ok := h.check(n, err); !ok {
			return o
		}
		if _, err := h.dst.Write(buf[:n]); err != nil {
			return broken
		}
		h.moved.Add(uint64(n))
		if n == bufferSize {
			h.bulk = true
			return again
		}
	}
}

// check sorts out what a read returned; ok means that there are n bytes.
func (h *half) check(n int, err error) (o outcome, ok bool) {
	switch {
	case n > 0:
		return again, true
	case err == nil:
		return ended, false
	case err == unix.EAGAIN:
		return drained, false
	case err == unix.EINTR:
		return again, false
	}
	h.err = err
	return failed, false
}
