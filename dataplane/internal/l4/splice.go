package l4

import (
	"golang.org/x/sys/unix"

	"github.com/fiberlb/fiberlb/dataplane/internal/pipe"
)

// splice moves bytes inside the kernel until there are few. Unlike io.Copy it gives the pipe back before it waits for src,
// so that a connection that once was busy holds no file descriptors while idle, and it counts what moves chunk by chunk.
func (h *half) splice(fd int) outcome {
	p, err := pipe.Get()
	if err != nil {
		h.bulk = false // out of file descriptors: buffers do the same work
		return again
	}
	if h.flush == nil {
		if h.raw, err = h.dst.SyscallConn(); err != nil {
			pipe.Put(p)
			return broken
		}
		h.flush = h.flushPipe
	}
	h.pipe = p
	for {
		n, err := unix.Splice(fd, nil, p.W, nil, pipe.Size, unix.SPLICE_F_NONBLOCK)
		if o, ok := h.check(int(n), err); !ok {
			h.bulk = h.bulk && o != drained
			pipe.Put(p)
			return o
		}
		h.pending = int(n)
		if err := h.raw.Write(h.flush); err != nil || h.pending > 0 {
			p.Discard()
			return broken
		}
		if n < bufferSize {
			h.bulk = false
			pipe.Put(p)
			return again
		}
	}
}

// flushPipe writes the pipe's bytes to dst; false while dst takes none. It leaves some in the pipe if dst is broken.
func (h *half) flushPipe(fd uintptr) bool {
	for h.pending > 0 {
		n, err := unix.Splice(h.pipe.R, nil, int(fd), nil, h.pending, unix.SPLICE_F_NONBLOCK)
		switch {
		case n > 0:
			h.pending -= int(n)
			h.moved.Add(uint64(n))
		case err == unix.EAGAIN:
			return false
		case err == unix.EINTR:
		default:
			return true
		}
	}
	return true
}
