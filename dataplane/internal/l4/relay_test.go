package l4

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/pipe"
)

func TestEchoAndHalfClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, echo)))
	c := connect(t, vip)
	for _, message := range []string{"a", strings.Repeat("b", bufferSize), strings.Repeat("c", 3*bufferSize+1), "d"} {
		ask(t, c, message)
	}
	io.WriteString(c, "last")
	c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "last" || err != nil {
		t.Fatalf("after the half-close came %q, %v", got, err)
	}
	w.idle(t, "l", "p")
	m := w.counters("l")
	want := uint64(1 + bufferSize + 3*bufferSize + 1 + 1 + 4)
	if in, out := m.bytesIn.Load(), m.bytesOut.Load(); in != want || out != want {
		t.Errorf("counted %d bytes in and %d out, want %d", in, out, want)
	}
	if n := m.ended[byPeers].Load(); n != 1 {
		t.Errorf("%d connections ended in order", n)
	}
}

// TestServerEndsFirst has the backend close its side while the client still sends.
func TestServerEndsFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	serve, came := handed()
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, serve)))
	c := connect(t, vip)
	s := take(t, came)
	io.WriteString(s, "greeting")
	s.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "greeting" || err != nil {
		t.Fatalf("the client got %q, %v", got, err)
	}
	for range 3 {
		long := strings.Repeat("x", 100_000)
		go io.WriteString(c, long)
		got := make([]byte, len(long))
		if _, err := io.ReadFull(s, got); err != nil || string(got) != long {
			t.Fatalf("the backend got %d bytes, %v", len(got), err)
		}
	}
	c.CloseWrite()
	wantEOF(t, s)
	w.idle(t, "l", "p")
}

func TestReset(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(t *testing.T, client, server *net.TCPConn){
		"client": func(t *testing.T, client, server *net.TCPConn) {
			reset(client)
			wantReset(t, server)
		},
		"server": func(t *testing.T, client, server *net.TCPConn) {
			reset(server)
			wantReset(t, client)
		},
		"client after its half-close": func(t *testing.T, client, server *net.TCPConn) {
			client.CloseWrite()
			wantEOF(t, server)
			reset(client)
			wantBroken(t, server)
		},
		"server after its half-close": func(t *testing.T, client, server *net.TCPConn) {
			server.CloseWrite()
			wantEOF(t, client)
			reset(server)
			wantBroken(t, client)
		},
		"client in mid-transfer": func(t *testing.T, client, server *net.TCPConn) {
			go func() {
				for {
					if _, err := client.Write(make([]byte, 1<<20)); err != nil {
						return
					}
				}
			}()
			if _, err := io.ReadFull(server, make([]byte, 4<<20)); err != nil {
				t.Fatal(err)
			}
			reset(client)
			wantReset(t, server)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			vip := newAddr(t)
			serve, came := handed()
			w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, serve)))
			client := connect(t, vip)
			server := take(t, came)
			play(t, client, server)
			w.idle(t, "l", "p")
		})
	}
}

// TestEarlyAnswer has a backend answer and go away while the client still sends: the answer must arrive.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	serve, came := handed()
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, serve)))
	c := connect(t, vip)
	s := take(t, came)
	io.WriteString(c, "begin")
	io.ReadFull(s, make([]byte, 5))
	io.WriteString(s, "enough")
	s.Close()
	got := make([]byte, 6)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "enough" {
		t.Fatalf("the client got %q, %v", got, err)
	}
	wantEOF(t, c)
	// What the client sends now meets a reset of the backend, which ends all.
	for {
		if _, err := c.Write(make([]byte, 1000)); err != nil {
			break
		}
	}
	w.idle(t, "l", "p")
}

// TestBulk moves 100 MB both ways at once and compares checksums.
func TestBulk(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	w := newWorld(t, 1)
	vip := newAddr(t)
	sums := make(chan string, 1)
	addr := backend(t, func(c *net.TCPConn) {
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			io.Copy(c, random(2, size))
			c.CloseWrite()
		}()
		sums <- sum(c)
		<-sent
	})
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, addr))
	c := connect(t, vip)
	c.SetDeadline(time.Now().Add(10 * patience))
	go func() {
		io.Copy(c, random(1, size))
		c.CloseWrite()
	}()
	if got, want := sum(c), sum(random(2, size)); got != want {
		t.Errorf("the client got other bytes than were sent")
	}
	if got, want := <-sums, sum(random(1, size)); got != want {
		t.Errorf("the backend got other bytes than were sent")
	}
	w.idle(t, "l", "p")
	if m := w.counters("l"); m.bytesIn.Load() != size || m.bytesOut.Load() != size {
		t.Errorf("counted %d bytes in, %d out", m.bytesIn.Load(), m.bytesOut.Load())
	}
}

// TestChangingPace alternates trickle, bursts and silence with lengths around the size of the buffer, so that a
// connection goes between copy and splice at every point.
func TestChangingPace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	vip := newAddr(t)
	w.listen(t, "l", listenerOn(vip), w.pool(t, "p", time.Minute, backend(t, echo)))
	c := connect(t, vip)
	r := rand.New(rand.NewPCG(4, 4))
	for range 300 {
		length := 1 + r.IntN(64)
		switch r.IntN(4) {
		case 0:
			length = bufferSize - 1 + r.IntN(3)
		case 1:
			length = 1 + r.IntN(3*pipe.Size)
		}
		message := make([]byte, length)
		for i := range message {
			message[i] = byte(r.Uint32())
		}
		go c.Write(message)
		got := make([]byte, length)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != string(message) {
			t.Fatalf("%d bytes came back wrong: %v", length, err)
		}
	}
}

// random is a stream of so many bytes that depends on the seed alone.
func random(seed uint64, size int64) io.Reader {
	var key [32]byte
	key[0] = byte(seed)
	return io.LimitReader(rand.NewChaCha8(key), size)
}

func sum(r io.Reader) string {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err.Error()
	}
	return hex.EncodeToString(h.Sum(nil))
}

func BenchmarkRequest(b *testing.B) {
	w := newWorld(b, 1)
	vip := newAddr(b)
	w.listen(b, "l", listenerOn(vip), w.pool(b, "p", time.Minute, backend(b, echo)))
	c := connect(b, vip)
	c.SetDeadline(time.Time{})
	message := strings.Repeat("x", 100)
	b.ReportAllocs()
	for b.Loop() {
		ask(b, c, message)
	}
}

func BenchmarkConnect(b *testing.B) {
	w := newWorld(b, 1)
	vip := newAddr(b)
	w.listen(b, "l", listenerOn(vip), w.pool(b, "p", time.Minute, backend(b, echo)))
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", vip.String())
		if err != nil {
			b.Fatal(err)
		}
		ask(b, c, "x")
		reset(c.(*net.TCPConn))
	}
}
