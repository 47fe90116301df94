package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/test/harness"
)

// curl asks the REST API as its users do, and returns the status and the body, which must be JSON where it is to be decoded.
func curl(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	args := []string{"-sS", "-X", method, "-w", "\n%{http_code}", url}
	if body != "" {
		args = append(args, "-H", "Content-Type: application/json", "--data-binary", "@-")
	}
	cmd := exec.CommandContext(t.Context(), "curl", args...)
	cmd.Stdin = strings.NewReader(body)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("curl %s %s: %v: %s", method, url, err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	out = bytes.TrimRight(out, "\n")
	i := bytes.LastIndexByte(out, '\n')
	if status, err = strconv.Atoi(string(out[i+1:])); err != nil {
		t.Fatalf("curl wrote %q", out)
	}
	return status, string(out[:max(i, 0)])
}

// object decodes a JSON object.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return o
}

// testREST drives the REST API of a cell's controller.
func testREST(t *testing.T, c *cell) {
	t.Parallel()
	base := "http://" + c.controller.HTTP.String()
	lbs := base + "/v1/projects/rest/loadBalancers"
	vip := harness.Endpoint(t)

	status, body := curl(t, http.MethodPost, lbs, fmt.Sprintf(`{"name": "web", "vips": ["%s"], "labels": {"team": "a"}}`, vip.Addr()))
	if o := object(t, body); status != http.StatusOK || o["full_name"] != "projects/rest/loadBalancers/web" || o["etag"] == "" || o["uid"] == "" {
		t.Fatalf("create: %d %s", status, body)
	}
	// Words without prefix and durations as text, in; and out in the same form.
	status, body = curl(t, http.MethodPost, lbs+"/web/pools", `{"name": "p", "protocol": "tcp", "algorithm": "least_connections",
		"health_check": {"type": "tcp", "interval": "500ms", "timeout": "250ms"}}`)
	pool := object(t, body)
	if status != http.StatusOK || pool["algorithm"] != "least_connections" {
		t.Fatalf("create a pool: %d %s", status, body)
	}
	if check, _ := pool["health_check"].(map[string]any); check["interval"] != "500ms" || check["type"] != "tcp" {
		t.Errorf("the health check came back as %v", pool["health_check"])
	}
	backend := harness.NewBackend(t, "rest")
	status, body = curl(t, http.MethodPost, lbs+"/web/pools/p/backends",
		fmt.Sprintf(`{"name": "b", "address": "%s", "port": %d}`, backend.Addr.Addr(), backend.Addr.Port()))
	if status != http.StatusOK {
		t.Fatalf("create a backend: %d %s", status, body)
	}
	// protojson's own spelling is taken too.
	status, body = curl(t, http.MethodPost, lbs+"/web/listeners",
		fmt.Sprintf(`{"name": "l", "port": %d, "protocol": "LISTENER_PROTOCOL_TCP", "defaultPoolId": "p"}`, vip.Port()))
	if o := object(t, body); status != http.StatusOK || o["protocol"] != "tcp" || o["default_pool_id"] != "p" {
		t.Fatalf("create a listener: %d %s", status, body)
	}
	harness.Serves(t, vip)

	status, body = curl(t, http.MethodGet, lbs, "")
	if list, _ := object(t, body)["load_balancers"].([]any); status != http.StatusOK || len(list) != 1 {
		t.Errorf("list: %d %s", status, body)
	}
	status, body = curl(t, http.MethodPatch, lbs+"/web/pools/p", `{"algorithm": "maglev"}`)
	if o := object(t, body); status != http.StatusOK || o["algorithm"] != "maglev" || o["etag"] == pool["etag"] {
		t.Errorf("update: %d %s", status, body)
	}

	faults := []struct {
		name, method, url, body string
		status                  int
		want                    []string
	}{
		{"exists", http.MethodPost, lbs, fmt.Sprintf(`{"name": "web", "vips": ["%s"]}`, vip.Addr()), http.StatusConflict, []string{"already exists"}},
		{"all violations at once", http.MethodPost, lbs, `{"name": "Not A Name", "vips": ["127.0.0.1", "nonsense"]}`, http.StatusBadRequest,
			[]string{"name", "vips[1]", "nonsense"}},
		{"unknown field", http.MethodPost, lbs, `{"name": "x", "vipz": []}`, http.StatusBadRequest, []string{"vipz", "vips"}},
		{"unknown word", http.MethodPost, lbs + "/web/pools", `{"name": "x", "protocol": "tcpp"}`, http.StatusBadRequest, []string{"tcpp", "tcp"}},
		{"no JSON", http.MethodPost, lbs, `{"name": `, http.StatusBadRequest, nil},
		{"not found", http.MethodGet, lbs + "/nobody", "", http.StatusNotFound, []string{"nobody"}},
		{"bad page token", http.MethodGet, lbs + "?page_token=zzz", "", http.StatusBadRequest, []string{"page_token"}},
		{"stale etag", http.MethodPatch, lbs + "/web/pools/p?etag=0000", `{"algorithm": "random"}`, http.StatusConflict, []string{"etag"}},
		{"pool in use", http.MethodDelete, lbs + "/web/pools/p", "", http.StatusBadRequest, []string{"l"}},
		{"no such path", http.MethodGet, base + "/v1/nonsense", "", http.StatusNotFound, nil},
	}
	for _, f := range faults {
		status, body := curl(t, f.method, f.url, f.body)
		if status != f.status {
			t.Errorf("%s: status %d, want %d: %s", f.name, status, f.status, body)
			continue
		}
		o := object(t, body)
		if message, _ := o["message"].(string); message == "" || o["code"] == nil {
			t.Errorf("%s: an error without code and message: %s", f.name, body)
		}
		if !containsAll(body, f.want...) {
			t.Errorf("%s: the error does not say %q: %s", f.name, f.want, body)
		}
	}

	status, body = curl(t, http.MethodGet, base+"/openapi.json", "")
	if o := object(t, body); status != http.StatusOK || o["paths"] == nil || o["swagger"] == nil && o["openapi"] == nil {
		t.Errorf("openapi.json: %d %.200s", status, body)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/version"} {
		if status, body := curl(t, http.MethodGet, base+path, ""); status != http.StatusOK || body == "" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	m := c.controller.Metrics(t)
	for _, name := range []string{"fiberlb_api_requests_total", "fiberlb_store_revision", "fiberlb_controlplane_compile_seconds_count",
		"fiberlb_controlplane_streams", "go_goroutines"} {
		if v := m.Must(t, name); v <= 0 {
			t.Errorf("metric %s is %g", name, v)
		}
	}

	if status, body := curl(t, http.MethodDelete, lbs+"/web", ""); status != http.StatusBadRequest {
		t.Errorf("delete with children: %d %s", status, body)
	}
	if status, body := curl(t, http.MethodDelete, lbs+"/web?cascade=true", ""); status != http.StatusOK {
		t.Errorf("delete: %d %s", status, body)
	}
	harness.Until(t, "the listener closes", func() error { return harness.Refused(t.Context(), vip) })
}
