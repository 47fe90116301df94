package lb

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func testWords[T Enum](t *testing.T, first, last string) {
	t.Helper()
	words := Words[T]()
	if words[0] != first || words[len(words)-1] != last {
		t.Errorf("%s: %q", KindOf[T](), words)
	}
	for i, word := range words {
		v, err := Parse[T](word)
		if err != nil || v != T(i+1) || v.String() != word {
			t.Errorf("%s: %q is %d, %v", KindOf[T](), word, v, err)
		}
		if n, ok := FromNumber[T](int32(i + 1)); !ok || n != v {
			t.Errorf("%s: number %d is %v, %v", KindOf[T](), i+1, n, ok)
		}
	}
	for _, n := range []int32{-1, int32(len(words)) + 1, 256, 257, math.MaxInt32, math.MinInt32} {
		if v, ok := FromNumber[T](n); ok {
			t.Errorf("%s: number %d is %v", KindOf[T](), n, v)
		}
	}
	if v, ok := FromNumber[T](0); !ok || v != 0 || v.String() != "" || T(200).String() != "200" {
		t.Errorf("%s: zero or an unknown number", KindOf[T]())
	}
	if _, err := Parse[T]("nonsense-word"); err == nil || !strings.Contains(err.Error(), KindOf[T]()) || !strings.Contains(err.Error(), first) {
		t.Errorf("%s: %v", KindOf[T](), err)
	}
	words[0] = "changed"
	if Words[T]()[0] == "changed" {
		t.Error("the words are shared")
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	testWords[ListenerProtocol](t, "tcp", "tls_passthrough")
	testWords[PoolProtocol](t, "tcp", "h2")
	testWords[Algorithm](t, "round_robin", "maglev")
	testWords[PersistenceType](t, "source_ip", "app_cookie")
	testWords[HealthCheckType](t, "http", "grpc")
	testWords[PolicyAction](t, "redirect_to_pool", "fixed_response")
	testWords[RuleType](t, "host_name", "ssl_dn_field")
	testWords[CompareType](t, "equal_to", "contains")
	testWords[CertificateType](t, "server", "sni")
	testWords[TLSVersion](t, "tls12", "tls13")
	testWords[ClientAuth](t, "none", "mandatory")
	testWords[ForwardedFor](t, "append", "remove")
	if p, err := Parse[ListenerProtocol]("terminated_https"); p != ListenerHTTPS || err != nil {
		t.Errorf("terminated_https is %v, %v", p, err)
	}
	if _, err := Parse[Algorithm]("magelv"); err == nil || err.Error() != `"magelv" is not a pool algorithm; did you mean "maglev"? known: round_robin, weighted_round_robin, least_connections, source_ip, random, maglev` {
		t.Errorf("%v", err)
	}
	if s := Action(0).String() + Create.String() + Update.String() + Delete.String(); s != "createupdatedelete" {
		t.Errorf("actions: %s", s)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"round_robin", "random", "maglev", "http", "https", "a", "web-1"}
	for word, want := range map[string]string{
		"round-robin": "round_robin", "RoundRobin": "round_robin", "ruond_robin": "round_robin", "radnom": "random",
		"htpp": "http", "htps": "https", "httpss": "https", "http": "http", "web1": "web-1", "WEB_1": "web-1",
		"": "", "b": "", "xyz": "", "least": "", strings.Repeat("x", 200): "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// TestDistance holds the distance against the definition, on all short words.
func TestDistance(t *testing.T) {
	t.Parallel()
	var words []string
	for _, n := range []int{0, 1, 2, 3} {
		for i := range int(math.Pow(3, float64(n))) {
			var w strings.Builder
			for range n {
				w.WriteByte("abc"[i%3])
				i /= 3
			}
			words = append(words, w.String())
		}
	}
	for _, a := range words {
		for _, b := range words {
			if got, want := distance(a, b, 100), naive(a, b); got != want {
				t.Fatalf("distance(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func naive(a, b string) int {
	switch {
	case a == "" || b == "":
		return len(a) + len(b)
	case a[0] == b[0]:
		return naive(a[1:], b[1:])
	}
	best := 1 + min(naive(a[1:], b), naive(a, b[1:]), naive(a[1:], b[1:]))
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		best = min(best, 1+naive(a[2:], b[2:]))
	}
	return best
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"200": "200", "200,202,204-206": "200,202,204-206", "206,204-205": "204-206", "200-299,250": "200-299",
		"200,201,202": "200-202", " 200 , 301 - 302 ": "200,301-302", "100-599": "100-599", "404,404": "404", "300-310,305-320": "300-320",
	} {
		codes, err := ParseCodes(text)
		if got := FormatCodes(codes); got != want || err != nil {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", ",", "200,", "99", "600", "1000", "0200", "+200", "-200", "200-", "300-200", "200--300", "2xx", "２００"} {
		if codes, err := ParseCodes(text); err == nil {
			t.Errorf("%q is %v", text, codes)
		}
	}
}

func FuzzParseCodes(f *testing.F) {
	f.Add("200,202,204-206")
	f.Fuzz(func(t *testing.T, text string) {
		codes, err := ParseCodes(text)
		if err != nil {
			return
		}
		again, err := ParseCodes(FormatCodes(codes))
		if err != nil || !slices.Equal(again, codes) {
			t.Errorf("%q: %v, then %v, %v", text, codes, again, err)
		}
		for i := 1; i < len(codes); i++ {
			if codes[i].First <= codes[i-1].Last+1 {
				t.Errorf("%q: %v meet", text, codes)
			}
		}
	})
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Millisecond: "1ms", time.Second: "1s", 10 * time.Second: "10s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		20 * time.Hour: "20h", 350 * time.Second: "5m50s", time.Hour + time.Second: "1h0m1s", -time.Minute: "-1m", 1500 * time.Millisecond: "1.5s",
	} {
		back, err := time.ParseDuration(FormatDuration(d))
		if got := FormatDuration(d); got != want || back != d || err != nil {
			t.Errorf("%v: %q, back %v, %v", d, got, back, err)
		}
	}
}
