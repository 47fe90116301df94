package route

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

func mustCompile(t testing.TB, policies []Policy, usable func(string) bool) *Table {
	t.Helper()
	table, err := Compile(policies, usable)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func notOff(pool string) bool { return pool != "off" }

// linear gives the table without its index.
func linear(t *Table) *Table {
	plain := *t
	plain.root = none
	return &plain
}

func checkAgainstOracle(t *testing.T, m maker, policies, requests int, s *Scratch) (matched int) {
	t.Helper()
	table := mustCompile(t, m.policies(policies), notOff)
	for range requests {
		r := m.request()
		want := oracle(table.Policies(), notOff, r)
		indexed, scanned := table.Match(r, s), linear(table).Match(r, s)
		if indexed.Policy != want || scanned.Policy != want {
			t.Fatalf("%s %q %q?%q fields %q TLS %+v from %v: policy %d by the index, %d by scanning, want %d\n%+v",
				r.Method, r.Host, r.Path, r.Query, r.Fields, r.TLS, r.Source, indexed.Policy, scanned.Policy, want, table.Policies())
		}
		trace := table.Explain(r, s, len(table.Policies()))
		for _, p := range trace.Policies {
			if p.Skipped != "" {
				continue
			}
			if p.Matched != (p.Index == want) {
				t.Fatalf("explained %+v, want policy %d", p, want)
			}
			for _, x := range p.Rules {
				rule := table.Policies()[p.Index].Rules[x.Index]
				if !x.Disabled && x.Matched != oracleRule(rule, r) {
					t.Fatalf("explained %+v of %+v", x, rule)
				}
			}
		}
		if want >= 0 {
			matched++
		}
	}
	return matched
}

func TestMatchAgainstOracle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ policies, tables, requests int }{{1, 1500, 8}, {6, 800, 20}, {17, 300, 30}, {60, 150, 40}, {400, 25, 80}} {
		var s Scratch // shared by all tables, as connections do
		m := maker{rand.New(rand.NewPCG(7, uint64(c.policies)))}
		matched := 0
		for range c.tables {
			matched += checkAgainstOracle(t, m, c.policies, c.requests, &s)
		}
		if total := c.tables * c.requests; matched < total/20 {
			t.Errorf("%d policies: only %d of %d requests matched any, which shows little", c.policies, matched, total)
		}
	}
}

func FuzzMatchIndexedEqualsScanned(f *testing.F) {
	m := maker{rand.New(rand.NewPCG(1, 2))}
	table := mustCompile(f, m.policies(300), notOff)
	plain := linear(table)
	f.Add([]byte("GET"), []byte("www.example.com"), []byte("/api/v1/users"), []byte("one=two"), "X-One", "one", "one=two")
	f.Fuzz(func(t *testing.T, method, host, path, query []byte, name, value, cookie string) {
		host, err := NormalizeHost(nil, host)
		if err != nil {
			host = nil
		}
		var s Scratch
		r := &Request{Method: method, Host: host, Path: path, Query: query, Fields: fields{{name, value}, {"cookie", cookie}}}
		a, b := table.Match(r, &s), plain.Match(r, &s)
		if want := oracle(table.Policies(), notOff, r); a.Policy != want || b.Policy != want {
			t.Fatalf("%d by the index, %d by scanning, want %d", a.Policy, b.Policy, want)
		}
	})
}

// matrixRequest has something to find for every type of rule.
func matrixRequest() *Request {
	return &Request{
		Method: []byte("GET"), Host: []byte("www.example.com"), Path: []byte("/img/Photo.old.jpg"), Query: []byte("size=big+one&size=x%2Fy&flag"),
		Fields: fields{{"Accept", "text/html"}, {"X-Env", "blue"}, {"x-env", "Green"}, {"Cookie", `a=1; user="Zoe"`}, {"cookie", "b=two"}},
		Source: netip.MustParseAddr("::ffff:192.0.2.7"), Port: 443,
		TLS: &TLS{SNI: []byte("sni.example.com"), HasCert: true, VerifyResult: 10, Subject: []Attribute{{"CN", []byte("Zoe")}, {"ou", []byte("Ops")}, {"OU", []byte("Net")}}},
	}
}

// matrix has for each type of rule and each comparison values that match
// matrixRequest and values that do not.
var matrix = []struct {
	kind    lb.RuleType
	key     string
	compare lb.CompareType
	yes, no []string
}{
	{lb.RuleHostName, "", lb.EqualTo, []string{"www.example.com", "WWW.Example.COM"}, []string{"example.com", "www.example.com:443"}},
	{lb.RuleHostName, "", lb.StartsWith, []string{"www.", "WWW"}, []string{"example"}},
	{lb.RuleHostName, "", lb.EndsWith, []string{".example.com", ".COM"}, []string{"example"}},
	{lb.RuleHostName, "", lb.Contains, []string{"Example"}, []string{"exemple"}},
	{lb.RuleHostName, "", lb.Regex, []string{`^WWW\.`, `\.com$`, `^www\.[a-z]+\.com$`, `(foo|example)\.`}, []string{`^example`, `(?-i:WWW)`}},
	{lb.RulePath, "", lb.EqualTo, []string{"/img/Photo.old.jpg"}, []string{"/img/photo.old.jpg", "/img/Photo.old.jpg?size=big+one", "/img"}},
	{lb.RulePath, "", lb.StartsWith, []string{"/", "/im", "/img/"}, []string{"/IMG", "img", "/img/Photo.old.jpgs"}},
	{lb.RulePath, "", lb.EndsWith, []string{".jpg", "g"}, []string{".JPG", "/img"}},
	{lb.RulePath, "", lb.Contains, []string{"/Photo", "old"}, []string{"photo", "?"}},
	{lb.RulePath, "", lb.Regex, []string{`^/img/.*\.jpg$`, `old`, `(?i)PHOTO`, `\.(png|jpg)$`}, []string{`^img`, `PHOTO`, `\.png$`}},
	{lb.RuleFileType, "", lb.EqualTo, []string{"jpg"}, []string{"JPG", "old.jpg", "old", "jp"}},
	{lb.RuleFileType, "", lb.Regex, []string{"jpe?g|png", "^jp"}, []string{"old", "^$"}},
	{lb.RuleHeader, "X-ENV", lb.EqualTo, []string{"blue", "Green"}, []string{"green", "blue, Green"}},
	{lb.RuleHeader, "x-env", lb.StartsWith, []string{"bl", "Gr"}, []string{"gr"}},
	{lb.RuleHeader, "X-Env", lb.EndsWith, []string{"ue", "een"}, []string{"blu"}},
	{lb.RuleHeader, "X-Env", lb.Contains, []string{"lu", "ree"}, []string{"blueG"}},
	{lb.RuleHeader, "X-Env", lb.Regex, []string{"^blue$", "^Green$", "(?i)green"}, []string{"^green$", "red"}},
	{lb.RuleHeader, "X-None", lb.Regex, nil, []string{"", ".*", "^$"}},
	{lb.RuleCookie, "user", lb.EqualTo, []string{"Zoe"}, []string{`"Zoe"`, "zoe", "1"}},
	{lb.RuleCookie, "b", lb.StartsWith, []string{"t", "two"}, []string{"w"}},
	{lb.RuleCookie, "b", lb.EndsWith, []string{"o"}, []string{"tw"}},
	{lb.RuleCookie, "a", lb.Contains, []string{"1"}, []string{"2"}},
	{lb.RuleCookie, "a", lb.Regex, []string{`^\d$`}, []string{`\d\d`}},
	{lb.RuleCookie, "A", lb.Regex, nil, []string{"."}},
	{lb.RuleMethod, "", lb.EqualTo, []string{"GET"}, []string{"get", "GE"}},
	{lb.RuleMethod, "", lb.Regex, []string{"^(GET|HEAD)$"}, []string{"^get$", "POST"}},
	{lb.RuleQuery, "size", lb.EqualTo, []string{"big one", "x/y"}, []string{"big+one", "x%2Fy", "big"}},
	{lb.RuleQuery, "size", lb.StartsWith, []string{"big", "x/"}, []string{"one"}},
	{lb.RuleQuery, "size", lb.EndsWith, []string{"one", "y"}, []string{"big"}},
	{lb.RuleQuery, "size", lb.Contains, []string{"g o", "/"}, []string{"+", "%"}},
	{lb.RuleQuery, "flag", lb.Regex, []string{"^$"}, []string{"."}},
	{lb.RuleQuery, "Size", lb.Regex, nil, []string{"."}},
	{lb.RuleSourceIP, "", lb.EqualTo, []string{"192.0.2.0/24", "192.0.2.7/32", "192.0.2.7", "0.0.0.0/0"}, []string{"192.0.2.8/32", "::/0"}},
	{lb.RuleSSLConnSNI, "", lb.EqualTo, []string{"sni.example.com", "SNI.example.com"}, []string{"www.example.com"}},
	{lb.RuleSSLConnSNI, "", lb.StartsWith, []string{"SNI"}, []string{"www"}},
	{lb.RuleSSLConnSNI, "", lb.EndsWith, []string{".com"}, []string{"sni"}},
	{lb.RuleSSLConnSNI, "", lb.Contains, []string{"example"}, []string{"www"}},
	{lb.RuleSSLConnSNI, "", lb.Regex, []string{`^SNI\.`}, []string{"www"}},
	{lb.RuleSSLConnHasCert, "", lb.EqualTo, []string{"true"}, nil},
	{lb.RuleSSLVerifyResult, "", lb.EqualTo, []string{"10"}, []string{"0", "1"}},
	{lb.RuleSSLDNField, "cn", lb.EqualTo, []string{"Zoe"}, []string{"zoe", "Ops"}},
	{lb.RuleSSLDNField, "OU", lb.StartsWith, []string{"Op", "N"}, []string{"Z"}},
	{lb.RuleSSLDNField, "OU", lb.EndsWith, []string{"s", "t"}, []string{"N"}},
	{lb.RuleSSLDNField, "OU", lb.Contains, []string{"p", "e"}, []string{"oe"}},
	{lb.RuleSSLDNField, "OU", lb.Regex, []string{"^(Ops|Dev)$"}, []string{"^ops$"}},
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	type combination struct {
		kind    lb.RuleType
		compare lb.CompareType
	}
	done := make(map[combination]bool)
	var s Scratch
	check := func(rule Rule, r *Request, want bool) {
		t.Helper()
		for _, invert := range []bool{false, true} {
			rule.Invert = invert
			table := mustCompile(t, []Policy{{Name: "p", Action: lb.Reject, Rules: []Rule{rule}}}, nil)
			if got := table.Match(r, &s).Policy == 0; got != (want != invert) {
				t.Errorf("%s %s %q key %q invert %t: matched %t", rule.Type, rule.Compare, rule.Value, rule.Key, invert, got)
			}
		}
	}
	for _, c := range matrix {
		done[combination{c.kind, c.compare}] = true
		for _, value := range slices.Concat(c.yes, c.no) {
			if value == "" {
				continue
			}
			rule := Rule{Type: c.kind, Compare: c.compare, Key: c.key, Value: value}
			check(rule, matrixRequest(), slices.Contains(c.yes, value))
			if c.kind != lb.RulePath && c.kind != lb.RuleSourceIP && c.kind != lb.RuleMethod {
				check(rule, &Request{Method: []byte("GET"), Path: []byte("/")}, false) // absent is no match
			}
		}
	}
	for number := range lb.Words[lb.RuleType]() {
		for _, compare := range lb.RuleType(number + 1).Compares() {
			if !done[combination{lb.RuleType(number + 1), compare}] {
				t.Errorf("the matrix has no row for %s %s", lb.RuleType(number+1), compare)
			}
		}
	}
}

func TestVerifyResultNeedsACertificate(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Policy{{Action: lb.Reject, Rules: []Rule{{Type: lb.RuleSSLVerifyResult, Compare: lb.EqualTo, Value: "0"}}}}, nil)
	var s Scratch
	for cert, want := range map[bool]int{false: -1, true: 0} {
		if got := table.Match(&Request{Path: []byte("/"), TLS: &TLS{HasCert: cert}}, &s); got.Policy != want {
			t.Errorf("certificate %t: policy %d, want %d", cert, got.Policy, want)
		}
	}
}

func rulePath(value string) []Rule {
	return []Rule{{Name: "r", Type: lb.RulePath, Compare: lb.StartsWith, Value: value}}
}

func TestOrderAndSkipping(t *testing.T) {
	t.Parallel()
	pools := func(names ...string) (shares []Share) {
		for _, n := range names {
			shares = append(shares, Share{n, 1})
		}
		return shares
	}
	table := mustCompile(t, []Policy{
		{Name: "last", Position: 2147483647, Action: lb.RedirectToPool, Pools: pools("z"), Rules: rulePath("/")},
		{Name: "disabled", Position: 1, Disabled: true, Action: lb.Reject, Rules: rulePath("/")},
		{Name: "without-rules", Position: 2, Action: lb.Reject},
		{Name: "rules-disabled", Position: 3, Action: lb.Reject, Rules: []Rule{{Disabled: true, Type: lb.RulePath, Compare: lb.StartsWith, Value: "/"}}},
		{Name: "pool-off", Position: 4, Action: lb.RedirectToPool, Pools: pools("off"), Rules: rulePath("/")},
		{Name: "no-weight", Position: 5, Action: lb.RedirectToPool, Pools: []Share{{"a", 0}}, Rules: rulePath("/")},
		{Name: "half-off", Position: 6, Action: lb.RedirectToPool, Pools: pools("off", "b"), Rules: rulePath("/b")},
		{Name: "pool", Position: 7, Action: lb.RedirectToPool, Pools: pools("a"), Rules: rulePath("/c")},
		{Name: "reject", Position: 8, Action: lb.Reject, Status: 403, Rules: rulePath("/c")},
	}, notOff)
	var skipped []string
	for i, p := range table.Policies() {
		if table.Skipped(i) != "" {
			skipped = append(skipped, p.Name)
		}
	}
	if got := strings.Join(skipped, " "); got != "disabled without-rules rules-disabled pool-off no-weight" {
		t.Errorf("skipped %s", got)
	}
	if got := strings.Join(table.Pools(), " "); got != "a b z" {
		t.Errorf("pools %s", got)
	}
	var s Scratch
	for path, want := range map[string]string{"/": "last z", "/b": "half-off b", "/cc": "pool a"} {
		d := table.Match(&Request{Path: []byte(path)}, &s)
		if got := d.Name() + " " + table.Pools()[d.Pool(1<<63)]; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if d := mustCompile(t, nil, nil).Match(&Request{Path: []byte("/")}, &s); d.Policy != -1 || d.Action != 0 || d.Pool(0) != -1 || d.Name() != "" {
		t.Errorf("an empty table decides %+v", d)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	rule := func(kind lb.RuleType, compare lb.CompareType, key, value string) Policy {
		return Policy{Name: "p", Action: lb.Reject, Rules: []Rule{{Name: "r", Type: kind, Compare: compare, Key: key, Value: value}}}
	}
	for _, c := range []struct {
		policy Policy
		want   string
	}{
		{rule(lb.RulePath, lb.Regex, "", "a("), `route: policy "p": rule "r": error parsing regexp: missing closing ): ` + "`a(`"},
		{rule(lb.RuleHostName, lb.Regex, "", "[z-a]"), "invalid character class range"},
		{rule(lb.RuleFileType, lb.Contains, "", "a"), `comparison "contains" does not go with type "file_type"`},
		{rule(99, lb.EqualTo, "", "a"), "does not go with"},
		{rule(lb.RulePath, lb.EqualTo, "", ""), "value is empty"},
		{rule(lb.RuleHeader, lb.EqualTo, "", "a"), `type "header" with key ""`},
		{rule(lb.RulePath, lb.EqualTo, "k", "a"), `type "path" with key "k"`},
		{rule(lb.RuleSourceIP, lb.EqualTo, "", "10.0.0.0/33"), "CIDR"},
		{rule(lb.RuleSSLVerifyResult, lb.EqualTo, "", "x"), "invalid syntax"},
		{rule(lb.RuleSSLConnHasCert, lb.EqualTo, "", "false"), `is not "true"`},
		{Policy{Name: "p", Action: 77, Rules: rulePath("/")}, `unknown action "77"`},
		{Policy{Name: "p", Action: lb.RedirectToURL, Rules: rulePath("/")}, "without a location"},
		{Policy{Name: "p", Action: lb.Reject, Rules: slices.Repeat(rulePath("/"), 51)}, "51 rules are more than 50"},
	} {
		if _, err := Compile([]Policy{c.policy}, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.policy, err, c.want)
		}
	}
}

func TestScratchForgets(t *testing.T) {
	t.Parallel()
	m := maker{rand.New(rand.NewPCG(9, 9))}
	table := mustCompile(t, m.policies(300), notOff)
	// The generation is about to overflow, which must not make old marks look new.
	s := Scratch{seen: make([]uint32, table.marks), current: ^uint32(0) - 20}
	for i := range s.seen {
		s.seen[i] = uint32(i % 20)
	}
	for range 60 {
		r := m.request()
		if got, want := table.Match(r, &s).Policy, oracle(table.Policies(), notOff, r); got != want {
			t.Fatalf("policy %d, want %d", got, want)
		}
		s.Reset()
		for _, v := range s.values[:cap(s.values)] {
			if v.value != nil {
				t.Fatal("a value of the last request is kept")
			}
		}
	}
	// What a huge request needed is not kept.
	r := m.request()
	r.Query = []byte(strings.Repeat("one=%41&", 10_000))
	asks := mustCompile(t, []Policy{{Action: lb.Reject, Rules: []Rule{{Type: lb.RuleQuery, Compare: lb.EqualTo, Key: "one", Value: "B"}}}}, nil)
	if got := asks.Match(r, &s).Policy; got != -1 || cap(s.values) < 10_000 {
		t.Fatalf("policy %d, %d values", got, cap(s.values))
	}
	if s.Reset(); cap(s.values) > maxKept || cap(s.text) > maxKept {
		t.Errorf("kept %d values, %d octets", cap(s.values), cap(s.text))
	}
	if got := asks.Match(&Request{Query: []byte("one=B")}, &s).Policy; got != 0 {
		t.Errorf("policy %d after Reset", got)
	}
}
