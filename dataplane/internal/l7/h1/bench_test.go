package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// A browser's request and a small response of nginx.
const (
	browser = "GET /static/app/main.3f2c1.js?v=17 HTTP/1.1\r\n" +
		"Host: www.shop.example\r\n" +
		"Connection: keep-alive\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
		"Referer: https://www.shop.example/products/all?page=2\r\n" +
		"Sec-Fetch-Mode: navigate\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"Cookie: session=2a8f0c1e9b7d4e6f; theme=dark; consent=all; cart=17\r\n\r\n"
	small = "HTTP/1.1 200 OK\r\n" +
		"Server: nginx/1.22.1\r\n" +
		"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n" +
		"Content-Type: text/plain\r\n" +
		"Content-Length: 60\r\n" +
		"Connection: keep-alive\r\n\r\n"
	coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"400\r\n" + kilobyte + "\r\n400\r\n" + kilobyte + "\r\n400\r\n" + kilobyte + "\r\n400\r\n" + kilobyte + "\r\n0\r\n\r\n"
	bytes64  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	bytes256 = bytes64 + bytes64 + bytes64 + bytes64
	kilobyte = bytes256 + bytes256 + bytes256 + bytes256
)

// forwardRequest does what a connection loop does with a request head.
func forwardRequest(r *Request, raw, out []byte) []byte {
	r.Reset(nil)
	if n, fault := r.Parse(raw); n == 0 || fault != nil {
		panic("refused")
	}
	ForwardRequest(r)
	r.Fields.Join(field.XForwardedFor, []byte("192.0.2.1"))
	r.Fields.Set(field.XForwardedProto, []byte("https"))
	h := r.Head()
	return AppendRequest(out[:0], &h)
}

func forwardResponse(r *Response, b *Body, raw, out []byte) []byte {
	r.Reset(nil, Get)
	n, fault := r.Parse(raw)
	if n == 0 || fault != nil {
		panic("refused")
	}
	ForwardResponse(r)
	h := r.Head(1)
	out = AppendResponse(out[:0], &h)
	r.StartBody(b, nil)
	b.Raw = true
	for rest := raw[n:]; !b.Done() && len(rest) > 0; {
		data, n, fault := b.Next(rest)
		if fault != nil {
			panic(fault.Reason)
		}
		out, rest = append(out, data...), rest[n:]
	}
	return b.AppendEnd(out)
}

// TestAllocations is the gate: nothing is allocated for an exchange once the arenas have grown.
func TestAllocations(t *testing.T) {
	request, response, chunks := []byte(browser), []byte(small+bytes64), []byte(coded)
	absolute := []byte("GET http://b/ HTTP/1.1\r\nHost: [2001:db8::1]\r\nX:y\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nX_Y: 2\r\n\r\n")
	answers, err := NewAnswers("", "")
	if err != nil {
		t.Fatal(err)
	}
	var q Request
	var p Response
	var b Body
	out := make([]byte, 0, 16<<10)
	segments := make([][]byte, 0, 64)
	answer := Answer{Status: 400, RequestID: []byte("abc"), Close: true}
	for name, do := range map[string]func(){
		"request":  func() { forwardRequest(&q, request, out) },
		"absolute": func() { forwardRequest(&q, absolute, out) },
		"byte by byte": func() {
			q.Reset(nil)
			for i := range request {
				q.Parse(request[:i+1])
			}
		},
		"segments": func() {
			q.Reset(nil)
			q.Parse(request)
			h := q.Head()
			h.Segments(segments[:0], out[:0])
		},
		"response": func() { forwardResponse(&p, &b, response, out) },
		"chunked":  func() { forwardResponse(&p, &b, chunks, out) },
		"answer":   func() { answers.Append(out[:0], &answer) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	raw := []byte(browser)
	b.Run("parse", func(b *testing.B) {
		var r Request
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			r.Reset(nil)
			if n, _ := r.Parse(raw); n != len(raw) {
				b.Fatal(n)
			}
		}
	})
	b.Run("forward", func(b *testing.B) {
		var r Request
		out := make([]byte, 0, 4096)
		b.ReportAllocs()
		for b.Loop() {
			forwardRequest(&r, raw, out)
		}
	})
	b.Run("net-http", func(b *testing.B) {
		src := bytes.NewReader(raw)
		br := bufio.NewReader(src)
		b.ReportAllocs()
		for b.Loop() {
			src.Reset(raw)
			br.Reset(src)
			if _, err := http.ReadRequest(br); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkResponse(b *testing.B) {
	raw := []byte(small + bytes64[:60])
	b.Run("parse", func(b *testing.B) {
		var r Response
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			r.Reset(nil, Get)
			if n, _ := r.Parse(raw); n != len(small) {
				b.Fatal(n)
			}
		}
	})
	b.Run("forward", func(b *testing.B) {
		var r Response
		var body Body
		out := make([]byte, 0, 4096)
		b.ReportAllocs()
		for b.Loop() {
			forwardResponse(&r, &body, raw, out)
		}
	})
	b.Run("net-http", func(b *testing.B) {
		src := bytes.NewReader(raw)
		br := bufio.NewReader(src)
		b.ReportAllocs()
		for b.Loop() {
			src.Reset(raw)
			br.Reset(src)
			p, err := http.ReadResponse(br, nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, p.Body); err != nil {
				b.Fatal(err)
			}
			p.Body.Close()
		}
	})
}

func BenchmarkChunked(b *testing.B) {
	raw := []byte(coded)
	for name, whole := range map[string]bool{"decoded": false, "raw": true} {
		b.Run(name, func(b *testing.B) {
			var r Response
			var body Body
			r.Reset(nil, Get)
			head, _ := r.Parse(raw)
			b.ReportAllocs()
			b.SetBytes(int64(len(raw) - head))
			for b.Loop() {
				r.StartBody(&body, nil)
				body.Raw = whole
				for rest := raw[head:]; !body.Done(); {
					_, n, fault := body.Next(rest)
					if fault != nil {
						b.Fatal(fault.Reason)
					}
					rest = rest[n:]
				}
			}
		})
	}
}
