// Package sysnotify owns the talk with the service supervisor: systemd's notify and watchdog protocol, sd_notify(3). Outside
// systemd every call does nothing.
package sysnotify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// sendTimeout bounds one datagram: a supervisor that does not read must not stop the process that it supervises.
const sendTimeout = time.Second

// Notifier sends to the supervisor. A nil Notifier, and one without a socket, send nothing. It is safe for concurrent use.
type Notifier struct {
	log      hclog.Logger
	socket   string        // empty outside systemd
	watchdog time.Duration // how long the supervisor waits for a sign of life; zero: it does not
}

// FromEnv reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID by getenv (os.Getenv in a real process). Values that nobody
// could act upon are logged and count as unset. Failed sends are logged at warn, since no caller could do better.
func FromEnv(getenv func(string) string, log hclog.Logger) *Notifier {
	n := &Notifier{log: log}
	socket := getenv("NOTIFY_SOCKET")
	if socket == "" {
		return n
	}
	if socket[0] != '/' && socket[0] != '@' {
		log.Warn("supervisor is not notified: NOTIFY_SOCKET is neither a path nor an abstract socket", "socket", socket)
		return n
	}
	n.socket = socket

	usec := getenv("WATCHDOG_USEC")
	if usec == "" {
		return n
	}
	// The variables are inherited by children, to whom they do not apply: sd_watchdog_enabled(3).
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n
	}
	micros, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || micros <= 0 {
		log.Warn("watchdog is off: WATCHDOG_USEC is no positive number", "value", usec)
		return n
	}
	n.watchdog = time.Duration(micros) * time.Microsecond
	return n
}

// Ready says that start-up, or a reload, is finished. Status is one line for `systemctl status`; empty leaves it as it is.
func (n *Notifier) Ready(status string) { n.send("READY=1" + statusLine(status)) }

// Status replaces the line that `systemctl status` shows.
func (n *Notifier) Status(status string) { n.send(strings.TrimPrefix(statusLine(status), "\n")) }

// Stopping says that shutdown has begun.
func (n *Notifier) Stopping() { n.send("STOPPING=1") }

// Reloading says that configuration is being re-read; Ready must follow. The monotonic time lets the supervisor tell this
// reload from an earlier one (Type=notify-reload in systemd.service(5)).
func (n *Notifier) Reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		n.send("RELOADING=1")
		return
	}
	n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)))
}

// Watchdog sends a sign of life at once and then at half the interval that the supervisor asked for, whenever alive returns
// nil; an error, or an alive that hangs, withholds it, and the supervisor restarts the process. It returns when ctx ends, or
// at once when the supervisor asked for nothing.
func (n *Notifier) Watchdog(ctx context.Context, alive func() error) {
	if n == nil || n.socket == "" || n.watchdog == 0 {
		return
	}
	ticker := time.NewTicker(n.watchdog / 2)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if err := alive(); err != nil {
			n.log.Error("sign of life withheld from the watchdog", "error", err)
		} else {
			n.send("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// statusLine is the assignment for status as a further line. A line break inside would start another assignment.
func statusLine(status string) string {
	if status == "" {
		return ""
	}
	return "\nSTATUS=" + strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, status)
}

// send writes one datagram. Package net takes a leading @ for an abstract socket, as systemd does.
func (n *Notifier) send(state string) {
	if n == nil || n.socket == "" || state == "" {
		return
	}
	if err := write(n.socket, state); err != nil {
		n.log.Warn("supervisor was not notified", "state", state, "error", err)
	}
}

func write(socket, state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}
