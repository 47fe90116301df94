package harness

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// answerLimit is how long a backend behind a listener may take to say its name or to echo.
const answerLimit = 5 * time.Second

// Conn is a connection through a listener to a Backend.
type Conn struct {
	net.Conn
	Backend string // the name that the backend said

	reader *bufio.Reader
}

// Dial connects to a listener and reads the name of the backend behind it. A connection that is accepted and closed before any
// backend has spoken is an error too.
func Dial(ctx context.Context, vip netip.AddrPort) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", vip.String())
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: conn, reader: bufio.NewReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return nil, err
	}
	name, err := c.reader.ReadString('\n')
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connected to %s, but no backend spoke: %w", vip, err)
	}
	c.Backend = strings.TrimSpace(name)
	return c, nil
}

// MustDial is Dial where nothing may go wrong; the connection ends with the test.
func MustDial(t testing.TB, vip netip.AddrPort) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), vip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Echo sends a line and wants it back.
func (c *Conn) Echo(line string) error {
	if err := c.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	got, err := c.reader.ReadString('\n')
	if err != nil {
		return err
	}
	if got != line+"\n" {
		return fmt.Errorf("sent %q, and %q came back", line, got)
	}
	return nil
}

// Serves waits until a listener leads to a backend, and returns how long that took.
func Serves(t testing.TB, vip netip.AddrPort) time.Duration {
	t.Helper()
	return Until(t, "a backend answers behind "+vip.String(), func() error {
		c, err := Dial(t.Context(), vip)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Spread makes n connections one after the other and counts them by backend. None may fail.
func Spread(t testing.TB, vip netip.AddrPort, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		c, err := Dial(t.Context(), vip)
		if err != nil {
			t.Fatal(err)
		}
		count[c.Backend]++
		_ = c.Close()
	}
	return count
}

// Refused is nil when nobody listens at an address.
func Refused(ctx context.Context, addr netip.AddrPort) error {
	conn, err := (&net.Dialer{Timeout: answerLimit}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil //nolint:nilerr // that nobody answers is what was asked
	}
	_ = conn.Close()
	return fmt.Errorf("%s still accepts connections", addr)
}
