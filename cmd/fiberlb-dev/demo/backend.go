package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// backend is a TCP server that says its name to whoever connects, then echoes
// line by line.
type backend struct {
	name string
	addr string // fixed by the first start, so that a restart finds the same port

	mu    sync.Mutex // guards all below
	lis   net.Listener
	conns map[net.Conn]struct{}
}

func newBackend(name string) *backend {
	return &backend{name: name, addr: "127.0.0.1:0", conns: map[net.Conn]struct{}{}}
}

func (b *backend) start(ctx context.Context) error {
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.addr)
	if err != nil {
		return fmt.Errorf("backend %s: %w", b.name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lis, b.addr = lis, lis.Addr().String()
	go b.accept(lis)
	return nil
}

func (b *backend) port() int {
	_, port, _ := net.SplitHostPort(b.addr)
	n := 0
	_, _ = fmt.Sscan(port, &n)
	return n
}

func (b *backend) accept(lis net.Listener) {
	for {
		conn, err := lis.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.lis != lis {
			_ = conn.Close()
		} else {
			b.conns[conn] = struct{}{}
			go b.serve(conn)
		}
		b.mu.Unlock()
	}
}

func (b *backend) serve(conn net.Conn) {
	defer func() {
		b.mu.Lock()
		delete(b.conns, conn)
		b.mu.Unlock()
		_ = conn.Close()
	}()
	if _, err := fmt.Fprintln(conn, b.name); err == nil {
		_, _ = io.Copy(conn, conn)
	}
}

// stop dies as a process does: the port refuses and open connections break.
func (b *backend) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lis == nil {
		return
	}
	_ = b.lis.Close()
	b.lis = nil
	for conn := range b.conns {
		_ = conn.Close()
	}
}

// client is one connection through the VIP.
type client struct {
	conn   net.Conn
	r      *bufio.Reader
	server string // name of the backend that answered
}

// dial connects and reads the backend's name.
func dial(ctx context.Context, vip string) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", vip)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	name, err := c.r.ReadString('\n')
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connected, but no backend answered: %w", err)
	}
	c.server = name[:len(name)-1]
	return c, nil
}

// echo sends a line and wants it back.
func (c *client) echo(line string) error {
	_ = c.conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := fmt.Fprintln(c.conn, line); err != nil {
		return err
	}
	got, err := c.r.ReadString('\n')
	if err != nil {
		return err
	}
	if got != line+"\n" {
		return errors.New("the echo differs")
	}
	return nil
}

func (c *client) close() { _ = c.conn.Close() }
