package sysnotify

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// supervisor is the socket on which systemd would listen.
func supervisor(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// next is the datagram that the supervisor gets next.
func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func environ(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// socketPath is a path for a socket; t.TempDir's may pass the 108 bytes that fit into an address.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sysnotify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "notify")
}

func TestStates(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	conn := supervisor(t, path)
	n := FromEnv(environ(map[string]string{"NOTIFY_SOCKET": path}), hclog.NewNullLogger())
	tests := []struct {
		name string
		do   func()
		want string
	}{
		{"ready", func() { n.Ready("") }, "READY=1"},
		{"ready with a status", func() { n.Ready("revision 7") }, "READY=1\nSTATUS=revision 7"},
		{"status", func() { n.Status("revision 8") }, "STATUS=revision 8"},
		{"status of several lines", func() { n.Status("a\nMAINPID=1\r\nb") }, "STATUS=a MAINPID=1  b"},
		{"stopping", n.Stopping, "STOPPING=1"},
	}
	for _, test := range tests {
		test.do()
		if got := next(t, conn); got != test.want {
			t.Errorf("%s sent %q, want %q", test.name, got, test.want)
		}
	}
}

func TestReloadingCarriesTheMonotonicClock(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	conn := supervisor(t, path)
	n := FromEnv(environ(map[string]string{"NOTIFY_SOCKET": path}), hclog.NewNullLogger())
	before := monotonicMicros(t)
	n.Reloading()
	after := monotonicMicros(t)
	match := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=([0-9]+)$`).FindStringSubmatch(next(t, conn))
	if match == nil {
		t.Fatal("no monotonic time sent")
	}
	if sent, err := strconv.ParseInt(match[1], 10, 64); err != nil || sent < before || sent > after {
		t.Errorf("sent %s, want it within [%d, %d]", match[1], before, after)
	}
}

func monotonicMicros(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

func TestWatchdogTellsOfLifeAndWithholds(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	conn := supervisor(t, path)
	var log bytes.Buffer
	n := FromEnv(environ(map[string]string{
		"NOTIFY_SOCKET": path,
		"WATCHDOG_USEC": "2000",
		"WATCHDOG_PID":  strconv.Itoa(os.Getpid()),
	}), hclog.New(&hclog.LoggerOptions{Output: &log}))

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	asked := 0
	go func() {
		defer close(done)
		n.Watchdog(ctx, func() error {
			asked++
			if asked == 3 {
				return errors.New("the apply loop hangs")
			}
			if asked == 5 {
				cancel()
			}
			return nil
		})
	}()
	<-done
	for range 4 {
		if got := next(t, conn); got != "WATCHDOG=1" {
			t.Errorf("sent %q", got)
		}
	}
	n.Status("last")
	if got := next(t, conn); got != "STATUS=last" {
		t.Errorf("a fifth sign of life was sent: %q", got)
	}
	if !strings.Contains(log.String(), "the apply loop hangs") {
		t.Errorf("log says %q", log.String())
	}
}

func TestWatchdogKeepsHalfTheInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		n := &Notifier{log: hclog.NewNullLogger(), socket: "/nonexistent", watchdog: 20 * time.Second}
		start := time.Now()
		var asked []time.Duration
		n.Watchdog(ctx, func() error {
			asked = append(asked, time.Since(start))
			return nil
		})
		if len(asked) != 4 || asked[0] != 0 || asked[1] != 10*time.Second || asked[3] != 30*time.Second {
			t.Errorf("signs of life at %v, want at 0s, 10s, 20s and 30s", asked)
		}
	})
}

func TestNothingWithoutASupervisor(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var none *Notifier
	for _, n := range []*Notifier{none, FromEnv(environ(nil), hclog.New(&hclog.LoggerOptions{Output: &log}))} {
		n.Ready("up")
		n.Status("up")
		n.Reloading()
		n.Stopping()
		n.Watchdog(t.Context(), func() error {
			t.Error("asked for a sign of life that nobody waits for")
			return nil
		})
	}
	if log.Len() != 0 {
		t.Errorf("log says %q", log.String())
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		vars     map[string]string
		socket   string
		watchdog time.Duration
		log      string
	}{
		{"watchdog for everybody", map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000"}, "/x", 3 * time.Second, ""},
		{"watchdog of the parent", map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, "/x", 0, ""},
		{"no number", map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3s"}, "/x", 0, "WATCHDOG_USEC"},
		{"zero", map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, "/x", 0, "WATCHDOG_USEC"},
		{"vsock", map[string]string{"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "3000000"}, "", 0, "NOTIFY_SOCKET"},
	}
	for _, test := range tests {
		var log bytes.Buffer
		n := FromEnv(environ(test.vars), hclog.New(&hclog.LoggerOptions{Output: &log}))
		if n.socket != test.socket || n.watchdog != test.watchdog {
			t.Errorf("%s: socket %q, watchdog %s", test.name, n.socket, n.watchdog)
		}
		if (test.log == "") != (log.Len() == 0) || !strings.Contains(log.String(), test.log) {
			t.Errorf("%s: log says %q", test.name, log.String())
		}
	}
}

func TestFailedSendIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	n := FromEnv(environ(map[string]string{"NOTIFY_SOCKET": socketPath(t)}), hclog.New(&hclog.LoggerOptions{Output: &log}))
	n.Ready("")
	if !strings.Contains(log.String(), "supervisor was not notified") {
		t.Errorf("log says %q", log.String())
	}
}
