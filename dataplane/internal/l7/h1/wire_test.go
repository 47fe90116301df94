package h1

import (
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// narrow are rules whose limits fit in a test case.
func narrow(tb testing.TB) *Rules {
	rules, err := NewRules(Limits{RequestLine: 256, HeaderBlock: 1024, Trailers: 256})
	if err != nil {
		tb.Fatal(err)
	}
	return rules
}

func (c *wireCase) check(t *testing.T, how string, got feed) {
	t.Helper()
	reason, refused := strings.CutPrefix(c.want, "!")
	switch {
	case refused && got.fault != reason, !refused && got.fault != "":
		t.Errorf("%s: fault %q, want %q", how, got.fault, c.want)
	case c.status != 0 && got.status != c.status:
		t.Errorf("%s: status %d, want %d", how, got.status, c.status)
	case refused:
	case got.body != c.want || got.leftover != c.rest || got.trailers != c.trailers:
		t.Errorf("%s: body %q, leftover %q, trailers %q, want %q, %q, %q", how, got.body, got.leftover, got.trailers, c.want, c.rest, c.trailers)
	case c.head != "" && got.head != c.head:
		t.Errorf("%s: head %q, want %q", how, got.head, c.head)
	}
}

// run checks a case in one piece, cut in two at every byte, and byte by byte.
func (c *wireCase) run(t *testing.T, read func(raw string, raws bool, cuts ...int) feed) {
	c.check(t, "whole", read(c.raw, false))
	c.check(t, "byte by byte", read(c.raw+c.verdict(), false, everyByte(len(c.raw)+1)...))
	for cut := 1; cut < len(c.raw); cut++ {
		c.check(t, "cut in two", read(c.raw+c.verdict(), false, cut))
		if t.Failed() {
			t.Fatalf("cut at %d", cut)
		}
	}
	c.checkRaw(t, read)
}

// verdict is the line end with which a refused line is judged at the latest, if the case ends without one.
func (c *wireCase) verdict() string {
	if c.want == "!more" || c.want == "!body_truncated" || !strings.HasPrefix(c.want, "!") || strings.HasSuffix(c.raw, "\n") {
		return ""
	}
	return "\n"
}

// checkRaw holds raw decoding to the case: what it gives must decode to the same body, without extensions, however it was cut.
func (c *wireCase) checkRaw(t *testing.T, read func(raw string, raws bool, cuts ...int) feed) {
	whole := read(c.raw, true)
	if whole.framing.Kind != Chunked {
		return
	}
	for cut := 1; cut < len(c.raw); cut++ {
		if got := read(c.raw, true, cut); got.body != whole.body && got.fault == "" {
			if canonical(t, got.body) != canonical(t, whole.body) {
				t.Fatalf("raw, cut at %d: %q, want %q", cut, got.body, whole.body)
			}
		}
	}
	if reason, refused := strings.CutPrefix(c.want, "!"); refused {
		if whole.fault != reason {
			t.Errorf("raw: fault %q, want %q", whole.fault, reason)
		}
		return
	}
	if strings.Contains(whole.body, ";") {
		t.Errorf("raw: an extension went through: %q", whole.body)
	}
	if got := canonical(t, whole.body); got != c.want || whole.leftover != c.rest {
		t.Errorf("raw: %q decodes to %q, want %q; leftover %q", whole.body, got, c.want, whole.leftover)
	}
}

// canonical decodes a chunked body.
func canonical(t *testing.T, coded string) string {
	t.Helper()
	got := readRequest(nil, chunk+coded, false)
	if got.fault != "" || got.leftover != "" {
		t.Fatalf("raw: %q: fault %q, leftover %q", coded, got.fault, got.leftover)
	}
	return got.body
}

func TestRequests(t *testing.T) {
	t.Parallel()
	rules := narrow(t)
	for i := range requestCases {
		c := &requestCases[i]
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, func(raw string, raws bool, cuts ...int) feed { return readRequest(rules, raw, raws, cuts...) })
		})
	}
}

func TestResponses(t *testing.T) {
	t.Parallel()
	rules := narrow(t)
	for i := range responseCases {
		c := &responseCases[i]
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, func(raw string, raws bool, cuts ...int) feed {
				return readResponse(rules, max(c.method, Get), raw, raws, cuts...)
			})
		})
	}
}

func TestPersistence(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		head string
		want bool
	}{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: x, , Close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close;x\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n", true},
		{"GET / HTTP/1.0\r\n\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
		{"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
	} {
		var r Request
		r.Reset(nil)
		if _, fault := r.Parse([]byte(c.head)); fault != nil || r.KeepAlive != c.want {
			t.Errorf("%q: keep alive %t, want %t (%v)", c.head, r.KeepAlive, c.want, fault)
		}
	}
	for _, c := range []struct {
		head    string
		want    bool
		timeout int
	}{
		{okay + "Content-Length: 0\r\n\r\n", true, 0},
		{okay + "\r\n", false, 0},
		{okay + "Content-Length: 0\r\nConnection: close\r\n\r\n", false, 0},
		{okay + "Content-Length: 0\r\nKeep-Alive: max=3, Timeout=5\r\n\r\n", true, 5},
		{okay + "Content-Length: 0\r\nKeep-Alive: timeout=-5\r\n\r\n", true, 0},
		{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, 0},
		{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true, 0},
		{"HTTP/1.1 204 X\r\n\r\n", true, 0},
		{"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", true, 0},
		{"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", false, 0},
		{"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", false, 0},
	} {
		var r Response
		r.Reset(nil, Get)
		if _, fault := r.Parse([]byte(c.head)); fault != nil || r.KeepAlive != c.want || r.KeepAliveTimeout() != c.timeout {
			t.Errorf("%q: keep alive %t, %d s, want %t (%v)", c.head, r.KeepAlive, r.KeepAliveTimeout(), c.want, fault)
		}
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	const connection = "Connection: Upgrade\r\n"
	for _, c := range []struct{ name, head, want string }{
		{"websocket", get + connection + "Upgrade: websocket\r\n\r\n", "websocket"},
		{"two protocols", get + connection + "Upgrade: a/1, b\r\n\r\n", "a/1, b"},
		{"no option", get + "Upgrade: websocket\r\n\r\n", ""},
		{"h2c", get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", ""},
		{"h2c among others", get + connection + "Upgrade: websocket, H2C\r\n\r\n", ""},
		{"HTTP/2.0", get + connection + "Upgrade: HTTP/2.0\r\n\r\n", ""},
		{"not a protocol", get + connection + "Upgrade: a b\r\n\r\n", ""},
		{"empty", get + connection + "Upgrade:\r\n\r\n", ""},
		{"two fields", get + connection + "Upgrade: websocket\r\nUpgrade: h2c\r\n\r\n", ""},
		{"with body", post + connection + "Upgrade: websocket\r\nContent-Length: 1\r\n\r\nx", ""},
		{"with length 0", post + connection + "Upgrade: websocket\r\nContent-Length: 0\r\n\r\n", "websocket"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n" + connection + "Upgrade: websocket\r\n\r\n", ""},
	} {
		var r Request
		r.Reset(nil)
		if _, fault := r.Parse([]byte(c.head)); fault != nil || string(r.Upgrade()) != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.name, r.Upgrade(), c.want, fault)
		}
	}
	for _, c := range []struct {
		offered, answered string
		want              bool
	}{
		{"websocket", "WebSocket", true}, {"a, b", "b", true}, {"a, b", "b, a", true}, {"a", "a, b", false},
		{"websocket", "h2c", false}, {"", "websocket", false}, {"websocket", "", false}, {"", "", false},
	} {
		nilled := func(s string) []byte {
			if s == "" {
				return nil
			}
			return []byte(s)
		}
		if got := MatchUpgrade(nilled(c.offered), nilled(c.answered)); got != c.want {
			t.Errorf("%q for %q: %t", c.answered, c.offered, got)
		}
	}
	var r Response
	r.Reset(nil, Get)
	_, fault := r.Parse([]byte("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
	if fault != nil || string(r.Upgrade()) != "websocket" || r.Interim() {
		t.Errorf("101: %q, %v", r.Upgrade(), fault)
	}
}

func TestConnectAllowed(t *testing.T) {
	t.Parallel()
	rules, err := NewRules(Limits{AllowConnect: true})
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"CONNECT a:443 HTTP/1.1\r\nHost: b\r\n\r\n":         "CONNECT a:443 " + "a:443",
		"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]\r\n\r\n": "CONNECT [::1]:443 [::1]:443",
		"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n":             "bad_target",
		"CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n":            "bad_target",
		"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n":            "bad_target",
		"CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n":         "bad_target",
	} {
		if got := readRequest(rules, raw, false); got.head+got.fault != want {
			t.Errorf("%q: %v", raw, got)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, bad := range []Limits{{RequestLine: 255}, {HeaderBlock: 2 << 20}, {Fields: -1}, {Trailers: 1}, {ChunkExtension: 5000}} {
		if _, err := NewRules(bad); err == nil {
			t.Errorf("%+v: accepted", bad)
		}
	}
	// The longest head fits in HeadSize, and one byte less than its end is still awaited.
	rules := narrow(t)
	line := "GET /" + strings.Repeat("a", 256-5-11) + " HTTP/1.1\r\n"
	block := "Host: a\r\nX: " + strings.Repeat("b", 1024-16) + "\r\n\r\n"
	raw := strings.Repeat("\r\n", maxEmptyLines) + line + block[:1024-4] + "\r\n\r\n"
	if len(raw) != rules.HeadSize() {
		t.Fatalf("%d bytes, HeadSize %d", len(raw), rules.HeadSize())
	}
	if got := readRequest(rules, raw, false); got.fault != "" {
		t.Error(got)
	}
	if got := readRequest(rules, raw[:len(raw)-1], false); got.fault != "more" {
		t.Error(got)
	}
	if got := readRequest(rules, raw[:len(raw)-4]+strings.Repeat("b", 4), false); got.fault != "header_too_large" {
		t.Error(got)
	}
	if got := readRequest(rules, raw[:len(raw)-4]+"b\r\n\r\n", false); got.fault != "header_too_large" {
		t.Error(got)
	}
}

// TestTrickle shows that an unfinished line is not read again with every byte that arrives: what was seen of it is changed in between,
// and that goes unnoticed until the line ends.
func TestTrickle(t *testing.T) {
	t.Parallel()
	for _, start := range []string{"GET /abc", get + "X: abc"} {
		var r Request
		r.Reset(nil)
		buf := []byte(start)
		for i := range 3 {
			if n, fault := r.Parse(buf); n != 0 || fault != nil {
				t.Fatalf("%q: %d, %v", buf, n, fault)
			}
			buf = append(buf, byte('d'+i))
			buf[len(start)-1] = 0
		}
		if _, fault := r.Parse(append(buf, '\n')); fault == nil || fault.Reason != "nul_byte" {
			t.Errorf("%q: %v", buf, fault)
		}
	}
}

func TestTargetBytes(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		allowed := c > ' ' && c < 0x7f && c != '#'
		for at := range 20 {
			target := []byte(strings.Repeat("/~!\"", 5))
			target[at] = byte(c)
			want := at
			if allowed {
				want = len(target)
			}
			if got := targetLen(target); got != want {
				t.Errorf("byte %#x at %d: %d", c, at, got)
			}
		}
	}
}

func TestForbiddenTrailers(t *testing.T) {
	t.Parallel()
	raw := []byte("0\r\nX-Sum: 1\r\nContent-Length: 5\r\nContent_Length: 5\r\nHost: b\r\nAuthorization: x\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 1.2.3.4\r\nGrpc-Status: 0\r\n\r\n")
	for _, whole := range []bool{false, true} {
		var b Body
		var trailers field.List
		b.start(Framing{Kind: Chunked}, ofResponse, &defaultRules, &trailers)
		b.Raw = whole
		if _, n, fault := b.Next(raw); fault != nil || n != len(raw) || !b.Done() {
			t.Fatal(n, fault)
		}
		if want := "0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\n"; string(b.AppendEnd(nil)) != want {
			t.Errorf("%q, want %q", b.AppendEnd(nil), want)
		}
	}
	var dropped Body
	dropped.start(Framing{Kind: Chunked}, ofResponse, &defaultRules, nil)
	if _, n, fault := dropped.Next(raw); fault != nil || n != len(raw) || string(dropped.AppendEnd(nil)) != emptyEnd {
		t.Errorf("unwanted trailers: %q, %v", dropped.AppendEnd(nil), fault)
	}
	if !ForbiddenTrailer(field.Host) || ForbiddenTrailer(field.Other) {
		t.Error("ForbiddenTrailer")
	}
}

func TestSplicedBody(t *testing.T) {
	t.Parallel()
	var b Body
	b.start(Framing{Kind: Length, Length: 10}, ofResponse, &defaultRules, nil)
	if data, n, _ := b.Next([]byte("abc")); string(data) != "abc" || n != 3 || b.Remaining() != 7 {
		t.Fatal(string(data), n, b.Remaining())
	}
	if b.Advance(7); !b.Done() || b.Remaining() != 0 {
		t.Error("not done after its length")
	}
	b.start(Framing{Kind: Chunked}, ofResponse, &defaultRules, nil)
	if _, n, _ := b.Next([]byte("a\r\n")); n != 3 || b.Remaining() != 10 {
		t.Fatal(n, b.Remaining())
	}
	b.Advance(10)
	if _, n, fault := b.Next([]byte("\r\n0\r\n\r\n")); n != 7 || fault != nil || !b.Done() {
		t.Error(n, fault)
	}
}

func TestChunkEncoding(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 9, 10, 15, 16, 255, 256, 65535, 65536} {
		data := strings.Repeat("x", size)
		coded := string(AppendLastChunk(AppendChunk(nil, []byte(data)), nil))
		if canonical(t, coded) != data {
			t.Errorf("AppendChunk of %d bytes: %.20q", size, coded)
		}
		buf := make([]byte, ChunkHeadroom+size+ChunkTailroom)
		copy(buf[ChunkHeadroom:], data)
		if got := string(FrameChunk(buf, ChunkHeadroom, ChunkHeadroom+size)) + emptyEnd; got != coded {
			t.Errorf("FrameChunk of %d bytes: %.20q", size, got)
		}
	}
	if got := string(AppendChunkSize(nil, 1<<62)); got != "4000000000000000\r\n" {
		t.Errorf("%q", got)
	}
}
