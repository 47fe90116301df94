package api

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func TestREST(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	const lbs = "/v1/projects/default/loadBalancers"
	made := e.http(http.MethodPost, lbs, `{"name": "web", "vips": ["203.0.113.10", "2001:db8::10"]}`, 200)
	if !strings.Contains(made, `"full_name": "projects/default/loadBalancers/web"`) {
		t.Error(made)
	}
	if e.http(http.MethodGet, lbs+"/web", "", 200) != made {
		t.Error("what was made is not what is read")
	}
	e.http(http.MethodPost, lbs+"/web/pools", `{"name": "main", "protocol": "http", "algorithm": "least_connections", "slowStart": "500ms"}`, 200)
	e.http(http.MethodPost, lbs+"/web/pools/main/healthChecks", `{"type": "http", "http": {"url_path": "/up"}}`, 200)
	e.http(http.MethodPut, lbs+"/web/pools/main/backends", `{"backends": [{"address": "10.0.0.1", "port": 80, "backup": true}]}`, 200)
	e.http(http.MethodPost, lbs+"/web/listeners?validate_only=true", `{"name": "front", "port": 80, "protocol": "http", "default_pool_id": "main"}`, 200)
	e.http(http.MethodGet, lbs+"/web/listeners/front", "", 404)
	e.http(http.MethodPost, lbs+"/web/listeners", `{"name": "front", "port": 80, "protocol": "LISTENER_PROTOCOL_HTTP", "defaultPoolId": "main"}`, 200)
	e.http(http.MethodPost, lbs+"/web/listeners/front/l7Policies", `{"name": "p", "action": "reject"}`, 200)
	e.http(http.MethodPost, lbs+"/web/listeners/front/l7Policies/p/rules", `{"rule_type": "path", "compare_type": "equal_to", "value": "/x"}`, 200)

	// Without a mask, PATCH writes what the body names: also what it sets to its zero value, and next to what nobody writes.
	got := e.http(http.MethodGet, lbs+"/web/pools/main/backends/b-10-0-0-1-80", "", 200)
	if !strings.Contains(got, `"backup": true`) {
		t.Error(got)
	}
	body := strings.Replace(got, `"backup": true`, `"backup": false`, 1)
	if got := e.http(http.MethodPatch, lbs+"/web/pools/main/backends/b-10-0-0-1-80", body, 200); strings.Contains(got, "backup") {
		t.Error(got)
	}
	if got := e.http(http.MethodPatch, lbs+"/web/listeners/front", `{"timeouts": {"idle": "3s"}}`, 200); !strings.Contains(got, `"idle": "3s"`) || !strings.Contains(got, `"client": "50s"`) {
		t.Error(got)
	}
	e.http(http.MethodPatch, lbs+"/web/pools/main/backends/b-10-0-0-1-80", body, 409) // its etag is old
	e.http(http.MethodPatch, lbs+"/web/listeners/front?update_mask=port,timeouts.idle", `{"port": 81}`, 200)
	e.http(http.MethodDelete, lbs+"/web", "", 400)
	if got := e.http(http.MethodPost, "/v1/config:plan", `{"config": {"name": "web", "vips": ["203.0.113.10"]}}`, 200); !strings.Contains(got, `"action": "delete"`) {
		t.Error(got)
	}
	if got := e.http(http.MethodGet, "/v1/config:export?name=projects/-", "", 200); !strings.Contains(got, `"l7_policies"`) {
		t.Error(got)
	}
	e.http(http.MethodGet, "/v1/nodes", "", 200)
	e.http(http.MethodDelete, lbs+"/web?cascade=true", "", 200)
}

func TestRESTErrors(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	const lbs = "/v1/projects/default/loadBalancers"
	e.http(http.MethodPost, lbs, `{"name": "web", "vips": ["203.0.113.10"]}`, 200)
	before := e.dump()
	for _, test := range []struct {
		method, path, body string
		code               int
		want               []string
	}{
		{http.MethodPost, lbs + "/web/listeners", `{"name": "a", "port": 99999, "protocol": "htp", "nope": 1}`, 400,
			[]string{`"field":"listener.protocol"`, `"field":"listener.nope"`, `"status":"INVALID_ARGUMENT"`, `"code":3`}},
		{http.MethodPost, lbs + "/web/listeners", `{"name": "a", "port": 99999, "protocol": "tcp"}`, 400, []string{`"field":"listener.port"`}},
		{http.MethodPost, lbs + "/web/listeners", `{`, 400, []string{"not JSON"}},
		{http.MethodPost, lbs + "/web/listeners", `[]`, 400, []string{`INVALID_ARGUMENT`}},
		{http.MethodPost, lbs + "/web/listeners", `{"port": "x"}`, 400, []string{`"field":"listener.port"`}},
		{http.MethodPost, lbs + "/web/listeners", `{"timeouts": {"idle": "soon"}}`, 400, []string{`"field":"listener.timeouts.idle"`}},
		{http.MethodPost, lbs + "/web/listeners", ``, 400, []string{`listener: required`}},
		{http.MethodPatch, lbs + "/web", `{"vips": "x"}`, 400, []string{`"field":"load_balancer.vips`}},
		{http.MethodPatch, lbs + "/web", `{"project": "other"}`, 400, []string{`immutable`}},
		{http.MethodPatch, lbs + "/web?update_mask=uid", `{"uid": "x"}`, 400, []string{`output only`}},
		{http.MethodPatch, lbs + "/nope", `{"description": "x"}`, 404, []string{`"status":"NOT_FOUND"`}},
		{http.MethodPost, "/v1/config:apply", `{"config": {"name": "x", "listners": []}}`, 400, []string{`"field":"listners"`, `did you mean`}},
		{http.MethodPost, "/v1/config:apply", `{"config": {"name": "x", "vips": ["1.2.3.4"]}}`, 400, []string{`"field":"vips[0]"`}},
		{http.MethodGet, lbs + "?page_sise=1", ``, 400, []string{`did you mean \"page_size\"`}},
		{http.MethodGet, lbs + "?page_size=x", ``, 400, []string{`page_size`}},
		{http.MethodGet, lbs + "?page_size=5000", ``, 400, []string{`page_size`}},
		{http.MethodGet, lbs + "?page_token=x", ``, 400, []string{`page_token`}},
		{http.MethodGet, "/v1/projects/Default/loadBalancers", ``, 400, []string{`parent`}},
		{http.MethodGet, "/v1/nope", ``, 404, []string{`/openapi.json`}},
		{http.MethodGet, "/v1/config:watch?after_revision=-1", ``, 400, []string{`after_revision`}},
		{http.MethodDelete, "/v1/nodes/n1", ``, 404, []string{`not connected`}},
	} {
		got := e.http(test.method, test.path, test.body, test.code)
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s %s %s: %s\nwant %s", test.method, test.path, test.body, got, want)
			}
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s %s: the error is no JSON: %s", test.method, test.path, got)
		}
	}
	if e.dump() != before {
		t.Error("something was stored")
	}
}

func TestRESTGate(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	for _, test := range []struct {
		name   string
		edit   func(*http.Request)
		body   io.Reader
		method string
		code   int
	}{
		{"form of a web page", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, strings.NewReader("a=b"), http.MethodPost, 415},
		{"plain text of a web page", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, strings.NewReader("{}"), http.MethodPost, 415},
		{"no content type", func(r *http.Request) { r.Header.Del("Content-Type") }, strings.NewReader("{}"), http.MethodPost, 415},
		{"rebound name", func(r *http.Request) { r.Host = "evil.example" }, nil, http.MethodGet, 403},
		{"localhost", func(r *http.Request) { r.Host = "localhost:7480" }, nil, http.MethodGet, 200},
		{"too large", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, strings.NewReader(strings.Repeat(" ", MaxMessage+1)), http.MethodPost, 413},
		{"too large, of unknown length", func(r *http.Request) { r.Header.Set("Content-Type", "application/json"); r.ContentLength = -1 },
			strings.NewReader(strings.Repeat(" ", MaxMessage+1)), http.MethodPost, 413},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, e.rest+"/v1/projects/default/loadBalancers", test.body)
		if err != nil {
			t.Fatal(err)
		}
		test.edit(req)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != test.code {
			t.Errorf("%s: %d, want %d: %s", test.name, resp.StatusCode, test.code, b)
		}
	}
}

func TestRESTWatch(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.rest+"/v1/config:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), `"bookmark"`) {
		if !json.Valid(lines.Bytes()) || !strings.HasPrefix(lines.Text(), `{"result":{"type":"created"`) {
			t.Errorf("line %s", lines.Text())
		}
	}
	e.server.Stop()
	if !lines.Scan() || !strings.Contains(lines.Text(), `"error"`) || !strings.Contains(lines.Text(), `UNAVAILABLE`) {
		t.Errorf("last line %s", lines.Text())
	}
}

// Every method has a path, and every path answers.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(e.http(http.MethodGet, "/openapi.json", "", 200)), &document); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, operations := range document.Paths {
		for _, operation := range operations {
			found[operation.OperationID] = true
		}
	}
	services := fiberlbv1.File_fiberlb_v1_services_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			method := services.Get(i).Methods().Get(j)
			if id := string(services.Get(i).Name()) + "_" + string(method.Name()); !found[id] {
				t.Errorf("%s is not in the document", id)
			}
		}
	}
}
