package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

const web = "projects/default/loadBalancers/web"

func TestApply(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	plan := e.must("ConfigService/Plan", strings.TrimSpace(base)).(*fiberlbv1.PlanResponse)
	if len(plan.GetChanges()) == 0 || plan.GetEtag() != "" {
		t.Errorf("plan of a new one: %v", plan)
	}
	if e.dump() != "" {
		t.Error("a plan wrote something")
	}
	first := e.must("ConfigService/Apply", base).(*fiberlbv1.ApplyResponse)
	if !proto.Equal(&fiberlbv1.PlanResponse{Changes: first.GetChanges()}, &fiberlbv1.PlanResponse{Changes: plan.GetChanges()}) {
		t.Errorf("applied %v\nplanned %v", first.GetChanges(), plan.GetChanges())
	}
	before := e.dump()
	again := e.must("ConfigService/Apply", base).(*fiberlbv1.ApplyResponse)
	if len(again.GetChanges()) != 0 || again.GetRevision() != first.GetRevision() || e.dump() != before {
		t.Errorf("applied twice: %v", again)
	}

	// What an export gives is the same when applied.
	export := e.must("ConfigService/Export", "name: "+web).(*fiberlbv1.ExportResponse)
	reply := &fiberlbv1.ApplyResponse{}
	if err := e.conn.Invoke(e.ctx, "/fiberlb.v1.ConfigService/Apply", &fiberlbv1.ApplyRequest{Config: export.GetConfigs()[0]}, reply); err != nil || len(reply.GetChanges()) != 0 {
		t.Errorf("applied an export: %v, %v", reply.GetChanges(), err)
	}

	// A smaller configuration prunes; the etag of the plan holds it to what was planned.
	small := "config: {name: web, vips: [203.0.113.10], pools: [{name: spare, protocol: tcp}]}\n"
	plan = e.must("ConfigService/Plan", small).(*fiberlbv1.PlanResponse)
	deleted := 0
	for _, change := range plan.GetChanges() {
		if change.GetAction() == fiberlbv1.ChangeAction_CHANGE_ACTION_DELETE {
			deleted++
		}
	}
	if deleted == 0 {
		t.Errorf("plan to prune: %v", plan)
	}
	dry := e.must("ConfigService/Apply", small+"validate_only: true").(*fiberlbv1.ApplyResponse)
	if len(dry.GetChanges()) != len(plan.GetChanges()) || e.dump() != before {
		t.Errorf("dry run: %v", dry)
	}
	pruned := e.must("ConfigService/Apply", small+"request_id: r1\netag: "+plan.GetEtag()).(*fiberlbv1.ApplyResponse)
	if len(pruned.GetConfig().GetListeners()) != 0 || len(pruned.GetConfig().GetPools()) != 1 || pruned.GetRevision() <= first.GetRevision() {
		t.Errorf("pruned: %v", pruned)
	}
	if pruned.GetConfig().GetUid() != first.GetConfig().GetUid() {
		t.Error("the uid changed")
	}
	e.refused(codes.Aborted, "read it again", "ConfigService/Apply", small+"etag: "+plan.GetEtag())
	// The repetition is known by its ID before its etag is looked at.
	e.must("ConfigService/Apply", small+"request_id: r1\netag: "+plan.GetEtag())
}

func TestReplaceBackends(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	uid := get(e.must("BackendService/GetBackend", "name: "+web+"/pools/main/backends/b1"), "uid")
	list := e.must("BackendService/ReplaceBackends", "parent: "+web+`/pools/main
backends:
- {address: "10.0.0.1", port: 8080, weight: 9}
- {address: "2001:db8::7", port: 81}
- {name: named, address: 10.0.0.7, port: 82}`).(*fiberlbv1.ListBackendsResponse)
	var got []string
	for _, b := range list.GetBackends() {
		got = append(got, fmt.Sprintf("%s=%s:%d*%d", b.GetName(), b.GetAddress(), b.GetPort(), b.GetWeight()))
	}
	want := "b-2001-db8--7-81=2001:db8::7:81*1 b1=10.0.0.1:8080*9 named=10.0.0.7:82*1"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := get(e.must("BackendService/GetBackend", "name: "+web+"/pools/main/backends/b1"), "uid"); got != uid {
		t.Error("b1 is another one")
	}
}

func TestCascade(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	e.must("ListenerService/DeleteListener", "name: "+web+"/listeners/front\ncascade: true")
	e.refused(codes.NotFound, "parent", "L7PolicyService/ListL7Policies", "parent: "+web+"/listeners/front")
	e.must("PoolService/DeletePool", "name: "+web+"/pools/main")
	e.must("LoadBalancerService/DeleteLoadBalancer", "name: "+web+"\ncascade: true\nrequest_id: gone")
	e.must("LoadBalancerService/DeleteLoadBalancer", "name: "+web+"\ncascade: true\nrequest_id: gone")
	// The address is free again.
	e.must("LoadBalancerService/CreateLoadBalancer", "parent: projects/other\nload_balancer: {name: web, vips: [203.0.113.10]}")
}

func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 2)
	e.must("ConfigService/Apply", base)
	const writers = 20
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			conn := e.conns[i%len(e.conns)]
			method, request := "BackendService/CreateBackend", fmt.Sprintf("parent: %s/pools/main\nbackend: {name: n%d, address: 10.1.0.%d, port: 80}", web, i, i)
			if i%2 == 1 {
				method, request = "PoolService/CreatePool", fmt.Sprintf("parent: %s\npool: {name: n%d, protocol: http}", web, i)
			}
			if _, err := e.tryOn(conn, method, request); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	config := e.must("ConfigService/Export", "name: "+web).(*fiberlbv1.ExportResponse).GetConfigs()[0]
	if pools, backends := len(config.GetPools()), len(config.GetPools()[0].GetBackends()); pools != 2+writers/2 || backends != 2+writers/2 {
		t.Errorf("%d pools, %d backends", pools, backends)
	}
}

// One backend, one etag, many writers: exactly one wins.
func TestEtagLetsOneWin(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 2)
	e.must("ConfigService/Apply", base)
	name := web + "/pools/main/backends/b1"
	etag := get(e.must("BackendService/GetBackend", "name: "+name), "etag").(string)
	var mu sync.Mutex
	results := map[codes.Code]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := e.tryOn(e.conns[i%2], "BackendService/UpdateBackend", fmt.Sprintf("name: %s\netag: %s\nbackend: {weight: %d}", name, etag, i+10))
			mu.Lock()
			defer mu.Unlock()
			results[status.Code(err)]++
		})
	}
	wg.Wait()
	if results[codes.OK] != 1 || results[codes.Aborted] != 7 {
		t.Errorf("results %v", results)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	// Names whose order as keys differs from that as words.
	names := []string{"a", "a-b", "a0", "ab", "a-", "b", "z9"}
	names[4] = "a--b"
	for i, name := range names {
		e.must("ConfigService/Apply", fmt.Sprintf(`
config:
  name: %s
  vips: [203.0.113.%d]
  pools:
  - {name: p1, protocol: tcp, backends: [{name: x, address: 10.0.0.1, port: 1}, {name: y, address: 10.0.0.1, port: 2}]}
  - {name: p2, protocol: tcp, backends: [{name: x, address: 10.0.0.1, port: 1}]}`, name, i+1))
	}
	pages := func(method, parent string, size int, between func()) (all []string) {
		token := ""
		for {
			reply := e.must(method, fmt.Sprintf("parent: %s\npage_size: %d\npage_token: %q", parent, size, token))
			items := reply.ProtoReflect().Get(reply.ProtoReflect().Descriptor().Fields().Get(0)).List()
			if items.Len() > size {
				t.Fatalf("%d items", items.Len())
			}
			for i := range items.Len() {
				all = append(all, get(items.Get(i).Message().Interface(), "full_name").(string))
			}
			if token = get(reply, "next_page_token").(string); token == "" {
				return all
			}
			if between != nil {
				between()
				between = nil
			}
		}
	}
	unique := func(all []string) int {
		seen := map[string]bool{}
		for _, name := range all {
			seen[name] = true
		}
		return len(seen)
	}
	for _, size := range []int{1, 2, 3, 5, 100} {
		for _, test := range []struct {
			method, parent string
			want           int
		}{
			{"LoadBalancerService/ListLoadBalancers", "projects/-", 7},
			{"LoadBalancerService/ListLoadBalancers", "projects/default", 7},
			{"PoolService/ListPools", "projects/-/loadBalancers/-", 14},
			{"PoolService/ListPools", "projects/-/loadBalancers/a-b", 2},
			{"BackendService/ListBackends", "projects/default/loadBalancers/-/pools/-", 21},
			{"BackendService/ListBackends", "projects/default/loadBalancers/-/pools/p1", 14},
			{"BackendService/ListBackends", "projects/default/loadBalancers/a/pools/p1", 2},
			{"BackendService/ListBackends", "projects/default/loadBalancers/b/pools/-", 3},
			{"BackendService/ListBackends", "projects/other/loadBalancers/-/pools/-", 0},
		} {
			all := pages(test.method, test.parent, size, nil)
			if len(all) != test.want || unique(all) != test.want {
				t.Errorf("%s of %s by %d: %d items, %d different: %q", test.method, test.parent, size, len(all), unique(all), all)
			}
		}
	}
	// Pages are of one revision, whatever is written between them.
	got := pages("BackendService/ListBackends", "projects/default/loadBalancers/a/pools/p1", 1, func() {
		e.must("BackendService/DeleteBackend", "name: projects/default/loadBalancers/a/pools/p1/backends/y")
	})
	if len(got) != 2 {
		t.Errorf("pinned pages of one pool: %q", got)
	}
	got = pages("LoadBalancerService/ListLoadBalancers", "projects/-", 3, func() {
		e.must("LoadBalancerService/DeleteLoadBalancer", "name: projects/default/loadBalancers/z9\ncascade: true")
		e.must("LoadBalancerService/CreateLoadBalancer", "parent: projects/default\nload_balancer: {name: a00, vips: [203.0.113.77]}")
	})
	if unique(got) != 7 || len(got) != 7 {
		t.Errorf("pinned pages: %q", got)
	}
	// A revision that the store does not have, as after a compaction, says so.
	future := pageToken{revision: 1 << 50, key: ids{"default", "a"}}.encode("load balancers projects/default")
	e.refused(codes.OutOfRange, "start again", "LoadBalancerService/ListLoadBalancers", "parent: projects/default\npage_token: "+future)
}

func TestExportPages(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	for i := range 5 {
		e.must("LoadBalancerService/CreateLoadBalancer", fmt.Sprintf("parent: projects/p%d\nload_balancer: {name: x, vips: [203.0.113.%d]}", i, i+1))
	}
	token, seen := "", 0
	for {
		reply := e.must("ConfigService/Export", fmt.Sprintf("name: projects/-\npage_size: 2\npage_token: %q", token)).(*fiberlbv1.ExportResponse)
		seen += len(reply.GetConfigs())
		if token = reply.GetNextPageToken(); token == "" {
			break
		}
	}
	if seen != 5 {
		t.Errorf("%d load balancers", seen)
	}
	if got := e.must("ConfigService/Export", "name: projects/p3").(*fiberlbv1.ExportResponse); len(got.GetConfigs()) != 1 {
		t.Errorf("export of a project: %v", got)
	}
}

// The private key goes in and never comes out: not in answers, errors, exports, plans, REST or logs.
func TestPrivateKeysStayInside(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	certificate, key := pair(t, "www.example")
	otherCertificate, otherKey := pair(t, "other.example")
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }
	config := func(certificate, key string) string {
		return fmt.Sprintf(`config: {name: web, vips: [203.0.113.10], listeners: [{name: s, port: 443, protocol: https, tls_config: {certificate_id: c}}], certificates: [{name: c, type: server, certificate: %s%s}]}`,
			quote(certificate), key)
	}
	withKey := func(key string) string { return ", private_key: " + quote(key) }
	e.refused(codes.InvalidArgument, "certificates[0].private_key", "ConfigService/Apply", config(certificate, ""))
	e.refused(codes.InvalidArgument, "certificates[0]", "ConfigService/Apply", config(certificate, withKey(otherKey)))
	e.must("ConfigService/Plan", config(certificate, withKey(key)))
	first := e.must("ConfigService/Apply", config(certificate, withKey(key))).(*fiberlbv1.ApplyResponse)
	before := e.dump()
	for _, same := range []string{withKey(key), ""} {
		again := e.must("ConfigService/Apply", config(certificate, same)).(*fiberlbv1.ApplyResponse)
		if len(again.GetChanges()) != 0 || again.GetConfig().GetEtag() != first.GetConfig().GetEtag() {
			t.Errorf("applied again: %v", again.GetChanges())
		}
	}
	if e.dump() != before {
		t.Error("applying the same wrote something")
	}
	e.refused(codes.InvalidArgument, "certificates[0]", "ConfigService/Apply", config(otherCertificate, ""))
	e.must("CertificateService/UpdateCertificate", "name: "+web+"/certificates/c\ncertificate: {certificate: "+quote(otherCertificate)+withKey(otherKey)+"}")
	e.must("CertificateService/UpdateCertificate", "mask: description\nname: "+web+"/certificates/c\ncertificate: {description: x}")
	e.must("CertificateService/ListCertificates", "parent: "+web)
	e.must("ConfigService/Export", "name: projects/-")
	e.refused(codes.FailedPrecondition, `in use by listener "s"`, "CertificateService/DeleteCertificate", "name: "+web+"/certificates/c")
	rest := e.http(http.MethodGet, "/v1/config:export", "", 200) + e.http(http.MethodPost, "/v1/config:plan", `{"config": {"name": "web", "certificates": [{"name": "c", "private_key": `+quote(key)+`, "nope": 1}]}}`, 400)

	entry, err := e.st.Get(e.ctx, "default", "web")
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := e.st.OpenKey(e.ctx, entry.LB.Certificates[0], web+"/certificates/c"); err != nil || strings.TrimSpace(opened.Reveal()) != strings.TrimSpace(otherKey) {
		t.Errorf("the stored key opens to something else: %v", err)
	}
	for where, text := range map[string]string{"answers": e.answers.String(), "REST": rest, "logs": e.log.String(), "etcd": e.dump()} {
		for _, secret := range []string{key, otherKey} {
			if line := strings.Split(secret, "\n")[1]; strings.Contains(text, line) || strings.Contains(text, fmt.Sprintf("%x", line)) {
				t.Errorf("a private key shows in %s", where)
			}
		}
	}
	if !strings.Contains(e.log.String(), "/fiberlb.v1.ConfigService/Apply") {
		t.Error("the calls are not logged at debug")
	}
}

func TestNodes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	report := &storev1.NodeReport{
		Node: "n1", Labels: map[string]string{"rack": "7"}, SoftwareVersion: "v1", Capabilities: []string{"listener.tcp"}, Address: "192.0.2.1:5",
		Controller: "c1", ConnectedUs: 1, ReportedUs: 2, AckedRevision: 1 << 40, AckedDigest: []byte{0xab}, DownCount: 1,
		Down: []*fiberlbv1.ResourceError{{Resource: web + "/pools/main/backends/b1", Message: "refused"}},
	}
	e.await(func() bool { return e.lease.Put(e.ctx, report) == nil })
	e.await(func() bool { _, err := e.try("NodeService/GetNode", "name: nodes/n1"); return err == nil })
	node := e.must("NodeService/GetNode", "name: nodes/n1").(*fiberlbv1.Node)
	if !node.GetConnected() || node.GetVersion() != fmt.Sprintf("%d/ab", int64(1)<<40) || node.GetReportedLabels()["rack"] != "7" || node.GetDown()[0] != web+"/pools/main/backends/b1: refused" {
		t.Errorf("node %v", node)
	}
	backend := e.must("BackendService/GetBackend", "name: "+web+"/pools/main/backends/b1").(*fiberlbv1.Backend)
	if backend.GetStatus().GetOperatingStatus() != fiberlbv1.OperatingStatus_OPERATING_STATUS_ERROR || !strings.Contains(backend.GetStatus().GetReason(), "n1: refused") {
		t.Errorf("backend's status %v", backend.GetStatus())
	}
	x := e.must("LoadBalancerService/GetLoadBalancer", "name: "+web).(*fiberlbv1.LoadBalancer)
	if s := x.GetStatus(); s.GetProvisioningStatus() != fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ACTIVE ||
		s.GetOperatingStatus() != fiberlbv1.OperatingStatus_OPERATING_STATUS_DEGRADED || s.GetRollout().GetAcked() != 1 {
		t.Errorf("load balancer's status %v", s)
	}

	before := e.dump()
	dry := e.must("NodeService/UpdateNode", "name: nodes/n1\nvalidate_only: true\nnode: {drain: true}").(*fiberlbv1.Node)
	if !dry.GetDrain() || e.dump() != before {
		t.Errorf("dry run %v", dry)
	}
	drained := e.must("NodeService/UpdateNode", "name: nodes/n1\netag: "+node.GetEtag()+"\nrequest_id: x\nnode: {drain: true, labels: {zone: a}}").(*fiberlbv1.Node)
	if !drained.GetDrain() || drained.GetLabels()["zone"] != "a" || drained.GetEtag() == node.GetEtag() {
		t.Errorf("drained %v", drained)
	}
	e.must("NodeService/UpdateNode", "name: nodes/n1\netag: "+node.GetEtag()+"\nrequest_id: x\nnode: {drain: true, labels: {zone: a}}")
	e.refused(codes.Aborted, "read it again", "NodeService/UpdateNode", "name: nodes/n1\netag: "+node.GetEtag()+"\nnode: {labels: {zone: b}}")
	e.refused(codes.InvalidArgument, "output only", "NodeService/UpdateNode", "mask: address\nname: nodes/n1\nnode: {address: x}")
	e.refused(codes.InvalidArgument, "node.labels", "NodeService/UpdateNode", "name: nodes/n1\nnode: {labels: {"+strings.Repeat("x", 256)+": a}}")
	e.refused(codes.FailedPrecondition, "connected", "NodeService/DeleteNode", "name: nodes/n1")
	e.await(func() bool {
		x := e.must("LoadBalancerService/GetLoadBalancer", "name: "+web).(*fiberlbv1.LoadBalancer)
		return x.GetStatus().GetOperatingStatus() == fiberlbv1.OperatingStatus_OPERATING_STATUS_DRAINING
	})
	undrained := e.must("NodeService/UpdateNode", "mask: drain\nname: nodes/n1\nnode: {labels: {zone: c}}").(*fiberlbv1.Node)
	if undrained.GetDrain() || undrained.GetLabels()["zone"] != "a" {
		t.Errorf("undrained %v", undrained)
	}
	if list := e.must("NodeService/ListNodes", "page_size: 1").(*fiberlbv1.ListNodesResponse); len(list.GetNodes()) != 1 || list.GetNextPageToken() != "" {
		t.Errorf("list %v", list)
	}
	if err := e.lease.Remove(e.ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	e.await(func() bool { return !e.must("NodeService/GetNode", "name: nodes/n1").(*fiberlbv1.Node).GetConnected() })
	e.must("NodeService/DeleteNode", "name: nodes/n1")
	e.refused(codes.NotFound, "not connected", "NodeService/GetNode", "name: nodes/n1")
	e.must("NodeService/DeleteNode", "name: nodes/n1\nallow_missing: true")
}
