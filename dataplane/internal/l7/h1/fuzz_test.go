package h1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// oracleRequest reads one request with net/http.
func oracleRequest(raw string) (out feed, accepted bool) {
	br := bufio.NewReader(strings.NewReader(raw))
	q, err := http.ReadRequest(br)
	if err != nil {
		return feed{}, false
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return feed{}, false
	}
	rest, _ := io.ReadAll(br)
	return feed{head: q.Method + " " + q.Host, body: string(body), leftover: string(rest)}, true
}

func oracleResponse(method, raw string) (out feed, accepted bool) {
	br := bufio.NewReader(strings.NewReader(raw))
	p, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return feed{}, false
	}
	defer p.Body.Close()
	body, err := io.ReadAll(p.Body)
	if err != nil {
		return feed{}, false
	}
	rest, _ := io.ReadAll(br)
	return feed{head: fmt.Sprint(p.StatusCode), body: string(body), leftover: string(rest)}, true
}

// FuzzRequest: where net/http and we both accept a request, both frame it alike; our verdict does not depend on the cuts; what is
// written from it parses again and comes to the same.
func FuzzRequest(f *testing.F) {
	for i := range requestCases {
		f.Add(requestCases[i].raw, i)
	}
	rules := narrow(f)
	f.Fuzz(func(t *testing.T, raw string, cut int) {
		got := readRequest(rules, raw, false)
		sameWhenCut(t, raw, cut, got, func(raw string, cuts ...int) feed { return readRequest(rules, raw, false, cuts...) })
		if got.fault != "" {
			return
		}
		if want, accepted := oracleRequest(strings.TrimLeft(raw, "\r\n")); accepted {
			head := strings.Fields(got.head)
			if want.body != got.body || want.leftover != got.leftover || want.head != head[0]+" "+strings.Join(head[2:], " ") {
				t.Errorf("%q:\nours %v\nnet/http's %v", raw, got, want)
			}
		}
		q := parseRequest(t, raw)
		ForwardRequest(q)
		h := q.Head()
		h.Host = q.Host()
		if h.Host == nil {
			h.Host = []byte("b")
		}
		written := string(AppendRequest(nil, &h)) + reframed(got)
		again := readRequest(nil, written, false)
		if again.fault != "" || again.body != got.body || again.leftover != "" || again.framing != got.framing {
			t.Errorf("%q written as\n%q: %v", raw, written, again)
		}
		if want, accepted := oracleRequest(written); accepted && (want.body != got.body || want.leftover != "") {
			t.Errorf("%q written as\n%q: net/http's %v", raw, written, want)
		}
	})
}

// FuzzResponse is FuzzRequest for the other side.
func FuzzResponse(f *testing.F) {
	for i := range responseCases {
		f.Add(responseCases[i].raw, i, responseCases[i].method == Head)
	}
	rules := narrow(f)
	f.Fuzz(func(t *testing.T, raw string, cut int, head bool) {
		method, name := Get, "GET"
		if head {
			method, name = Head, "HEAD"
		}
		got := readResponse(rules, method, raw, false)
		sameWhenCut(t, raw, cut, got, func(raw string, cuts ...int) feed { return readResponse(rules, method, raw, false, cuts...) })
		if got.fault != "" {
			return
		}
		if want, accepted := oracleResponse(name, raw); accepted && (want.body != got.body || want.leftover != got.leftover || want.head != got.head) {
			t.Errorf("%q:\nours %v\nnet/http's %v", raw, got, want)
		}
		p := parseResponse(t, method, raw)
		ForwardResponse(p)
		h := p.Head(1)
		written := string(AppendResponse(nil, &h)) + reframed(got)
		again := readResponse(nil, method, written, false)
		if again.fault != "" || again.body != got.body || again.leftover != "" || again.framing != got.framing {
			t.Errorf("%q written as\n%q: %v", raw, written, again)
		}
	})
}

// sameWhenCut reads raw in two pieces, and byte by byte.
func sameWhenCut(t *testing.T, raw string, cut int, want feed, read func(string, ...int) feed) {
	t.Helper()
	for _, cuts := range [][]int{{int(uint(cut) % uint(len(raw)+1))}, everyByte(min(len(raw), 2000) + 1)} {
		got := read(raw, cuts...)
		if want.fault != "" && got.fault != want.fault {
			got = read(raw+"\n", cuts...) // a line is judged when it is complete, at the latest
		}
		if got != want {
			t.Errorf("%q cut: %v, whole: %v", raw, got, want)
		}
	}
}

// reframed is the body to write behind a head that was forwarded.
func reframed(got feed) string {
	if got.framing.Kind == Chunked {
		return string(AppendLastChunk(AppendChunk(nil, []byte(got.body)), nil))
	}
	return got.body
}

// FuzzChunked holds the chunked decoder, decoded and raw, to net/http's, which must accept whatever we do.
func FuzzChunked(f *testing.F) {
	for i := range requestCases {
		if coded, found := strings.CutPrefix(requestCases[i].raw, chunk); found {
			f.Add(coded, i)
		}
	}
	rules := narrow(f)
	f.Fuzz(func(t *testing.T, coded string, cut int) {
		raw := chunk + coded
		got := readRequest(rules, raw, false)
		if want, accepted := oracleRequest(raw); got.fault == "" && (!accepted || want.body != got.body || want.leftover != got.leftover) {
			t.Errorf("%q:\nours %v\nnet/http's %v, %t", coded, got, want, accepted)
		}
		for _, cuts := range [][]int{nil, {len(chunk) + int(uint(cut)%uint(len(coded)+1))}, everyByte(min(len(raw), 2000))} {
			whole := readRequest(rules, raw, true, cuts...)
			if (whole.fault == "") != (got.fault == "") {
				t.Fatalf("%q: raw %v, decoded %v", coded, whole, got)
			}
			if got.fault != "" {
				continue
			}
			again := readRequest(nil, chunk+whole.body, false)
			if again.body != got.body || again.fault != "" || again.leftover != "" || whole.leftover != got.leftover {
				t.Errorf("%q: raw %v, decoded %v", coded, whole, got)
			}
			if want, accepted := oracleRequest(chunk + whole.body); !accepted || want.body != got.body || want.leftover != "" {
				t.Errorf("%q went through as %q: net/http's %v", coded, whole.body, want)
			}
		}
	})
}

// FuzzAuthority: what passes for an authority has no byte that ends one, and splits into one host and one port.
func FuzzAuthority(f *testing.F) {
	for _, a := range []string{"a", "a:80", "[::1]:80", "[1:2:3:4:5:6:7.8.9.10]", "[::ffff:1.2.3.4]", "[:::]", "[1::2::3]", "[1:2:3:4:5:6:7:8:9]", "a:", "::1"} {
		f.Add([]byte(a))
	}
	f.Fuzz(func(t *testing.T, a []byte) {
		if !ValidAuthority(a) {
			return
		}
		host := Hostname(a)
		if bytes.ContainsAny(a, "/?#@,%\\\" \t\r\n\x00") || len(host) == 0 || !bytes.HasPrefix(a, host) {
			t.Errorf("%q, host %q", a, host)
		}
		// A URI with it must be one that the standard library can parse, to the same host.
		u, err := url.Parse("http://" + string(a) + "/")
		if err != nil || u.Host != string(a) {
			t.Errorf("%q: %v", a, err)
		}
	})
}

// FuzzFields: Lookup and EqualFold agree with the standard library for every name.
func FuzzFields(f *testing.F) {
	f.Add("Content-Length", "x")
	f.Fuzz(func(t *testing.T, name, value string) {
		var l field.List
		if !l.AddText(name, value, true) {
			return
		}
		if id := l.ID(0); id != field.Other && !strings.EqualFold(id.String(), name) {
			t.Errorf("%q is %s", name, id)
		}
		q, accepted := oracleRequest(get + string(l.AppendTo(nil, 0)) + "\r\n")
		if accepted && q.leftover != "" {
			t.Errorf("%q: %q splits the head", name, value)
		}
	})
}
