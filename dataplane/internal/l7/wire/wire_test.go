package wire

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns a connection and its other end.
func pair(t *testing.T, gone func()) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	s := NewSweeper(5 * time.Millisecond)
	c := new(Conn)
	if err := c.Open(near, s, gone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
		far.Close()
	})
	return c, far.(*net.TCPConn)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	c, far := pair(t, nil)
	began := time.Now()
	c.ReadBy(20 * time.Millisecond)
	if err := c.Fill(); err != ErrTimeout || time.Since(began) < 20*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if c.in != nil {
		t.Error("a buffer was kept while nothing came")
	}
	io.WriteString(far, "late")
	c.ReadBy(0)
	if err := c.Fill(); err != ErrTimeout || !c.Broken() {
		t.Errorf("a connection that timed out goes on: %v", err)
	}
	c.Revive(time.Minute)
	if err := c.Fill(); err != nil || string(c.Buffered()) != "late" {
		t.Errorf("%q %v", c.Buffered(), err)
	}
	c.WriteLimit = 20 * time.Millisecond
	piece := make([]byte, 1<<20)
	var err error
	for range 64 {
		if err = c.Write(piece); err != nil {
			break
		}
	}
	if err != ErrTimeout {
		t.Errorf("a peer that reads nothing: %v", err)
	}
}

func TestBuffer(t *testing.T) {
	t.Parallel()
	c, far := pair(t, nil)
	text := strings.Repeat("0123456789abcdef", 5000)
	go io.WriteString(far, text)
	for len(c.Buffered()) < len(text) {
		if err := c.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	if string(c.Buffered()) != text {
		t.Error("bytes were lost while the buffer grew")
	}
	c.Consume(len(text))
	c.Idle()
	if c.in != nil || !c.Silent() {
		t.Error("an idle connection keeps its buffer, or is not silent")
	}
	far.CloseWrite()
	if err := c.Fill(); err != io.EOF || c.Silent() {
		t.Errorf("at the end: %v", err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	c, far := pair(t, func() { close(gone) })
	c.Watch(true)
	far.SetLinger(0)
	far.Close()
	<-gone
}

// TestRewind: a body that was not released can be had again, in any form; one that was released cannot.
func TestRewind(t *testing.T) {
	t.Parallel()
	const message = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\nGET"
	c, far := pair(t, nil)
	io.WriteString(far, message)
	for len(c.Buffered()) < len(message) {
		if err := c.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	var r h1.Request
	r.Reset(nil)
	n, fault := r.Parse(c.Buffered())
	if fault != nil {
		t.Fatal(fault.Reason)
	}
	c.Consume(n)
	var b Body
	r.StartBody(&b.H1, &b.Fields)
	var x exchange.Exchange
	b.Start(c, r.Framing, Sides{Exchange: &x})
	read := func() (all string) {
		for b.Ready() && !b.Done() {
			data, failure := b.Next()
			if failure != nil {
				t.Fatal(failure.Reason)
			}
			all += string(data)
		}
		return all
	}
	if got := read(); got != "abcde" || b.Trailers().Len() != 1 || !b.Rewind() {
		t.Errorf("decoded %q", got)
	}
	b.Code()
	if got := read() + string(b.AppendEnd(nil)); got != "3\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n" || !b.Rewind() {
		t.Errorf("coded %q", got)
	}
	read()
	b.Release()
	if b.Rewind() || string(c.Buffered()) != "GET" {
		t.Errorf("released, and %q is left", c.Buffered())
	}
}
