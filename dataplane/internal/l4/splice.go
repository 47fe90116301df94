package l4

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// pipeSize is asked for each pipe, in bytes; the kernel may grant less.
const pipeSize = 256 << 10

// pipe is the kernel's buffer between two sockets. It is empty whenever nobody works on it.
type pipe struct {
	r, w    int
	cleanup runtime.Cleanup
}

var pipes sync.Pool // of *pipe; what nobody took for some time is collected, and its file descriptors closed

// getPipe returns an empty pipe.
func getPipe() (*pipe, error) {
	if p, ok := pipes.Get().(*pipe); ok {
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// Refused where the user has many pipes already; the default size does as well, only slower.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	p := &pipe{r: fds[0], w: fds[1]}
	p.cleanup = runtime.AddCleanup(p, closePipe, fds)
	return p, nil
}

func closePipe(fds [2]int) {
	unix.Close(fds[0])
	unix.Close(fds[1])
}

// discard closes a pipe that may hold bytes.
func (p *pipe) discard() {
	p.cleanup.Stop()
	closePipe([2]int{p.r, p.w})
}

// splice moves bytes inside the kernel until there are few. Unlike io.Copy it gives the pipe back before it waits for src,
// so that a connection that once was busy holds no file descriptors while idle, and it counts what moves chunk by chunk.
func (h *half) splice(fd int) outcome {
	p, err := getPipe()
	if err != nil {
		h.bulk = false // out of file descriptors: buffers do the same work
		return again
	}
	if h.flush == nil {
		if h.raw, err = h.dst.SyscallConn(); err != nil {
			pipes.Put(p)
			return broken
		}
		h.flush = h.flushPipe
	}
	h.pipe = p
	for {
		n, err := unix.Splice(fd, nil, p.w, nil, pipeSize, unix.SPLICE_F_NONBLOCK)
		if o, ok := h.check(int(n), err); !ok {
			h.bulk = h.bulk && o != drained
			pipes.Put(p)
			return o
		}
		h.pending = int(n)
		if err := h.raw.Write(h.flush); err != nil || h.pending > 0 {
			p.discard()
			return broken
		}
		if n < bufferSize {
			h.bulk = false
			pipes.Put(p)
			return again
		}
	}
}

// flushPipe writes the pipe's bytes to dst; false while dst takes none. It leaves some in the pipe if dst is broken.
func (h *half) flushPipe(fd uintptr) bool {
	for h.pending > 0 {
		n, err := unix.Splice(h.pipe.r, nil, int(fd), nil, h.pending, unix.SPLICE_F_NONBLOCK)
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
