package front

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/upstream"
)

// hang reads until the other side closes.
func hang(c net.Conn) { io.Copy(io.Discard, c) }

// quick are timeouts that tests wait for.
var quick = upstream.Settings{Connect: time.Second, Response: 50 * time.Millisecond, Body: 50 * time.Millisecond, Tunnel: 50 * time.Millisecond}

// TestBackendFails lets the backend die, hang and lie in every phase.
func TestBackendFails(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
	says := func(text string) func(int, *net.TCPConn) {
		return func(_ int, c *net.TCPConn) {
			readHead(bufio.NewReader(c))
			io.WriteString(c, text)
			c.CloseWrite()
			hang(c)
		}
	}
	waits := func(text string) func(int, *net.TCPConn) {
		return func(_ int, c *net.TCPConn) {
			io.WriteString(c, text)
			hang(c)
		}
	}
	for name, c := range map[string]struct {
		backend func(int, *net.TCPConn)
		request string
		status  string
		partial string // what the client still gets, in place of an answer
		why     exchange.Reason
	}{
		"closes at once":       {func(_ int, c *net.TCPConn) {}, get, "502", "", exchange.BackendClosed},
		"closes before head":   {says(""), get, "502", "", exchange.BackendClosed},
		"closes in head":       {says("HTTP/1.1 200"), get, "502", "", exchange.BackendClosed},
		"hangs before head":    {waits(""), get, "504", "", exchange.BackendTimeout},
		"hangs in head":        {waits("HTTP/1.1 200 OK\r\nX"), get, "504", "", exchange.BackendTimeout},
		"closes in empty body": {says(head), get, "", head, exchange.BackendTruncated},
		"closes in body":       {says(head + "1234"), get, "", head + "1234", exchange.BackendTruncated},
		"hangs in body":        {waits(head + "1234"), get, "", head + "1234", exchange.BackendBodyTimeout},
		"closes in chunks": {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123"), get, "",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123", exchange.BackendTruncated},
		"lies about length":    {says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), get, "502", "", exchange.BadResponse},
		"length and chunks":    {says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), get, "502", "", exchange.BadResponse},
		"is no HTTP":           {says("SSH-2.0-OpenSSH\r\n"), get, "502", "", exchange.BadResponse},
		"bad chunk at once":    {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), get, "502", "", exchange.BadResponseBody},
		"upgrades unasked":     {says("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), get, "502", "", exchange.BadUpgrade},
		"upgrades to another":  {says("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: b\r\n\r\n"), "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n", "502", "", exchange.BadUpgrade},
		"hangs in upload":      {waits(""), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345", "504", "", exchange.BackendTimeout},
		"too many head octets": {says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n"), get, "502", "", exchange.BadResponse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Conf{}, quick, serve(t, c.backend))
			p := w.dial(t)
			p.send(t, c.request)
			if c.status == "" {
				p.expect(t, c.partial)
				if got := p.rest(t); got != "" {
					t.Errorf("then %q", got)
				}
			} else if r, body := p.response(t, "GET"); r.Status[:3] != c.status || !strings.Contains(body, "request id: ") {
				t.Errorf("answer %s, %q", r.Status, body)
			}
			w.ends(t, c.why, 1)
		})
	}
}

// TestClientFails lets the client die, hang and lie in every phase. The backend must see the request end, and never as if it were whole.
func TestClientFails(t *testing.T) {
	t.Parallel()
	const upload = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123"
	for name, c := range map[string]struct {
		request string
		end     string // close, reset, hang
		status  string
		why     exchange.Reason
	}{
		"closes in head":           {"GET / HTTP/1.1\r\nHo", "close", "", exchange.ClientTruncated},
		"resets in head":           {"GET / HTTP/1.1\r\nHo", "reset", "", exchange.ClientTruncated},
		"hangs in head":            {"GET / HTTP/1.1\r\nHo", "hang", "408", exchange.HeaderTimeout},
		"closes in body":           {upload, "close", "", exchange.ClientTruncated},
		"resets in body":           {upload, "reset", "", exchange.ClientTruncated},
		"hangs in body":            {upload, "hang", "408", exchange.ClientBodyTimeout},
		"closes in response":       {get, "close", "", exchange.ClientClosed},
		"resets in response":       {get, "reset", "", exchange.ClientClosed},
		"breaks a chunk":           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n", "hang", "400", exchange.BadRequestBody},
		"breaks a later chunk":     {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\nx\r\n", "hang", "400", exchange.BadRequestBody},
		"breaks a trailer":         {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX y: 1\r\n\r\n", "hang", "400", exchange.BadRequestBody},
		"sends nonsense as a path": {"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", "hang", "400", exchange.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var closed atomic.Int32
			b := serve(t, func(_ int, s *net.TCPConn) {
				hang(s)
				closed.Add(1)
			})
			w := newWorld(t, Conf{Header: 50 * time.Millisecond, Body: 50 * time.Millisecond}, upstream.Settings{}, b)
			p := w.dial(t)
			p.send(t, c.request)
			switch c.end {
			case "close":
				p.TCPConn.Close()
			case "reset":
				p.SetLinger(0)
				p.TCPConn.Close()
			default:
				if r, _ := p.response(t, "GET"); r.Status[:3] != c.status || !r.Close {
					t.Errorf("answer %s, close %v", r.Status, r.Close)
				}
			}
			w.ends(t, c.why, 1)
			for end := time.Now().Add(patience); w.Active() > 0 && c.end != "hang"; <-time.After(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the connection is still there")
				}
			}
		})
	}
}

// TestSlowReader: a client that takes nothing is given up.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	b := serve(t, func(_ int, c *net.TCPConn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
		for piece := make([]byte, 1<<20); ; {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	})
	w := newWorld(t, Conf{Write: 100 * time.Millisecond}, upstream.Settings{}, b)
	p := w.dial(t)
	p.send(t, get)
	w.ends(t, exchange.ClientWriteTimeout, 1)
}

// TestRetries counts what backends receive: a request is sent again only where that is safe.
func TestRetries(t *testing.T) {
	t.Parallel()
	const post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
	const put = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
	for name, c := range map[string]struct {
		request  string
		early    bool // the backend dies on its first connection rather than on a used one
		status   string
		requests int32 // received of the second kind
	}{
		"GET on a used connection":  {get, false, "200", 2},
		"PUT on a used connection":  {put, false, "200", 2},
		"POST on a used connection": {post, false, "502", 1},
		"GET on a fresh connection": {get, true, "502", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen atomic.Int32
			b := serve(t, func(n int, s *net.TCPConn) {
				for r, turn := bufio.NewReader(s), 0; ; turn++ {
					head := readHead(r)
					if head == "" {
						return
					}
					switch {
					case strings.Contains(head, "chunked"):
						readHead(r) // up to the empty line behind the last chunk
					case strings.HasPrefix(head, "POST"):
						r.Discard(2)
					}
					if dies := n == 0 && (turn == 1 || c.early); turn == 1 || c.early || n > 0 {
						seen.Add(1)
						if dies {
							return
						}
					}
					io.WriteString(s, ok2)
				}
			})
			w := newWorld(t, Conf{}, upstream.Settings{}, b)
			p := w.dial(t)
			if !c.early {
				p.send(t, get)
				p.expect(t, ok2)
			}
			p.send(t, c.request)
			if r, _ := p.response(t, "GET"); r.Status[:3] != c.status {
				t.Errorf("answer %s", r.Status)
			}
			if n := seen.Load(); n != c.requests {
				t.Errorf("the backend received the request %d times", n)
			}
		})
	}
}

// TestFailover: backends that refuse connections are passed over.
func TestFailover(t *testing.T) {
	t.Parallel()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	w := newWorld(t, Conf{}, upstream.Settings{}, dead, serve(t, answering(ok2)))
	p := w.dial(t)
	for range 4 {
		p.send(t, get)
		p.expect(t, ok2)
	}
	none := newWorld(t, Conf{}, upstream.Settings{}, dead)
	p = none.dial(t)
	p.send(t, get)
	if r, _ := p.response(t, "GET"); r.StatusCode != 502 || r.Close {
		t.Errorf("answer %s, close %v", r.Status, r.Close)
	}
	none.ends(t, exchange.ConnectFailed, 1)
}

// TestLimit: one connection serves many clients in turn; beyond the queue they are refused.
func TestLimit(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := serve(t, func(_ int, c *net.TCPConn) {
		for r := bufio.NewReader(c); readHead(r) != ""; {
			<-release
			io.WriteString(c, ok2)
		}
	})
	w := newWorld(t, Conf{}, upstream.Settings{MaxConnections: 1, MaxQueue: 2}, b)
	var clients []*peer
	for range 4 {
		p := w.dial(t)
		p.send(t, get)
		clients = append(clients, p)
	}
	w.ends(t, exchange.QueueFull, 1)
	close(release)
	served := 0
	for _, p := range clients {
		r, body := p.response(t, "GET")
		if r.StatusCode == 200 && body == "ok" {
			served++
		}
	}
	if served != 3 {
		t.Errorf("%d clients were served", served)
	}
	waiting := newWorld(t, Conf{}, upstream.Settings{MaxConnections: 1, Queue: 30 * time.Millisecond}, serve(t, func(_ int, c *net.TCPConn) { hang(c) }))
	for range 2 {
		waiting.dial(t).send(t, get)
	}
	waiting.ends(t, exchange.QueueTimeout, 1)
}

// TestSmuggling: of every attempt the backend sees exactly one request, or none.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	const inner = "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, request := range map[string]string{
		"CL.TE":               "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"TE twice":            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
		"TE xchunked":         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n" + inner,
		"TE with tab":         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + inner,
		"TE in HTTP/1.0":      "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"space before colon":  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 31\r\n\r\n" + inner,
		"two lengths":         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 31\r\n\r\n" + inner,
		"plus length":         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +31\r\n\r\n" + inner,
		"bare LF":             "POST / HTTP/1.1\nHost: h\n\n" + inner,
		"chunk size overflow": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n" + inner,
		"bare LF in chunks":   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n" + inner,
		"GET in a body":       "GET /good HTTP/1.1\r\nHost: h\r\nContent-Length: " + fmt.Sprint(len(inner)) + "\r\n\r\n" + inner,
		"nominated length":    "POST /good HTTP/1.1\r\nHost: h\r\nConnection: content-length\r\nContent-Length: " + fmt.Sprint(len(inner)) + "\r\n\r\n" + inner,
		"underscores":         "POST /good HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\nContent-Length: " + fmt.Sprint(len(inner)) + "\r\n\r\n" + inner,
		"extension with LF":   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n" + inner,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var evil, good atomic.Int32
			b := httpBackendCounting(t, &evil, &good)
			w := newWorld(t, Conf{}, upstream.Settings{}, b)
			p := w.dial(t)
			p.send(t, request)
			p.CloseWrite()
			got := p.rest(t)
			if evil.Load() != 0 || strings.Count(got, "HTTP/1.1 ") != 1 || good.Load() != int32(strings.Count(request, "/good")) {
				t.Errorf("the backend saw %d and %d requests; answer %q", evil.Load(), good.Load(), got)
			}
		})
	}
}
