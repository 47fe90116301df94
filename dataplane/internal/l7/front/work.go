package front

import (
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/route"
)

// work is what one request needs. It is borrowed from request to request.
type work struct {
	conn  *conn
	conf  *state
	began time.Time

	x       exchange.Exchange
	req     h1.Request
	body    wire.Body
	route   route.Request
	scratch route.Scratch
	view    view
	head    h1.ResponseHead
	answer  h1.Answer
	extra   field.List
	sender  wire.Sender
	status  int

	id                                 [32]byte
	host, path, target, location, text []byte
}

var works = sync.Pool{New: func() any { return new(work) }}

func (w *work) begin(c *conn) {
	w.conn, w.conf, w.began, w.status = c, c.front.conf.Load(), time.Now(), 0
	c.WriteLimit = w.conf.Write
	w.x.Reset()
	w.req.Reset(w.conf.Rules)
}

// end lets go of all that is not this work's own.
func (w *work) end() {
	w.req.Reset(nil)
	w.x.Reset()
	w.scratch.Reset()
	w.body.Forget()
	w.extra.Reset()
	w.conn, w.conf, w.route, w.view.list, w.sender = nil, nil, route.Request{}, nil, wire.Sender{}
	w.head, w.answer = h1.ResponseHead{}, h1.Answer{}
}

// run serves the request of which the first bytes are there.
func (w *work) run() fate {
	if next, ok := w.readHead(); !ok {
		return next
	}
	c := w.conn
	w.x.Request = exchange.Request{Method: w.req.Method, MethodName: w.req.MethodName(), Target: w.req.Target(), Fields: &w.req.Fields,
		Framing: w.req.Framing, Upgrade: w.req.Upgrade(), AcceptTrailers: w.req.AcceptsTrailers(), Client: c.client, VIP: c.vip}
	if !w.req.Framing.Empty() {
		w.req.StartBody(&w.body.H1, &w.body.Fields)
		w.body.Start(&c.Conn, w.req.Framing, wire.Sides{Timeout: w.conf.Body, TimedOut: exchange.ClientBodyTimeout,
			Truncated: exchange.ClientTruncated, Faulty: exchange.BadRequestBody, Exchange: &w.x})
		w.x.Request.Body = &w.body
	}
	if !w.normalize() {
		return w.fail(exchange.Fail(exchange.BadRequest))
	}
	upstream := w.conf.Default
	if w.conf.Table != nil {
		d := w.conf.Table.Match(&w.route, &w.scratch)
		if d.Policy >= 0 {
			w.conf.policies[d.Policy].requests.Add(1)
			if d.Action != lb.RedirectToPool {
				return w.decided(&d)
			}
			upstream = w.conf.Pools[d.Pool(rand.Uint64())]
		}
	}
	if upstream == nil {
		return w.fail(exchange.Fail(exchange.NoPool))
	}
	h1.ForwardRequest(&w.req)
	w.forwardedFields()
	return w.exchange(upstream)
}

// readHead reads the rest of the head; if there is none to serve, it has answered.
func (w *work) readHead() (next fate, ok bool) {
	c := w.conn
	for {
		n, fault := w.req.Parse(c.Buffered())
		if fault != nil {
			return w.fail(exchange.FromFault(exchange.BadRequest, fault)), false
		}
		if n > 0 {
			c.Consume(n)
			c.ReadBy(0)
			return goesOn, true
		}
		err := c.Fill()
		switch {
		case err == nil:
		case !w.req.Begun():
			return closes, false
		case errors.Is(err, wire.ErrTimeout):
			return w.fail(exchange.Fail(exchange.HeaderTimeout)), false
		default:
			w.count(exchange.ClientTruncated)
			if err == io.EOF {
				return closes, false
			}
			return breaks, false
		}
	}
}

// normalize fills in what policies see, and puts the path in the form in which it goes on.
func (w *work) normalize() bool {
	r, raw := &w.route, w.req.Path()
	host, err := route.NormalizeHost(w.host, w.req.Host())
	if err != nil {
		return false
	}
	path := raw
	if !w.conf.RawPath && w.req.Form != h1.AsteriskForm {
		if path, err = route.NormalizePath(w.path, raw); err != nil {
			return false
		}
		if !same(path, raw) {
			w.path = path
			w.target = append(w.target[:0], path...)
			if query := w.req.Query(); query != nil {
				w.target = append(append(w.target, '?'), query...)
			}
			w.x.Request.Target = w.target
		}
	}
	w.view = view{list: &w.req.Fields, index: -1, at: -1}
	*r = route.Request{Method: w.req.MethodName(), Host: host, Path: path, Query: w.req.Query(), Fields: &w.view,
		Source: w.conn.client.Addr(), Port: w.conn.vip.Port()}
	return true
}

// same tells whether a is b, and not just equal to it.
func same(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// forwardedFields sets what tells the backend about the client.
func (w *work) forwardedFields() {
	l := &w.req.Fields
	switch w.conf.ForwardedFor {
	case AppendFor:
		l.Join(field.XForwardedFor, w.conn.address)
	case RemoveFor:
		l.Remove(field.XForwardedFor)
	}
	if !w.conf.NoForwardedProto {
		l.Set(field.XForwardedProto, plain)
	}
	if !w.conf.NoForwardedPort {
		w.text = strconv.AppendUint(w.text[:0], uint64(w.conn.vip.Port()), 10)
		l.Set(field.XForwardedPort, w.text)
	}
	if w.conf.RequestID && !l.Has(field.XRequestID) {
		l.Add(field.XRequestID, w.requestID())
	}
}

var plain = []byte("http")

// requestID returns the client's request ID, or else a random one.
func (w *work) requestID() []byte {
	if id := w.req.Fields.Get(field.XRequestID); len(id) > 0 {
		return id
	}
	const hex = "0123456789abcdef"
	for i := 0; i < len(w.id); i += 16 {
		for k, bits := 0, rand.Uint64(); k < 16; k, bits = k+1, bits>>4 {
			w.id[i+k] = hex[bits&15]
		}
	}
	return w.id[:]
}

// view shows a field.List to policies.
type view struct {
	list  *field.List
	index int // of the field at
	at    int
}

// Len implements route.Fields.
func (v *view) Len() int { return v.list.Len() }

// At implements route.Fields. Asking in order costs one step each.
func (v *view) At(i int) (name, value []byte) {
	if i <= v.at {
		v.index, v.at = -1, -1
	}
	for v.at < i {
		v.index = v.list.NextAny(v.index)
		v.at++
	}
	return v.list.Name(v.index), v.list.Value(v.index)
}

// count takes the request into the listener's counters.
func (w *work) count(why exchange.Reason) {
	s := &w.conn.front.stats
	s.requests[why].Add(1)
	s.statuses[w.status/100].Add(1)
	s.duration.observe(time.Since(w.began))
}
