package wire

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/pipe"
)

const (
	// bulkMin is how many bytes must be left of a body for splice to be worth it.
	bulkMin = 64 << 10
)

// Bulk waits for data and moves them from connection to connection inside the kernel, where much is left of a body that needs no
// framing. The body must not be Ready, and nothing be buffered to be sent. Moved is false where there was nothing to gain, and the data are
// to be pulled; the failure is that of the body, the error that of sending.
func (s *Sender) Bulk() (moved bool, failure *exchange.Failure, err error) {
	b, direct := s.body.(*Body)
	if !direct || s.chunked || b.chunked || b.H1.Remaining() < bulkMin || s.conn.Pending() > 0 {
		return false, nil, nil
	}
	p, err := pipe.Get()
	if err != nil { // out of file descriptors: buffers do the same work
		return false, nil, nil //nolint:nilerr // pulling goes on without a pipe
	}
	b.moved = true
	n, err := b.conn.spliceTo(p, int(min(b.H1.Remaining(), pipe.Size)), b)
	if err != nil {
		pipe.Put(p)
		b.ended(err)
		return true, b.failure, nil
	}
	b.H1.Advance(int64(n))
	if s.Last != nil && b.H1.Done() {
		s.Last.Store(true)
	}
	if err := s.conn.spliceFrom(p, n); err != nil {
		p.Discard()
		return true, nil, err
	}
	pipe.Put(p)
	return true, nil, nil
}

// spliceTo waits for bytes of a body and moves up to limit of them into the pipe.
func (c *Conn) spliceTo(p *pipe.Pipe, limit int, b *Body) (n int, err error) {
	c.ReadBy(b.sides.Timeout)
	defer c.ReadBy(0)
	waited := c.raw.Read(func(fd uintptr) bool {
		for n < limit {
			moved, errno := unix.Splice(int(fd), nil, p.W, nil, limit-n, unix.SPLICE_F_NONBLOCK)
			switch {
			case moved > 0:
				n += int(moved)
			case errno == unix.EINTR:
			case errno == unix.EAGAIN:
				return n > 0 // else wait; or the pipe is full
			default:
				err = errno
				return true
			}
		}
		return true
	})
	switch {
	case errors.Is(waited, os.ErrDeadlineExceeded):
		return 0, ErrTimeout
	case waited != nil:
		return 0, waited
	case n > 0:
		return n, nil // the end, or an error, comes again
	case err == nil:
		return 0, io.EOF
	}
	return 0, err
}

// spliceFrom sends n bytes of the pipe.
func (c *Conn) spliceFrom(p *pipe.Pipe, n int) (err error) {
	c.limit(&c.writeBy, c.WriteLimit)
	defer c.limit(&c.writeBy, 0)
	waited := c.raw.Write(func(fd uintptr) bool {
		for n > 0 {
			var moved int64
			moved, err = unix.Splice(p.R, nil, int(fd), nil, n, unix.SPLICE_F_NONBLOCK)
			switch {
			case moved > 0:
				n -= int(moved)
				c.written += moved
				c.limit(&c.writeBy, c.WriteLimit) // it is for every piece, however slow the whole
			case err == unix.EAGAIN:
				return false
			case err != unix.EINTR:
				return true
			}
		}
		return true
	})
	switch {
	case errors.Is(waited, os.ErrDeadlineExceeded):
		return ErrTimeout
	case waited != nil:
		return waited
	case n > 0 && err == nil:
		return io.ErrClosedPipe
	}
	if n == 0 {
		return nil
	}
	return err
}
