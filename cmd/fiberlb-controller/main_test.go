package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// safeBuffer is written by the command and read by its test.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
	// written gets a value after each write.
	written chan struct{}
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.b.Write(p)
	select {
	case s.written <- struct{}{}:
	default:
	}
	return n, err
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func noEnv(string) string { return "" }

func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		args  string
		code  int
		words string // on stdout or stderr
	}{
		{"--help", 0, "--backend-deny-cidrs"},
		{"--version", 0, "fiberlb-controller version"},
		{"", 2, "--etcd-endpoints or --embedded-etcd"},
		{"--nope", 2, "unknown flag"},
		{"serve", 2, "unknown command"},
		{"--embedded-etcd " + dir + " --etcd-endpoints a:1 --insecure-loopback", 2, "contradicts"},
		{"--embedded-etcd " + dir, 2, "--insecure-loopback"},
		{"--embedded-etcd " + dir + " --listen 0.0.0.0:7400 --insecure-loopback", 2, "not loopback"},
		{"--embedded-etcd " + dir + " --http 0.0.0.0:7400 --insecure-loopback", 2, "not loopback"},
		{"--embedded-etcd " + dir + " --tls-cert x", 2, "--tls-key and --tls-ca missing"},
		{"--embedded-etcd " + dir + " --insecure-loopback --vip-cidrs 10.0.0.1/8", 2, "10.0.0.0/8"},
		{"--embedded-etcd " + dir + " --insecure-loopback --vip-cidrs x", 2, "--vip-cidrs"},
		{"--embedded-etcd " + dir + " --insecure-loopback --backend-deny-cidrs 300.0.0.0/8", 2, "--backend-deny-cidrs"},
		{"--embedded-etcd " + dir + " --insecure-loopback --log-level loud", 2, "loud"},
		{"--embedded-etcd " + dir + " --insecure-loopback --key-file /nope", 1, "/nope"},
		{"--embedded-etcd /dev/null/x --insecure-loopback --listen 127.0.0.1:0 --http 127.0.0.1:0", 1, "/dev/null"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), strings.Fields(test.args), &out, &out, noEnv); code != test.code || !strings.Contains(out.String(), test.words) {
			t.Errorf("%s: code %d, want %d with %q:\n%s", test.args, code, test.code, test.words, out.String())
		}
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stop, halt := context.WithCancel(ctx)
	logs := &safeBuffer{written: make(chan struct{}, 1)}
	done := make(chan int, 1)
	go func() {
		done <- run(stop, []string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--insecure-loopback", "--log-format", "json",
			"--embedded-etcd", filepath.Join(t.TempDir(), "etcd"), "--vip-cidrs", "203.0.113.0/24,2001:db8::1"}, io.Discard, logs, noEnv)
	}()
	for !strings.Contains(logs.String(), `"serving"`) {
		select {
		case <-logs.written:
		case code := <-done:
			t.Fatalf("ended with %d: %s", code, logs)
		case <-ctx.Done():
			t.Fatalf("not serving: %s", logs)
		}
	}
	address := regexp.MustCompile(`"http":"([^"]+)"`).FindStringSubmatch(logs.String())
	if address == nil {
		t.Fatalf("no address in %s", logs)
	}
	resp, err := http.Get("http://" + address[1] + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("readyz: %s", resp.Status)
	}
	halt()
	if code := <-done; code != 0 {
		t.Errorf("code %d: %s", code, logs)
	}
}
