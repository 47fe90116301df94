package front

import (
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/upstream"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/route"
)

// looped answers every request of that many bytes with response, and allocates nothing.
func looped(length int, response string) func(int, *net.TCPConn) {
	return func(_ int, c *net.TCPConn) {
		buf, answer := make([]byte, 64<<10), []byte(response)
		for have := 0; ; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			for have += n; have >= length; have -= length {
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}
	}
}

// tenPolicies are policies none of which matches, and all of which look at something.
func tenPolicies(t testing.TB) *route.Table {
	t.Helper()
	var policies []route.Policy
	for i, r := range []route.Rule{
		{Type: lb.RuleHostName, Compare: lb.EqualTo, Value: "b.example"},
		{Type: lb.RuleHostName, Compare: lb.EndsWith, Value: ".b.example"},
		{Type: lb.RulePath, Compare: lb.StartsWith, Value: "/api/"},
		{Type: lb.RulePath, Compare: lb.EqualTo, Value: "/login"},
		{Type: lb.RulePath, Compare: lb.Regex, Value: "^/v[0-9]+/"},
		{Type: lb.RuleHeader, Compare: lb.EqualTo, Key: "X-Canary", Value: "yes"},
		{Type: lb.RuleCookie, Compare: lb.EqualTo, Key: "beta", Value: "1"},
		{Type: lb.RuleFileType, Compare: lb.EqualTo, Value: "php"},
		{Type: lb.RulePath, Compare: lb.StartsWith, Value: "/static/"},
		{Type: lb.RuleHostName, Compare: lb.StartsWith, Value: "admin."},
	} {
		policies = append(policies, route.Policy{Name: string(rune('a' + i)), Position: uint32(i + 1), Action: lb.Reject, Status: 403,
			Rules: []route.Rule{r}})
	}
	table, err := route.Compile(policies, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

const (
	small = "GET /index.html?q=1 HTTP/1.1\r\nHost: www.a.example\r\nUser-Agent: curl/8\r\nAccept: */*\r\nCookie: a=b\r\n\r\n"
	reply = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 60\r\n\r\n" +
		"012345678901234567890123456789012345678901234567890123456789"
	// added is what the front adds to a request, with a port of five digits.
	added = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 12345\r\n"
)

// proxied returns a connection through a proxy with ten policies to a backend that answers small.
func proxied(t testing.TB) *peer {
	b := serve(t, looped(len(small)+len(added), reply))
	w := newWorld(t, Conf{Table: tenPolicies(t)}, upstream.Settings{}, b)
	if len(w.addr) != len("127.0.0.1:12345") {
		t.Fatalf("the port of %s has not five digits", w.addr)
	}
	return w.dial(t)
}

// TestAllocations is the gate: a small request on a connection that is kept alive allocates nothing.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		return // the race detector's own allocations count
	}
	p := proxied(t)
	request, response := []byte(small), make([]byte, len(reply))
	turn := func() {
		if _, err := p.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.TCPConn, response); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		turn()
	}
	const turns = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range turns {
		turn()
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > turns/50 {
		t.Errorf("%d allocations in %d requests", n, turns)
	} else {
		t.Logf("%d allocations, %d bytes in %d requests", n, after.TotalAlloc-before.TotalAlloc, turns)
	}
}
