package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// spans is a header as an engine holds it: spans of a buffer, no strings.
type spans struct{ names, values [][]byte }

func (f *spans) Len() int                      { return len(f.names) }
func (f *spans) At(i int) (name, value []byte) { return f.names[i], f.values[i] }

var sharedFields = func() *spans {
	f := &spans{}
	for _, x := range [][2]string{
		{"Host", "host7.example.com"}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}, {"Accept", "text/html,*/*;q=0.8"},
		{"Accept-Language", "en"}, {"Accept-Encoding", "gzip, br"}, {"Cookie", "session=0123456789abcdef; theme=dark; SERVERID=b1"},
		{"X-Env", "blue"}, {"Connection", "keep-alive"},
	} {
		f.names, f.values = append(f.names, []byte(x[0])), append(f.values, []byte(x[1]))
	}
	return f
}()

func benchRequest(host, path string) *Request {
	return &Request{
		Method: []byte("GET"), Host: []byte(host), Path: []byte(path), Query: []byte("page=2&sort=name+asc"),
		Fields: sharedFields, Source: netip.MustParseAddr("192.0.2.9"), Port: 80,
	}
}

// shapes are ways in which people divide their sites, each with a policy of
// index i of n; one in a hundred has a regex.
var shapes = []struct {
	name   string
	policy func(i, n int) (host, path string, regex bool, rules []Rule)
}{
	{"hosts", func(i, n int) (string, string, bool, []Rule) {
		return site(fmt.Sprintf("host%d.example.com", i), "/app/", i, true)
	}},
	{"grid", func(i, n int) (string, string, bool, []Rule) {
		side := 1
		for side*side < n {
			side++
		}
		return site(fmt.Sprintf("host%d.example.com", i/side), fmt.Sprintf("/service-%d/", i%side), i, true)
	}},
	{"paths", func(i, n int) (string, string, bool, []Rule) {
		return site("www.example.com", fmt.Sprintf("/team-%d/service-%d/", i%97, i), i, true)
	}},
	{"free-regexes", func(i, n int) (string, string, bool, []Rule) { // which no host rules out
		return site("www.example.com", fmt.Sprintf("/team-%d/service-%d/", i%97, i), i, i%100 != 99)
	}},
	{"hard-regexes", func(i, n int) (string, string, bool, []Rule) { // which nothing rules out
		host, at, regex, rules := site("www.example.com", fmt.Sprintf("/team-%d/service-%d/", i%97, i), i, i%100 != 99)
		if regex {
			k := i / 100
			at = fmt.Sprintf("/31%c415%c", 'a'+k/10, 'a'+k%10)
			rules[0].Value = fmt.Sprintf("^/[0-9]+%c[0-9]+%c$", 'a'+k/10, 'a'+k%10)
		}
		return host, at, regex, rules
	}},
}

// site gives the rules for one path of one host, by prefix or whole, or as a regex.
func site(host, path string, i int, withHost bool) (string, string, bool, []Rule) {
	r := Rule{Type: lb.RulePath, Compare: lb.StartsWith, Value: path}
	at := path + "index.html"
	regex := i%100 == 99
	switch {
	case regex:
		r.Compare, r.Value = lb.Regex, fmt.Sprintf("^%s.*/item-%d[a-z]?$", path, i)
		if !withHost {
			r.Value = fmt.Sprintf("/[a-z]+/item-%d[a-z]?$", i)
		}
		at = fmt.Sprintf("%sx/item-%d", path, i)
	case i%2 == 1:
		r.Compare, r.Value = lb.EqualTo, at
	}
	rules := []Rule{r}
	if withHost {
		rules = append([]Rule{{Type: lb.RuleHostName, Compare: lb.EqualTo, Value: host}}, rules...)
	}
	return host, at, regex, rules
}

type benchCase struct {
	name  string
	table *Table
	r     *Request
	want  int
}

func benchCases(tb testing.TB, sizes ...int) (cases []benchCase) {
	for _, shape := range shapes {
		for _, n := range sizes {
			policies := make([]Policy, n)
			requests := make([]*Request, n)
			for i := range n {
				host, path, _, rules := shape.policy(i, n)
				policies[i] = Policy{Name: "p", Position: uint32(i), Action: lb.RedirectToPool, Pools: []Share{{"a", 1}}, Rules: rules}
				requests[i] = benchRequest(host, path)
			}
			table := mustCompile(tb, policies, nil)
			name := fmt.Sprintf("%s/%d/", shape.name, n)
			regex := n - 1 // has a regex where n is a multiple of 100
			cases = append(cases,
				benchCase{name + "early", table, requests[0], 0},
				benchCase{name + "middle", table, requests[n/2], n / 2},
				benchCase{name + "late", table, requests[n-2], n - 2},
				benchCase{name + "last", table, requests[regex], regex},
				benchCase{name + "none", table, benchRequest("host1.example.com", "/nothing/here/item"), -1})
		}
	}
	return cases
}

func TestMatchAllocatesNothing(t *testing.T) {
	cases := benchCases(t, 10, 1000)
	mixed := mustCompile(t, []Policy{
		{Action: lb.RedirectToURL, Location: "https://#{host}/#{path}?#{query}", Rules: []Rule{
			{Type: lb.RuleHeader, Compare: lb.Regex, Key: "x-env", Value: "^bl.*e$"},
			{Type: lb.RuleCookie, Compare: lb.EqualTo, Key: "theme", Value: "dark"},
			{Type: lb.RuleQuery, Compare: lb.Contains, Key: "sort", Value: "e a"},
			{Type: lb.RuleSourceIP, Compare: lb.EqualTo, Value: "192.0.2.0/24"},
			{Type: lb.RulePath, Compare: lb.Regex, Value: "(?i)^/A.*c$"},
			{Type: lb.RuleSSLDNField, Compare: lb.Regex, Key: "CN", Value: "^z.?e", Invert: true},
		}},
	}, nil)
	cases = append(cases, benchCase{"mixed", mixed, benchRequest("www.example.com", "/abc"), 0})
	for _, c := range cases {
		var s Scratch
		location := make([]byte, 0, 256)
		allocs := testing.AllocsPerRun(200, func() {
			d := c.table.Match(c.r, &s)
			if d.Policy != c.want {
				t.Fatalf("%s: policy %d, want %d", c.name, d.Policy, c.want)
			}
			d.Pool(1 << 40)
			location = d.AppendLocation(location[:0], c.r)
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", c.name, allocs)
		}
	}
}

func TestNormalizingAllocatesNothing(t *testing.T) {
	buffer := make([]byte, 0, 256)
	for _, raw := range []string{"/plain/path.html", "/a/../%61/./b%2fc/\xff"} {
		path, host := []byte(raw), []byte("WWW.example.com:80")
		if allocs := testing.AllocsPerRun(200, func() {
			NormalizePath(buffer, path)
			NormalizeHost(buffer, host)
		}); allocs != 0 {
			t.Errorf("%q: %v allocations", raw, allocs)
		}
	}
}

// effort counts the nodes of the index that a request visits, and the policies
// they lead to.
func effort(t *Table, r *Request) (nodes, policies int) {
	var s Scratch
	s.begin(t, r)
	s.start(t.marks)
	s.visit(t.root)
	for ; len(s.work) > 0; nodes++ {
		n := &t.nodes[s.work[len(s.work)-1]]
		s.work = s.work[:len(s.work)-1]
		if n.branch != nil {
			n.descend(&s)
		}
		policies += len(n.list)
	}
	return nodes, policies
}

// TestThousandsCostLittle guards the order of growth by what is tried, which no
// busy machine changes: a request visits a few policies of ten thousand.
func TestThousandsCostLittle(t *testing.T) {
	t.Parallel()
	for _, c := range benchCases(t, 10_000) {
		if d := c.table.Match(c.r, new(Scratch)); d.Policy != c.want {
			t.Errorf("%s: policy %d, want %d", c.name, d.Policy, c.want)
		}
		limit := 4 * scanned
		if strings.HasPrefix(c.name, "hard") {
			limit += 100 // the regexes, each some tens of nanoseconds
		}
		if nodes, policies := effort(c.table, c.r); nodes > 16 || policies > limit {
			t.Errorf("%s: %d nodes lead to %d policies", c.name, nodes, policies)
		}
	}
}

// TestEverySubjectIsIndexed has thousands of policies that only one kind of rule
// tells apart, beside one that all have alike.
func TestEverySubjectIsIndexed(t *testing.T) {
	t.Parallel()
	const n, chosen = 4_500, 4321
	text := func(format string) func(int) string { return func(i int) string { return fmt.Sprintf(format, i) } }
	for _, c := range []struct {
		kind    lb.RuleType
		compare lb.CompareType
		key     string
		value   func(int) string
		edit    func(*Request)
	}{
		{lb.RuleHostName, lb.EndsWith, "", text(".tenant%d.example.com"), func(r *Request) { r.Host = []byte("www.tenant4321.example.com") }},
		{lb.RuleHostName, lb.StartsWith, "", text("t%d."), func(r *Request) { r.Host = []byte("t4321.example.com") }},
		{lb.RuleHostName, lb.Regex, "", text(`^T%d\.(dev|prod)\.example\.(com|org)$`), func(r *Request) { r.Host = []byte("t4321.prod.example.org") }},
		{lb.RulePath, lb.EndsWith, "", text("/%d.html"), func(r *Request) { r.Path = []byte("/x/4321.html") }},
		{lb.RulePath, lb.Contains, "", text("/item-%d/"), func(r *Request) { r.Path = []byte("/x/item-4321/y") }},
		{lb.RulePath, lb.Regex, "", text("^/[a-z]+/(?i:item-%d)/"), func(r *Request) { r.Path = []byte("/x/Item-4321/y") }},
		{lb.RuleHeader, lb.EqualTo, "X-Tenant", text("%d"), func(r *Request) { r.Fields = fields{{"x-tenant", "other"}, {"x-tenant", "4321"}} }},
		{lb.RuleCookie, lb.StartsWith, "tenant", text("%d-"), func(r *Request) { r.Fields = fields{{"Cookie", "tenant=4321-a"}} }},
		{lb.RuleQuery, lb.EqualTo, "id", text("%d"), func(r *Request) { r.Query = []byte("id=1234567&id=4%3321") }},
		{lb.RuleFileType, lb.EqualTo, "", text("x%d"), func(r *Request) { r.Path = []byte("/a.x4321") }},
		{lb.RuleSourceIP, lb.EqualTo, "", func(i int) string { return fmt.Sprintf("10.%d.%d.0/24", i/256, i%256) }, func(r *Request) {
			r.Source = netip.MustParseAddr(fmt.Sprintf("::ffff:10.%d.%d.9", chosen/256, chosen%256))
		}},
		{lb.RuleSourceIP, lb.EqualTo, "", text("2001:db8:%d::/48"), func(r *Request) { r.Source = netip.MustParseAddr("2001:db8:4321::1%eth0") }},
		{lb.RuleSSLConnSNI, lb.EqualTo, "", text("T%d.example.com"), func(r *Request) { r.TLS = &TLS{SNI: []byte("t4321.example.com")} }},
		{lb.RuleSSLDNField, lb.EqualTo, "CN", text("user %d"), func(r *Request) {
			r.TLS = &TLS{HasCert: true, Subject: []Attribute{{"cn", []byte("user 4321")}}}
		}},
	} {
		policies := make([]Policy, n)
		for i := range n {
			policies[i] = Policy{Position: uint32(i), Action: lb.Reject, Rules: []Rule{
				{Type: lb.RulePath, Compare: lb.StartsWith, Value: "/"},
				{Type: c.kind, Compare: c.compare, Key: c.key, Value: c.value(i)},
				{Type: lb.RuleMethod, Compare: lb.EqualTo, Value: "POST", Invert: true},
			}}
		}
		table := mustCompile(t, policies, nil)
		r := benchRequest("other.example", "/other")
		c.edit(r)
		var s Scratch
		if got := table.Match(r, &s).Policy; got != chosen {
			t.Errorf("%s %s: policy %d, want %d", c.kind, c.compare, got, chosen)
		}
		// Pieces of four octets tell numbers apart less well than whole ones do.
		if nodes, candidates := effort(table, r); nodes > 32 || candidates > 6*scanned {
			t.Errorf("%s %s: %d nodes lead to %d policies", c.kind, c.compare, nodes, candidates)
		}
	}
}

// BenchmarkMatchMany goes round a thousand requests, so that what it needs of a
// table is not all in the nearest cache.
func BenchmarkMatchMany(b *testing.B) {
	for _, shape := range shapes {
		for _, n := range []int{10, 10_000} {
			policies, requests := make([]Policy, n), make([]*Request, min(n, 1000))
			for i := range n {
				host, path, _, rules := shape.policy(i, n)
				policies[i] = Policy{Name: "p", Position: uint32(i), Action: lb.RedirectToPool, Pools: []Share{{"a", 1}}, Rules: rules}
				if step := n / len(requests); i%step == 0 {
					requests[i/step] = benchRequest(host, path)
				}
			}
			table := mustCompile(b, policies, nil)
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				b.ReportAllocs()
				var s Scratch
				for i := 0; b.Loop(); i++ {
					if table.Match(requests[i*37%len(requests)], &s).Policy < 0 {
						b.Fatal("no policy")
					}
				}
			})
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range benchCases(b, 10, 100, 1000, 10_000) {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var s Scratch
			for b.Loop() {
				if c.table.Match(c.r, &s).Policy != c.want {
					b.Fatal("wrong policy")
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		for _, shape := range shapes {
			policies := make([]Policy, n)
			for i := range n {
				_, _, _, rules := shape.policy(i, n)
				policies[i] = Policy{Position: uint32(i), Action: lb.Reject, Rules: rules}
			}
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					mustCompile(b, policies, nil)
				}
			})
		}
	}
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, raw := range []string{"/service/v1/users/12345/index.html", "/service/../v1/%75sers/./12345"} {
		b.Run(raw, func(b *testing.B) {
			path, buffer := []byte(raw), make([]byte, 0, 256)
			for b.Loop() {
				NormalizePath(buffer, path)
			}
		})
	}
}
