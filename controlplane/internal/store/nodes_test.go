package store

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdtest"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func TestNodeConfigs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	_, err := s.GetNodeConfig(ctx, "n1")
	wantError(t, err, ErrNotFound)
	first := must[*NodeConfig](t)(s.PutNodeConfig(ctx, "n1", &NodeConfig{Labels: map[string]string{"zone": "a"}}))
	if got := must[*NodeConfig](t)(s.GetNodeConfig(ctx, "n1")); !reflect.DeepEqual(got, first) {
		t.Errorf("got %+v, want %+v", got, first)
	}
	if same := must[*NodeConfig](t)(s.PutNodeConfig(ctx, "n1", first)); same.Revision != first.Revision {
		t.Errorf("writing the same made revision %d of %d", same.Revision, first.Revision)
	}
	second := must[*NodeConfig](t)(s.PutNodeConfig(ctx, "n1", &NodeConfig{Drain: true, Revision: first.Revision}))
	for _, revision := range []int64{0, first.Revision} {
		_, err = s.PutNodeConfig(ctx, "n1", &NodeConfig{Revision: revision})
		wantError(t, err, ErrConflict)
	}
	must[*NodeConfig](t)(s.PutNodeConfig(ctx, "n2.rack", &NodeConfig{}))
	must[*clientv3.PutResponse](t)(s.client.Put(ctx, s.keys.nodeConfig("n3"), "\xff"))
	configs, revision, faults, err := s.ListNodeConfigs(ctx)
	if err != nil || len(configs) != 2 || !configs["n1"].Drain || len(faults) != 1 || faults[0].Name != "nodes/n3" || revision < second.Revision {
		t.Errorf("got %v, %d, %v, %v", configs, revision, faults, err)
	}
	wantError(t, s.DeleteNodeConfig(ctx, "n1", first.Revision), ErrConflict)
	wantError(t, s.DeleteNodeConfig(ctx, "n9", 0), ErrNotFound)
	if err := s.DeleteNodeConfig(ctx, "n1", second.Revision); err != nil {
		t.Error(err)
	}
	_, err = s.PutNodeConfig(ctx, "a/b", &NodeConfig{})
	if err == nil {
		t.Error("a node with a slash in its name is possible")
	}
}

func watchReports(t *testing.T, s *Store) <-chan ReportBatch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reports := s.WatchReports(ctx)
	t.Cleanup(func() {
		cancel()
		for range reports { // until it is closed
		}
	})
	if first := <-reports; !first.Reset {
		t.Error("the first batch is no reset")
	}
	return reports
}

// untilReport takes batches until a node's report is the one acknowledged at that revision, or with -1 until it is gone.
func untilReport(t *testing.T, reports <-chan ReportBatch, node string, revision int64) {
	t.Helper()
	for b := range reports {
		if r, ok := b.Reports[node]; ok && (r == nil && revision == -1 || r != nil && r.AckedRevision == revision) {
			if r != nil && r.SchemaVersion != SchemaVersion {
				t.Errorf("schema version %d", r.SchemaVersion)
			}
			return
		}
	}
	t.Error("the channel is closed")
}

func closeLease(t *testing.T, l *NodeLease) {
	t.Helper()
	if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// put puts a report as soon as there is a lease, which is granted in the background.
func put(t *testing.T, l *NodeLease, r *storev1.NodeReport) {
	t.Helper()
	for {
		err := l.Put(t.Context(), r)
		if err == nil {
			return
		}
		wantError(t, err, ErrUnavailable)
	}
}

// leased waits until there is a lease, so that from then on every put is one write.
func leased(t *testing.T, l *NodeLease) *NodeLease {
	t.Helper()
	put(t, l, &storev1.NodeReport{Node: "probe"})
	if err := l.Remove(t.Context(), "probe"); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestReportsLiveAsLongAsTheirController(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	reports := watchReports(t, s)
	one, two := s.HoldReports(), s.HoldReports()
	put(t, one, &storev1.NodeReport{Node: "n1", ConnectedUs: 1, AckedRevision: 7})
	untilReport(t, reports, "n1", 7)
	// The node's stream moves to the other controller, while the first one still has something to say of it.
	put(t, two, &storev1.NodeReport{Node: "n1", ConnectedUs: 2, AckedRevision: 8})
	untilReport(t, reports, "n1", 8)
	for range 2 {
		wantError(t, one.Put(t.Context(), &storev1.NodeReport{Node: "n1", ConnectedUs: 1, AckedRevision: 9}), ErrSuperseded)
	}
	if err := one.Remove(t.Context(), "n1"); err != nil {
		t.Error(err)
	}
	if resp := must[*clientv3.GetResponse](t)(s.client.Get(t.Context(), s.keys.nodeReport("n1"))); len(resp.Kvs) != 1 {
		t.Error("the report of the newer stream is removed")
	}
	put(t, two, &storev1.NodeReport{Node: "n2", ConnectedUs: 3, AckedRevision: 1})
	untilReport(t, reports, "n2", 1)
	if err := two.Remove(t.Context(), "n2"); err != nil {
		t.Error(err)
	}
	untilReport(t, reports, "n2", -1)
	// The stream comes back.
	put(t, one, &storev1.NodeReport{Node: "n1", ConnectedUs: 4, AckedRevision: 10})
	untilReport(t, reports, "n1", 10)
	closeLease(t, two)
	closeLease(t, one)
	untilReport(t, reports, "n1", -1)
	if leases := must[*clientv3.LeaseLeasesResponse](t)(s.client.Leases(t.Context())); len(leases.Leases) != 0 {
		t.Errorf("%d leases are left", len(leases.Leases))
	}
}

func TestLostLeaseIsReplaced(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	reports := watchReports(t, s)
	l := s.holdReports(1)
	defer closeLease(t, l)
	put(t, l, &storev1.NodeReport{Node: "n1", AckedRevision: 1})
	put(t, l, &storev1.NodeReport{Node: "n1", AckedRevision: 2})
	untilReport(t, reports, "n1", 2)
	// Revoked by somebody else, which is what an expiry looks like.
	revoked := make(map[int64]bool)
	for _, lease := range must[*clientv3.LeaseLeasesResponse](t)(s.client.Leases(t.Context())).Leases {
		revoked[int64(lease.ID)] = true
		must[*clientv3.LeaseRevokeResponse](t)(s.client.Revoke(t.Context(), lease.ID))
	}
	// It is there again without anybody putting it.
	for {
		resp := must[*clientv3.GetResponse](t)(s.client.Get(t.Context(), s.keys.nodeReport("n1")))
		if len(resp.Kvs) == 1 && !revoked[resp.Kvs[0].Lease] {
			break
		}
		<-reports
	}
	put(t, l, &storev1.NodeReport{Node: "n1", AckedRevision: 3})
}

func TestReportsAcrossACompaction(t *testing.T) {
	t.Parallel()
	server := etcdtest.StartServer(t, t.TempDir())
	direct := storeOver(t, server.Client())
	link, s := newLink(t, server)
	l := leased(t, direct.HoldReports())
	defer closeLease(t, l)
	for _, node := range []string{"same", "changed", "gone"} {
		put(t, l, &storev1.NodeReport{Node: node})
	}
	ctx, cancel := context.WithCancel(context.Background())
	reports := s.WatchReports(ctx)
	if first := <-reports; len(first.Reports) != 3 {
		t.Errorf("got %v", first)
	}
	link.set(true)
	put(t, l, &storev1.NodeReport{Node: "changed", AckedRevision: 5})
	if err := l.Remove(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	put(t, l, &storev1.NodeReport{Node: "new"})
	resp := must[*clientv3.GetResponse](t)(server.Client().Get(t.Context(), "x"))
	must[*clientv3.CompactResponse](t)(server.Client().Compact(t.Context(), resp.Header.Revision))
	link.set(false)
	got := <-reports
	if gone, ok := got.Reports["gone"]; got.Reset || len(got.Reports) != 3 || gone != nil || !ok || got.Reports["changed"].AckedRevision != 5 || got.Reports["new"] == nil {
		t.Errorf("got %v", got)
	}
	cancel()
	for range reports { // until it is closed
	}
}

func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	r := &storev1.NodeReport{Node: "n", ErrorCount: 1000}
	for i := range 1000 {
		r.Errors = append(r.Errors, &fiberlbv1.ResourceError{Resource: fmt.Sprint(i), Message: "short"})
		r.ReadyVips = append(r.ReadyVips, "192.0.2.1")
	}
	decoded := func() *storev1.NodeReport {
		value := must[[]byte](t)(bounded(r))
		if len(value) > maxReportBytes {
			t.Errorf("%d bytes", len(value))
		}
		return must[*storev1.NodeReport](t)(decodeNodeReport("n", value))
	}
	if got := decoded(); len(got.Errors) != 256 || len(got.ReadyVips) != 256 || got.ErrorCount != 1000 || len(r.Errors) != 1000 {
		t.Errorf("%d errors, %d addresses", len(got.Errors), len(got.ReadyVips))
	}
	for _, e := range r.Errors {
		e.Message = strings.Repeat("long", 200)
	}
	if got := decoded(); len(got.Errors) != 64 {
		t.Errorf("%d errors", len(got.Errors))
	}
	r.Address = strings.Repeat("x", maxReportBytes)
	if _, err := bounded(r); err == nil || !strings.Contains(err.Error(), "report of nodes/n takes") {
		t.Errorf("got %v", err)
	}
}
