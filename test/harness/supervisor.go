package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// ShortDir is a temporary folder whose path leaves room for a unix socket: its address holds 107 bytes, which t.TempDir may exceed.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "flb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Supervisor is the end of sd_notify(3) on which systemd would listen.
type Supervisor struct {
	path string

	mu       sync.Mutex // guards messages
	messages []string
}

// NewSupervisor listens on a socket of its own.
func NewSupervisor(t testing.TB) *Supervisor {
	t.Helper()
	s := &Supervisor{path: filepath.Join(ShortDir(t), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go s.receive(conn)
	return s
}

func (s *Supervisor) receive(conn *net.UnixConn) {
	buffer := make([]byte, 8<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.messages = append(s.messages, string(buffer[:n]))
		s.mu.Unlock()
	}
}

// Env tells a process of the supervisor.
func (s *Supervisor) Env() []string { return []string{"NOTIFY_SOCKET=" + s.path} }

// Messages are all so far.
func (s *Supervisor) Messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

// Await waits for a message with an assignment, as "READY=1", among those after the first `after`. It returns their number up
// to and with that one.
func (s *Supervisor) Await(t testing.TB, after int, assignment string) int {
	t.Helper()
	at := 0
	Until(t, "the supervisor hears "+assignment, func() error {
		messages := s.Messages()
		for i := after; i < len(messages); i++ {
			for line := range strings.SplitSeq(messages[i], "\n") {
				if line == assignment {
					at = i + 1
					return nil
				}
			}
		}
		return fmt.Errorf("it heard %q", messages)
	})
	return at
}
