package adminhttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts a server that stops with the test, and returns its base URL.
func run(t *testing.T, s *Server) string {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr()
}

func newServer(cfg Config) *Server {
	cfg.Address = "127.0.0.1:0"
	return New(cfg)
}

// get fetches a URL without leaving a connection behind.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		ready  func() []Condition
		status int
		want   string
	}{
		{"nothing to wait for", nil, 200, `{"ready":true,"conditions":[]}`},
		{"all hold", func() []Condition { return []Condition{{Name: "etcd", OK: true}, {Name: "store", OK: true}} }, 200,
			`{"ready":true,"conditions":[{"name":"etcd","ok":true},{"name":"store","ok":true}]}`},
		{"one does not", func() []Condition {
			return []Condition{{Name: "etcd", OK: true}, {Name: "snapshot", Reason: "none received yet"}}
		}, 503, `{"ready":false,"conditions":[{"name":"etcd","ok":true},{"name":"snapshot","ok":false,"reason":"none received yet"}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, body := get(t, run(t, newServer(Config{Ready: test.ready}))+"/readyz")
			var compact bytes.Buffer
			if err := json.Compact(&compact, []byte(body)); err != nil {
				t.Fatal(err)
			}
			if status != test.status || compact.String() != test.want {
				t.Errorf("answered %d %s, want %d %s", status, &compact, test.status, test.want)
			}
		})
	}
}

func TestHealthz(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		alive  func() error
		status int
		want   string
	}{
		{"no check", nil, 200, `"ok": true`},
		{"alive", func() error { return nil }, 200, `"ok": true`},
		{"dead", func() error { return errors.New("the apply loop hangs") }, 503, "the apply loop hangs"},
	}
	for _, test := range tests {
		status, body := get(t, run(t, newServer(Config{Alive: test.alive}))+"/healthz")
		if status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: answered %d %s", test.name, status, body)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "fiberlb_test_things_total"})
	registry.MustRegister(counter)
	counter.Add(3)
	status, body := get(t, run(t, newServer(Config{Gatherer: registry}))+"/metrics")
	if status != 200 || !strings.Contains(body, "fiberlb_test_things_total 3\n") {
		t.Errorf("answered %d %s", status, body)
	}
	if status, _ := get(t, run(t, newServer(Config{}))+"/metrics"); status != 404 {
		t.Errorf("without a gatherer: %d", status)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	status, body := get(t, run(t, newServer(Config{}))+"/version")
	var build Build
	if err := json.Unmarshal([]byte(body), &build); err != nil || status != 200 || build != BuildInfo() {
		t.Errorf("answered %d %s (%v)", status, body, err)
	}
}

func TestProfilesOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/debug/pprof/":                  "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/cmdline":           "adminhttp",
		"/debug/pprof/symbol":            "num_symbols",
	} {
		if status, body := get(t, run(t, newServer(Config{PProf: true}))+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s answered %d %s", path, status, body)
		}
		if status, _ := get(t, run(t, newServer(Config{}))+path); status != 404 {
			t.Errorf("%s unasked answered %d", path, status)
		}
	}
}

func TestMountedHandlersComeBesideOurs(t *testing.T) {
	t.Parallel()
	s := newServer(Config{})
	s.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "mounted "+r.URL.Path) // the test's client stays until the end
	}))
	url := run(t, s)
	if _, body := get(t, url+"/v1/projects"); body != "mounted /v1/projects" {
		t.Errorf("answered %q", body)
	}
	if _, body := get(t, url+"/healthz"); !strings.Contains(body, "alive") {
		t.Errorf("answered %q", body)
	}
}

func TestAddrAndTakenPort(t *testing.T) {
	t.Parallel()
	first := newServer(Config{})
	if first.Addr() != "" {
		t.Errorf("address %q before Listen", first.Addr())
	}
	run(t, first)
	second := New(Config{Address: first.Addr()})
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "adminhttp: listen tcp "+first.Addr()) {
		t.Errorf("second server on the address: %v", err)
	}
	if err := New(Config{Address: "nonsense"}).Listen(); err == nil {
		t.Error("listened on nonsense")
	}
}

// hold is a handler that tells when a request arrived, and returns when its context ends or release is closed.
func hold(arrived chan<- struct{}, release <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-release:
			w.WriteHeader(http.StatusTeapot)
		case <-r.Context().Done():
		}
	})
}

// request begins a request and returns its connection, which closes with the test.
func request(t *testing.T, addr, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	s := newServer(Config{})
	s.Handle("/hold", hold(arrived, release))
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	conn := request(t, s.Addr(), "/hold")
	<-arrived
	stop()
	close(release)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "418") {
		t.Errorf("request under way at the stop got %q, %v", line, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	s := newServer(Config{})
	s.Handle("/hold", hold(arrived, nil))
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	request(t, s.Addr(), "/hold")
	<-arrived
	start := time.Now()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < shutdownGrace || took > shutdownGrace+5*time.Second {
		t.Errorf("stop took %s, want about %s", took, shutdownGrace)
	}
}

func TestBrokenCollectorIsLoggedAndHidesNoOther(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "fiberlb_test_things_total"}))
	broken := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, errors.New("collector is broken") })
	s := newServer(Config{Gatherer: prometheus.Gatherers{registry, broken}, Log: hclog.New(&hclog.LoggerOptions{Output: &log})})
	status, body := get(t, run(t, s)+"/metrics")
	if status != 200 || !strings.Contains(body, "fiberlb_test_things_total 0\n") || !strings.Contains(log.String(), "collector is broken") {
		t.Errorf("answered %d %s with the log %q", status, body, log.String())
	}
}
