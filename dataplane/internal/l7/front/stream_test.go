package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/upstream"
)

func httpBackendCounting(t testing.TB, evil, good *atomic.Int32) netip.AddrPort {
	return httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/evil" {
			evil.Add(1)
		} else {
			io.Copy(io.Discard, r.Body)
			good.Add(1)
		}
	})
}

// echo answers with the request's body while it comes.
func echo(rw http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(rw)
	control.EnableFullDuplex()
	if r.Header.Get("X-Length") != "" {
		rw.Header().Set("Content-Length", r.Header.Get("X-Length"))
	}
	rw.WriteHeader(200)
	control.Flush()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		rw.Write(buf[:n])
		control.Flush()
		if err != nil {
			return
		}
	}
}

// TestBigBodies sends bodies of many sizes both ways at once, by length and in chunks, through Go's client and server.
func TestBigBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Conf{}, upstream.Settings{}, httpBackend(t, echo))
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	random := rand.NewChaCha8([32]byte{7})
	for _, size := range []int{1, 1000, 16 << 10, 16<<10 + 1, 100_000, 1 << 20, 20 << 20} {
		for _, chunked := range []bool{false, true} {
			data := make([]byte, size)
			random.Read(data)
			var body io.Reader = bytes.NewReader(data)
			if chunked {
				body = io.MultiReader(body)
			}
			request, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+w.addr+"/", body)
			if err != nil {
				t.Fatal(err)
			}
			if !chunked {
				request.Header.Set("X-Length", fmt.Sprint(size))
			}
			r, err := client.Do(request)
			if err != nil {
				t.Fatalf("%d bytes, chunked %v: %v", size, chunked, err)
			}
			sum := sha256.New()
			n, err := io.Copy(sum, r.Body)
			r.Body.Close()
			if want := sha256.Sum256(data); err != nil || n != int64(size) || !bytes.Equal(sum.Sum(nil), want[:]) {
				t.Errorf("%d bytes, chunked %v: got %d, %v", size, chunked, n, err)
			}
		}
	}
}

// TestPipelining sends many requests at once, with and without bodies, cut at random.
func TestPipelining(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Conf{}, upstream.Settings{}, httpBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s", r.URL.Path, body)
	}))
	var all strings.Builder
	const count = 200
	for i := range count {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", i)
		default:
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n", i)
		}
	}
	p := w.dial(t)
	var writing sync.WaitGroup
	writing.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for rest := all.String(); rest != ""; {
			n := min(len(rest), 1+random.IntN(97))
			if _, err := io.WriteString(p, rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
	})
	for i := range count {
		want := fmt.Sprintf("/%d ", i)
		if i%3 > 0 {
			want += "abc"
		}
		if r, body := p.response(t, "GET"); r.StatusCode != 200 || body != want {
			t.Fatalf("%d: %s %q, want %q", i, r.Status, body, want)
		}
	}
	writing.Wait()
}

// TestUpgrade echoes through a tunnel, through a change of configuration and a drain; then each side closes its direction.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	const request = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
	b := serve(t, func(_ int, c *net.TCPConn) {
		r := bufio.NewReader(c)
		if head := readHead(r); !strings.Contains(head, "Upgrade: websocket\r\nConnection: Upgrade\r\n") {
			t.Errorf("the backend saw %q", head)
		}
		io.WriteString(c, answer+"hello ")
		io.Copy(c, r)
		io.WriteString(c, "bye")
	})
	w := newWorld(t, Conf{}, upstream.Settings{}, b)
	p := w.dial(t)
	p.send(t, request+"early ")
	p.expect(t, answer+"hello early ")
	if err := w.Set(&Conf{}); err != nil {
		t.Fatal(err)
	}
	w.Drain()
	for i := range 100 {
		text := fmt.Sprintf("message %d", i)
		p.send(t, text)
		p.expect(t, text)
	}
	p.CloseWrite()
	if got := p.rest(t); got != "bye" {
		t.Errorf("at the end came %q", got)
	}
	w.ends(t, exchange.Tunnel, 1)

	removed := newWorld(t, Conf{}, upstream.Settings{}, b)
	p = removed.dial(t)
	p.send(t, request)
	p.expect(t, answer+"hello ")
	removed.pool(t, "default") // no backend any more, and no time to finish
	removed.ends(t, exchange.Drained, 1)

	idle := newWorld(t, Conf{Tunnel: 50 * time.Millisecond}, quick, b)
	p = idle.dial(t)
	p.send(t, request)
	p.expect(t, answer+"hello ")
	idle.ends(t, exchange.TunnelIdle, 1)
}

// TestExpect100: the body comes only when the backend has asked for it, and not at all if it refuses.
func TestExpect100(t *testing.T) {
	t.Parallel()
	const request = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	w := newWorld(t, Conf{}, upstream.Settings{}, httpBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rw.Write(body)
	}))
	p := w.dial(t)
	for range 2 {
		p.send(t, request)
		p.expect(t, "HTTP/1.1 100 Continue\r\n\r\n")
		p.send(t, "body")
		if r, body := p.response(t, "POST"); r.StatusCode != 200 || body != "body" {
			t.Errorf("%s %q", r.Status, body)
		}
	}
	refusing := newWorld(t, Conf{}, upstream.Settings{}, serve(t, answering("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")))
	p = refusing.dial(t)
	p.send(t, request)
	if r, _ := p.response(t, "POST"); r.StatusCode != 413 || !r.Close {
		t.Errorf("%s, close %v", r.Status, r.Close)
	}
}

// TestDrain: idle connections end at once, busy ones with their response, and Close waits for them.
func TestDrain(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, Conf{}, upstream.Settings{}, httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
	}))
	idle, busy := w.dial(t), w.dial(t)
	idle.send(t, get)
	idle.response(t, "GET")
	busy.send(t, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	closed := make(chan error, 1)
	go func() { closed <- w.Close(context.Background()) }()
	if got := idle.rest(t); got != "" {
		t.Errorf("the idle connection got %q", got)
	}
	close(release)
	if r, _ := busy.response(t, "GET"); r.StatusCode != 200 || !r.Close {
		t.Errorf("%s, close %v", r.Status, r.Close)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestReloads swaps the configuration all the time while clients run; not one request fails.
func TestReloads(t *testing.T) {
	t.Parallel()
	b := httpBackend(t, func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ok") })
	w := newWorld(t, Conf{}, upstream.Settings{}, b)
	conf := w.conf.Load().Conf
	var clients sync.WaitGroup
	for range 4 {
		p := w.dial(t)
		clients.Go(func() {
			for range 500 {
				if _, err := io.WriteString(p, get); err != nil {
					t.Error(err)
					return
				}
				r, err := http.ReadResponse(p.r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(r.Body)
				r.Body.Close()
				if r.StatusCode != 200 || string(body) != "ok" {
					t.Errorf("%s %q", r.Status, body)
				}
			}
		})
	}
	for range 1000 {
		if err := w.Set(&conf); err != nil {
			t.Fatal(err)
		}
	}
	clients.Wait()
}

// TestCurl talks to a client that is not ours nor Go's.
func TestCurl(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Conf{RequestID: true}, upstream.Settings{}, httpBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(rw, "%s %d %d;", r.Method, n, len(r.Header.Get("X-Request-ID")))
	}))
	url := "http://" + w.addr + "/"
	out, err := exec.CommandContext(t.Context(), "curl", "-sS", "-m", "20", url, "--next", "-sS", "-m", "20", "-d", "@/proc/self/exe", url,
		"--next", "-sS", "-m", "20", "-H", "Transfer-Encoding: chunked", "-d", strings.Repeat("x", 5000), url, "--next", "-sS", "-m", "20", "--http1.0", url).CombinedOutput()
	if got := string(out); err != nil || !strings.HasPrefix(got, "GET 0 32;POST ") || !strings.HasSuffix(got, "POST 5000 32;GET 0 32;") {
		t.Errorf("curl: %v, %q", err, out)
	}
}
