package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"github.com/fiberlb/fiberlb/test/harness"
)

// traces are the forms in which a private key could lie about.
type traces map[string][]byte

func tracesOf(t *testing.T, keyFile string) traces {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("the key is no PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := parsed.(interface{ Bytes() ([]byte, error) }).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	all := traces{"its DER": block.Bytes, "its number": scalar, "its number in hexadecimal": []byte(hex.EncodeToString(scalar)),
		"its DER in base64": []byte(base64.StdEncoding.EncodeToString(block.Bytes)), "its header": []byte("PRIVATE KEY-----\n" + string(text[28:40]))}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		// The first line of the body says the algorithm, and is alike in all keys of a kind.
		if !strings.HasPrefix(line, "-----") && i > 1 {
			all[fmt.Sprint("line ", i+1, " of its PEM")] = []byte(line)
		}
	}
	return all
}

func (tr traces) absent(t *testing.T, where string, content []byte) {
	t.Helper()
	for what, trace := range tr {
		if bytes.Contains(content, trace) {
			t.Errorf("%s holds the private key: %s", where, what)
		}
	}
}

// testPrivateKeys writes certificates with their keys by every way there is, and looks for the keys in every place there is.
func testPrivateKeys(t *testing.T, c *cell) {
	t.Parallel()
	ctl := c.controller.Ctl()
	files := tlsidtest.NewCA(t).Issue(t, tlsidtest.Leaf{CommonName: "www.example", DNSNames: []string{"www.example"}})
	keys := tracesOf(t, files.Key)
	vip := harness.Endpoint(t)
	yaml := fmt.Sprintf(`name: shop
vips: [%s]
listeners: [{name: https, port: %d, protocol: https, tls_config: {certificate_id: main}, default_pool_id: p}]
pools: [{name: p, protocol: http}]
certificates: [{name: main, type: server, certificate_file: %s, private_key_file: %s}]
`, vip.Addr(), vip.Port(), files.Cert, files.Key)
	document := harness.WriteFile(t, "shop.yaml", yaml)

	var said bytes.Buffer
	say := func(args ...string) harness.Outcome {
		t.Helper()
		out := ctl.Run(t, "", args...)
		said.WriteString(out.Stdout + out.Stderr)
		return out
	}
	say("validate", "-f", document)
	say("plan", "-f", document)
	if out := say("apply", "-f", document); out.Code != 0 {
		t.Fatalf("apply: exit code %d\n%s", out.Code, out.Stderr)
	}
	if out := say("plan", "-f", document); out.Code != 0 {
		t.Errorf("plan of a certificate that is there: exit code %d\n%s", out.Code, out.Stdout)
	}
	// An export has no key, and applying it keeps the one that is stored.
	export := say("export", "shop")
	if out := ctl.Run(t, export.Stdout, "apply", "-f", "-"); out.Code != 0 {
		t.Errorf("apply of an export: exit code %d\n%s", out.Code, out.Stderr)
	}
	// A key that does not belong to the certificate is refused, and not shown.
	other := tlsidtest.NewCA(t).Client(t, "other")
	otherKeys := tracesOf(t, other.Key)
	if out := ctl.Run(t, strings.Replace(yaml, files.Key, other.Key, 1), "apply", "-f", "-"); out.Code != 1 || !strings.Contains(out.Stderr, "private_key") {
		t.Errorf("a key of another certificate: exit code %d\n%s", out.Code, out.Stderr)
	} else {
		otherKeys.absent(t, "the refusal", []byte(out.Stderr))
	}
	for _, args := range [][]string{{"get", "certificates", "--lb", "shop", "-o", "yaml"}, {"get", "certificate", "main", "--lb", "shop", "-o", "json"},
		{"get", "lb", "shop", "-o", "json"}, {"status"}} {
		if out := say(args...); out.Code != 0 {
			t.Errorf("%v: exit code %d\n%s", args, out.Code, out.Stderr)
		}
	}
	keys.absent(t, "what fiberctl printed", said.Bytes())

	for _, path := range []string{"/v1/projects/default/loadBalancers/shop/certificates", "/v1/projects/default/loadBalancers/shop/certificates/main",
		"/v1/config:export?name=projects/-", "/metrics", "/openapi.json"} {
		status, body, err := harness.Get(t.Context(), c.controller.HTTP.String(), path)
		if err != nil || status != http.StatusOK {
			t.Errorf("%s: %d %v", path, status, err)
		}
		keys.absent(t, "REST "+path, []byte(body))
	}
	watched(t, c, keys)
	for _, path := range []string{"/metrics", "/state"} {
		_, body, err := harness.Get(t.Context(), c.node.Admin.String(), path)
		if err != nil {
			t.Error(err)
		}
		keys.absent(t, "the data plane's "+path, []byte(body))
	}

	keys.absent(t, "the controller's log", []byte(c.controller.Output()))
	keys.absent(t, "the data plane's log", []byte(c.node.Output()))
	certificate, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(certificate), "\n")
	if found := searchFolder(t, c.controller.EtcdDir, keys, lines[2]); !found {
		t.Error("etcd's folder does not even hold the certificate: the search for its key says nothing")
	}
	searchFolder(t, c.node.StateDir, keys, "")
}

// watched looks into what a Watch sends.
func watched(t *testing.T, c *cell, keys traces) {
	t.Helper()
	watch, err := fiberlbv1.NewConfigServiceClient(c.controller.Dial(t, nil)).Watch(t.Context(), &fiberlbv1.WatchRequest{Name: "projects/default/loadBalancers/shop"})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		keys.absent(t, "a Watch", []byte(m.String()))
		if m.GetType() == fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_BOOKMARK {
			return
		}
	}
}

// searchFolder looks for the keys in all files of a folder, and tells whether a witness is there.
func searchFolder(t *testing.T, dir string, keys traces, witness string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		keys.absent(t, path, content)
		found = found || witness != "" && bytes.Contains(content, []byte(witness))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}
