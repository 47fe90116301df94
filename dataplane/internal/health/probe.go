package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/dial"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

const (
	maxHead  = 16 << 10 // of an answer, with the interim ones before it
	maxDrain = 64 << 10 // of an answer's body, read so that closing does not reset the backend
	drainFor = 200 * time.Millisecond
)

// Validate tells why this build cannot run a check: a type it does not know, durations or thresholds of zero, or an HTTP
// request that would not be one.
func Validate(c *snapshot.HealthCheck) error {
	switch {
	case c.Interval <= 0:
		return errors.New("health check: interval is not positive")
	case c.Timeout <= 0:
		return errors.New("health check: timeout is not positive")
	case c.HealthyThreshold == 0 || c.UnhealthyThreshold == 0:
		return errors.New("health check: threshold is 0")
	}
	switch c.Type {
	case lb.CheckTCP:
		return nil
	case lb.CheckHTTP:
		return validateHTTP(c.HTTP)
	}
	return fmt.Errorf("health check: type %d is not supported: use tcp or http", c.Type)
}

func validateHTTP(h *lb.HTTPCheck) error {
	switch {
	case h == nil:
		return errors.New("health check: http request is missing")
	case h.Method == "" || strings.ContainsFunc(h.Method, notToken):
		return fmt.Errorf("health check: method %q is not a token", h.Method)
	case !strings.HasPrefix(h.Path, "/") || strings.ContainsFunc(h.Path, notVisible):
		return fmt.Errorf("health check: path %q must begin with / and hold neither spaces nor control characters", h.Path)
	case strings.ContainsFunc(h.Host, notVisible):
		return fmt.Errorf("health check: host %q holds spaces or control characters", h.Host)
	case len(h.Codes) == 0:
		return errors.New("health check: no expected codes")
	}
	return nil
}

func notVisible(r rune) bool { return r <= ' ' || r == 0x7f }

func notToken(r rune) bool {
	return notVisible(r) || r > 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// dialer has no keep-alive, since no probe lasts long enough to need it.
var dialer = net.Dialer{KeepAlive: -1}

// probe makes one probe over the network. The error says what went wrong, for people.
func probe(ctx context.Context, t *Target) error {
	began := time.Now()
	conn, err := dial.TCP(ctx, &dialer, t.Monitor)
	if err != nil {
		return explain("connect", err, t.Check.Timeout)
	}
	defer conn.Close()
	if t.Check.Type == lb.CheckTCP {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(began.Add(t.Check.Timeout)); err != nil {
		return explain("connect", err, t.Check.Timeout)
	}
	return probeHTTP(conn, t)
}

// probeHTTP asks for one page (RFC 9112) and looks at the status of the answer. It follows no redirect and leaves the body
// alone, but for a bounded part that lets the connection end without a reset.
func probeHTTP(conn net.Conn, t *Target) error {
	check := t.Check.HTTP
	host := check.Host
	if host == "" {
		host = t.Backend.String()
	}
	request := check.Method + " " + check.Path + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: fiberlb-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return explain("send", err, t.Check.Timeout)
	}
	status, err := readStatus(conn)
	if err != nil {
		return explain("response", err, t.Check.Timeout)
	}
	if err := conn.SetReadDeadline(time.Now().Add(min(drainFor, t.Check.Timeout))); err == nil {
		io.CopyN(io.Discard, conn, maxDrain) //nolint:errcheck // a courtesy
	}
	for _, r := range check.Codes {
		if status >= r.First && status <= r.Last {
			return nil
		}
	}
	return fmt.Errorf("status %d, wants %s", status, codes(check.Codes))
}

// readStatus reads up to the end of the first head that is not an interim one (RFC 9110 section 15.2) and returns its status.
func readStatus(r io.Reader) (uint16, error) {
	head := make([]byte, 0, 1024)
	for {
		rest, status, err := parseHead(head)
		if err != nil {
			return 0, err
		}
		if status >= 200 || status == 101 {
			return status, nil
		}
		if status != 0 {
			head = rest
			continue
		}
		if len(head) == maxHead {
			return 0, fmt.Errorf("head is over %d KiB", maxHead>>10)
		}
		if len(head) == cap(head) {
			grown := make([]byte, len(head), min(2*cap(head)+512, maxHead))
			copy(grown, head)
			head = grown
		}
		n, err := r.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return 0, errors.New("connection closed before the end of the head")
			}
			return 0, err
		}
	}
}

// parseHead returns the status of the head that b begins with and what follows it; status 0 where the end is not there yet.
func parseHead(b []byte) (rest []byte, status uint16, err error) {
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if !whole {
		if const5 := "HTTP/"; len(b) > 0 && !strings.HasPrefix(const5, string(b[:min(len(b), len(const5))])) {
			return nil, 0, errors.New("not an HTTP/1.x answer")
		}
		return nil, 0, nil
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return nil, 0, errors.New("not an HTTP/1.x answer")
	}
	code, err := strconv.ParseUint(string(line[9:12]), 10, 16)
	if err != nil || code < 100 {
		return nil, 0, errors.New("not an HTTP/1.x answer")
	}
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return nil, 0, nil
		}
		from += i + 1
		for _, end := range []string{"\r\n", "\n"} {
			if bytes.HasPrefix(b[from:], []byte(end)) {
				return b[from+len(end):], uint16(code), nil
			}
		}
	}
}

// codes writes ranges the way people do: 200,202,204-206.
func codes(ranges []lb.CodeRange) string {
	words := make([]string, len(ranges))
	for i, r := range ranges {
		words[i] = strconv.Itoa(int(r.First))
		if r.Last != r.First {
			words[i] += "-" + strconv.Itoa(int(r.Last))
		}
	}
	return strings.Join(words, ",")
}

// fault is an error with a text of its own that still unwraps to its cause.
type fault struct {
	text  string
	cause error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.cause }

// explain words an error of the network: the step, then the innermost cause, without addresses, which the reader has.
func explain(step string, err error, timeout time.Duration) error {
	var timed net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timed) && timed.Timeout() {
		return &fault{fmt.Sprintf("%s: timeout after %s", step, timeout), err}
	}
	cause := err
	for {
		inner := errors.Unwrap(cause)
		if inner == nil {
			break
		}
		cause = inner
	}
	return &fault{step + ": " + cause.Error(), err}
}
