package h1

import (
	"fmt"
	"strings"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// feed is what a test does with raw bytes: it hands them over as if reads had ended at the cuts, until the message
// is complete, faulty, or the bytes run out.
type feed struct {
	head     string // of a request: method, forwarded target, host; of a response: status
	framing  Framing
	body     string
	trailers string
	leftover string
	fault    string // its reason; "more" where the bytes end too early
	status   int
}

func (f feed) String() string { return fmt.Sprintf("%#v", f) }

// reader plays a connection loop's buffer: each growth moves the bytes and overwrites the old ones, so that nothing may depend
// on where they lay.
type reader struct {
	raw      []byte
	cuts     []int
	buf      []byte
	consumed int
	received int
}

func (r *reader) more() bool {
	if r.received == len(r.raw) {
		return false
	}
	end := len(r.raw)
	for len(r.cuts) > 0 {
		cut := r.cuts[0]
		r.cuts = r.cuts[1:]
		if cut > r.received {
			end = cut
			break
		}
	}
	old := r.buf
	r.buf = append([]byte(nil), r.raw[r.consumed:end]...)
	for i := range old {
		old[i] = '!'
	}
	r.received = end
	return true
}

func (r *reader) consume(n int) {
	r.consumed += n
	r.buf = r.buf[n:]
}

func (r *reader) leftover() string { return string(r.buf) + string(r.raw[r.received:]) }

func readRequest(rules *Rules, raw string, raws bool, cuts ...int) (out feed) {
	r := &reader{raw: []byte(raw), cuts: cuts}
	var q Request
	q.Reset(rules)
	n := 0
	for n == 0 {
		var fault *Fault
		if !r.more() {
			return feed{fault: "more"}
		}
		if n, fault = q.Parse(r.buf); fault != nil {
			return feed{fault: fault.Reason, status: fault.Status}
		}
	}
	out.head = fmt.Sprintf("%s %s %s", q.MethodName(), q.Target(), q.Host())
	out.framing = q.Framing
	r.consume(n)
	var b Body
	var trailers field.List
	q.StartBody(&b, &trailers)
	b.Raw = raws
	readBody(r, &b, &trailers, &out)
	return out
}

func readResponse(rules *Rules, method Method, raw string, raws bool, cuts ...int) (out feed) {
	r := &reader{raw: []byte(raw), cuts: cuts}
	var p Response
	p.Reset(rules, method)
	n := 0
	for n == 0 {
		var fault *Fault
		if !r.more() {
			return feed{fault: "more"}
		}
		if n, fault = p.Parse(r.buf); fault != nil {
			return feed{fault: fault.Reason, status: fault.Status}
		}
	}
	out.head = fmt.Sprint(p.Status)
	out.framing = p.Framing
	r.consume(n)
	var b Body
	var trailers field.List
	p.StartBody(&b, &trailers)
	b.Raw = raws
	readBody(r, &b, &trailers, &out)
	return out
}

func readBody(r *reader, b *Body, trailers *field.List, out *feed) {
	var body strings.Builder
	for !b.Done() {
		data, n, fault := b.Next(r.buf)
		if fault != nil {
			out.fault, out.status = fault.Reason, fault.Status
			return
		}
		body.Write(data)
		r.consume(n)
		if n == 0 && !b.Done() && !r.more() {
			if fault := b.EOF(); fault != nil {
				out.fault, out.status = fault.Reason, fault.Status
				return
			}
		}
	}
	if b.Raw && b.kind == Chunked {
		body.Write(b.AppendEnd(nil))
	}
	for i := trailers.NextAny(-1); i >= 0; i = trailers.NextAny(i) {
		out.trailers += fmt.Sprintf("%s=%s;", trailers.Name(i), trailers.Value(i))
	}
	out.body, out.leftover = body.String(), r.leftover()
}

// everyByte returns the cuts that deliver n bytes one at a time.
func everyByte(n int) []int {
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = i + 1
	}
	return cuts
}
