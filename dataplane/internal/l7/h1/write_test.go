package h1

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// parseRequest parses a complete head that must be accepted.
func parseRequest(t *testing.T, raw string) *Request {
	t.Helper()
	r := new(Request)
	r.Reset(nil)
	n, fault := r.Parse([]byte(raw))
	if fault != nil || n == 0 {
		t.Fatalf("%q: %d, %v", raw, n, fault)
	}
	return r
}

func parseResponse(t *testing.T, request Method, raw string) *Response {
	t.Helper()
	r := new(Response)
	r.Reset(nil, request)
	n, fault := r.Parse([]byte(raw))
	if fault != nil || n == 0 {
		t.Fatalf("%q: %d, %v", raw, n, fault)
	}
	return r
}

func TestForwardRequest(t *testing.T) {
	t.Parallel()
	edit := func(r *Request, h *RequestHead) {
		r.Fields.Join(field.XForwardedFor, []byte("10.0.0.9"))
		r.Fields.SetText("X-Tenant", "ours")
	}
	for _, c := range []struct {
		name, raw, want string
		edit            func(*Request, *RequestHead)
	}{
		{name: "as it came", raw: get + "accept:  */* \r\nX:y\r\n\r\n", want: get + "accept: */*\r\nX: y\r\n\r\n"},
		{
			name: "hop by hop",
			raw: get + "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: h2c\r\n" +
				"HTTP2-Settings: x\r\nProxy-Authorization: x\r\nx-hop: 1\r\nX-HOP: 2\r\nProxy: x\r\nX-End: 3\r\n\r\n",
			want: get + "X-End: 3\r\n\r\n",
		},
		{
			name: "nominating what the proxy needs",
			raw: get + "Connection: host, x-forwarded-for, authorization, cookie, content-length, x-tenant\r\nConnection: X-Request-Id\r\n" +
				"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nAuthorization: a\r\nCookie: b\r\nContent-Length: 0\r\n" +
				"X-Request-ID: c\r\nX-Tenant: theirs\r\n\r\n",
			want: get + "Authorization: a\r\nCookie: b\r\nX-Request-ID: c\r\n" +
				"X-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.9\r\nX-Tenant: ours\r\nContent-Length: 0\r\n\r\n",
			edit: edit,
		},
		{
			name: "close, transfer-encoding",
			raw:  post + "Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n",
			want: post + "Transfer-Encoding: chunked\r\n\r\n",
		},
		{
			name: "underscores",
			raw:  get + "Content_Length: 5\r\nX_Forwarded-For: 1\r\nTransfer_encoding: x\r\nX_Y: 1\r\n\r\n",
			want: get + "X_Y: 1\r\n\r\n",
		},
		{
			name: "HTTP/1.0", raw: "POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
			want: "POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\n",
			edit: func(_ *Request, h *RequestHead) { h.Host = []byte("b") },
		},
		{
			name: "absolute form", raw: "GET http://b?c HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
			want: "GET /?c HTTP/1.1\r\nX: y\r\nHost: b\r\n\r\n",
		},
		{
			name: "host and target rewritten", raw: "GET /a HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n",
			want: "GET /b HTTP/1.1\r\nHost: c\r\nX: y\r\n\r\n",
			edit: func(_ *Request, h *RequestHead) { h.Target, h.Host = []byte("/b"), []byte("c") },
		},
		{
			name: "upgrade", raw: get + "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
			want: get + "Sec-WebSocket-Key: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		},
		{
			name: "reframed", raw: post + "Content-Length: 5\r\n\r\n",
			want: post + "Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n",
			edit: func(_ *Request, h *RequestHead) {
				h.Framing, h.AcceptTrailers, h.Close = Framing{Kind: Chunked}, true, true
			},
		},
		{name: "trailer announced without chunks", raw: get + "Trailer: x\r\n\r\n", want: get + "\r\n"},
	} {
		r := parseRequest(t, c.raw)
		h := r.Head()
		if c.edit != nil {
			c.edit(r, &h)
		}
		ForwardRequest(r)
		got := string(AppendRequest(nil, &h))
		if got != c.want {
			t.Errorf("%s:\n%q, want\n%q", c.name, got, c.want)
		}
		segments, _ := h.Segments(nil, nil)
		if joined := string(bytes.Join(segments, nil)); joined != got {
			t.Errorf("%s: segments %q", c.name, joined)
		}
	}
}

func TestForwardResponse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, raw, want string
		request         Method
		minor           uint8
		edit            func(*ResponseHead)
	}{
		{
			name: "length", minor: 1, want: okay + "Server: x\r\nContent-Length: 5\r\n\r\n",
			raw: okay + "Server: x\r\nContent-Length: 005\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n",
		},
		{
			name: "nominating", minor: 1, want: "HTTP/1.1 404 Gone fishing\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n",
			raw: "HTTP/1.1 404 Gone fishing\r\nConnection: set-cookie, x-hop\r\nSet-Cookie: a\r\nX-Hop: b\r\nContent-Length: 0\r\n\r\n",
		},
		{
			name: "chunked with trailer", minor: 1, want: okay + "Trailer: x\r\nTransfer-Encoding: chunked\r\n\r\n",
			raw: okay + "Trailer: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		},
		{
			name: "chunked to HTTP/1.0", minor: 0, want: okay + "Connection: close\r\n\r\n",
			raw: okay + "Trailer: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		},
		{name: "until close", minor: 1, raw: okay + "\r\n", want: okay + "Connection: close\r\n\r\n"},
		{name: "HEAD", minor: 1, request: Head, raw: okay + "Content-Length: 7\r\n\r\n", want: okay + "Content-Length: 7\r\n\r\n"},
		{name: "HEAD without length", minor: 1, request: Head, raw: okay + "\r\n", want: okay + "\r\n"},
		{
			name: "304", minor: 1, raw: "HTTP/1.1 304\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
			want: "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n",
		},
		{
			name: "204", minor: 1, raw: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
			want: "HTTP/1.1 204 No Content\r\n\r\n",
		},
		{
			name: "103", minor: 1, raw: "HTTP/1.1 103 \r\nLink: a\r\nConnection: close\r\n\r\n",
			want: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", edit: func(h *ResponseHead) { h.Close = true },
		},
		{
			name: "101", minor: 1, raw: "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
			want: "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		},
		{
			name: "kept alive for HTTP/1.0", raw: okay + "Content-Length: 0\r\n\r\n",
			want: okay + "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n", edit: func(h *ResponseHead) { h.KeepAlive = true },
		},
		{name: "unknown status", minor: 1, raw: "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n", want: "HTTP/1.1 299 Status\r\nContent-Length: 0\r\n\r\n"},
	} {
		r := parseResponse(t, max(c.request, Get), c.raw)
		h := r.Head(c.minor)
		ForwardResponse(r)
		if c.edit != nil {
			c.edit(&h)
		}
		got := string(AppendResponse(nil, &h))
		if got != c.want {
			t.Errorf("%s:\n%q, want\n%q", c.name, got, c.want)
		}
		segments, _ := h.Segments(nil, nil)
		if joined := string(bytes.Join(segments, nil)); joined != got {
			t.Errorf("%s: segments %q", c.name, joined)
		}
	}
}

// fieldsOf lists the fields of a head but those that the writer decides on.
func fieldsOf(l *field.List) string {
	var b strings.Builder
	for i := l.NextAny(-1); i >= 0; i = l.NextAny(i) {
		if id := l.ID(i); !hopByHop.Has(id) && id != field.Trailer {
			fmt.Fprintf(&b, "%s=%s\n", l.Name(i), l.Value(i))
		}
	}
	return b.String()
}

// TestRoundTrip writes heads at random and parses them again: nothing that may go through is lost, added or changed.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	for range 20000 {
		var l field.List
		l.AddText(pick("Host", "host"), pick("a", "a.example:80", "[::1]:8080"), true)
		for range random.IntN(12) {
			l.AddText(pick("Accept", "X-Y", "x_z", "Cookie", "Connection", "Trailer", "Te", "Content-Length"),
				pick("", "a", "close", "a, b", "x\ty", "caf\xe9", "5"), true)
		}
		q := RequestHead{
			Method: []byte(pick("GET", "POST", "OPTIONS", "PURGE")), Target: []byte(pick("/", "/a?b", "//x", "/%20{}|")), Fields: &l,
			Framing: Framing{Kind: BodyKind(random.IntN(3))}, Close: random.IntN(2) == 0, AcceptTrailers: random.IntN(2) == 0,
		}
		if q.Framing.Kind == Length {
			q.Framing.Length = random.Int64()
		}
		r := parseRequest(t, string(AppendRequest(nil, &q)))
		if !bytes.Equal(r.MethodName(), q.Method) || !bytes.Equal(r.Target(), q.Target) || r.Framing != q.Framing ||
			r.KeepAlive == q.Close || r.AcceptsTrailers() != q.AcceptTrailers || fieldsOf(&r.Fields) != fieldsOf(&l) {
			t.Fatalf("%q", AppendRequest(nil, &q))
		}
		p := ResponseHead{
			Status: 200 + random.IntN(400), Phrase: []byte(pick("", "OK", "a b")), Fields: &l,
			Framing: Framing{Kind: BodyKind(random.IntN(4))},
		}
		p.Close = p.Framing.Kind == UntilClose
		if p.Status == 204 || p.Framing.Kind == NoBody {
			continue
		}
		s := parseResponse(t, Get, string(AppendResponse(nil, &p)))
		if s.Status != p.Status || fieldsOf(&s.Fields) != fieldsOf(&l) || p.Status != 304 && s.Framing != p.Framing {
			t.Fatalf("%q", AppendResponse(nil, &p))
		}
	}
}

func TestRequestAccessors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, path, query string }{
		{"GET /a/b?c?d HTTP/1.1", "/a/b", "c?d"}, {"GET / HTTP/1.1", "/", "-"}, {"GET /? HTTP/1.1", "/", ""},
		{"GET http://a?q HTTP/1.1", "/", "q"}, {"GET http://a HTTP/1.1", "/", "-"}, {"OPTIONS * HTTP/1.1", "*", "-"},
	} {
		r := parseRequest(t, "\r\n"+c.line+"\r\nHost: a\r\n\r\n")
		query := "-"
		if q := r.Query(); q != nil {
			query = string(q)
		}
		if string(r.Path()) != c.path || query != c.query || string(r.Line()) != c.line {
			t.Errorf("%q: path %q, query %q, line %q", c.line, r.Path(), query, r.Line())
		}
	}
	var r Request
	r.Reset(nil)
	for _, raw := range []string{"", "\r\n"} {
		if _, fault := r.Parse([]byte(raw)); fault != nil || r.Begun() || r.Line() != nil {
			t.Errorf("%q: begun %t", raw, r.Begun())
		}
	}
	if _, fault := r.Parse([]byte("\r\nG")); fault != nil || !r.Begun() {
		t.Error("not begun")
	}
	for target, want := range map[string]bool{"/": true, "/a?b": true, "*": true, "": false, "a": false, "/ ": false, "/\xff": false, "**": false} {
		if ValidTarget([]byte(target)) != want {
			t.Errorf("target %q: %t", target, !want)
		}
	}
	for _, name := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"} {
		if m := MethodOf([]byte(name)); m == OtherMethod || m.Idempotent() != !strings.Contains("POST CONNECT PATCH", name) {
			t.Errorf("method %s: %d", name, m)
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	plain, err := NewAnswers("", "")
	if err != nil {
		t.Fatal(err)
	}
	want := "HTTP/1.1 400 Bad Request\r\nDate: d\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 32\r\n" +
		"Cache-Control: no-store\r\nX-Request-ID: r-1\r\nConnection: close\r\n\r\n400 Bad Request\nrequest id: r-1\n"
	if got := string(plain.Append(nil, &Answer{Status: 400, RequestID: []byte("r-1"), Date: []byte("d"), Close: true})); got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
	page, err := NewAnswers("text/html", "<h1>{status}</h1>{request_id}{request_id}{{phrase}")
	if err != nil {
		t.Fatal(err)
	}
	var extra field.List
	extra.Add(field.Location, []byte("/x"))
	extra.Add(field.ContentType, []byte("no"))
	for _, status := range []int{301, 400, 414, 431, 502, 599} {
		for _, id := range []string{"", "abc", "<script>", strings.Repeat("a", 129)} {
			raw := string(page.Append(nil, &Answer{Status: status, RequestID: []byte(id), Fields: &extra}))
			got := readResponse(nil, Get, raw, false)
			if id != "abc" {
				id = ""
			}
			if body := fmt.Sprintf("<h1>%d</h1>%s%s{%s", status, id, id, phraseOf(status)); got.body != body || got.leftover != "" {
				t.Errorf("%q: %v, want %q", raw, got, body)
			}
			bare := string(page.Append(nil, &Answer{Status: status, RequestID: []byte(id), Fields: &extra, NoBody: true}))
			if !strings.HasPrefix(raw, bare) || !strings.HasSuffix(bare, "\r\n\r\n") {
				t.Errorf("%q", bare)
			}
		}
	}
	if _, err := NewAnswers("a\nb", ""); err == nil {
		t.Error("content type with LF accepted")
	}
	if _, err := NewAnswers("", strings.Repeat("a", maxAnswerBody+1)); err == nil {
		t.Error("huge body accepted")
	}
}

// TestReasons holds every reason to a word and a status of its side.
func TestReasons(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i, word := range Reasons() {
		why := more + 1 + reason(i)
		if word == "" || seen[word] {
			t.Errorf("reason %d: %q", i, word)
		}
		seen[word] = true
		if s := faults[ofRequest][why].Status; s < 400 || s > 505 || faults[ofResponse][why].Status != 502 {
			t.Errorf("%s: status %d", word, s)
		}
	}
}
