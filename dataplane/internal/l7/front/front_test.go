package front

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/upstream"
)

// TestFraming holds both sides to the byte: what the backend sees of a request, and the client of its response. $C is the client's address
// without port, $P the listener's port.
func TestFraming(t *testing.T) {
	t.Parallel()
	const forwarded = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: $P\r\n"
	for name, c := range map[string]struct{ request, seen, response, got string }{
		"plain": {get, "GET / HTTP/1.1\r\nHost: a.example\r\n" + forwarded + "\r\n",
			ok2, ok2},
		"path in normal form": {"GET /a/../%62/%2f?x=%61 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /b/%2F?x=%61 HTTP/1.1\r\nHost: h\r\n" + forwarded + "\r\n",
			ok2, ok2},
		"addresses appended, hop-by-hop removed": {
			"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: keep-alive, x-hop, x-forwarded-for\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1, 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: $P\r\n\r\n",
			"HTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
		"body by length": {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "POST / HTTP/1.1\r\nHost: h\r\n" + forwarded + "Content-Length: 3\r\n\r\nabc",
			ok2, ok2},
		"body in chunks": {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: h\r\n" + forwarded + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 2\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 2\r\n\r\n"},
		"HEAD": {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: h\r\n" + forwarded + "\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
		"304": {get, "GET / HTTP/1.1\r\nHost: a.example\r\n" + forwarded + "\r\n",
			"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"},
		"HTTP/1.0, chunks undone": {"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n" + forwarded + "\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"},
		"HTTP/1.0, kept alive": {"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n" + forwarded + "\r\n",
			ok2, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"},
		"body until close": {get, "GET / HTTP/1.1\r\nHost: a.example\r\n" + forwarded + "\r\n",
			"HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		"interim responses": {"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
			"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + forwarded + "Content-Length: 1\r\n\r\nx",
			"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok2,
			"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok2},
		"100 that nobody waits for": {get, "GET / HTTP/1.1\r\nHost: a.example\r\n" + forwarded + "\r\n",
			"HTTP/1.1 100 Continue\r\n\r\n" + ok2, ok2},
		"OPTIONS *":     {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n" + forwarded + "\r\n", ok2, ok2},
		"absolute form": {"GET http://b.example/x HTTP/1.1\r\nHost: h\r\n\r\n", "GET /x HTTP/1.1\r\nHost: b.example\r\n" + forwarded + "\r\n", ok2, ok2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan string, 1)
			var want string
			ready := make(chan struct{})
			b := serve(t, func(_ int, s *net.TCPConn) {
				<-ready
				got := make([]byte, 0, 4096)
				for r := bufio.NewReader(s); len(got) < len(want); {
					b, err := r.ReadByte()
					if err != nil {
						break
					}
					got = append(got, b)
				}
				seen <- string(got)
				s.Write([]byte(c.response))
				if strings.HasPrefix(c.response, "HTTP/1.0") {
					return
				}
				bufio.NewReader(s).ReadByte()
			})
			w := newWorld(t, Conf{}, upstream.Settings{}, b)
			_, port, _ := net.SplitHostPort(w.addr)
			want = strings.ReplaceAll(c.seen, "$P", port)
			close(ready)
			p := w.dial(t)
			p.send(t, c.request)
			defer func() {
				if t.Failed() {
					for r := range w.stats.requests {
						if n := w.stats.requests[r].Load(); n > 0 {
							t.Logf("%d requests: %s", n, exchange.Reason(r))
						}
					}
				}
			}()
			p.expect(t, c.got)
			if got := <-seen; got != want {
				t.Errorf("the backend saw\n%q, want\n%q", got, want)
			}
			p.CloseWrite()
			if rest := p.rest(t); rest != "" {
				t.Errorf("more came: %q", rest)
			}
		})
	}
}
