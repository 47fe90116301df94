// Package pipe lends the kernel's pipes that splice(2) moves bytes through
// from socket to socket.
package pipe

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Size is asked for each pipe, in bytes; the kernel may grant less.
const Size = 256 << 10

// Pipe is a buffer of the kernel between two sockets: write to W, read from R.
type Pipe struct {
	R, W    int
	cleanup runtime.Cleanup
}

var pool sync.Pool // of *Pipe; what nobody took for some time is collected, and its file descriptors closed

// Get returns an empty pipe; an error tells that there are no file descriptors left.
func Get() (*Pipe, error) {
	if p, ok := pool.Get().(*Pipe); ok {
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// Refused where the user has many pipes already; the default size does as well, only slower.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, Size)
	p := &Pipe{R: fds[0], W: fds[1]}
	p.cleanup = runtime.AddCleanup(p, closeBoth, fds)
	return p, nil
}

// Put gives back a pipe, which must be empty.
func Put(p *Pipe) { pool.Put(p) }

// Discard closes a pipe that may hold bytes.
func (p *Pipe) Discard() {
	p.cleanup.Stop()
	closeBoth([2]int{p.R, p.W})
}

func closeBoth(fds [2]int) {
	_ = unix.Close(fds[0])
	_ = unix.Close(fds[1])
}
