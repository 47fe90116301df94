package exchange

import (
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
)

type counter int

func (c *counter) Interrupt() { *c++ }

// TestAbort: the first reason counts, what is guarded is interrupted once, and what was guarded before is not.
func TestAbort(t *testing.T) {
	t.Parallel()
	var x Exchange
	var before, now, late counter
	x.Guard(&before)
	x.Guard(&now)
	x.Abort(Fail(ClientClosed))
	x.Abort(Fail(Shutdown))
	if f := x.Guard(&late); f != Fail(ClientClosed) || before != 0 || now != 1 || late != 0 {
		t.Errorf("%v, interrupted %d, %d, %d", f, before, now, late)
	}
	x.Reset()
	if x.Aborted() != nil {
		t.Error("an exchange that was reset is aborted")
	}
	x.Abort(Fail(Shutdown))
}

// TestReasons: every reason has a word of its own, and its own failure.
func TestReasons(t *testing.T) {
	t.Parallel()
	words := make(map[string]bool)
	for r := range reasons {
		if f := Fail(r); f.Reason != r || r.String() == "" || words[r.String()] {
			t.Errorf("reason %d: %q, %d", r, r, f.Reason)
		}
		words[r.String()] = true
	}
	f := FromFault(BadRequest, &h1.Fault{Status: 431, Reason: "header_too_large"})
	if f.Status != 431 || f.Detail != "header_too_large" || f.Reason != BadRequest || Fail(BadRequest).Status != 400 {
		t.Errorf("%+v", f)
	}
}
