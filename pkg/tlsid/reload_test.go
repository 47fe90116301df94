package tlsid

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
)

// lookAgain lets the next handshake read the files, as one does a second later.
func lookAgain(t *testing.T, creds any) {
	t.Helper()
	r, ok := creds.(*reloading)
	if !ok {
		t.Fatalf("credentials are %T", creds)
	}
	r.files.mu.Lock()
	r.files.checked = time.Time{}
	r.files.mu.Unlock()
}

func TestRotationWithoutRestart(t *testing.T) {
	t.Parallel()
	before, after := tlsidtest.NewCA(t), tlsidtest.NewCA(t)
	serverFiles, clientFiles := before.Server(t), before.Client(t, "alice")
	server, client := serverCreds(t, flagsOf(serverFiles)), clientCreds(t, flagsOf(clientFiles))
	target := serve(t, server)
	if err := call(t, target, client, ""); err != nil {
		t.Fatal(err)
	}

	after.Reissue(t, serverFiles, tlsidtest.Leaf{DNSNames: []string{"localhost"}, IPs: loopbackIPs})
	lookAgain(t, server)
	if err := call(t, target, client, ""); status.Code(err) != codes.Unavailable {
		t.Errorf("the server kept its old certificate or authority: %v", err)
	}

	after.Reissue(t, clientFiles, tlsidtest.Leaf{CommonName: "alice"})
	lookAgain(t, client)
	if err := call(t, target, client, ""); err != nil {
		t.Errorf("after both sides rotated: %v", err)
	}
}

func TestBrokenReplacementKeepsTheOld(t *testing.T) {
	t.Parallel()
	ca := tlsidtest.NewCA(t)
	files := ca.Server(t)
	var log bytes.Buffer
	flags := flagsOf(files)
	flags.Log = hclog.New(&hclog.LoggerOptions{Output: &log})
	server := serverCreds(t, flags)
	target := serve(t, server)
	client := clientCreds(t, flagsOf(ca.Client(t, "alice")))

	breakages := []struct {
		name string
		path string
		do   func(path string) error
		want string
	}{
		{"garbage", files.Cert, func(path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) }, "not usable"},
		{"key of another certificate", files.Key, func(path string) error {
			other, err := os.ReadFile(ca.Server(t).Key)
			if err != nil {
				return err
			}
			return os.WriteFile(path, other, 0o600)
		}, "private key does not match public key"},
		{"no authorities", files.CA, func(path string) error { return os.WriteFile(path, nil, 0o600) }, "holds no PEM certificate"},
		{"removed", files.Key, os.Remove, "cannot be read"},
	}
	for _, breakage := range breakages {
		good, err := os.ReadFile(breakage.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := breakage.do(breakage.path); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		for range 3 {
			lookAgain(t, server)
			if err := call(t, target, client, ""); err != nil {
				t.Errorf("%s: %v", breakage.name, err)
			}
		}
		if !strings.Contains(log.String(), breakage.want) || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%s: log says %q, want one line with %q", breakage.name, log.String(), breakage.want)
		}
		if err := os.WriteFile(breakage.path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		lookAgain(t, server)
		if err := call(t, target, client, ""); err != nil {
			t.Errorf("after %s was mended: %v", breakage.name, err)
		}
	}
}

func TestFilesAreReadAtMostOnceASecond(t *testing.T) {
	t.Parallel()
	ca := tlsidtest.NewCA(t)
	paths := ca.Server(t)
	synctest.Test(t, func(t *testing.T) {
		creds, err := flagsOf(paths).ServerCredentials("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		files := creds.Clone().(*reloading).files
		first := files.latest()
		ca.Reissue(t, paths, tlsidtest.Leaf{CommonName: "next"})

		time.Sleep(checkInterval - time.Nanosecond)
		if files.latest() != first {
			t.Error("files were read again within a second")
		}
		time.Sleep(time.Nanosecond)
		second := files.latest()
		if second == first {
			t.Error("files were not read again after a second")
		}
		time.Sleep(checkInterval)
		if files.latest() != second {
			t.Error("files that did not change made new credentials")
		}
	})
}
