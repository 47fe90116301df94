package health

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// serve answers every connection with serve until the test ends.
func serve(t *testing.T, answer func(c *net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				answer(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// try makes one probe.
func try(t *testing.T, addr netip.AddrPort, timeout time.Duration, http *lb.HTTPCheck) string {
	t.Helper()
	check := tcpCheck()
	check.Timeout, check.HTTP = timeout, http
	if http != nil {
		check.Type = lb.CheckHTTP
	}
	if err := Validate(check); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := probe(ctx, &Target{Backend: addr, Monitor: addr, Check: check}); err != nil {
		return err.Error()
	}
	return ""
}

func httpCheck() *lb.HTTPCheck {
	return &lb.HTTPCheck{Method: "GET", Path: "/healthz?x=1", Codes: []lb.CodeRange{{First: 200, Last: 299}, {First: 404, Last: 404}}}
}

func TestProbeTCP(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	addr := serve(t, func(c *net.TCPConn) {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	})
	if got := try(t, addr, 5*time.Second, nil); got != "" {
		t.Error(got)
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("the backend saw %v, want an orderly end", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	if got, want := try(t, closed, 5*time.Second, nil), "connect: connection refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProbeHTTP(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answer, want string }{
		"ok":             {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
		"no reason":      {"HTTP/1.1 204\r\n\r\n", ""},
		"old":            {"HTTP/1.0 404 Not Found\r\n\r\n", ""},
		"bare LF":        {"HTTP/1.1 200 OK\nServer: x\n\n", ""},
		"interim":        {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""},
		"redirect":       {"HTTP/1.1 302 Found\r\nLocation: /ok\r\n\r\n", "status 302, wants 200-299,404"},
		"unavailable":    {"HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503, wants 200-299,404"},
		"other protocol": {"SSH-2.0-OpenSSH_9.2\r\n", "response: not an HTTP/1.x answer"},
		"no line":        {"SSH-2.0", "response: not an HTTP/1.x answer"},
		"bad status":     {"HTTP/1.1 2000 OK\r\n\r\n", "response: not an HTTP/1.x answer"},
		"no status":      {"HTTP/1.1 OK\r\n\r\n", "response: not an HTTP/1.x answer"},
		"HTTP/2":         {"HTTP/2.0 200 OK\r\n\r\n", "response: not an HTTP/1.x answer"},
		"nothing":        {"", "response: connection closed before the end of the head"},
		"half a head":    {"HTTP/1.1 200 OK\r\nServer: x\r\n", "response: connection closed before the end of the head"},
		"endless head":   {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 4000), "response: head is over 16 KiB"},
		"long body":      {"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 200_000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, func(conn *net.TCPConn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					io.WriteString(conn, c.answer)
				}
			})
			if got := try(t, addr, 5*time.Second, httpCheck()); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestProbeRequest(t *testing.T) {
	t.Parallel()
	for host, check := range map[string]*lb.HTTPCheck{
		"":            {Method: "GET", Path: "/healthz?x=1", Codes: []lb.CodeRange{{First: 200, Last: 200}}},
		"app.example": {Method: "HEAD", Path: "/", Codes: []lb.CodeRange{{First: 200, Last: 200}}, Host: "app.example"},
	} {
		requests, ends := make(chan *http.Request, 1), make(chan error, 1)
		addr := serve(t, func(c *net.TCPConn) {
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				t.Error(err)
				return
			}
			requests <- r
			io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody")
			c.CloseWrite()
			_, err = c.Read(make([]byte, 1))
			ends <- err
		})
		if got := try(t, addr, 5*time.Second, check); got != "" {
			t.Error(got)
		}
		if host == "" {
			host = addr.String()
		}
		r := <-requests
		if r.Method != check.Method || r.RequestURI != check.Path || r.Host != host || !r.Close || r.ContentLength > 0 {
			t.Errorf("the request was %+v", r)
		}
		if err := <-ends; err != io.EOF {
			t.Errorf("the backend saw %v, want an orderly end", err)
		}
	}
}

func TestProbeTimeouts(t *testing.T) {
	t.Parallel()
	silent := serve(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	if got, want := try(t, silent, 50*time.Millisecond, httpCheck()), "response: timeout after 50ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// An endless body does not hold a probe up for longer than its timeout.
	endless := serve(t, func(c *net.TCPConn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		c.Read(make([]byte, 4096))
		io.Copy(io.Discard, c)
	})
	began := time.Now()
	if got := try(t, endless, 5*time.Second, httpCheck()); got != "" || time.Since(began) > 2*time.Second {
		t.Errorf("got %q after %s", got, time.Since(began))
	}
	if err := explain("connect", context.DeadlineExceeded, 2*time.Second); err.Error() != "connect: timeout after 2s" || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for word, change := range map[string]func(*lb.HTTPCheck){
		"method":         func(h *lb.HTTPCheck) { h.Method = "GE T" },
		"path":           func(h *lb.HTTPCheck) { h.Path = "/a\r\nX: y" },
		"begin with /":   func(h *lb.HTTPCheck) { h.Path = "healthz" },
		"host":           func(h *lb.HTTPCheck) { h.Host = "a\nb" },
		"expected codes": func(h *lb.HTTPCheck) { h.Codes = nil },
	} {
		check := tcpCheck()
		check.Type, check.HTTP = lb.CheckHTTP, httpCheck()
		change(check.HTTP)
		if err := Validate(check); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// FuzzParseHead wants no panic, and the same status however the answer is cut into reads.
func FuzzParseHead(f *testing.F) {
	for _, seed := range []string{"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\n\n", "HTTP/1.", "\n\n"} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, answer []byte, cut uint8) {
		whole, errWhole := readStatus(strings.NewReader(string(answer)))
		parts := make([]io.Reader, 0, len(answer))
		for step := int(cut)%16 + 1; len(answer) > 0; {
			n := min(step, len(answer))
			parts = append(parts, strings.NewReader(string(answer[:n])))
			answer = answer[n:]
		}
		cutUp, errCut := readStatus(io.MultiReader(parts...))
		if whole != cutUp || (errWhole == nil) != (errCut == nil) {
			t.Errorf("in one piece %d, %v; in parts %d, %v", whole, errWhole, cutUp, errCut)
		}
	})
}
