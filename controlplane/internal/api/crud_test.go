package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// crud describes one kind for the driver.
type crud struct {
	kind   string // "Listener"
	plural string
	field  string // of requests
	parent string
	name   string // full name of the object to create
	// Objects in flow YAML: to create, another of the same name, and what "*" is to replace it by.
	object, other, whole string
	mask, change, path   string // a mask with the object that carries its values; path of the field that changes
	wild                 string // parent with wildcards
}

func kinds(t *testing.T) []crud {
	certificate, key := pair(t, "a.example")
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }
	const web = "projects/default/loadBalancers/web"
	return []crud{
		{
			kind: "LoadBalancer", plural: "LoadBalancers", field: "load_balancer", parent: "projects/default",
			name: "projects/default/loadBalancers/second", object: "{name: second, vips: [203.0.113.20]}",
			other: "{name: second, vips: [203.0.113.21]}", whole: "{vips: [203.0.113.22], labels: {a: b}}",
			mask: "vips,labels.x", change: "{vips: [203.0.113.23], labels: {x: y}}", path: "vips", wild: "projects/-",
		},
		{
			kind: "Listener", plural: "Listeners", field: "listener", parent: web, name: web + "/listeners/second",
			object: "{name: second, port: 81, protocol: http, default_pool_id: main}", other: "{name: second, port: 82, protocol: tcp}",
			whole: "{port: 83, protocol: http}", mask: "port,timeouts.tcp_idle", change: "{port: 84, timeouts: {tcp_idle: 7s}}", path: "timeouts.tcp_idle",
			wild: "projects/-/loadBalancers/-",
		},
		{
			kind: "Pool", plural: "Pools", field: "pool", parent: web, name: web + "/pools/second",
			object: "{name: second, protocol: http, backends: [{name: x, address: 10.9.9.9, port: 1}]}", other: "{name: second, protocol: tcp}",
			whole: "{protocol: http, algorithm: maglev}", mask: "algorithm,backends,health_check",
			change: "{algorithm: random, backends: [{name: y, address: 10.9.9.8, port: 1}], health_check: {type: http}}", path: "algorithm",
			wild: "projects/default/loadBalancers/-",
		},
		{
			kind: "Backend", plural: "Backends", field: "backend", parent: web + "/pools/main", name: web + "/pools/main/backends/b3",
			object: "{name: b3, address: 10.0.0.3, port: 8080}", other: "{name: b3, address: 10.0.0.4, port: 8080}",
			whole: "{address: 10.0.0.5, port: 8081, backup: true}", mask: "weight", change: "{weight: 0}", path: "weight",
			wild: "projects/-/loadBalancers/-/pools/-",
		},
		{
			kind: "HealthCheck", plural: "HealthChecks", field: "health_check", parent: web + "/pools/spare", name: web + "/pools/spare/healthChecks/hc",
			object: "{name: hc, type: http}", other: "{name: hc, type: tcp}", whole: "{type: http, interval: 9s}",
			mask: "http.url_path", change: "{http: {url_path: /up}}", path: "http.url_path", wild: web + "/pools/-",
		},
		{
			kind: "L7Policy", plural: "L7Policies", field: "l7_policy", parent: web + "/listeners/front", name: web + "/listeners/front/l7Policies/second",
			object: "{name: second, action: reject, position: 5}", other: "{name: second, action: reject, redirect_http_status_code: 404}",
			whole: "{action: redirect_to_url, redirect_url: \"https://x.example/\"}", mask: "redirectHttpStatusCode", change: "{redirect_http_status_code: 429}",
			path: "redirect_http_status_code", wild: web + "/listeners/-",
		},
		{
			kind: "L7Rule", plural: "L7Rules", field: "l7_rule", parent: web + "/listeners/front/l7Policies/api",
			name:   web + "/listeners/front/l7Policies/api/rules/r2",
			object: "{name: r2, rule_type: path, compare_type: ends_with, value: .png}", other: "{name: r2, rule_type: host_name, compare_type: equal_to, value: x.example}",
			whole: "{rule_type: header, key: X-A, compare_type: equal_to, value: b}", mask: "value,invert", change: "{value: .gif, invert: true}", path: "value",
			wild: "projects/-/loadBalancers/-/listeners/-/l7Policies/-",
		},
		{
			kind: "Certificate", plural: "Certificates", field: "certificate", parent: web, name: web + "/certificates/second",
			object: "{name: second, type: server, certificate: " + quote(certificate) + ", private_key: " + quote(key) + "}",
			other:  "{name: second, type: client_ca, certificate: " + quote(certificate) + "}",
			whole:  "{type: sni, certificate: " + quote(certificate) + "}", mask: "description", change: "{description: hello}", path: "description",
			wild: "projects/-/loadBalancers/-",
		},
	}
}

func TestEveryKind(t *testing.T) {
	t.Parallel()
	for _, k := range kinds(t) {
		t.Run(k.kind, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, 1)
			e.must("ConfigService/Apply", base)
			k.drive(e)
		})
	}
}

func (k crud) method(verb string) string {
	if verb == "List" {
		return k.kind + "Service/List" + k.plural
	}
	return k.kind + "Service/" + verb + k.kind
}

func (k crud) drive(e *env) {
	t := e.t
	create := fmt.Sprintf("parent: %s\n%s: %s\n", k.parent, k.field, k.object)
	byName := "name: " + k.name + "\n"

	before := e.dump()
	dry := e.must(k.method("Create"), create+"validate_only: true")
	if get(dry, "etag") == "" {
		t.Error("a dry run gives no etag")
	}
	e.refused(codes.NotFound, "not found", k.method("Get"), byName)
	if e.dump() != before {
		t.Error("a dry run wrote something")
	}

	made := e.must(k.method("Create"), create+"request_id: one")
	for _, path := range []string{"uid", "etag"} {
		if get(made, path) == "" {
			t.Errorf("created without %s: %v", path, made)
		}
	}
	if get(made, "full_name") != k.name {
		t.Errorf("full name %v", get(made, "full_name"))
	}
	if get(made, "status").(*fiberlbv1.Status).GetReason() != "no node serves it yet" {
		t.Errorf("status %v", get(made, "status"))
	}
	if again := e.must(k.method("Create"), create+"request_id: one"); get(again, "uid") != get(made, "uid") {
		t.Errorf("repeated create made %v", again)
	}
	other := fmt.Sprintf("parent: %s\n%s: %s\n", k.parent, k.field, k.other)
	e.refused(codes.InvalidArgument, "request_id", k.method("Create"), other+"request_id: one")
	e.refused(codes.AlreadyExists, "already exists", k.method("Create"), other)
	e.refused(codes.AlreadyExists, "already exists", k.method("Create"), create)
	if got := e.must(k.method("Get"), byName); !proto.Equal(got, made) {
		t.Errorf("got %v, want %v", got, made)
	}
	for _, parent := range []string{k.parent, k.wild} {
		if !k.listed(e.must(k.method("List"), "parent: "+parent)) {
			t.Errorf("list of %s lacks it", parent)
		}
	}

	change := fmt.Sprintf("mask: %s\n%s%s: %s\n", k.mask, byName, k.field, k.change)
	before = e.dump()
	dry = e.must(k.method("Update"), change+"validate_only: true")
	if e.dump() != before {
		t.Error("a dry update wrote something")
	}
	updated := e.must(k.method("Update"), change+"etag: "+get(made, "etag").(string))
	if get(updated, "etag") == get(made, "etag") || get(updated, "etag") != get(dry, "etag") || get(updated, "uid") != get(made, "uid") {
		t.Errorf("updated %v\nto %v\ndry %v", made, updated, dry)
	}
	if fmt.Sprint(get(updated, k.path)) == fmt.Sprint(get(made, k.path)) {
		t.Errorf("%s is still %v", k.path, get(updated, k.path))
	}
	before = e.dump()
	if same := e.must(k.method("Update"), change); !proto.Equal(same, updated) || e.dump() != before {
		t.Errorf("an update to the same wrote: %v", same)
	}
	e.refused(codes.Aborted, "read it again", k.method("Update"), change+"etag: "+get(made, "etag").(string))
	e.refused(codes.NotFound, "not found", k.method("Update"), strings.Replace(change, k.name, k.name+"x", 1))
	whole := e.must(k.method("Update"), fmt.Sprintf("mask: *\n%s%s: %s\n", byName, k.field, k.whole))
	if get(whole, "uid") != get(made, "uid") || get(whole, "etag") == get(updated, "etag") {
		t.Errorf("replaced %v\nby %v", updated, whole)
	}

	e.refused(codes.Aborted, "read it again", k.method("Delete"), byName+"etag: "+get(updated, "etag").(string))
	e.must(k.method("Delete"), byName+"validate_only: true")
	e.must(k.method("Get"), byName)
	e.must(k.method("Delete"), byName+"request_id: two\netag: "+get(whole, "etag").(string))
	e.refused(codes.NotFound, "not found", k.method("Get"), byName)
	e.must(k.method("Delete"), byName+"request_id: two\netag: "+get(whole, "etag").(string))
	e.refused(codes.NotFound, "not found", k.method("Delete"), byName)
	e.must(k.method("Delete"), byName+"allow_missing: true")
	if k.listed(e.must(k.method("List"), "parent: "+k.wild)) {
		t.Error("it is still listed")
	}
}

// listed tells whether an answer lists the object.
func (k crud) listed(list proto.Message) bool {
	items := list.ProtoReflect().Get(list.ProtoReflect().Descriptor().Fields().Get(0)).List()
	for i := range items.Len() {
		if get(items.Get(i).Message().Interface(), "full_name") == k.name {
			return true
		}
	}
	return false
}
