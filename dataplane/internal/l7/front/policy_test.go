package front

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/upstream"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/route"
)

// policed serves a listener with a policy for each action; the path chooses.
func policed(t *testing.T) *world {
	t.Helper()
	answers := func(name string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, name+" "+r.URL.Path) }
	}
	w := newWorld(t, Conf{}, upstream.Settings{}, httpBackend(t, answers("default")))
	on := func(path string) []route.Rule {
		return []route.Rule{{Type: lb.RulePath, Compare: lb.StartsWith, Value: path}}
	}
	table, err := route.Compile([]route.Policy{
		{Name: "pool", Position: 1, Action: lb.RedirectToPool, Pools: []route.Share{{Pool: "other", Weight: 1}}, Rules: on("/pool")},
		{Name: "url", Position: 2, Action: lb.RedirectToURL, Location: "https://#{host}:8443/#{path}?#{query}", Status: 301, Rules: on("/url")},
		{Name: "prefix", Position: 3, Action: lb.RedirectPrefix, Location: "https://b.example/x", Status: 308, Rules: on("/prefix")},
		{Name: "reject", Position: 4, Action: lb.Reject, Status: 451, Rules: on("/reject")},
		{Name: "fixed", Position: 5, Action: lb.FixedResponse, Status: 200, ContentType: "text/html", Body: "<p>", Rules: on("/fixed")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	conf := w.conf.Load().Conf
	conf.Table = table
	for _, name := range table.Pools() {
		conf.Pools = append(conf.Pools, w.transport.Pool(w.pool(t, name, httpBackend(t, answers(name))), upstream.Settings{}))
	}
	if err := w.Set(&conf); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	w := policed(t)
	p := w.dial(t) // one connection for all: every answer leaves it usable
	for _, c := range []struct {
		method, target, body string
		status               int
		location, contains   string
	}{
		{"GET", "/", "", 200, "", "default /"},
		{"GET", "/pool/a", "", 200, "", "other /pool/a"},
		{"GET", "/x/../pool", "", 200, "", "other /pool"},
		{"GET", "/url/%61?b=c", "", 301, "https://h.example:8443/url/a?b=c", "301"},
		{"POST", "/url/", "some body", 301, "https://h.example:8443/url/", "301"},
		{"GET", "/prefix/z?q", "", 308, "https://b.example/x/prefix/z?q", "308"},
		{"GET", "/%72eject", "", 451, "", "request id: "},
		{"HEAD", "/reject", "", 451, "", ""},
		{"GET", "/fixed", "", 200, "", "<p>"},
		{"HEAD", "/fixed", "", 200, "", ""},
		{"GET", "/again", "", 200, "", "default /again"},
	} {
		text := c.method + " " + c.target + " HTTP/1.1\r\nHost: H.example\r\n"
		if c.body != "" {
			text += "Transfer-Encoding: chunked\r\n\r\n9\r\n" + c.body + "\r\n0\r\n\r\n"
		} else {
			text += "\r\n"
		}
		p.send(t, text)
		r, body := p.response(t, c.method)
		if r.StatusCode != c.status || r.Header.Get("Location") != c.location || !strings.Contains(body, c.contains) {
			t.Fatalf("%s %s: %s, Location %q, %q", c.method, c.target, r.Status, r.Header.Get("Location"), body)
		}
		if c.body != "" {
			if !r.Close {
				t.Error("a chunked body that nobody reads must end the connection")
			}
			p = w.dial(t)
		} else if r.Close {
			t.Errorf("%s %s: the connection ends", c.method, c.target)
		}
	}
	if n := w.policies["reject"].requests.Load(); n != 2 {
		t.Errorf("the policy counted %d requests", n)
	}
}

// TestNoUpstream: without a pool, or with nobody in it, there is 503, and a body that came with the request is skipped.
func TestNoUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Conf{}, upstream.Settings{})
	p := w.dial(t)
	for range 3 {
		p.send(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345")
		if r, _ := p.response(t, "POST"); r.StatusCode != 503 || r.Close {
			t.Errorf("%s, close %v", r.Status, r.Close)
		}
	}
	w.ends(t, exchange.NoPool, 3)
	conf := w.conf.Load().Conf
	conf.Default = w.transport.Pool(w.pool(t, "empty"), upstream.Settings{})
	if err := w.Set(&conf); err != nil {
		t.Fatal(err)
	}
	p.send(t, get)
	if r, _ := p.response(t, "GET"); r.StatusCode != 503 {
		t.Error(r.Status)
	}
	w.ends(t, exchange.NoBackend, 1)
}

func TestForwardedFields(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conf Conf
		want string
	}{
		"default":  {Conf{}, "192.0.2.1, 192.0.2.2, 127.0.0.1|http|true|0"},
		"preserve": {Conf{ForwardedFor: PreserveFor, NoForwardedProto: true, RequestID: true}, "192.0.2.1+192.0.2.2|gopher|true|32"},
		"remove":   {Conf{ForwardedFor: RemoveFor, NoForwardedPort: true}, "|http|false|0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.conf, upstream.Settings{}, httpBackend(t, func(rw http.ResponseWriter, r *http.Request) {
				h := r.Header
				io.WriteString(rw, strings.Join(h.Values("X-Forwarded-For"), "+")+"|"+h.Get("X-Forwarded-Proto")+"|")
				port := "false"
				if h.Get("X-Forwarded-Port") != "" {
					port = "true"
				}
				io.WriteString(rw, port+"|"+strconv.Itoa(len(h.Get("X-Request-ID"))))
			}))
			p := w.dial(t)
			p.send(t, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-For: 192.0.2.2\r\nX_Forwarded_For: 9.9.9.9\r\n\r\n")
			if _, body := p.response(t, "GET"); body != c.want {
				t.Errorf("the backend saw %q, want %q", body, c.want)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := policed(t)
	p := w.dial(t)
	for _, target := range []string{"/", "/pool", "/reject"} {
		p.send(t, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		p.response(t, "GET")
	}
	w.ends(t, exchange.Answered, 1)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range []prometheus.Collector{w.Front, w.transport} {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"fiberlb_dataplane_http_accepted_connections_total":      1,
		"fiberlb_dataplane_http_active_connections":              1,
		"fiberlb_dataplane_http_requests_total":                  3,
		"fiberlb_dataplane_http_responses_total":                 3,
		"fiberlb_dataplane_http_policy_requests_total":           2,
		"fiberlb_dataplane_http_request_duration_seconds":        3,
		"fiberlb_dataplane_http_backend_requests_total":          2,
		"fiberlb_dataplane_http_backend_connections_total":       2,
		"fiberlb_dataplane_http_backend_stale_connections_total": 0,
		"fiberlb_dataplane_http_backend_retries_total":           0,
		"fiberlb_dataplane_http_backend_queued_requests_total":   0,
	} {
		if got[name] != want {
			t.Errorf("%s is %g, want %g", name, got[name], want)
		}
	}
}

// TestIdle: a connection that says nothing is closed without a word.
func TestIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Conf{Idle: 20 * time.Millisecond}, upstream.Settings{})
	if got := w.dial(t).rest(t); got != "" {
		t.Errorf("got %q", got)
	}
}
