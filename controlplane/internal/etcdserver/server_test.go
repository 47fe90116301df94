package etcdserver

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, NoFsync: true, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: t.Output()})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestRestartKeepsWhatWasWritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := start(t, dir)
	if _, err := s.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	id := s.etcd.Server.Cluster().ID()
	s = start(t, dir)
	if again := s.etcd.Server.Cluster().ID(); again != id {
		t.Errorf("the cluster's id changed from %s to %s", id, again)
	}
	if other := start(t, t.TempDir()).etcd.Server.Cluster().ID(); other == id {
		t.Error("two clusters have the same id")
	}
	resp, err := s.Client().Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "v" {
		t.Errorf("read %v", resp.Kvs)
	}
}

func TestOnlyTheOwnerMayEnter(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	s := start(t, dir)
	for path, want := range map[string]os.FileMode{dir: 0o700, strings.TrimPrefix(s.Endpoint(), "unix://"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %#o, want %#o", path, got, want)
		}
	}
}

func TestLongPathsWork(t *testing.T) {
	t.Parallel()
	s := start(t, filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	path := strings.TrimPrefix(s.Endpoint(), "unix://")
	if len(path) > maxSocketPath {
		t.Errorf("the socket is at %s", path)
	}
	if _, err := s.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's directory is left behind: %v", err)
	}
}

func TestCloseDoesNotWaitForWatches(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	other, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := other.Watch(ctx, "k", clientv3.WithCreatedNotify())
	<-events
	begin := time.Now()
	s.Close()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("Close took %s", took)
	}
}

// TestSecondProcess runs this test binary again, over a directory that is in use.
func TestSecondProcess(t *testing.T) {
	if dir := os.Getenv("ETCDSERVER_TEST_DIR"); dir != "" {
		s, err := Start(t.Context(), Config{Dir: dir, NoFsync: true})
		if err == nil {
			s.Close()
			t.Fatal("no error")
		}
		t.Fatal(err)
	}
	t.Parallel()
	dir := t.TempDir()
	start(t, dir)
	if got := again(t, dir); !strings.Contains(got, "etcd: start in "+dir+": another process (pid ") {
		t.Errorf("the second process said %s", got)
	}
}

// again runs TestSecondProcess in a process of its own and gives what it says.
func again(t *testing.T, dir string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSecondProcess$", "-test.count=1")
	command.Env = append(os.Environ(), "ETCDSERVER_TEST_DIR="+dir)
	out, err := command.CombinedOutput()
	if err == nil {
		t.Fatalf("no error: %s", out)
	}
	return string(out)
}

func TestDamagedData(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(t *testing.T, wal string)
		want   string // in the error; empty: etcd repairs it
	}{
		{"torn end", func(t *testing.T, wal string) {
			content := read(t, wal)
			end := bytes.LastIndexFunc(content, func(r rune) bool { return r != 0 })
			write(t, wal, content[:end-5])
		}, ""},
		{"flipped bits in the middle", func(t *testing.T, wal string) {
			content := read(t, wal)
			at := bytes.Index(content, []byte("needle-1"))
			content[at] ^= 0xff
			write(t, wal, content)
		}, "crc mismatch"},
		{"no log at all", func(t *testing.T, wal string) { write(t, wal, nil) }, "the data is damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := start(t, dir)
			for _, value := range []string{"needle-1", "needle-2", "needle-3"} {
				if _, err := s.Client().Put(t.Context(), "k", value); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			logs, err := filepath.Glob(filepath.Join(dir, "etcd", "member", "wal", "*.wal"))
			if err != nil || len(logs) != 1 {
				t.Fatalf("logs %v, %v", logs, err)
			}
			test.damage(t, logs[0])
			if test.want == "" {
				start(t, dir).Close()
				return
			}
			// In a process of its own, since etcd leaves its goroutines behind.
			if got := again(t, dir); !strings.Contains(got, "etcd: start in "+dir) || !strings.Contains(got, test.want) {
				t.Errorf("said %s", got)
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, nil)
	if _, err := Start(t.Context(), Config{Dir: file}); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("got %v", err)
	}
}

func TestBridge(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := zap.New(bridge{log: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &out, DisableTime: true})}, zap.WithFatalHook(fatal{}))
	log.Info("noise")
	log.With(zap.String("b", "2")).Warn("something", zap.Int("a", 1), zap.Error(errors.New("why")))
	func() {
		defer func() {
			if got := recover(); got != "it broke: why" {
				t.Errorf("panicked with %v", got)
			}
		}()
		log.Fatal("it broke", zap.Error(errors.New("why")))
	}()
	if want := "[INFO]  something: a=1 b=2 error=why\n[ERROR] it broke: error=why\n"; out.String() != want {
		t.Errorf("logged %q, want %q", out.String(), want)
	}
	if (bridge{log: hclog.NewNullLogger()}).Enabled(zapcore.FatalLevel) == false {
		t.Error("what ends the process has to be enabled always")
	}
}
