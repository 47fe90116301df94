package route

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// fields is the plainest header there can be.
type fields [][2]string

func (f fields) Len() int                      { return len(f) }
func (f fields) At(i int) (name, value []byte) { return []byte(f[i][0]), []byte(f[i][1]) }

// oracleValues gives the values of a rule's subject, by the plainest means.
func oracleValues(rule Rule, r *Request) (values []string) {
	path := string(r.Path)
	switch rule.Type {
	case lb.RuleHostName:
		values = append(values, string(r.Host))
	case lb.RulePath:
		return []string{path}
	case lb.RuleFileType:
		segment := path[strings.LastIndex(path, "/")+1:]
		if parts := strings.Split(segment, "."); len(parts) > 1 {
			values = append(values, parts[len(parts)-1])
		}
	case lb.RuleMethod:
		values = append(values, string(r.Method))
	case lb.RuleHeader, lb.RuleCookie:
		if r.Fields == nil {
			return nil
		}
		for _, f := range r.Fields.(fields) {
			switch {
			case rule.Type == lb.RuleHeader && strings.EqualFold(f[0], rule.Key):
				values = append(values, f[1])
			case rule.Type == lb.RuleCookie && strings.EqualFold(f[0], "cookie"):
				for pair := range strings.SplitSeq(f[1], ";") {
					name, value, ok := strings.Cut(pair, "=")
					value = strings.Trim(value, " \t")
					if len(value) > 1 && strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) {
						value = value[1 : len(value)-1]
					}
					if ok && strings.Trim(name, " \t") == rule.Key {
						values = append(values, value)
					}
				}
			}
		}
		return values
	case lb.RuleQuery:
		for pair := range strings.SplitSeq(string(r.Query), "&") {
			key, value, _ := strings.Cut(pair, "=")
			if pair != "" && oracleUnescape(key) == rule.Key {
				values = append(values, oracleUnescape(value))
			}
		}
		return values
	case lb.RuleSSLConnSNI:
		if r.TLS != nil {
			values = append(values, string(r.TLS.SNI))
		}
	case lb.RuleSSLDNField:
		if r.TLS != nil && r.TLS.HasCert {
			for _, a := range r.TLS.Subject {
				if strings.EqualFold(a.Key, rule.Key) {
					values = append(values, string(a.Value))
				}
			}
		}
		return values
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "" })
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func oracleUnescape(s string) string {
	return escape.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(e string) string {
		n, _ := strconv.ParseUint(e[1:], 16, 8)
		return string([]byte{byte(n)})
	})
}

var oracleRegexes sync.Map // by expression

func oracleRegex(s string) *regexp.Regexp {
	if re, ok := oracleRegexes.Load(s); ok {
		return re.(*regexp.Regexp)
	}
	re := regexp.MustCompile(s)
	oracleRegexes.Store(s, re)
	return re
}

func oracleRule(rule Rule, r *Request) bool {
	return oracleCompares(rule, r) != rule.Invert
}

func oracleCompares(rule Rule, r *Request) bool {
	switch rule.Type {
	case lb.RuleSourceIP:
		return netip.MustParsePrefix(rule.Value).Contains(r.Source)
	case lb.RuleSSLConnHasCert:
		return r.TLS != nil && r.TLS.HasCert
	case lb.RuleSSLVerifyResult:
		return r.TLS != nil && r.TLS.HasCert && strconv.Itoa(int(r.TLS.VerifyResult)) == rule.Value
	}
	want := rule.Value
	if rule.Type == lb.RuleHostName || rule.Type == lb.RuleSSLConnSNI {
		if rule.Compare == lb.Regex {
			want = "(?i)" + want
		} else {
			want = strings.ToLower(want)
		}
	}
	compare := map[lb.CompareType]func(string) bool{
		lb.EqualTo:    func(v string) bool { return v == want },
		lb.StartsWith: func(v string) bool { return strings.HasPrefix(v, want) },
		lb.EndsWith:   func(v string) bool { return strings.HasSuffix(v, want) },
		lb.Contains:   func(v string) bool { return strings.Contains(v, want) },
		lb.Regex:      func(v string) bool { return oracleRegex(want).MatchString(v) },
	}[rule.Compare]
	return slices.ContainsFunc(oracleValues(rule, r), compare)
}

// oracle gives the index of the policy that decides, -1 for none. Policies are
// by position.
func oracle(policies []Policy, usable func(string) bool, r *Request) int {
	for i, p := range policies {
		if p.Disabled {
			continue
		}
		enabled, all := 0, true
		for _, rule := range p.Rules {
			if !rule.Disabled {
				enabled++
				all = all && oracleRule(rule, r)
			}
		}
		if p.Action == lb.RedirectToPool && !slices.ContainsFunc(p.Pools, func(s Share) bool { return s.Weight > 0 && usable(s.Pool) }) {
			continue
		}
		if enabled > 0 && all {
			return i
		}
	}
	return -1
}

// maker makes policies and requests that often match one another: all texts
// come from few, short alphabets.
type maker struct{ *rand.Rand }

func pick[T any](m maker, from ...T) T { return from[m.IntN(len(from))] }

func (m maker) host() string {
	return pick(m, "", "www.", "api.", "a.", "a.b.") + pick(m, "example.com", "example.org", "test", "[::1]")
}

func (m maker) path() string {
	var s strings.Builder
	for range 1 + m.IntN(3) {
		s.WriteString("/" + pick(m, "", "a", "ab", "abc", "api", "v1", "v2", "users", "%2F", "index.html", "x.tar.gz", "APP.JS", ".", "é", "\xff"))
	}
	return s.String()
}

var regexes = []string{
	`^/a`, `a$`, `^/a/b$`, `\.(js|css|html)$`, `(?i)\.JS$`, `(?i)users`, `^/(api|v[12])/`, `a.c`, `[^a]b`, `^$`, ``, `b?`, `(ab|cd)+`,
	`v[0-9]+`, `users/[a-z]+`, `^/api/.*/users`, `.*html$`, `\bapi\b`, `x{2,3}`, `a|^b`, `(?s).`, `e\x{301}?`, `\x{fffd}`, `(?i)é`, `(?i)kiss`,
	`^(a|b|)c`, `[a-c][d-f]?$`, `^www\.`, `^API\.`, `example\.(com|org)$`, `exam.le`, `(one|two)two`, `^[^/]`, `(?m)^a$`, `one+`, `o(n|p)e`,
}

func (m maker) rule() Rule {
	types := lb.Words[lb.RuleType]()
	r := Rule{Type: lb.RuleType(1 + m.IntN(len(types))), Invert: m.IntN(5) == 0, Disabled: m.IntN(12) == 0}
	if m.IntN(2) == 0 {
		r.Type = pick(m, lb.RuleHostName, lb.RulePath)
	}
	r.Compare = pick(m, r.Type.Compares()...)
	cut := func(s string) string {
		if r.Compare == lb.EqualTo {
			return s
		}
		i := m.IntN(len(s))
		j := i + 1 + m.IntN(len(s)-i)
		switch r.Compare {
		case lb.StartsWith:
			i = 0
		case lb.EndsWith:
			j = len(s)
		}
		return s[i:j]
	}
	switch r.Type {
	case lb.RuleHostName, lb.RuleSSLConnSNI:
		r.Value = cut(m.host())
		if m.IntN(4) == 0 {
			r.Value = strings.ToUpper(r.Value)
		}
	case lb.RulePath:
		r.Value = cut(m.path())
	case lb.RuleFileType:
		r.Value = pick(m, "html", "gz", "JS", "js")
	case lb.RuleMethod:
		r.Value = pick(m, "GET", "POST", "get")
	case lb.RuleSourceIP:
		r.Value = pick(m, "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32", "0.0.0.0/0", "::/0")
	case lb.RuleSSLConnHasCert:
		r.Value = "true"
	case lb.RuleSSLVerifyResult:
		r.Value = pick(m, "0", "10")
	default:
		r.Value = cut(m.value())
	}
	switch r.Type {
	case lb.RuleHeader:
		r.Key = pick(m, "X-One", "x-two", "Cookie")
	case lb.RuleCookie, lb.RuleQuery:
		r.Key = pick(m, "one", "two", "k k")
	case lb.RuleSSLDNField:
		r.Key = pick(m, "CN", "ou")
	}
	if r.Compare == lb.Regex {
		r.Value = pick(m, regexes...)
		if r.Value == "" {
			r.Value = "()"
		}
	}
	return r
}

func (m maker) value() string { return pick(m, "one", "two", "onetwo", "a b", "K", "\xe9", "é") }

func (m maker) policies(n int) []Policy {
	out := make([]Policy, n)
	for i := range out {
		p := Policy{Name: "p" + strconv.Itoa(i), Position: uint32(10 * i), Disabled: m.IntN(20) == 0, Action: lb.Reject, Status: 403}
		if m.IntN(2) == 0 {
			p.Action, p.Status = lb.RedirectToPool, 0
			for range 1 + m.IntN(3) {
				p.Pools = append(p.Pools, Share{pick(m, "a", "b", "off"), uint16(m.IntN(3))})
			}
		}
		for range m.IntN(5) {
			p.Rules = append(p.Rules, m.rule())
		}
		out[i] = p
	}
	return out
}

func (m maker) request() *Request {
	r := &Request{
		Method: []byte(pick(m, "GET", "POST", "get")),
		Path:   []byte(m.path()),
		Query:  []byte(pick(m, "", "one", "one=two", "one=a+b&two=%6fne", "k%20k=one&one=%", "&&=&two=%e9&two=K", "one=onetwo&one=")),
		Source: netip.MustParseAddr(pick(m, "10.1.2.3", "10.1.9.9", "10.200.0.1", "192.0.2.1", "2001:db8::1", "fe80::1")),
		Port:   80,
	}
	if m.IntN(10) > 0 {
		r.Host = []byte(m.host())
	}
	if m.IntN(10) > 0 {
		var f fields
		for range m.IntN(5) {
			name := pick(m, "x-one", "X-TWO", "cookie", "Cookie", "accept")
			value := m.value()
			if strings.EqualFold(name, "cookie") {
				value = pick(m, "one=one", `one="two"; two=onetwo;x`, "two=a b ;one=", "one =\tK\t;; one=é", `one="`, "=;=x", "")
			}
			f = append(f, [2]string{name, value})
		}
		r.Fields = f
	}
	if m.IntN(2) == 0 {
		r.TLS = &TLS{HasCert: m.IntN(2) == 0, VerifyResult: uint16(10 * m.IntN(2))}
		if m.IntN(3) > 0 {
			r.TLS.SNI = []byte(m.host())
		}
		for range m.IntN(4) {
			r.TLS.Subject = append(r.TLS.Subject, Attribute{pick(m, "cn", "OU", "O"), []byte(m.value())})
		}
	}
	return r
}
