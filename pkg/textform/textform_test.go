package textform

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func sample() *fiberlbv1.LoadBalancerConfig {
	return &fiberlbv1.LoadBalancerConfig{
		Name: "web", CreatedAt: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 600_000, time.UTC)),
		Labels: map[string]string{"team": "a b", "env": "yes"}, Vips: []string{"203.0.113.10", "2001:db8::10"}, Enabled: proto.Bool(false),
		Listeners: []*fiberlbv1.Listener{{
			Name: "front", Port: 443, Protocol: fiberlbv1.ListenerProtocol_LISTENER_PROTOCOL_HTTPS,
			TlsConfig: &fiberlbv1.TlsConfig{MinVersion: fiberlbv1.TlsVersion_TLS_VERSION_TLS12, Hsts: &fiberlbv1.HstsConfig{MaxAge: durationpb.New(300 * time.Second)}},
		}},
		Pools: []*fiberlbv1.Pool{{
			Name: "p", Algorithm: fiberlbv1.PoolAlgorithm_POOL_ALGORITHM_MAGLEV, SlowStart: durationpb.New(90 * time.Second),
			HealthCheck: &fiberlbv1.HealthCheck{Type: fiberlbv1.HealthCheckType_HEALTH_CHECK_TYPE_TLS_HELLO, Interval: durationpb.New(500 * time.Millisecond), Http: &fiberlbv1.HttpCheck{ExpectedCodes: "200"}},
			Backends:    []*fiberlbv1.Backend{{Name: "b1", Address: "10.0.0.11", Port: 8080, Weight: proto.Uint32(0)}, {}},
		}},
		Certificates: []*fiberlbv1.Certificate{{Certificate: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}},
		Status:       &fiberlbv1.Status{Rollout: &fiberlbv1.Rollout{Revision: 1 << 60}},
	}
}

const sampleYAML = `name: web
created_at: "2026-01-02T03:04:05.0006Z"
labels:
  env: "yes"
  team: a b
vips: [203.0.113.10, "2001:db8::10"]
enabled: false
listeners:
- name: front
  port: 443
  protocol: https
  tls_config:
    min_version: tls12
    hsts:
      max_age: 5m
pools:
- name: p
  algorithm: maglev
  health_check:
    type: tls_hello
    interval: 500ms
    http:
      expected_codes: "200"
  backends:
  - name: b1
    address: 10.0.0.11
    port: 8080
    weight: 0
  - {}
  slow_start: 1m30s
certificates:
- certificate: |
    -----BEGIN CERTIFICATE-----
    MIIB
    -----END CERTIFICATE-----
status:
  rollout:
    revision: 1152921504606846976
`

const sampleJSON = `{"name":"web","created_at":"2026-01-02T03:04:05.0006Z","labels":{"env":"yes","team":"a b"},"vips":["203.0.113.10","2001:db8::10"],` +
	`"enabled":false,"listeners":[{"name":"front","port":443,"protocol":"https","tls_config":{"min_version":"tls12","hsts":{"max_age":"5m"}}}],` +
	`"pools":[{"name":"p","algorithm":"maglev","health_check":{"type":"tls_hello","interval":"500ms","http":{"expected_codes":"200"}},` +
	`"backends":[{"name":"b1","address":"10.0.0.11","port":8080,"weight":0},{}],"slow_start":"1m30s"}],` +
	`"certificates":[{"certificate":"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}],"status":{"rollout":{"revision":1152921504606846976}}}`

func TestMarshal(t *testing.T) {
	t.Parallel()
	text, err := MarshalYAML(sample())
	if err != nil || string(text) != sampleYAML {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = MarshalJSON(sample(), Options{})
	if err != nil || string(text) != sampleJSON {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = MarshalJSON(&fiberlbv1.Rollout{Revision: -1}, Options{EmitDefaults: true, Indent: "\t"})
	if want := "{\n\t\"revision\": -1,\n\t\"nodes\": 0,\n\t\"acked\": 0,\n\t\"nacked\": 0,\n\t\"last_error\": \"\"\n}"; err != nil || string(text) != want {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = MarshalJSON(&fiberlbv1.ListNodesResponse{}, Options{EmitDefaults: true, Indent: "  "})
	if want := "{\n  \"nodes\": [],\n  \"next_page_token\": \"\"\n}"; err != nil || string(text) != want {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = MarshalJSON(&fiberlbv1.Status{ProvisioningStatus: 77}, Options{})
	if want := `{"provisioning_status":77}`; err != nil || string(text) != want {
		t.Errorf("unknown enumeration number: %v %s", err, text)
	}
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]proto.Message{
		"nothing":      nil,
		"not UTF-8":    &fiberlbv1.Listener{Name: "\xff"},
		"key":          &fiberlbv1.Listener{Labels: map[string]string{"\xff": ""}},
		"duration":     &fiberlbv1.Pool{SlowStart: &durationpb.Duration{Seconds: 1, Nanos: -1}},
		"long":         &fiberlbv1.Pool{SlowStart: &durationpb.Duration{Seconds: maxDurationSeconds + 1}},
		"time":         &fiberlbv1.Pool{CreatedAt: &timestamppb.Timestamp{Nanos: -1}},
		"mask, comma":  &fiberlbv1.UpdatePoolRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"a,b"}}},
		"mask, nested": &fiberlbv1.ListLoadBalancersResponse{LoadBalancers: []*fiberlbv1.LoadBalancer{{Vips: []string{"\xff"}}}},
	} {
		if text, err := MarshalYAML(m); err == nil {
			t.Errorf("%s: written as %s", name, text)
		}
	}
}

// Whatever spelling, the message is the same.
func TestUnmarshalSpellings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want proto.Message
	}{
		"camel case":       {`{tlsConfig: {minVersion: tls13}}`, &fiberlbv1.Listener{TlsConfig: &fiberlbv1.TlsConfig{MinVersion: 2}}},
		"enum name":        {`{protocol: LISTENER_PROTOCOL_TLS_PASSTHROUGH}`, &fiberlbv1.Listener{Protocol: 6}},
		"enum number":      {`{protocol: 2}`, &fiberlbv1.Listener{Protocol: 2}},
		"enum zero":        {`{protocol: LISTENER_PROTOCOL_UNSPECIFIED}`, &fiberlbv1.Listener{}},
		"enum alias":       {`{protocol: terminated_https}`, &fiberlbv1.Listener{Protocol: 4}},
		"enum alias name":  {`{protocol: LISTENER_PROTOCOL_TERMINATED_HTTPS}`, &fiberlbv1.Listener{Protocol: 4}},
		"duration":         {`{slow_start: 1.5s}`, &fiberlbv1.Pool{SlowStart: durationpb.New(1500 * time.Millisecond)}},
		"duration 0":       {`{slow_start: 0}`, &fiberlbv1.Pool{SlowStart: durationpb.New(0)}},
		"negative":         {`{slow_start: -0.5s}`, &fiberlbv1.Pool{SlowStart: durationpb.New(-500 * time.Millisecond)}},
		"quoted int64":     {`{revision: "-9"}`, &fiberlbv1.Rollout{Revision: -9}},
		"exponent":         {`{revision: 1e3, acked: 2.0}`, &fiberlbv1.Rollout{Revision: 1000, Acked: 2}},
		"minus zero":       {`{nodes: -0}`, &fiberlbv1.Rollout{}},
		"nulls":            {`{name: null, listeners: ~, tls: {}, status: }`, nil},
		"empty objects":    {`{status: {}, labels: {}, vips: []}`, &fiberlbv1.LoadBalancerConfig{Status: &fiberlbv1.Status{}}},
		"text as written":  {`{expected_codes: 200, method: GET, url_path: 012, host_header: 1.10}`, &fiberlbv1.HttpCheck{ExpectedCodes: "200", Method: "GET", UrlPath: "012", HostHeader: "1.10"}},
		"words as written": {`{expected_codes: yes, method: True, host_header: 0x1F}`, &fiberlbv1.HttpCheck{ExpectedCodes: "yes", Method: "True", HostHeader: "0x1F"}},
		"map of plain":     {`{labels: {1: 2, true: no, a.b/c: 1.0}}`, &fiberlbv1.Listener{Labels: map[string]string{"1": "2", "true": "no", "a.b/c": "1.0"}}},
		"bool":             {`{backup: TRUE, enabled: False}`, &fiberlbv1.Backend{Backup: true, Enabled: proto.Bool(false)}},
		"mask":             {`{updateMask: "tlsConfig.minVersion, labels,*"}`, &fiberlbv1.UpdateListenerRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"tls_config.min_version", "labels", "*"}}}},
		"zone":             {`{created_at: 2026-01-02T04:04:05+01:00}`, &fiberlbv1.Pool{CreatedAt: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}},
		"folded":           {"description: >-\n  a\n  b\n", &fiberlbv1.Pool{Description: "a b"}},
		"multi line":       {"description: a\n  b\n", &fiberlbv1.Pool{Description: "a b"}},
		"anchors":          {"- &x {name: a, weight: 1}\n", nil},
		"merge":            {"labels: {<<: {a: x, b: x}, a: y}", &fiberlbv1.Pool{Labels: map[string]string{"a": "y", "b": "x"}}},
		"alias":            {"backends:\n- &b {port: 80, name: a}\n- <<: *b\n  name: b\n- *b\n", &fiberlbv1.Pool{Backends: []*fiberlbv1.Backend{{Name: "a", Port: 80}, {Name: "b", Port: 80}, {Name: "a", Port: 80}}}},
		"merge list":       {"health_check: &h {type: tcp}\npersistence: {<<: [{type: cookie}, {type: source_ip, timeout_seconds: 3}]}\n", &fiberlbv1.Pool{HealthCheck: &fiberlbv1.HealthCheck{Type: 3}, Persistence: &fiberlbv1.Persistence{Type: 2, TimeoutSeconds: 3}}},
		"CRLF":             {"name: a\r\ndescription: |\r\n  x\r\n  y\r\n", &fiberlbv1.Pool{Name: "a", Description: "x\ny\n"}},
		"BOM":              {"\ufeffname: a", &fiberlbv1.Pool{Name: "a"}},
		"markers":          {"%YAML 1.2\n# comment\n--- # one\nname: a\n...\n", &fiberlbv1.Pool{Name: "a"}},
	} {
		if c.want == nil {
			continue
		}
		got := c.want.ProtoReflect().New().Interface()
		if err := UnmarshalYAML([]byte(c.text), got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !proto.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// All faults at once, each with its path, what is wrong and what to do.
func TestUnmarshalFaults(t *testing.T) {
	t.Parallel()
	const text = `{
		"nam": "web", "name": ["a"], "name": "b", "zzzzzz": 1,
		"vips": "10.0.0.1", "enabled": "true", "labels": {"a": "b", "a": "c", "x.y": null, "l": []},
		"listeners": [
			{"port": -1, "protocol": "htpt", "tls_config": [], "tlsConfig": {}},
			null, 7,
			{"port": "80x", "protocol": 99, "timeouts": {"idle": 5, "client": "5 parsecs", "connect": {}}, "enabled": "yes", "created_at": "now"},
			{"port": 1.5, "connection_limit": 99999999999, "protocol": {"a": 1}}
		]
	}`
	err := UnmarshalJSON([]byte(text), &fiberlbv1.LoadBalancerConfig{})
	var violations lb.Violations
	if !errors.As(err, &violations) {
		t.Fatalf("%T: %v", err, err)
	}
	const want = `nam: is not a known field; did you mean "name"?
name: is a list, wants text
name: is given twice, first in line 2; keep one of them
zzzzzz: is not a known field; known are name, uid, etag, created_at, updated_at, description, labels, full_name, project, vips, node_selector, enabled, listeners, pools, l7_policies, certificates, status
vips: is text, wants a list
enabled: "true" is not true or false; write true without quotes
labels["a"]: is given twice; keep one of them
labels["x.y"]: is empty; write "" for empty text, or leave it out
labels["l"]: is a list, wants text
listeners[0].port: -1 is not in 0-4294967295
listeners[0].protocol: "htpt" is not one of tcp, udp, http, https, tls, tls_passthrough; did you mean "http"?
listeners[0].tls_config: is a list, wants an object
listeners[0].tls_config: is given twice, first in line 5; keep one of them
listeners[1]: is empty; fill it in or leave it out
listeners[2]: is a number, wants an object
listeners[3].port: "80x" is not a whole number
listeners[3].protocol: "99" is not one of tcp, udp, http, https, tls, tls_passthrough
listeners[3].timeouts.idle: 5 is a duration without a unit; write a number with its unit, like 500ms, 5s or 1m30s
listeners[3].timeouts.client: "5 parsecs" is not a duration; write a number with its unit, like 500ms, 5s or 1m30s
listeners[3].timeouts.connect: is an object, wants a duration; write a number with its unit, like 500ms, 5s or 1m30s
listeners[3].enabled: "yes" is not true or false; write true
listeners[3].created_at: "now" is not a time; write it like 2006-01-02T15:04:05Z (RFC 3339)
listeners[4].port: "1.5" is not a whole number
listeners[4].connection_limit: 99999999999 is not in 0-4294967295
listeners[4].protocol: is an object, wants a word`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestUnmarshalBoundsFaults(t *testing.T) {
	t.Parallel()
	err := UnmarshalYAML([]byte("vips: ["+strings.Repeat("[],", 5000)+"]"), &fiberlbv1.LoadBalancerConfig{})
	var violations lb.Violations
	if !errors.As(err, &violations) || len(violations) != maxFaults+1 {
		t.Errorf("%d faults: %v", len(violations), err)
	}
}

func TestMoreScalarFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{port: 012}`:                        `port: "012" begins with a zero; write 12`,
		`{port: 0x50}`:                       `port: "0x50" is not a whole number`,
		`{port: 1_000}`:                      `port: "1_000" is not a whole number`,
		`{port: 4294967296}`:                 `port: 4294967296 is not in 0-4294967295`,
		`{port: 1e99}`:                       `port: "1e99" is not a whole number`,
		`{backup: on}`:                       `backup: "on" is not true or false; write true`,
		`{backup: off}`:                      `backup: "off" is not true or false; write false`,
		`{backup: maybe}`:                    `backup: "maybe" is not true or false`,
		`{backup: {}}`:                       `backup: is an object, wants true or false`,
		`[]`:                                 `is a list, wants an object`,
		``:                                   `0 YAML documents where one is wanted`,
		"a: b\n---\nc: d\n":                  `2 YAML documents where one is wanted`,
		`{description: [` + words[0] + `]}`:  `description: is a list, wants text`,
		`{labels: [a]}`:                      `labels: is a list, wants an object`,
		`{created_at: 0000-01-01T00:00:00Z}`: `created_at: "0000-01-01T00:00:00Z" is not a time; write it like 2006-01-02T15:04:05Z (RFC 3339)`,
		`{"` + strings.Repeat("x", 99) + `": 1}`: strings.Repeat("x", 64) + `…: is not a known field; known are name, uid, etag, created_at, updated_at, description, labels, full_name, ` +
			`address, port, weight, backup, enabled, monitor_address, monitor_port, status`,
	} {
		if err := UnmarshalYAML([]byte(text), &fiberlbv1.Backend{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := UnmarshalYAML([]byte(`{updateMask: "a,,b", node: {errors: {}}}`), &fiberlbv1.UpdateNodeRequest{}); err == nil ||
		err.Error() != "update_mask: \"a,,b\" is not a list of field paths; separate them by single commas\nnode.errors: is an object, wants a list" {
		t.Errorf("mask: %v", err)
	}
}

func TestFaultsCover(t *testing.T) {
	t.Parallel()
	documents := SplitYAML([]byte("listeners:\n- prot: 80\n  tls_config: []\nvips: [a, {}]\n"))
	node, err := documents[0].Parse()
	if err != nil {
		t.Fatal(err)
	}
	faults := Decode(node, &fiberlbv1.LoadBalancerConfig{})
	for path, want := range map[string]bool{
		"listeners[0].port": true, "listeners[0].tls_config.min_version": true, "vips[1]": true,
		"listeners[0].name": false, "listeners[0]": false, "listeners[0].portal": false, "listeners[1]": false, "vips[0]": false, "": false,
	} {
		if faults.Covers(path) != want {
			t.Errorf("covers %q: %t", path, !want)
		}
	}
	if faults[0].Line != 2 || faults[1].Line != 3 || faults[2].Line != 4 {
		t.Errorf("lines %+v", faults)
	}
}
