package front

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/upstream"
)

// general hides from both sides that the other one is HTTP/1.1 too: bodies are decoded and framed again, and never bypass the engine.
type general struct{ exchange.Upstream }

type hidden struct{ exchange.Body }

func (g general) Exchange(ctx context.Context, x *exchange.Exchange) *exchange.Failure {
	if x.Request.Body != nil {
		x.Request.Body = hidden{x.Request.Body}
	}
	failure := g.Upstream.Exchange(ctx, x)
	if failure == nil && x.Response.Body != nil {
		x.Response.Body = hidden{x.Response.Body}
	}
	return failure
}

// TestDifferential sends the same requests the general way and the short one, with bodies framed at random on both sides: what arrives, trailers
// included, is what was sent, either way.
func TestDifferential(t *testing.T) {
	t.Parallel()
	b := httpBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		random := rand.New(rand.NewPCG(uint64(len(body)), 5))
		rw.Header().Set("Trailer", "X-Sum")
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(1<<random.IntN(17)))
			rw.Write(rest[:n])
			if random.IntN(2) == 0 {
				http.NewResponseController(rw).Flush()
			}
			rest = rest[n:]
		}
		rw.Header().Set("X-Sum", fmt.Sprintf("%d/%s", len(body), r.Trailer.Get("X-Count")))
	})
	short := newWorld(t, Conf{}, upstream.Settings{}, b)
	long := newWorld(t, Conf{}, upstream.Settings{}, b)
	conf := long.conf.Load().Conf
	conf.Default = general{conf.Default}
	if err := long.Set(&conf); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	peers := map[string]*peer{"short": short.dial(t), "general": long.dial(t)}
	for i := range 300 {
		data := make([]byte, random.IntN(1<<random.IntN(19)))
		for k := range data {
			data[k] = byte(random.Uint32())
		}
		request := framed(random, data, i)
		for name, p := range peers {
			written := make(chan error, 1)
			go func() {
				_, err := p.Write(request)
				written <- err
			}()
			r, err := http.ReadResponse(p.r, nil)
			if err != nil {
				t.Fatalf("%d, %s: %v", i, name, err)
			}
			got, err := io.ReadAll(r.Body)
			r.Body.Close()
			want := fmt.Sprintf("%d/", len(data))
			if head, _, _ := bytes.Cut(request, []byte("\r\n\r\n")); bytes.Contains(head, []byte("chunked")) {
				want = fmt.Sprintf("%d/%d", len(data), i)
			}
			if err != nil || !bytes.Equal(got, data) || len(data) > 0 && r.Trailer.Get("X-Sum") != want {
				t.Fatalf("%d, %s: %d bytes of %d, %v; trailer %q, want %q", i, name, len(got), len(data), err, r.Trailer.Get("X-Sum"), want)
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// framed makes a request with that body, framed at random.
func framed(random *rand.Rand, data []byte, number int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "PUT /%d HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n", number)
	if random.IntN(3) == 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(data))
		b.Write(data)
		return b.Bytes()
	}
	b.WriteString("Trailer: X-Count\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(data) > 0 {
		n := min(len(data), 1+random.IntN(1<<random.IntN(17)))
		extension := ""
		if random.IntN(8) == 0 {
			extension = `;a="b c"`
		}
		fmt.Fprintf(&b, "%x%s\r\n", n, extension)
		b.Write(data[:n])
		b.WriteString("\r\n")
		data = data[n:]
	}
	fmt.Fprintf(&b, "0\r\nX-Count: %d\r\n\r\n", number)
	return b.Bytes()
}
