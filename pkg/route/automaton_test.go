package route

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// compileFor compiles a regex as a rule of that type does.
func compileFor(tb testing.TB, kind lb.RuleType, regex string) *predicate {
	tb.Helper()
	p := &predicate{subject: subject{kind: kind}}
	work := automatonWork
	if err := p.compileRegex(regex, &work); err != nil {
		tb.Fatalf("%q: %v", regex, err)
	}
	return p
}

// checkRegex compares what a compiled regex and its index say with package regexp.
func checkRegex(tb testing.TB, kind lb.RuleType, regex string, text []byte) {
	tb.Helper()
	p := compileFor(tb, kind, regex)
	plain := regex
	if isFolded(kind) {
		plain = "(?i)" + regex
	}
	want := oracleRegex(plain).Match(text)
	if got := p.accepts(text); got != want {
		tb.Fatalf("%q on %q: %t, want %t; %+v", regex, text, got, want, p.access)
	}
	if o, value := p.option(); want && value > 0 && !slices.ContainsFunc(o.edges, func(e edge) bool {
		v := text
		if p.access.folded {
			v = appendLower(nil, text)
		}
		return stands(e.place, v, []byte(e.text))
	}) {
		tb.Fatalf("%q matches %q, to which no edge of the index leads: %+v", regex, text, o)
	}
}

// regex makes an expression at random.
func (m maker) regex(depth int) string {
	if depth == 0 {
		return pick(m, "a", "b", "ab", "/", `\.`, ".", "k", "S", "é", "[ab]", "[^a]", `\d`, "[a-f]", "x", "", `\x{fffd}`, `\pL`, "1")
	}
	sub := func() string { return m.regex(depth - 1) }
	switch m.IntN(14) {
	case 0, 1, 2, 3:
		return sub() + sub()
	case 4, 5:
		return "(" + sub() + "|" + sub() + ")"
	case 6:
		return "(?:" + sub() + ")" + pick(m, "*", "+", "?", "*?", "{2}", "{1,3}", "{0,2}")
	case 7:
		return "^" + sub()
	case 8:
		return sub() + "$"
	case 9:
		return pick(m, "(?i:", "(?s:", "(?m:", "(?-i:") + sub() + ")"
	case 10:
		return sub() + pick(m, `\b`, `\B`, "^", "$", `\A`, `\z`) + sub()
	default:
		return sub()
	}
}

func (m maker) text() []byte {
	var text []byte
	for range m.IntN(7) {
		text = append(text, pick(m, "a", "b", "ab", "A", "B", "/", ".", "k", "K", "s", "S", "\u212a", "\u017f", "é", "É", "\xc3", "\xff", "\xed\xa0\x80", "x", "1", "\n", "d")...)
	}
	return text
}

func TestRegexesAgainstPackageRegexp(t *testing.T) {
	t.Parallel()
	m := maker{rand.New(rand.NewPCG(11, 11))}
	for range 2_500 {
		regex := m.regex(m.IntN(5))
		for range 6 {
			checkRegex(t, lb.RulePath, regex, m.text())
			if host, err := NormalizeHost(nil, m.text()); err == nil {
				checkRegex(t, lb.RuleHostName, regex, host)
			}
		}
	}
	for _, regex := range regexes {
		for range 30 {
			checkRegex(t, lb.RuleHeader, regex, m.text())
			checkRegex(t, lb.RulePath, regex, []byte(m.path()))
			checkRegex(t, lb.RuleHostName, regex, []byte(m.host()))
		}
	}
}

func FuzzRegex(f *testing.F) {
	for _, regex := range regexes {
		f.Add(regex, []byte("/api/v1/users.html"))
	}
	f.Fuzz(func(t *testing.T, regex string, text []byte) {
		if _, err := regexp.Compile(regex); err != nil || len(regex) > lb.MaxText || len(text) > 4096 {
			return
		}
		checkRegex(t, lb.RulePath, regex, text)
	})
}

// TestHowRegexesAreDone shows which regexes never run as such.
func TestHowRegexesAreDone(t *testing.T) {
	t.Parallel()
	for regex, want := range map[string]string{
		`^/api/v1/status$`:                  "is one of /api/v1/status",
		`^/(api|admin)/`:                    "begins with one of /admin/ /api/",
		`\.(js|css|png|jpg|svg)$`:           "ends with one of .css .jpg .js .png .svg",
		`wp-login`:                          "has one of wp-login",
		`^/v[12]/(users|groups)$`:           "is one of /v1/groups /v1/users /v2/groups /v2/users",
		`^/user/[0-9]+$`:                    "begins with one of /user/, automaton",
		`^/.*/item-7[a-z]?$`:                "has one of /item-7, automaton",
		`[0-9]+\.html$`:                     "ends with one of .html, automaton",
		`/(foo|bar)[0-9]`:                   "has one of /bar /foo, automaton",
		`(?i)\.PHP$`:                        "has one of .php, automaton",
		`(?i)kisses`:                        "automaton",
		`(?i)kiosk`:                         "has one of io, automaton",
		`^/[0-9]+/[a-z]+$`:                  "automaton",
		`.*`:                                "automaton",
		`\bapi\b`:                           "has one of api, regexp",
		`^\pL+$`:                            "regexp",
		`^/[a-z]{1,200}/.{3,90}[0-9]{2,90}`: "regexp",
	} {
		p := compileFor(t, lb.RulePath, regex)
		set := slices.Sorted(slices.Values(p.access.set))
		got := map[place]string{anywhere: "", whole: "is", atStart: "begins with", atEnd: "ends with", within: "has"}[p.access.place]
		if got != "" {
			got += " one of " + strings.Join(set, " ")
		}
		if p.automaton != nil {
			got += ", automaton"
		}
		if p.regex != nil {
			got += ", regexp"
		}
		if got = strings.TrimPrefix(got, ", "); got != want {
			t.Errorf("%s: %s; want %s", regex, got, want)
		}
	}
}

func TestAutomataAreBounded(t *testing.T) {
	t.Parallel()
	var policies []Policy
	for range 2000 {
		policies = append(policies, Policy{Action: lb.Reject, Rules: []Rule{
			{Type: lb.RulePath, Compare: lb.Regex, Value: `^/[a-z]{1,40}/[0-9a-f]{1,20}/[g-k]+$`},
		}})
	}
	table := mustCompile(t, policies, nil)
	r := &Request{Path: []byte("/abc/12ef/hij")}
	if got := table.Match(r, new(Scratch)).Policy; got != 0 {
		t.Errorf("policy %d", got)
	}
	first, last := table.active[0].predicates[0], table.active[len(table.active)-1].predicates[0]
	if first.automaton == nil || last.automaton != nil || last.regex == nil || !last.accepts(r.Path) {
		t.Errorf("work is not bounded: %+v, %+v", first, last)
	}
}
