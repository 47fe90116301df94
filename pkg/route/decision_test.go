package route

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

func TestLocation(t *testing.T) {
	t.Parallel()
	const path, query = "/docs/a%2Fb", "q=1&r=%20"
	for _, c := range []struct {
		action                      lb.PolicyAction
		location, path, query, want string
		plain                       bool
	}{
		{action: lb.RedirectToURL, location: "https://#{host}:443/#{path}?#{query}", want: "https://www.example.com:443/docs/a%2Fb?q=1&r=%20"},
		{action: lb.RedirectToURL, location: "#{protocol}://#{host}:#{port}/#{path}?#{query}", want: "https://www.example.com:8443/docs/a%2Fb?q=1&r=%20"},
		{action: lb.RedirectToURL, location: "#{protocol}://x/", plain: true, want: "http://x/"},
		{action: lb.RedirectToURL, location: "https://x/#{path}?#{query}", path: "/", query: "-", want: "https://x/"},
		{action: lb.RedirectToURL, location: "https://x/?a=1&#{query}#top", query: "-", want: "https://x/?a=1&#top"},
		{action: lb.RedirectToURL, location: "https://x/?#{query}#top", query: "-", want: "https://x/?#top"},
		{action: lb.RedirectToURL, location: "https://#{host}/#{host}/#{path}/#{path}", path: "/p", want: "https://www.example.com/www.example.com/p/p"},
		{action: lb.RedirectToURL, location: "https://x/#{unknown}#{pat", want: "https://x/#{unknown}#{pat"},
		{action: lb.RedirectToURL, location: "/new/#{path}", path: "//evil.example", want: "/new//evil.example"},
		{action: lb.RedirectToURL, location: "/#{path}", path: "//evil.example", want: "/evil.example"},
		{action: lb.RedirectToURL, location: "/#{path}", path: "///evil.example/", want: "/evil.example/"},
		{action: lb.RedirectToURL, location: "/#{path}", path: `/\evil.example`, want: "/evil.example"},
		{action: lb.RedirectToURL, location: "/#{query}", query: "/evil.example", want: "/evil.example"},
		{action: lb.RedirectToURL, location: "/x#{path}", path: "/a\r\nSet-Cookie: a\x00\xff", want: "/xa%0D%0ASet-Cookie:%20a%00%FF"},
		{action: lb.RedirectPrefix, location: "https://new.example", want: "https://new.example/docs/a%2Fb?q=1&r=%20"},
		{action: lb.RedirectPrefix, location: "https://new.example/base/", query: "-", want: "https://new.example/base/docs/a%2Fb"},
		{action: lb.RedirectPrefix, location: "/v2", path: "/", query: "-", want: "/v2/"},
		{action: lb.RedirectPrefix, location: "/", path: "//evil.example", query: "-", want: "/evil.example"},
		{action: lb.RedirectPrefix, location: "https://new.example", path: "*", query: "-", want: "https://new.example/*"},
		{action: lb.Reject, location: "https://x/", want: ""},
	} {
		table := mustCompile(t, []Policy{{Action: c.action, Location: c.location, Status: 301, Rules: []Rule{{Type: lb.RuleMethod, Compare: lb.EqualTo, Value: "GET"}}}}, nil)
		r := &Request{Method: []byte("GET"), Host: []byte("www.example.com"), Path: []byte(path), Query: []byte(query), Port: 8443, TLS: &TLS{}}
		if c.path != "" {
			r.Path = []byte(c.path)
		}
		if c.query != "" {
			r.Query = []byte(strings.TrimPrefix(c.query, "-"))
		}
		if c.plain {
			r.TLS = nil
		}
		d := table.Match(r, new(Scratch))
		if got := string(d.AppendLocation([]byte("Location: "), r)); got != "Location: "+c.want || d.Status != 301 {
			t.Errorf("%s %q of %q?%q: %q, status %d", c.action, c.location, r.Path, r.Query, got, d.Status)
		}
	}
}

func TestPoolsSpreadByWeight(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Policy{{
		Action: lb.RedirectToPool, Rules: rulePath("/"),
		Pools: []Share{{"a", 256}, {"b", 128}, {"none", 0}, {"off", 100}, {"c", 16}},
	}}, notOff)
	d := table.Match(&Request{Path: []byte("/")}, new(Scratch))
	if want := []Share{{"a", 256}, {"b", 128}, {"c", 16}}; !slices.Equal(d.Shares(), want) {
		t.Errorf("shares %v, want %v", d.Shares(), want)
	}
	random := rand.New(rand.NewPCG(5, 5))
	counts := make(map[string]int)
	const draws = 400_000
	for range draws {
		n := random.Uint64()
		pool := d.Pool(n)
		if pool != d.Pool(n) {
			t.Fatal("equal numbers choose differently")
		}
		counts[table.Pools()[pool]]++
	}
	for _, s := range d.Shares() {
		want := float64(draws) * float64(s.Weight) / 400
		if got := float64(counts[s.Pool]); math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("pool %s was chosen %v times, want about %v", s.Pool, got, want)
		}
	}
	if len(counts) != 3 {
		t.Errorf("chosen: %v", counts)
	}
	if first, last := table.Pools()[d.Pool(0)], table.Pools()[d.Pool(math.MaxUint64)]; first != "a" || last != "c" {
		t.Errorf("the ends choose %s and %s", first, last)
	}
}

func TestFixedResponseAndReject(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Policy{
		{Name: "fixed", Position: 1, Action: lb.FixedResponse, Status: 200, ContentType: "text/plain", Body: "hello", Rules: rulePath("/hello")},
		{Name: "no", Position: 2, Action: lb.Reject, Status: 429, Rules: rulePath("/")},
	}, nil)
	var s Scratch
	d := table.Match(&Request{Path: []byte("/hello")}, &s)
	if kind, body := d.Response(); kind != "text/plain" || body != "hello" || d.Status != 200 || d.Action != lb.FixedResponse {
		t.Errorf("%+v", d)
	}
	d = table.Match(&Request{Path: []byte("/other")}, &s)
	if kind, body := d.Response(); kind != "" || body != "" || d.Status != 429 || d.Action != lb.Reject || d.Shares() != nil {
		t.Errorf("%+v", d)
	}
}

func TestFromLB(t *testing.T) {
	t.Parallel()
	rules := []*lb.Rule{
		{Info: lb.Info{Name: "r"}, Type: lb.RuleHeader, Compare: lb.Contains, Key: "K", Value: "v", Invert: true, Enabled: true},
		{Info: lb.Info{Name: "off"}, Type: lb.RulePath, Compare: lb.EqualTo, Value: "/"},
	}
	want := []Rule{
		{Name: "r", Type: lb.RuleHeader, Compare: lb.Contains, Key: "K", Value: "v", Invert: true},
		{Name: "off", Disabled: true, Type: lb.RulePath, Compare: lb.EqualTo, Value: "/"},
	}
	got := FromLB([]*lb.Policy{
		{Info: lb.Info{Name: "pool"}, Position: 3, Action: lb.RedirectToPool, Pools: []lb.WeightedPool{{Pool: "a", Weight: 2}}, Enabled: true, Rules: rules},
		{Info: lb.Info{Name: "url"}, Position: 1, Action: lb.RedirectToURL, URL: "/x", StatusCode: 302},
		{Info: lb.Info{Name: "prefix"}, Action: lb.RedirectPrefix, Prefix: "/y", StatusCode: 308, Enabled: true},
		{Info: lb.Info{Name: "fixed"}, Action: lb.FixedResponse, FixedResponse: &lb.Response{StatusCode: 204, ContentType: "t", Body: "b"}, Enabled: true},
		{Info: lb.Info{Name: "reject"}, Action: lb.Reject, StatusCode: 403, Enabled: true},
	})
	expected := []Policy{
		{Name: "pool", Position: 3, Action: lb.RedirectToPool, Pools: []Share{{"a", 2}}, Rules: want},
		{Name: "url", Position: 1, Disabled: true, Action: lb.RedirectToURL, Location: "/x", Status: 302},
		{Name: "prefix", Action: lb.RedirectPrefix, Location: "/y", Status: 308},
		{Name: "fixed", Action: lb.FixedResponse, Status: 204, ContentType: "t", Body: "b"},
		{Name: "reject", Action: lb.Reject, Status: 403},
	}
	for i := range expected {
		g, w := got[i], expected[i]
		if !slices.Equal(g.Rules, w.Rules) || !slices.Equal(g.Pools, w.Pools) {
			t.Errorf("%+v, want %+v", g, w)
		}
		g.Rules, w.Rules, g.Pools, w.Pools = nil, nil, nil, nil
		if g.Name != w.Name || g.Position != w.Position || g.Disabled != w.Disabled || g.Action != w.Action ||
			g.Location != w.Location || g.Status != w.Status || g.ContentType != w.ContentType || g.Body != w.Body {
			t.Errorf("%+v, want %+v", g, w)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	policies := []Policy{
		{Name: "off", Position: 1, Disabled: true, Action: lb.Reject, Rules: rulePath("/")},
		{Name: "near", Position: 2, Action: lb.Reject, Rules: []Rule{
			{Name: "path", Type: lb.RulePath, Compare: lb.StartsWith, Value: "/a"},
			{Name: "env", Type: lb.RuleHeader, Compare: lb.EqualTo, Key: "X-Env", Value: "red"},
			{Name: "none", Disabled: true, Type: lb.RuleMethod, Compare: lb.EqualTo, Value: "PUT"},
		}},
	}
	for i := range 40 {
		policies = append(policies, Policy{Name: "far", Position: uint32(10 + i), Action: lb.Reject, Rules: rulePath("/far")})
	}
	policies = append(policies,
		Policy{Name: "hit", Position: 100, Action: lb.Reject, Status: 403, Rules: rulePath("/a")},
		Policy{Name: "later", Position: 101, Action: lb.Reject, Rules: rulePath("/")})
	table := mustCompile(t, policies, nil)
	header := fields{{"X-ENV", "blue"}, {"x-env", strings.Repeat("g", 200)}}
	for range 10 {
		header = append(header, [2]string{"x-env", "more"})
	}
	var s Scratch
	r := &Request{Method: []byte("GET"), Path: []byte("/abc"), Fields: header}
	trace := table.Explain(r, &s, 2)
	if d := trace.Decision; d.Name() != "hit" || len(trace.Policies) != 2 || trace.Omitted != 41 {
		t.Fatalf("%+v", trace)
	}
	near := trace.Policies[0]
	if near.Name != "near" || near.Matched || near.Index != 1 || trace.Policies[1].Name != "hit" || !trace.Policies[1].Matched {
		t.Fatalf("%+v", trace.Policies)
	}
	path, env := near.Rules[0], near.Rules[1]
	if !path.Matched || path.Saw[0] != (Seen{Value: "/abc"}) || env.Matched || !near.Rules[2].Disabled {
		t.Errorf("%+v", near.Rules)
	}
	if len(env.Saw) != maxSeen || env.More != 4 || env.Saw[0].Value != "blue" || !env.Saw[1].Cut || len(env.Saw[1].Value) != maxSeenText {
		t.Errorf("%+v", env)
	}
	if all := table.Explain(r, &s, 1000); len(all.Policies) != 43 || all.Omitted != 0 || all.Policies[0].Skipped == "" {
		t.Errorf("%d policies, %d omitted", len(all.Policies), all.Omitted)
	}
	miss := mustCompile(t, policies[1:2], nil).Explain(&Request{Path: []byte("/abc")}, &s, 5)
	if miss.Decision.Policy != -1 || len(miss.Policies) != 1 || len(miss.Policies[0].Rules[1].Saw) != 0 {
		t.Errorf("%+v", miss)
	}
}
