package route

import (
	"strconv"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// token is what a template takes from the request.
type token uint8

const (
	tokenNone token = iota
	tokenProtocol
	tokenHost
	tokenPort
	tokenPath
	tokenQuery
	tokenTarget // path and query, as a prefix has them after it
)

var tokens = []struct {
	text  string
	token token
}{
	{"#{protocol}", tokenProtocol},
	{"#{host}", tokenHost},
	{"#{port}", tokenPort},
	{"#{path}", tokenPath},
	{"#{query}", tokenQuery},
}

// template is a URL with places for parts of the request, in pieces: a text,
// then a token.
type template struct {
	pieces   []piece
	relative bool // a path on the same host
}

type piece struct {
	text  string
	token token
}

// parseTemplate compiles the Location of a redirect. The tokens mean what they
// do for AWS: #{path} is the path without its first "/", so that people write
// "/#{path}", and #{query} is the query without "?", which goes away as well
// where the query is empty and nothing follows.
func parseTemplate(action lb.PolicyAction, s string) template {
	t := template{relative: strings.HasPrefix(s, "/")}
	if action == lb.RedirectPrefix {
		// The path that follows brings its own "/".
		t.pieces = []piece{{strings.TrimSuffix(s, "/"), tokenTarget}}
		return t
	}
	for s != "" {
		at, next := len(s), piece{s, tokenNone}
		length := 0
		for _, k := range tokens {
			if i := strings.Index(s, k.text); i >= 0 && i < at {
				at, length, next = i, len(k.text), piece{s[:i], k.token}
			}
		}
		t.pieces = append(t.pieces, next)
		s = s[at+length:]
	}
	return t
}

func (t *template) append(dst []byte, r *Request) []byte {
	begin := len(dst)
	for i, p := range t.pieces {
		dst = append(dst, p.text...)
		switch p.token {
		case tokenProtocol:
			dst = append(dst, r.protocol()...)
		case tokenHost:
			dst = appendURI(dst, r.Host)
		case tokenPort:
			dst = strconv.AppendUint(dst, uint64(r.Port), 10)
		case tokenPath:
			path := r.Path
			if len(path) > 0 && path[0] == '/' {
				path = path[1:]
			}
			dst = appendURI(dst, path)
		case tokenQuery:
			if n := len(dst); len(r.Query) == 0 && i == len(t.pieces)-1 && n > begin && dst[n-1] == '?' {
				dst = dst[:n-1]
			}
			dst = appendURI(dst, r.Query)
		case tokenTarget:
			if len(r.Path) == 0 || r.Path[0] != '/' {
				dst = append(dst, '/') // "*" must not become a part of the host
			}
			dst = appendURI(dst, r.Path)
			if len(r.Query) > 0 {
				dst = append(dst, '?')
				dst = appendURI(dst, r.Query)
			}
		}
	}
	if t.relative {
		dst = keepOnHost(dst, begin)
	}
	return dst
}

// keepOnHost takes away what would make a path that begins at dst[begin] name
// another host: a client that asks for "//evil.example" shall not be sent there
// by the redirect "/#{path}". Browsers read "\" as "/".
func keepOnHost(dst []byte, begin int) []byte {
	end := begin
	for end < len(dst) && (dst[end] == '/' || dst[end] == '\\') {
		end++
	}
	if end-begin < 2 {
		return dst
	}
	dst[begin] = '/'
	return append(dst[:begin+1], dst[end:]...)
}

// appendURI appends what came from the client, encoding whatever could end the
// field or start something else in it.
func appendURI(dst, p []byte) []byte {
	for _, c := range p {
		if c <= ' ' || c >= 0x7f {
			dst = appendEncoded(dst, c)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
