package front

import (
	"errors"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/route"
)

// maxSkip is up to how many bytes of a body that nobody wants are read, so that the connection can go on.
const maxSkip = 64 << 10

// exchange lets upstream serve the request, and passes the response on.
func (w *work) exchange(upstream exchange.Upstream) fate {
	c := w.conn
	w.x.Client = w
	c.Watch(true)
	failure := upstream.Exchange(c.front.ctx, &w.x)
	c.Watch(false)
	if failure != nil {
		return w.fail(failure)
	}
	if w.x.Response.Status == 101 {
		return w.tunnel()
	}
	before := c.Written()
	keep, failure := w.respond()
	taken := w.x.Response.Stream.Taken()
	w.x.Response.Stream.Close()
	if failure != nil {
		if c.Written() == before {
			c.Discard()
			return w.fail(failure)
		}
		w.count(failure.Reason)
		if w.head.Framing.Kind == h1.UntilClose {
			return breaks
		}
		return closes
	}
	w.count(exchange.Done)
	switch {
	case !taken:
		return lingers
	case keep && !c.Broken():
		return goesOn
	}
	return closes
}

// Interim implements exchange.Client. Clients of HTTP/1.0 know no interim responses.
func (w *work) Interim(x *exchange.Exchange) *exchange.Failure {
	r := &x.Response
	if w.req.Minor == 0 || r.Status == 100 && !w.req.Expects100 {
		return nil
	}
	w.head = h1.ResponseHead{Status: r.Status, Phrase: r.Phrase, Fields: r.Fields}
	w.conn.SetOut(h1.AppendResponse(w.conn.Out(), &w.head))
	return writeFailure(w.conn.Flush())
}

func writeFailure(err error) *exchange.Failure {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wire.ErrTimeout):
		return exchange.Fail(exchange.ClientWriteTimeout)
	}
	return exchange.Fail(exchange.ClientWriteFailed)
}

// respond writes the final response. Keep tells whether the head said that the connection goes on.
func (w *work) respond() (keep bool, failure *exchange.Failure) {
	c, r := w.conn, &w.x.Response
	framing := r.Framing
	switch {
	case w.req.Minor == 0 && framing.Kind == h1.Chunked:
		framing.Kind = h1.UntilClose
	case w.req.Minor > 0 && framing.Kind == h1.UntilClose && r.Body != nil:
		framing.Kind = h1.Chunked
	}
	keep = w.keeps() && framing.Kind != h1.UntilClose && r.Stream.Taken()
	w.status = r.Status
	w.head = h1.ResponseHead{Status: r.Status, Phrase: r.Phrase, Fields: r.Fields, Framing: framing, Close: !keep,
		KeepAlive: keep && w.req.Minor == 0}
	c.SetOut(h1.AppendResponse(c.Out(), &w.head))
	if r.Body == nil {
		return keep, writeFailure(c.Flush())
	}
	w.sender.Start(&c.Conn, r.Body, framing.Kind == h1.Chunked)
	for !r.Body.Done() {
		if !r.Body.Ready() {
			if failure = writeFailure(c.Flush()); failure != nil {
				return keep, failure
			}
			moved, failure, err := w.sender.Bulk()
			if failure == nil {
				failure = writeFailure(err)
			}
			if failure != nil {
				return keep, failure
			}
			if moved {
				continue
			}
		}
		data, failure := r.Body.Next()
		if failure != nil {
			return keep, failure
		}
		if data == nil {
			break
		}
		if failure = writeFailure(w.sender.Put(data)); failure != nil {
			return keep, failure
		}
		r.Body.Release()
	}
	w.sender.End()
	return keep, writeFailure(c.Flush())
}

// keeps tells whether the connection may go on, as far as the client and the listener go.
func (w *work) keeps() bool { return w.req.KeepAlive && !w.conn.front.draining.Load() }

// tunnel passes the 101 on and then bytes both ways, until both directions are done or one breaks.
func (w *work) tunnel() fate {
	c, r := w.conn, &w.x.Response
	w.status = 101
	w.head = h1.ResponseHead{Status: 101, Phrase: r.Phrase, Fields: r.Fields, Upgrade: r.Upgrade}
	c.SetOut(h1.AppendResponse(c.Out(), &w.head))
	failure := writeFailure(c.Flush())
	if failure == nil {
		c.WriteLimit = w.conf.Tunnel
		w.req.Framing = h1.Framing{Kind: h1.UntilClose}
		w.req.StartBody(&w.body.H1, nil)
		w.body.Start(&c.Conn, w.req.Framing, wire.Sides{Timeout: w.conf.Tunnel, TimedOut: exchange.TunnelIdle,
			Truncated: exchange.TunnelBroken, Exchange: &w.x})
		r.Stream.Tunnel(&w.body)
		failure = w.down()
	}
	if failure == nil {
		r.Stream.Wait()
		failure = w.x.Aborted()
	}
	r.Stream.Close()
	if failure != nil {
		w.count(failure.Reason)
		return breaks
	}
	w.count(exchange.Tunnel)
	return closes
}

// down sends the client what the backend sends.
func (w *work) down() *exchange.Failure {
	c, body := w.conn, w.x.Response.Body
	for !body.Done() {
		if !body.Ready() {
			if failure := writeFailure(c.Flush()); failure != nil {
				return failure
			}
		}
		data, failure := body.Next()
		if failure != nil {
			return failure
		}
		if data == nil {
			break
		}
		if failure = writeFailure(c.Write(data)); failure != nil {
			return failure
		}
		body.Release()
		c.Extend(w.conf.Tunnel)
	}
	if failure := writeFailure(c.Flush()); failure != nil {
		return failure
	}
	return writeFailure(c.CloseWrite())
}

// fail answers a request that failed, where the client is there to see it.
func (w *work) fail(f *exchange.Failure) fate {
	if f.Status == 0 {
		w.count(f.Reason)
		return breaks
	}
	switch f.Reason {
	case exchange.BadRequest, exchange.BadRequestBody, exchange.HeaderTimeout, exchange.ClientBodyTimeout:
		return w.reply(f.Status, f.Reason, false)
	}
	return w.reply(f.Status, f.Reason, w.skippable())
}

// skippable tells whether the body of the request can be read to its end at little cost, if it is not wanted.
func (w *work) skippable() bool {
	if !w.keeps() || w.conn.Broken() {
		return false
	}
	body := w.x.Request.Body
	switch {
	case body == nil:
		return true
	case w.req.Expects100:
		return false
	}
	return w.req.Framing.Kind == h1.Length && w.req.Framing.Length <= maxSkip || body.Done()
}

// skip reads what skippable promised.
func (w *work) skip() bool {
	body := w.x.Request.Body
	if body == nil {
		return true
	}
	for !body.Done() {
		body.Release()
		if data, failure := body.Next(); failure != nil || data == nil && !body.Done() {
			return false
		}
	}
	body.Release()
	return true
}

// reply sends the proxy's own answer.
func (w *work) reply(status int, why exchange.Reason, keep bool) fate {
	c := w.conn
	keep = keep && w.req.Minor > 0 // HTTP/1.0 takes the end of the connection for that of the answer
	w.answer = h1.Answer{Status: status, RequestID: w.requestID(), Date: w.date(), NoBody: w.req.Method == h1.Head, Close: !keep}
	if w.extra.Len() > 0 {
		w.answer.Fields = &w.extra
	}
	c.SetOut(w.conf.Answers.Append(c.Out(), &w.answer))
	return w.replied(status, why, keep)
}

func (w *work) replied(status int, why exchange.Reason, keep bool) fate {
	w.status = status
	if failure := writeFailure(w.conn.Flush()); failure != nil {
		w.count(failure.Reason)
		return breaks
	}
	w.count(why)
	switch {
	case !keep:
		return lingers
	case !w.skip():
		return lingers
	}
	return goesOn
}

func (w *work) date() []byte {
	const format = "Mon, 02 Jan 2006 15:04:05 GMT"
	w.text = time.Now().UTC().AppendFormat(w.text[:0], format)
	return w.text
}

// decided does what a policy says other than to choose a pool.
func (w *work) decided(d *route.Decision) fate {
	keep := w.skippable()
	status := int(d.Status)
	switch d.Action {
	case lb.RedirectToURL, lb.RedirectPrefix:
		w.location = d.AppendLocation(w.location[:0], &w.route)
		if !w.extra.Add(field.Location, w.location) {
			return w.fail(exchange.Fail(exchange.BadRequest))
		}
	case lb.FixedResponse:
		contentType, body := d.Response()
		if contentType != "" {
			w.extra.AddText("Content-Type", contentType, false)
		}
		w.extra.Add(field.Date, w.date())
		w.head = h1.ResponseHead{Status: status, Fields: &w.extra, Framing: h1.Framing{Kind: h1.Length, Length: int64(len(body))},
			Close: !keep, KeepAlive: keep && w.req.Minor == 0}
		out := h1.AppendResponse(w.conn.Out(), &w.head)
		if w.req.Method != h1.Head && status != 204 && status != 304 {
			out = append(out, body...)
		}
		w.conn.SetOut(out)
		return w.replied(status, exchange.Answered, keep)
	}
	return w.reply(status, exchange.Answered, keep)
}
