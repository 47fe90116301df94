package route

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// oracleNormal is RFC 3986 section 6.2.2 to the letter: first percent-encoding,
// then remove_dot_segments of section 5.2.4 with its input and output buffers.
func oracleNormal(raw string) (string, error) {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var in strings.Builder
	if raw != "" && raw[0] != '/' {
		return "", ErrPathSyntax
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '%':
			if len(raw) < i+3 {
				return "", ErrPathPercent
			}
			n, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
			if err != nil || raw[i+1] == '+' || raw[i+1] == '-' {
				return "", ErrPathPercent
			}
			if n == 0 {
				return "", ErrPathNUL
			}
			if strings.IndexByte(unreserved, byte(n)) >= 0 {
				in.WriteByte(byte(n))
			} else {
				in.WriteString(strings.ToUpper(raw[i : i+3]))
			}
			i += 2
		case c <= ' ' || c == 0x7f || c == '?' || c == '#':
			return "", ErrPathSyntax
		case strings.IndexByte(unreserved+"!$&'()*+,;=:@/", c) >= 0:
			in.WriteByte(c)
		default:
			in.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		}
	}
	input, output := in.String(), ""
	if input == "" {
		return "/", nil
	}
	for input != "" {
		up := func() { output = output[:max(strings.LastIndex(output, "/"), 0)] }
		switch {
		case strings.HasPrefix(input, "/./"):
			input = input[2:]
		case input == "/.":
			input = "/"
		case strings.HasPrefix(input, "/../"):
			input = input[3:]
			up()
		case input == "/..":
			input = "/"
			up()
		default:
			end := strings.Index(input[1:], "/") + 1
			if end == 0 {
				end = len(input)
			}
			output += input[:end]
			input = input[end:]
		}
	}
	return output, nil
}

func TestNormalizePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw, want string
		err       error
	}{
		{raw: "", want: "/"},
		{raw: "/", want: "/"},
		{raw: "/a/b/c/./../../g", want: "/a/g"}, // RFC 3986 section 5.2.4
		{raw: "/./a/../b/%63/%7bfoo%7d", want: "/b/c/%7Bfoo%7D"},
		{raw: "/%7Esmith/%7esmith", want: "/~smith/~smith"},
		{raw: "/a/../secret", want: "/secret"},
		{raw: "/%61dmin", want: "/admin"},
		{raw: "/%2e%2e/", want: "/"},
		{raw: "/a/%2e%2E/secret", want: "/secret"},
		{raw: "/a/.%2e/secret", want: "/secret"},
		{raw: "/../../etc/passwd", want: "/etc/passwd"},
		{raw: "/a/b/..", want: "/a/"},
		{raw: "/a/b/.", want: "/a/b/"},
		{raw: "/..", want: "/"},
		{raw: "/.", want: "/"},
		{raw: "/...", want: "/..."},
		{raw: "/.a/..b/c..", want: "/.a/..b/c.."},
		{raw: "//", want: "//"},
		{raw: "//admin", want: "//admin"},
		{raw: "/a//../b", want: "/a/b"},
		{raw: "/a/..//b", want: "//b"},
		{raw: "/a%2fb", want: "/a%2Fb"},
		{raw: "/a%2f..%2fsecret", want: "/a%2F..%2Fsecret"},
		{raw: "/a/%2f../b", want: "/a/%2F../b"}, // "%2F.." is a segment of its own
		{raw: "/%252e%252e/", want: "/%252e%252e/"},
		{raw: "/%c0%ae%c0%ae/", want: "/%C0%AE%C0%AE/"}, // overlong UTF-8
		{raw: "/%c0%afetc", want: "/%C0%AFetc"},
		{raw: `/a\..\b`, want: "/a%5C..%5Cb"},
		{raw: "/a%5c..%5cb", want: "/a%5C..%5Cb"},
		{raw: "/caf\xc3\xa9/caf%c3%a9", want: "/caf%C3%A9/caf%C3%A9"},
		{raw: "/a;x=1/..;/b", want: "/a;x=1/..;/b"},
		{raw: "/a%3bx%3D1", want: "/a%3Bx%3D1"}, // reserved: not the same as ";"
		{raw: "/%00", err: ErrPathNUL},
		{raw: "/a%00.jpg", err: ErrPathNUL},
		{raw: "/\x00", err: ErrPathSyntax},
		{raw: "/a b", err: ErrPathSyntax},
		{raw: "/a\r\nb", err: ErrPathSyntax},
		{raw: "/a?b", err: ErrPathSyntax},
		{raw: "/a#b", err: ErrPathSyntax},
		{raw: "a", err: ErrPathSyntax},
		{raw: "*", err: ErrPathSyntax},
		{raw: "http://h/", err: ErrPathSyntax},
		{raw: "/%", err: ErrPathPercent},
		{raw: "/%4", err: ErrPathPercent},
		{raw: "/%4g", err: ErrPathPercent},
		{raw: "/%+1", err: ErrPathPercent},
		{raw: "/%u0041", err: ErrPathPercent},
	} {
		got, err := NormalizePath(nil, []byte(c.raw))
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q: %q, %v; want %q, %v", c.raw, got, err, c.want, c.err)
		}
		if want, wantErr := oracleNormal(c.raw); want != c.want || wantErr != c.err {
			t.Errorf("%q: the oracle says %q, %v; want %q, %v", c.raw, want, wantErr, c.want, c.err)
		}
	}
}

func checkNormal(t *testing.T, raw []byte) {
	t.Helper()
	before := bytes.Clone(raw)
	got, err := NormalizePath(make([]byte, 0, 8), raw)
	want, wantErr := oracleNormal(string(raw))
	if string(got) != want || err != wantErr {
		t.Fatalf("%q: %q, %v; want %q, %v", raw, got, err, want, wantErr)
	}
	if !bytes.Equal(raw, before) {
		t.Fatalf("%q became %q", before, raw)
	}
	if err != nil {
		return
	}
	again, err := NormalizePath(nil, got)
	if err != nil || &again[0] != &got[0] || len(again) != len(got) {
		t.Fatalf("%q: the normal form %q is not taken as it is: %q, %v", raw, got, again, err)
	}
}

func TestNormalizePathAgainstOracle(t *testing.T) {
	t.Parallel()
	m := maker{rand.New(rand.NewPCG(3, 3))}
	for range 60_000 {
		raw := []byte("/")
		for range m.IntN(12) {
			raw = append(raw, pick(m, "/", "/", ".", "..", "a", "%2e", "%2E", "%2f", "%41", "%7E", "%", "%c3", "%00", ";", "\\", "\xff", "?", "/./", "/../")...)
		}
		checkNormal(t, raw)
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"", "/", "/a/../b", "/%2e%2e/%61", "/%", "/%00", "/\xff//./..", "/a/b/../../../c/."} {
		f.Add([]byte(s))
	}
	f.Fuzz(checkNormal)
}

func TestNormalizeHost(t *testing.T) {
	t.Parallel()
	const refused = "refused"
	for raw, want := range map[string]string{
		"":                                   "",
		"example.com":                        "example.com",
		"Example.COM":                        "example.com",
		"EXAMPLE.com:8080":                   "example.com",
		"example.com:":                       "example.com",
		"example.com.":                       "example.com",
		"example.com.:443":                   "example.com",
		"under_score.x-y":                    "under_score.x-y",
		"192.0.2.1:80":                       "192.0.2.1",
		"[2001:DB8::1]":                      "[2001:db8::1]",
		"[2001:DB8::1]:443":                  "[2001:db8::1]",
		"[::ffff:192.0.2.1]:1":               "[::ffff:192.0.2.1]",
		".":                                  refused,
		"a..":                                refused,
		"a..:80":                             refused,
		"a..b":                               "a..b",
		"a:65535":                            "a",
		"a:65536":                            refused,
		"a:123456":                           refused,
		"a:b":                                refused,
		"a:+1":                               refused,
		":80":                                refused,
		"::1":                                refused,
		"[::1":                               refused,
		"[::1]x":                             refused,
		"[::1]:x":                            refused,
		"[fe80::1%25eth0]":                   refused,
		"[]":                                 refused,
		"[v1.x]":                             refused,
		"user@example.com":                   refused,
		"a,b":                                refused,
		"a b":                                refused,
		"a/b":                                refused,
		"a\x00":                              refused,
		"ex%61mple.com":                      refused,
		"bücher.example":                     refused,
		strings.Repeat("a", 255):             strings.Repeat("a", 255),
		strings.Repeat("a", 256):             refused,
		"a.example:80:80":                    refused,
		"[" + strings.Repeat("0:", 30) + "]": refused,
	} {
		got, err := NormalizeHost(nil, []byte(raw))
		if want == refused {
			if err == nil {
				t.Errorf("%q: %q, want an error", raw, got)
			}
			continue
		}
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", raw, got, err, want)
		}
	}
	raw := []byte("example.com:80")
	if got, _ := NormalizeHost(nil, raw); &got[0] != &raw[0] {
		t.Error("a host in normal form was copied")
	}
}

func FuzzNormalizeHost(f *testing.F) {
	f.Add([]byte("Example.com.:80"))
	f.Add([]byte("[::1]:80"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := NormalizeHost(nil, raw)
		if err != nil {
			return
		}
		for _, c := range got {
			if c >= 'A' && c <= 'Z' || c >= 0x80 || c <= ' ' || c == '@' || c == ',' || c == '/' {
				t.Fatalf("%q: %q", raw, got)
			}
		}
		if again, err := NormalizeHost(nil, got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q: %q, then %q, %v", raw, got, again, err)
		}
	})
}
