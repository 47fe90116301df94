package h1

import (
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// Response is the head of one response. Reset readies it; after Parse has returned a length, the rest is filled in. It is
// reused and is not safe for concurrent use.
//
// An interim response (Interim) is forwarded, or dropped, and then Reset and Parse go on with the next. 101 is final: it
// opens a tunnel where MatchUpgrade says so, and is otherwise a fault of the backend.
type Response struct {
	Fields field.List
	// Status is from 100 to 999.
	Status int
	// Minor is 0 for HTTP/1.0 and 1 for every other HTTP/1.x.
	Minor uint8
	// KeepAlive tells whether the connection can be used again, once the body has been read to its end.
	KeepAlive bool
	// Framing is how the body that follows is delimited.
	Framing Framing
	// Declared is what the head says about the content, for the head that is passed on: it differs from Framing for HEAD and 304,
	// which may state a length and have no body.
	Declared Framing

	rules   *Rules
	request Method
	buf     []byte
	block   block
	options options
	scan    int
	phase   phase
	phrase  span
}

// Reset readies r for the response to a request of that method; the rules may be nil, for DefaultRules.
func (r *Response) Reset(rules *Rules, request Method) {
	if rules == nil {
		rules = &defaultRules
	}
	r.Fields.Reset()
	*r = Response{Fields: r.Fields, rules: rules, request: request}
}

// Bind tells that the bytes of the head have moved to buf.
func (r *Response) Bind(buf []byte) {
	r.buf = buf
	r.Fields.Bind(buf)
}

// Begun tells whether Parse has seen a byte: if not, a request that failed may perhaps be sent again.
func (r *Response) Begun() bool { return len(r.buf) > 0 }

// Parse goes on parsing a head, as Request.Parse does. Nothing may precede the status line, and every Fault has status 502.
func (r *Response) Parse(buf []byte) (n int, fault *Fault) {
	r.Bind(buf)
	if r.phase == inStartLine {
		switch end, why := r.parseLine(buf); why {
		case ok:
			r.block.reset(end)
			r.phase = inFields
		case more:
			return 0, nil
		default:
			return 0, faults[ofResponse][why]
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
	return 0, faults[ofResponse][why]
}

func (r *Response) parseLine(buf []byte) (end int, why reason) {
	w, clipped := window(buf, 0, r.rules.limits.RequestLine)
	if awaitLine(w, &r.scan, clipped) {
		return 0, more
	}
	end, why = r.parseLineAt(w)
	if why == more {
		if clipped {
			return 0, statusLineTooLong
		}
		r.scan = len(w)
	}
	return end, why
}

// parseLineAt parses the status line (RFC 9112 section 4). The space before an absent reason phrase may be absent too, as it is with
// many servers; it delimits nothing.
func (r *Response) parseLineAt(w []byte) (end int, why reason) {
	if r.Minor, why = parseVersion(w); why != ok {
		return 0, why
	}
	const digits = versionLen + 1
	i := versionLen
	for ; i < min(digits+3, len(w)); i++ {
		switch {
		case i == versionLen && w[i] != ' ', i == digits && (w[i] < '1' || w[i] > '9'), i > digits && (w[i] < '0' || w[i] > '9'):
			return 0, badByte(w, i, badStatusLine)
		}
	}
	if i == len(w) {
		return 0, more
	}
	if w[i] == ' ' {
		r.phrase.from = i + 1
		i += 1 + field.ValueLen(w[i+1:])
		r.phrase.to = i
	} else if w[i] != '\r' && w[i] != '\n' {
		return 0, badByte(w, i, badStatusLine)
	}
	if why = lineEnd(w, i); why != ok {
		return 0, why
	}
	r.Status = int(w[digits]-'0')*100 + int(w[digits+1]-'0')*10 + int(w[digits+2]-'0')
	return i + 2, ok
}

// finish settles framing and persistence (RFC 9112 sections 6.3 and 9.3).
func (r *Response) finish() (why reason) {
	if r.Declared, why = readFraming(&r.Fields, r.Minor); why != ok {
		return why
	}
	if r.Fields.Has(field.Connection) {
		r.options = readOptions(&r.Fields)
	}
	r.KeepAlive = !r.options.close && (r.Minor > 0 || r.options.keepAlive)
	r.Framing = r.Declared
	switch {
	case r.Status < 200:
		// RFC 9112 section 6.1, RFC 9110 section 8.6: none of them may be here. A backend that means it would desynchronise us.
		if !r.Declared.Empty() {
			return bodyForbidden
		}
		r.Framing, r.Declared = Framing{}, Framing{}
	case r.Status == 204:
		// As above, but seen from servers that send no body all the same: believe neither and give the connection up.
		r.KeepAlive = r.KeepAlive && r.Declared.Empty()
		r.Framing, r.Declared = Framing{}, Framing{}
	case r.Status == 304 || r.request == Head:
		r.Framing = Framing{}
		if r.Declared.Kind != Length {
			r.Declared = Framing{}
		}
	case r.request == Connect && r.Status < 300:
		r.Framing, r.Declared, r.KeepAlive = Framing{}, Framing{}, false
	case r.Declared.Kind == NoBody:
		r.Framing = Framing{Kind: UntilClose}
		r.Declared, r.KeepAlive = r.Framing, false
	}
	return ok
}

// Interim tells whether another response to the same request follows: 1xx but 101.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Phrase returns the reason phrase as it was sent, which may be empty.
func (r *Response) Phrase() []byte { return r.buf[r.phrase.from:r.phrase.to] }

// Upgrade returns the protocol that a 101 switches to, for MatchUpgrade; nil for every other response, and where the head does not
// name it properly.
func (r *Response) Upgrade() []byte {
	if r.Status != 101 || r.Minor == 0 {
		return nil
	}
	return readUpgrade(&r.Fields, r.options)
}

// KeepAliveTimeout returns the seconds of "Keep-Alive: timeout=N", after which the backend closes the idle connection; 0
// where it does not say, or not clearly.
func (r *Response) KeepAliveTimeout() (seconds int) {
	const name = "timeout="
	for e, rest, more := field.NextElement(r.Fields.Get(field.KeepAlive)); more; e, rest, more = field.NextElement(rest) {
		if len(e) <= len(name) || !field.EqualFold(e[:len(name)], name) {
			continue
		}
		n, why := parseLength(e[len(name):])
		if why != ok || n > 1<<30 {
			return 0
		}
		return int(n)
	}
	return 0
}

// StartBody readies b for the body of r. The trailers of a chunked body go into that list; where it is nil they are checked and
// dropped.
func (r *Response) StartBody(b *Body, trailers *field.List) {
	b.start(r.Framing, ofResponse, r.rules, trailers)
}

// Head returns the head to forward to a client of the given minor version, all else as received. A client of HTTP/1.0 does not
// understand chunks: a chunked body, decoded, then ends with the connection, and Close is set. It refers to r.
func (r *Response) Head(clientMinor uint8) ResponseHead {
	h := ResponseHead{Status: r.Status, Phrase: r.Phrase(), Fields: &r.Fields, Framing: r.Declared, Upgrade: r.Upgrade()}
	if h.Framing.Kind == Chunked && clientMinor == 0 {
		h.Framing.Kind = UntilClose
	}
	h.Close = h.Framing.Kind == UntilClose
	return h
}
