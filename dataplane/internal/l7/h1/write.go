package h1

import (
	"strconv"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// RequestHead is the head of a request to write, wherever the request came from. The framing, and all that concerns the
// connection, is what its members say, whatever fields of that kind are in Fields.
type RequestHead struct {
	// Method is a token.
	Method []byte
	// Target is in origin form, "*", or of CONNECT an authority (see ValidTarget). Where it is empty or begins with "?", a slash is put
	// before it.
	Target []byte
	// Host, unless nil, goes out in place of the Host of Fields. One of both should be there (see ValidAuthority): where neither is, as
	// with HTTP/1.0, an empty Host is written, which few backends like.
	Host    []byte
	Fields  *field.List
	Framing Framing
	// Upgrade, unless nil, is offered to the backend.
	Upgrade []byte
	// AcceptTrailers tells the backend that trailers will reach the client.
	AcceptTrailers bool
	// Close tells the backend that no other request follows on its connection.
	Close bool
}

// ResponseHead is the head of a response to write. As with RequestHead its members decide, and not the fields.
type ResponseHead struct {
	// Status is from 100 to 999.
	Status int
	// Phrase is the reason phrase; where it is empty, the usual one of the status is written.
	Phrase []byte
	Fields *field.List
	// Framing is written for every status but 1xx and 204, whose heads have none. It may state the length of a body that does not
	// follow, in answer to HEAD and with 304.
	Framing Framing
	// Upgrade is what a 101 switches to.
	Upgrade []byte
	// Close tells the client that the connection ends after this response.
	Close bool
	// KeepAlive tells a client of HTTP/1.0, which asked for it, that it does not.
	KeepAlive bool
}

func (h *RequestHead) skip() field.Set {
	skip := hopByHop
	if h.Host != nil {
		skip |= field.SetOf(field.Host)
	}
	if h.Framing.Kind != Chunked {
		skip |= field.SetOf(field.Trailer)
	}
	return skip
}

func (h *RequestHead) appendLine(dst []byte) []byte {
	dst = append(dst, h.Method...)
	dst = append(dst, ' ')
	if len(h.Target) == 0 || h.Target[0] == '?' {
		dst = append(dst, '/')
	}
	dst = append(dst, h.Target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	if h.Host != nil || !h.Fields.Has(field.Host) {
		dst = appendField(dst, "Host: ", h.Host)
	}
	return dst
}

func (h *RequestHead) appendEnd(dst []byte) []byte {
	dst = appendFraming(dst, h.Framing)
	if h.Upgrade != nil {
		dst = appendField(dst, "Upgrade: ", h.Upgrade)
	}
	if h.AcceptTrailers {
		dst = append(dst, "TE: trailers\r\n"...)
	}
	dst = appendConnection(dst, h.Close, false, h.Upgrade != nil, h.AcceptTrailers)
	return append(dst, "\r\n"...)
}

// AppendRequest appends the head to dst.
func AppendRequest(dst []byte, h *RequestHead) []byte {
	return h.appendEnd(h.Fields.AppendTo(h.appendLine(dst), h.skip()))
}

// Segments appends the head to segments as pieces for a vectored write. What is not in the buffers of the message is appended to
// scratch, which is returned too, and must be left alone until the pieces are written.
func (h *RequestHead) Segments(segments [][]byte, scratch []byte) (_ [][]byte, grown []byte) {
	from := len(scratch)
	scratch = h.appendLine(scratch)
	segments = h.Fields.Segments(append(segments, scratch[from:]), h.skip())
	from = len(scratch)
	scratch = h.appendEnd(scratch)
	return append(segments, scratch[from:]), scratch
}

func (h *ResponseHead) skip() field.Set {
	if h.Framing.Kind != Chunked {
		return hopByHop | field.SetOf(field.Trailer)
	}
	return hopByHop
}

func (h *ResponseHead) appendLine(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+h.Status/100), byte('0'+h.Status/10%10), byte('0'+h.Status%10), ' ')
	if len(h.Phrase) > 0 {
		dst = append(dst, h.Phrase...)
	} else {
		dst = append(dst, phraseOf(h.Status)...)
	}
	return append(dst, "\r\n"...)
}

func (h *ResponseHead) appendEnd(dst []byte) []byte {
	if h.Status >= 200 && h.Status != 204 {
		dst = appendFraming(dst, h.Framing)
	}
	upgrade := h.Status == 101 && h.Upgrade != nil
	if upgrade {
		dst = appendField(dst, "Upgrade: ", h.Upgrade)
	}
	if h.Status >= 200 || upgrade {
		dst = appendConnection(dst, h.Close && !upgrade, h.KeepAlive && !h.Close, upgrade, false)
	}
	return append(dst, "\r\n"...)
}

// AppendResponse appends the head to dst.
func AppendResponse(dst []byte, h *ResponseHead) []byte {
	return h.appendEnd(h.Fields.AppendTo(h.appendLine(dst), h.skip()))
}

// Segments is as that of RequestHead.
func (h *ResponseHead) Segments(segments [][]byte, scratch []byte) (_ [][]byte, grown []byte) {
	from := len(scratch)
	scratch = h.appendLine(scratch)
	segments = h.Fields.Segments(append(segments, scratch[from:]), h.skip())
	from = len(scratch)
	scratch = h.appendEnd(scratch)
	return append(segments, scratch[from:]), scratch
}

func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

func appendFraming(dst []byte, f Framing) []byte {
	switch f.Kind {
	case Length:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, f.Length, 10)
		return append(dst, "\r\n"...)
	case Chunked:
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return dst
}

func appendConnection(dst []byte, closes, keepAlive, upgrade, te bool) []byte {
	separator := "Connection: "
	for _, o := range [...]struct {
		set  bool
		name string
	}{{closes, "close"}, {keepAlive, "keep-alive"}, {upgrade, "Upgrade"}, {te, "TE"}} {
		if o.set {
			dst = append(dst, separator...)
			dst = append(dst, o.name...)
			separator = ", "
		}
	}
	if separator == ", " {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// Continue is the interim response that lets a client send the body it holds back.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

// phrases are the reason phrases of the IANA registry for the statuses that a proxy sends or commonly sees.
var phrases = map[int]string{
	100: "Continue", 101: "Switching Protocols", 103: "Early Hints",
	200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content",
	301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect",
	308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
	408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed",
	413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable",
	417: "Expectation Failed", 421: "Misdirected Request", 422: "Unprocessable Content", 425: "Too Early",
	426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 507: "Insufficient Storage",
}

// phraseOf returns the reason phrase of a status, or "Status" for those that have none here.
func phraseOf(status int) string {
	if p, known := phrases[status]; known {
		return p
	}
	return "Status"
}
