package h1

import (
	"bytes"
	"encoding/binary"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// Request is the head of one request. Reset readies it; after Parse has returned a length, the rest is filled in. It is
// reused from request to request and is not safe for concurrent use.
type Request struct {
	// Fields are the header fields. Host is the effective one: of an absolute-form target the authority, put in its place.
	Fields field.List
	Method Method
	Form   Form
	// Minor is 0 for HTTP/1.0 and 1 for every other HTTP/1.x.
	Minor uint8
	// HTTPS tells that an absolute-form target named the scheme https.
	HTTPS bool
	// KeepAlive tells whether the client wants the connection to go on. HTTP/1.0 clients must ask for it.
	KeepAlive bool
	// Expects100 tells that the client waits for 100 before it sends its body (RFC 9110 section 10.1.1).
	Expects100 bool
	// Framing is how the body is delimited.
	Framing Framing

	rules   *Rules
	buf     []byte
	block   block
	options options
	scan    int
	phase   phase

	line, method, target, authority, forward span
}

type phase uint8

const (
	inStartLine phase = iota
	inFields
	parsed
)

// span is a piece of the buffer of the head.
type span struct{ from, to int }

// Reset readies r for the next request; the rules may be nil, for DefaultRules. Nothing of a former buffer is kept.
func (r *Request) Reset(rules *Rules) {
	if rules == nil {
		rules = &defaultRules
	}
	r.Fields.Reset()
	*r = Request{Fields: r.Fields, rules: rules}
}

// Bind tells that the bytes of the head have moved to buf.
func (r *Request) Bind(buf []byte) {
	r.buf = buf
	r.Fields.Bind(buf)
}

// Begun tells whether Parse has seen a byte of a request, beyond empty lines: a connection that ends or times out before
// that is idle, and gets no answer.
func (r *Request) Begun() bool { return r.phase != inStartLine || len(r.buf) > r.line.from }

// Parse goes on parsing a head, of which buf holds all bytes read so far, and perhaps more. It returns the length of the
// head; or 0 and nil while the head is not complete; or why it is refused. After a Fault, and after a length, r is
// not to be parsed again before Reset.
func (r *Request) Parse(buf []byte) (n int, fault *Fault) {
	r.Bind(buf)
	if r.phase == inStartLine {
		switch end, why := r.parseLine(buf); why {
		case ok:
			r.block.reset(end)
			r.phase = inFields
		case more:
			return 0, nil
		default:
			return 0, faults[ofRequest][why]
		}
	}
	end, why := r.block.parse(buf, &r.Fields, r.rules.headerLimits())
	if why == ok {
		why = r.finish()
	}
	switch why {
	case ok:
		r.phase = parsed
		return end, nil
	case more:
		return 0, nil
	}
	return 0, faults[ofRequest][why]
}

// parseLine parses the request line (RFC 9112 section 3), empty lines before it skipped.
func (r *Request) parseLine(buf []byte) (end int, why reason) {
	for r.line.from < len(buf) && (buf[r.line.from] == '\r' || buf[r.line.from] == '\n') {
		if why := lineEnd(buf, r.line.from); why != ok {
			return 0, why
		}
		if r.line.from >= 2*maxEmptyLines {
			return 0, emptyLines
		}
		r.line.from += 2
	}
	start := r.line.from
	w, clipped := window(buf, start, r.rules.limits.RequestLine)
	if awaitLine(w, &r.scan, clipped) {
		return 0, more
	}
	end, why = r.parseLineAt(w, start)
	if why == more {
		if clipped {
			return 0, requestLineTooLong
		}
		r.scan = len(w)
	}
	return end, why
}

func (r *Request) parseLineAt(w []byte, start int) (end int, why reason) {
	i := start + field.TokenLen(w[start:])
	if i == len(w) {
		return 0, more
	}
	if w[i] != ' ' || i == start {
		return 0, badByte(w, i, badMethod)
	}
	r.method = span{start, i}
	from := i + 1
	i = from + targetLen(w[from:])
	if i == len(w) {
		return 0, more
	}
	if w[i] != ' ' || i == from {
		return 0, badByte(w, i, badTarget)
	}
	r.target = span{from, i}
	version := i + 1
	if r.Minor, why = parseVersion(w[version:]); why != ok {
		return 0, why
	}
	end = version + versionLen
	if why = lineEnd(w, end); why != ok {
		if why == controlByte {
			why = badVersion
		}
		return 0, why
	}
	r.line.to = end + 2
	r.Method = MethodOf(w[r.method.from:r.method.to])
	if why = r.splitTarget(); why != ok {
		return 0, why
	}
	return end + 2, ok
}

// badByte gives the more telling reason for a byte that ends a token where it must not.
func badByte(w []byte, i int, otherwise reason) reason {
	switch w[i] {
	case 0:
		return nulByte
	case '\r', '\n':
		if why := lineEnd(w, i); why != ok {
			return why
		}
	}
	return otherwise
}

const versionLen = len("HTTP/1.1")

// parseVersion reads HTTP-version (RFC 9112 section 2.3) from the start of w. HTTP/1.2 to 1.9 are read as 1.1, as section 2.5
// of RFC 9110 has it.
func parseVersion(w []byte) (minor uint8, why reason) {
	if len(w) >= versionLen && binary.LittleEndian.Uint64(w) == 0x312e312f50545448 { // HTTP/1.1
		return 1, ok
	}
	const pattern = "HTTP/0.0"
	for i := range min(len(w), versionLen) {
		if digit := w[i] >= '0' && w[i] <= '9'; pattern[i] == '0' && !digit || pattern[i] != '0' && w[i] != pattern[i] {
			return 0, badByte(w, i, badVersion)
		}
	}
	switch {
	case len(w) < versionLen:
		return 0, more
	case w[5] != '1':
		return 0, versionUnsupported
	case w[7] == '0':
		return 0, ok
	}
	return 1, ok
}

// finish judges the fields together, once all are there.
func (r *Request) finish() (why reason) {
	l := &r.Fields
	if r.Framing, why = readFraming(l, r.Minor); why != ok {
		return why
	}
	if why = r.settleHost(); why != ok {
		return why
	}
	if l.Has(field.Connection) {
		r.options = readOptions(l)
	}
	r.KeepAlive = !r.options.close && (r.Minor > 0 || r.options.keepAlive)
	for i := l.First(field.Expect); i >= 0; i = l.Next(i, field.Expect) {
		if !field.EqualFold(l.Value(i), "100-continue") {
			return unknownExpectation
		}
		r.Expects100 = true
	}
	if r.Minor == 0 && r.Expects100 {
		// RFC 9110 section 10.1.1: from an HTTP/1.0 client it is ignored, and it must not be passed on in HTTP/1.1.
		r.Expects100 = false
		l.Remove(field.Expect)
	}
	return ok
}

// settleHost holds Host to RFC 9112 section 3.2 and puts the authority of the target in its place.
func (r *Request) settleHost() reason {
	l := &r.Fields
	i := l.First(field.Host)
	switch {
	case i < 0 && r.Minor > 0:
		return missingHost
	case i >= 0 && l.Next(i, field.Host) >= 0:
		return repeatedHost
	case i >= 0 && !ValidAuthority(l.Value(i)):
		return badHost
	}
	if authority := r.slice(r.authority); len(authority) > 0 && (i < 0 || !bytes.Equal(authority, l.Value(i))) {
		l.Set(field.Host, authority)
	}
	return ok
}

func (r *Request) slice(s span) []byte { return r.buf[s.from:s.to] }

// Line returns the request line as it came, without its CRLF, for logs.
func (r *Request) Line() []byte {
	if r.line.to == 0 {
		return nil
	}
	return r.buf[r.line.from : r.line.to-2]
}

// MethodName returns the method as it was sent.
func (r *Request) MethodName() []byte { return r.slice(r.method) }

// RawTarget returns the target as it was sent, whatever its form.
func (r *Request) RawTarget() []byte { return r.slice(r.target) }

// Target returns the target to forward: of an absolute form the path and query, which may be empty or begin with "?";
// AppendRequest completes it.
func (r *Request) Target() []byte {
	t := r.slice(r.forward)
	switch {
	case len(t) > 0:
		return t
	case r.Method == Options:
		return asterisk // RFC 9112 section 3.2.4
	}
	return slash
}

var (
	slash    = []byte("/")
	asterisk = []byte("*")
)

// Path returns the path of the target, as sent, without the query; at least "/", and "*" or the authority where those are the
// target.
func (r *Request) Path() []byte {
	t := r.Target()
	switch i := bytes.IndexByte(t, '?'); {
	case i == 0:
		return slash
	case i > 0:
		return t[:i]
	}
	return t
}

// Query returns what follows the first "?" of the target; nil where there is none.
func (r *Request) Query() []byte {
	t := r.Target()
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		return t[i+1:]
	}
	return nil
}

// Host returns the effective authority: host, perhaps with port. It is nil only for HTTP/1.0.
func (r *Request) Host() []byte { return r.Fields.Get(field.Host) }

// Upgrade returns the protocols that the client offers to switch to and that may be offered to a backend: the value of Upgrade. It
// is nil for HTTP/1.0, without the connection option, for HTTP/2, and for a request with a body, which is forwarded as an ordinary one.
func (r *Request) Upgrade() []byte {
	if r.Minor == 0 || !r.options.upgrade || !r.Framing.Empty() {
		return nil
	}
	return readUpgrade(&r.Fields, r.options)
}

// AcceptsTrailers tells whether the client said "TE: trailers" (RFC 9110 section 6.5.1).
func (r *Request) AcceptsTrailers() bool {
	for i := r.Fields.First(field.TE); i >= 0; i = r.Fields.Next(i, field.TE) {
		for e, rest, more := field.NextElement(r.Fields.Value(i)); more; e, rest, more = field.NextElement(rest) {
			if field.EqualFold(e, "trailers") {
				return true
			}
		}
	}
	return false
}

// StartBody readies b for the body of r. The trailers of a chunked body go into that list; where it is nil they are checked and
// dropped.
func (r *Request) StartBody(b *Body, trailers *field.List) {
	b.start(r.Framing, ofRequest, r.rules, trailers)
}

// Head returns the head to forward, all of it as received: the caller changes what it wants to. It refers to r.
func (r *Request) Head() RequestHead {
	return RequestHead{Method: r.MethodName(), Target: r.Target(), Fields: &r.Fields, Framing: r.Framing, Upgrade: r.Upgrade()}
}
